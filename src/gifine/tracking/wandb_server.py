"""The server of Weights & Biases: where it is, what it takes, and whether this user can write there."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gifine.config import TrackingConfig
from gifine.errors import TrackingError, first_line
from gifine.machine.network import reach

if TYPE_CHECKING:
    import wandb

TAG, NAME = 64, 128  # characters that a tag, and any other name, may have
_NOT_IN_PATHS = "/\\#?%:"  # of pages: wandb.ai/ENTITY/PROJECT


def wrong(tracking: TrackingConfig) -> Iterator[str]:
    """Values that the server refuses; offline runs would be refused at their upload, weeks later."""
    for key in ("project", "entity", "group"):
        value, where = getattr(tracking, key), f"tracking.{key}"
        if value is None:
            continue
        if not value.strip():
            yield f"{where}: is empty"
        elif len(value) > NAME:
            yield f"{where}={value}: has {len(value)} characters, wandb takes at most {NAME}"
        elif key != "group" and (found := [sign for sign in _NOT_IN_PATHS if sign in value]):
            yield f"{where}={value}: has {' '.join(found)}, and wandb takes none of {' '.join(_NOT_IN_PATHS)}"
    for tag in tracking.tags:
        if not 1 <= len(tag) <= TAG:
            yield f"tracking.tags: '{tag}' has {len(tag)} characters, wandb takes 1 to {TAG}"


def is_disabled() -> bool:
    """Whether WANDB_DISABLED says so: of older versions, and transformers' trainer still heeds it."""
    return os.environ.get("WANDB_DISABLED", "").lower() in ("1", "true", "yes", "on")


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
