"""The files of an inspection: the page, and its pictures as SVG and PNG."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gifine.inspect import page, pictures
from gifine.inspect.findings import Findings
from gifine.report.formats import output
from gifine.report.formats.page import Picture
from gifine.report.plots import drawing

PAGE = "inspect.html"
_FORMATS = ("svg", "png")


def write(found: Findings, folder: Path) -> Iterator[str]:
    """Lines that say what was written. What an earlier inspection left there, and this one does not write, goes."""
    maps = page.maps(found)
    with output.into(folder) as files:
        shown, count = [], 0
        for plot in pictures.make(found, maps):
            by_format = {form: drawing.written(plot, form) for form in _FORMATS}
            for form, content in by_format.items():
                files.write(f"figures/{plot.name}.{form}", content)
            count += 1
            if not plot.name.startswith("heat-"):  # which the page draws itself
                shown.append(Picture(plot.name, plot.title, plot.caption, by_format["svg"]))
        files.write(PAGE, page.make(found, maps, shown))
    size = (folder / PAGE).stat().st_size
    yield f"{folder / PAGE}: {size / 1e6:.1f} MB; it holds rows of the data"
    yield f"{folder / 'figures'}: {count} figures, each as {' and '.join(_FORMATS)}"
