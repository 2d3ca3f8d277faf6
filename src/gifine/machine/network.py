"""Does a server answer? Libraries find out after minutes of retries; here it takes seconds."""

from __future__ import annotations

import socket
import threading
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

_TIMEOUT_SECONDS = 3.0


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
