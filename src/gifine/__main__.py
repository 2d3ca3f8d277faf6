"""`python -m gifine`: see cli.py."""

import sys

from gifine.cli import main

sys.exit(main())
