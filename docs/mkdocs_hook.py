"""A hook of mkdocs: what the pages of the site need that the files do not."""

from __future__ import annotations

import re
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The site has the pages of docs/ alone: links to other files of the repository become their paths."""
    return re.sub(r"\[([^\]]+)\]\(\.\./([^)#]+)[^)]*\)", _path, markdown)


def _path(link: re.Match[str]) -> str:
    text, path = link.groups()
    return text if text.strip("`") == path else f"{text} (`{path}`)"
