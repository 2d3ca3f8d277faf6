"""The server of Weights & Biases: where it is, and whether this user can write there."""

from __future__ import annotations

import io
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gifine.errors import TrackingError, first_line
from gifine.network import reach

if TYPE_CHECKING:
    import wandb


def check_installed(*packages: str) -> None:
    """Raise a TrackingError if one of the packages of the extra `wandb` is not there."""
    for package in packages:
        if find_spec(package) is None:
            raise TrackingError(f"{package} is not installed: pip install 'gifine[wandb]'")


def address() -> str:
    """Of the environment, of `wandb login --host`, or the library's own."""
    import wandb  # half a second, which --help need not take

    return os.environ.get("WANDB_BASE_URL") or wandb.setup().settings.base_url


def unreachable() -> str | None:
    """Why no connection can be made; None: it can. wandb itself waits for over a minute."""
    host, reason = reach(address())
    return reason and f"{host}: {reason}"


def log_in() -> wandb.Api:
    """Log in with what `wandb login` or the environment has left; nobody is asked for a key.

    Raises:
        TrackingError: if wandb is not installed, its server out of reach, or there is no key that it accepts.
    """
    check_installed("wandb")
    if reason := unreachable():
        raise TrackingError(f"{reason}; do this on a machine with internet")
    import wandb

    stdin, sys.stdin = sys.stdin, io.StringIO()  # else wandb asks for a key on a terminal
    try:
        wandb.setup(wandb.Settings(silent=True))  # else its libraries tell what they do
        return wandb.Api()
    except wandb.errors.AuthenticationError as error:
        raise TrackingError(
            f"the key for {address()}: {first_line(error)}; run `wandb login`, or set WANDB_API_KEY"
        ) from error
    except wandb.errors.UsageError as error:
        raise TrackingError(f"no key for {address()}: run `wandb login`, or set WANDB_API_KEY") from error
    finally:
        sys.stdin = stdin
