"""Write docs/images/report.png anew, the top of a report's page: `python docs/picture.py REPORT/report.html`.

REPORT is what `gifine report RUNS --out REPORT` wrote. It needs chromium, which shows the page in its light colours.
The README and docs/first-hour.md have the picture: what they say about the runs is to be of the same ones.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

PICTURE = Path(__file__).parent / "images" / "report.png"
WIDTH, HEIGHT = 1300, 1490  # pixels: wide enough for the tables, as high as the page's first parts
_COLOURS = 64  # text and lines: more make the file larger, and nothing to see


def draw(page: Path, picture: Path, height: int = HEIGHT) -> None:
    """The page's top as a browser shows it, as a PNG with a palette."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("this needs chromium")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder, "shot.png")
        words = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        words += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        words += [f"--user-data-dir={folder}/profile", "--hide-scrollbars", "--force-device-scale-factor=1"]
        words += ["--virtual-time-budget=3000", f"--window-size={WIDTH},{height}", f"--screenshot={shot}"]
        subprocess.run([*words, page.absolute().as_uri()], check=True, capture_output=True, timeout=120)  # noqa: S603 - fixed words
        Image.open(shot).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(picture, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("usage: python docs/picture.py REPORT/report.html [HEIGHT]")
    draw(Path(sys.argv[1]), PICTURE, *map(int, sys.argv[2:]))
