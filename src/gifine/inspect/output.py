"""The files of an inspection: the page, and its pictures as SVG and PNG."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gifine.inspect import page, pictures
from gifine.inspect.findings import Findings
from gifine.report.formats import output
from gifine.report.formats.output import Output
from gifine.report.formats.page import Picture
from gifine.report.plots import drawing
from gifine.report.plots.drawing import Plot
from gifine.report.reading import progress

PAGE = "inspect.html"
_FORMATS = ("svg", "png")


def write(found: Findings, folder: Path) -> Iterator[str]:
    """Lines that say what was written. What an earlier inspection left there, and this one does not write, goes."""
    maps = page.maps(found)
    with output.into(folder) as files:
        shown = [_write(plot, files) for plot in progress(pictures.on_page(found), "drawing", "figures")]
        beside = 0  # no more than their number: the SVGs of many examples are large
        for plot in progress(pictures.beside_page(found, maps), "drawing", "figures"):
            _write(plot, files)
            beside += 1
        files.write(PAGE, page.make(found, maps, shown))
    size = (folder / PAGE).stat().st_size
    yield f"{folder / PAGE}: {size / 1e6:.1f} MB; it holds rows of the data"
    count, forms = len(shown) + beside, " and ".join(_FORMATS)
    yield f"{folder / 'figures'}: {count} figures, each as {forms}; those of single rows hold their words"


def _write(plot: Plot, files: Output) -> Picture:
    by_format = {form: drawing.written(plot, form) for form in _FORMATS}
    for form, content in by_format.items():
        files.write(f"figures/{plot.name}.{form}", content)
    return Picture(plot.name, plot.title, plot.caption, by_format["svg"])
