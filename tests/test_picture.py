"""The picture of a report's page, as docs/picture.py takes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs import picture as pictures
from PIL import Image

from conftest import needs


@pytest.mark.machine
def test_a_page_is_shown_from_its_top(tmp_path: Path) -> None:
    needs("chromium", "google-chrome")
    page, picture = tmp_path / "page.html", tmp_path / "picture.png"
    page.write_text("<body style='margin: 0'><div style='background: #f00; height: 40px'></div><p>words</p>")
    pictures.draw(page, picture, 300)
    found = Image.open(picture)
    assert (found.size, found.mode) == ((1300, 300), "P")
    red, white = (found.convert("RGB").getpixel((1200, row)) for row in (20, 280))
    assert (red, white) == ((255, 0, 0), (255, 255, 255))
