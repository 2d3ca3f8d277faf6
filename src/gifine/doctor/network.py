"""The Hub and wandb: can their servers be reached, where runs would reach for them? Only a connection is opened."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from gifine.doctor.finding import Finding, ok, problem, warning
from gifine.machine.network import reach
from gifine.tracking import wandb_server

_OFFLINE = ("offline", "dryrun", "disabled")


def is_offline(environment: Mapping[str, str]) -> bool:
    """Is the Hub's client told to stay off the network?"""
    return environment.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def hub(wanted: int, *, is_offline: bool) -> Finding:
    """Where `wanted` things come from the Hub and no prefetched folder has them."""
    if not wanted:
        return ok("Hub", "not needed: nothing of this config comes from there")
    if is_offline:
        return warning("Hub", "HF_HUB_OFFLINE is set: its cache is all there is", "unset it, or give prefetch=FOLDER")
    server = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    host, reason = reach(server)
    if reason is None:
        return ok("Hub", f"{host} answers")
    mend = "python -m gifine.prefetch on a machine with internet, then prefetch=FOLDER here"
    return problem("Hub", f"{host}: {reason}", mend)


def wandb() -> Finding:
    if find_spec("wandb") is None:
        return ok("wandb", "not installed")
    mode = os.environ.get("WANDB_MODE", "online")
    if mode in _OFFLINE:
        return ok("wandb", f"WANDB_MODE={mode}")
    host, reason = reach(wandb_server.address())
    if reason is None:
        return ok("wandb", f"{host} answers")
    return warning("wandb", f"{host}: {reason}", "export WANDB_MODE=offline; later, `python -m gifine.sync` elsewhere")


def check(wanted: int | None, *, is_offline: bool) -> Iterator[Finding]:
    """`wanted`: how many things come from the Hub; None with a prefetched folder, when it is not asked at all."""
    if wanted is not None:
        yield hub(wanted, is_offline=is_offline)
    yield wandb()
