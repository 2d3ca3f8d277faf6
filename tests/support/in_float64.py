"""`python -m gifine` in float64, for processes that tests start: rounding is far below whatever a fault would do."""

import sys

import torch

from gifine.__main__ import main

torch.set_default_dtype(torch.float64)
sys.exit(main())
