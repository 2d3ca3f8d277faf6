"""The server of Weights & Biases: where it is, and whether this user can write there."""

from __future__ import annotations

import os
from importlib.util import find_spec

from gifine.errors import TrackingError
from gifine.network import reach


def address() -> str:
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"


def unreachable() -> str | None:
    """Why no connection can be made; None: it can. wandb itself waits for over a minute."""
    host, reason = reach(address())
    return reason and f"{host}: {reason}"


def require(*packages: str) -> None:
    """See that the packages, the server and a key that it accepts are there.

    Raises:
        TrackingError: with the first that is not, and what to do.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise TrackingError(f"{' and '.join(missing)} not installed: pip install 'gifine[wandb]'")
    if reason := unreachable():
        raise TrackingError(f"{reason}; do this on a machine with internet")
    import wandb  # half a second, which --help need not take

    wandb.setup(wandb.Settings(silent=True))  # else it tells who is logged in
    try:
        logged_in = wandb.login(prompt=False)
    except wandb.errors.AuthenticationError as error:
        raise TrackingError(next(iter(str(error).splitlines()), "the key is not accepted")) from error
    if not logged_in:
        raise TrackingError(f"no key for {address()}: run `wandb login`, or set WANDB_API_KEY")
