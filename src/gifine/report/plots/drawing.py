"""What all figures share: colours that everybody can tell apart, text that stays text, and the bytes of a file.

The colours are Okabe and Ito's (jfly.uni-koeln.de/color, 2008); markers and line styles say the same again, for print
in grey. Figures are made with matplotlib's objects, without pyplot, which would keep them all.
"""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FORMATS = ("svg", "pdf", "png")
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
# Black and white on a coloured ground. They are no greys, which a page turns with its own colours.
ON_DARK, ON_LIGHT = "#fffffe", "#000001"
PALETTE = (BLUE, VERMILION, GREEN, "#CC79A7", "#E69F00", "#56B4E9")  # yellow is too pale for lines
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_LINES = ("-", "--", "-.", ":")
_STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.titlesize": "medium",
    "font.size": 9.0,
    "grid.alpha": 0.3,
    "legend.fontsize": "small",
    "legend.frameon": False,
    "svg.fonttype": "none",  # text is text: searched, copied, read aloud
    "svg.hashsalt": "gifine",  # else each file has other ids
    "text.parse_math": False,  # `$` in a name is no mathematics
}


@dataclass(slots=True, frozen=True)
class Plot:
    name: str  # a file's, without its ending
    title: str
    caption: str
    figure: Figure


@contextmanager
def style() -> Generator[None]:
    """Draw and write as this module says, whatever a user's matplotlibrc does; settings are put back afterwards.

    Some of them, as `svg.hashsalt`, cannot be given to a figure.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def written(plot: Plot, form: str) -> bytes:
    """A file of one of `FORMATS`: the same figure, the same bytes."""
    words = {
        "svg": {"Title": plot.title, "Description": plot.caption, "Date": None},
        "pdf": {"Title": plot.title, "Subject": plot.caption, "CreationDate": None},
        "png": {"Title": plot.title, "Description": plot.caption, "Software": None},
    }[form]
    out = io.BytesIO()
    with style(), _odd_names():
        plot.figure.savefig(out, format=form, metadata=words, dpi=150)
    return out.getvalue()


@contextmanager
def _odd_names() -> Generator[None]:
    """The name of a model may be in a script that the font has not: a box stands for it, and the SVG has it as text."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font", UserWarning)
        yield


def finished(figure: Figure, words: Sequence[str], title: str, caption: str) -> Plot:
    """The figure with its title, named by these words."""
    room = int(figure.get_figwidth() / 0.1)  # characters
    figure.suptitle("\n".join(textwrap.wrap(shortened(title, 3 * room), room)))
    with _odd_names():
        figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once: it takes longer than drawing, and each format would do it again
    return Plot(re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(words)).strip("-.")[:120], text(title), text(caption), figure)


def shortened(words: str, most: int = 60) -> str:
    """As `text`, without its middle if it is longer: labels that are wider than the figure leave none to the data."""
    words, half = text(words), (most - 1) // 2
    return words if len(words) <= most else f"{words[:half]}…{words[-half:]}"


def text(words: str) -> str:
    """On one line, and without characters that no file of text may hold."""
    return "".join(each if each.isprintable() else " " for each in words)


def look(place: int, *, with_line: bool = True) -> dict[str, Any]:
    """Colour, marker and line of the place-th of several; every 84th is alike."""
    found = {"color": PALETTE[place % len(PALETTE)], "marker": _MARKERS[place % len(_MARKERS)], "markersize": 5}
    return found | {"linestyle": _LINES[place % len(_LINES)] if with_line else "none"}


def grid(
    rows: int, columns: int, size: tuple[float, float], *, is_one_x: bool = True
) -> tuple[Figure, list[list[Axes]]]:
    """Axes of this size in inches each, that share their scales along rows, and unless said otherwise all x."""
    figure = Figure(figsize=(columns * size[0] + 0.8, rows * size[1] + 0.6), layout="constrained")
    made = figure.subplots(rows, columns, sharex=is_one_x, sharey="row", squeeze=False)
    return figure, [list(row) for row in made]


def sizes(numbers: Sequence[int]) -> str:
    """`n = 5`, or from the smallest to the largest: `n = 3–5`."""
    low, high = min(numbers), max(numbers)
    return f"n = {low}" if low == high else f"n = {low}–{high}"
