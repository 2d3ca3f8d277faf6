"""The Hub and wandb: can their servers be reached, where runs would reach for them? Only a connection is opened."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from gifine.doctor.finding import Finding, ok, problem, warning

_TIMEOUT_SECONDS = 3.0
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
    host, reason = reach(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")
    if reason is None:
        return ok("wandb", f"{host} answers")
    return warning("wandb", f"{host}: {reason}", "export WANDB_MODE=offline, and `wandb sync` later from elsewhere")


def reach(url: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> tuple[str, str | None]:
    """Host and port that `url`, or the proxy before it, is at, and why no connection can be made (None: it can)."""
    place = urlsplit(url)
    via = getproxies().get(place.scheme)
    behind = bool(via) and not proxy_bypass(place.hostname or "")
    if via and behind:
        place = urlsplit(via if "://" in via else f"http://{via}")
    # Never netloc: it may hold a password.
    host, port = place.hostname or "", place.port or (443 if place.scheme == "https" else 80)
    answers: list[str | None] = []

    def connect() -> None:
        try:
            socket.create_connection((host, port), timeout_seconds).close()
            answers.append(None)
        except OSError as error:
            answers.append(error.strerror or str(error))

    # The time limit of a connection does not hold for looking up its host's name.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(timeout_seconds)
    name = f"{'the proxy ' if behind else ''}{host}:{port}"
    return name, answers[0] if answers else f"no answer within {timeout_seconds:g} s"


def check(wanted: int | None, *, is_offline: bool) -> Iterator[Finding]:
    """`wanted`: how many things come from the Hub; None with a prefetched folder, when it is not asked at all."""
    if wanted is not None:
        yield hub(wanted, is_offline=is_offline)
    yield wandb()
