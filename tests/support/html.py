"""A page as a browser would find it, and a browser that opens it."""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from conftest import needs

VOID = {"meta", "link", "input", "br", "img", "hr"}


class Page(HTMLParser):
    """Elements in order, each closed, with its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: Counter[str] = Counter()
        self.scripts: list[str] = []
        self.curves: list[list] = []  # as the script reads them, of each run that has one
        self.cells: list[str] = []
        self.links: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)
        self.close()
        assert self.open == [], "each element is closed"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "a":
            self.links.append((dict(attrs), ""))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            is_data = self.elements[-1][1].get("type") == "application/json"
            self.curves.append(json.loads(data)) if is_data else self.scripts.append(data)
        elif self.open:
            self.texts[data.strip()] += 1
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data
        if "a" in self.open:
            self.links[-1] = (self.links[-1][0], self.links[-1][1] + data)

    def all(self, name: str) -> list[str]:
        return [value for _, attributes in self.elements if (value := attributes.get(name)) is not None]

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of each element of this name."""
        return [attributes for name, attributes in self.elements if name == tag]


def told(page: str, script: str, folder: Path, width: int = 1300) -> Any:
    """What a script appends to the page as `told(…)`, in a browser's window of this width.

    It is in a frame: no window of chromium's is narrower than 500. Errors of scripts, and what the content policy
    refused, fail here.
    """
    browser = needs("chromium", "google-chrome")
    tell = "<script>const told = (found) => parent.postMessage(JSON.stringify(found), '*');</script>"
    (folder / "page.html").write_text(
        page.replace("</body>", f"{tell}<script>{{{script}}}</script></body>"), encoding="utf-8"
    )
    (folder / "frame.html").write_text(
        "<!DOCTYPE html><body style='margin: 0'><script>addEventListener('message', ({data}) => "
        "document.body.append(Object.assign(document.createElement('output'), {textContent: data})));</script>"
        f"<iframe src='page.html' style='border: 0; width: {width}px; height: 900px'></iframe></body>",
        encoding="utf-8",
    )
    words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    # A browser's own requests would be noise here, and have no network in CI to go to.
    words += ["--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    words += [f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=3000"]
    words += [f"--window-size={max(width, 500)},900", "--dump-dom", (folder / "frame.html").as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    return json.loads(html.unescape(re.findall("<output>(.*)</output>", done.stdout)[0]))
