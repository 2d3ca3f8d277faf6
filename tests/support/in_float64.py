"""`python -m gifine` in float64, for processes that tests start: rounding is far below whatever a fault would do."""

import sys

import torch

from gifine.__main__ import main

torch.set_default_dtype(torch.float64)
# By which transformers makes XLNet's parameters.
torch.FloatTensor = torch.DoubleTensor  # pyrefly: ignore[bad-assignment] - declared as one class
sys.exit(main())
