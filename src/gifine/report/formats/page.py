"""The report as one HTML file that needs nothing else: tables to sort and filter, figures, each run with its curve."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gifine.report import settings
from gifine.report.analysis import statistics
from gifine.report.analysis.families import FEWEST_PAIRS
from gifine.report.contents import Contents
from gifine.report.formats import answer, phrases, sheets, verdicts
from gifine.report.formats.words import minus
from gifine.report.reading import Run, progress
from gifine.report.settings import Settings
from gifine.runs import curves, records
from gifine.runs.records import RECORD

_MOST_POINTS = 60  # of a run's curve: it is drawn as wide as a thumb, and there may be 10,000 runs
_REFERENCES = ("clip-path", "fill", "filter", "mask", "style", "{http://www.w3.org/1999/xlink}href")
_REFERENCE = re.compile(r"[(\"]#([^)\"]+)[)\"]")
_LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
_STYLE = re.compile(r"[-\w #.,:;%']+")  # what could not end a rule, nor the stylesheet, and refers to nothing
_SHA256 = re.compile(r"[0-9a-f]{64}")
_BACKGROUND = "fill: #ffffff"
_GREY = re.compile(r"#(?!7[567])([0-9a-f]{2})\1\1\b")  # three others are colours of cividis, the scale of heat maps
_FONT = re.compile(r"font-family: [^;]*;? ?")


@dataclass(slots=True, frozen=True)
class Picture:
    name: str  # of its files
    title: str
    caption: str
    svg: bytes


@dataclass(slots=True)
class Shared:
    """What many runs have in common, as text that is on the page once."""

    places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str) -> int:
        return self.places.setdefault(text, len(self.places))


def make(contents: Contents, pictures: Sequence[Picture]) -> Iterator[str]:
    """The page, piece by piece. Names are escaped wherever they come from; the figures are parsed and set anew."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # only pages need it
    from markupsafe import Markup

    places = {id(run): place for place, run in enumerate(contents.runs)}
    setups, provenances, styles = Shared(), Shared(), Shared()
    # Safe: `inline` lets through elements of a drawing only, with their text escaped, and `_STYLE` no markup.
    figures = [(each, Markup(inline(each.svg, f"f{place}-", styles))) for place, each in enumerate(pictures)]  # noqa: S704
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    stream = environment.get_template("page.html.j2").stream(
        said=answer.answer(contents),
        summary=sheets.summary(contents),
        sheets=sheets.make(contents),
        forest=[each for each in figures if each[0].name.startswith("forest")],
        pictures=[each for each in figures if not each[0].name.startswith("forest")],
        styles=Markup("".join(f".s{place} {{{style}}}\n" for style, place in styles.places.items())),  # noqa: S704 - as above
        **_rules(contents),
        places=lambda piece: [places[id(run)] for run in piece.runs],
        # One after the other, while the page is written: of 10,000 they are 100 MB.
        runs=(_run(run, setups, provenances) for run in progress(contents.runs, "describing", "runs")),
        shared=[  # filled by then
            ("setup", "Settings, all that decides results but change and seed", setups.places),
            ("provenance", "Provenance", provenances.places),
        ],
    )
    stream.enable_buffering(1000)
    yield from stream


def _rules(contents: Contents) -> dict[str, Any]:
    """What the section on how it was decided is to name."""
    sizes = {each.model: each.family for each in contents.comparisons if each.is_primary and not each.is_declared}
    words = "; ".join(f"{model}: {size}" for model, size in sizes.items() if size)
    return {
        "rules": contents.rules,
        "margin": verdicts.margin(contents.rules),
        "points": phrases.plain_points(contents.rules.margin),
        "alpha": statistics.ALPHA,
        "percent": lambda share: f"{100 * share:.3g} %",
        "fewest": FEWEST_PAIRS,
        "families": f" ({words})" if words else "",
    }


def _run(run: Run, setups: Shared, provenances: Shared) -> dict[str, Any]:
    provenance = _provenance(run)
    shared = {key: value for key, value in provenance.items() if key != "predictions"}  # they are each run's own
    return {
        "slug": run.slug,
        "run_id": run.run_id,
        "model": settings.model(run.setup),
        "task": run.task.title,
        "gate": settings.gate(run.gate),
        "seed": run.replicate,
        "status": str(run.status),
        "scores": [
            f"{run.task.described(measure)} {minus(f'{100 * score:.2f}') if score is not None else '–'}"
            for measure, score in zip(run.task.measures, run.scores, strict=True)
        ],
        "error": run.error,
        "finished": run.finished,
        "path": str(run.folder / RECORD),
        "config": _lines(run.gate),
        "curves": _curves(run),
        "setup": setups.place(_lines(run.setup)),
        "hashes": [f"sha256 of {name}: {digest}" for name, digest in _hashes(provenance)],
        "provenance": provenances.place(json.dumps(shared, indent=1, ensure_ascii=False)),
    }


def _lines(part: Settings) -> str:
    return "\n".join(f"{key}={settings.shown(value)}" for key, value in part.values().items())


def _curves(run: Run) -> list[dict[str, Any]]:
    """The training loss and the primary measure, if they were logged: in words, and thinned for the script to draw."""
    task, found = run.task, curves.read(run.folder, (curves.LOSS, run.task.logged))
    measure = f"{task.metric(task.logged)} (%) on {task.split(task.logged)}"
    made = []
    for key, name, scale, best_of in ((curves.LOSS, "training loss", 1.0, min), (task.logged, measure, 100.0, max)):
        points = {step: scale * value for step, value in sorted(found[key].items())}
        if not points:
            continue
        steps = list(points)
        best = best_of(steps, key=points.__getitem__)
        told = [f"{word} {points[at]:.4g} (step {at})" for word, at in (("first", steps[0]), ("last", steps[-1]))]
        kept = sorted({*curves.thinned(steps, _MOST_POINTS), best})
        values = [float(f"{points[step]:.4g}") for step in kept]
        made.append(
            {
                "words": f"{name}: {', '.join(told)}, best {points[best]:.4g} (step {best})",
                "points": [kept, values, kept.index(best)],
            }
        )
    return made


def _provenance(run: Run) -> dict[str, Any]:
    """From the record again: of many runs it would be much to keep."""
    entries = records.entries(run.folder)
    if not entries:  # it has changed since it was read
        return {"gone": "the record cannot be read any more"}
    found = entries.get("provenance")
    return found if isinstance(found, dict) else {}


def _hashes(provenance: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What a run wrote, read and followed, where its record has them."""
    for key in ("predictions", "weights", "plan"):
        entries = provenance.get(key)
        for name, digest in (entries if isinstance(entries, dict) else {}).items():
            if isinstance(digest, str) and _SHA256.fullmatch(digest):
                yield (key if name == "sha256" else f"{key}, {name}"), digest


def inline(svg: bytes, prefix: str, styles: Shared) -> str:
    """A figure as a part of HTML: without namespaces, which HTML has no use for, and with ids of its own.

    And in little: there may be hundreds. Blanks, ids that nothing refers to, fonts (the page has one for all) and the
    third decimal of a point are left out, and the styles are the page's: black, white and greys follow its colours, so
    that a figure is dark where the page is.
    """
    root = ET.fromstring(svg)  # noqa: S314 - ours
    referred = set(_REFERENCE.findall(svg.decode()))
    for parent in list(root.iter()):
        for child in list(parent):
            # Of styles and of the paper below a figure the page has its own.
            if _local(child.tag) in ("metadata", "style", "title") or child.get("style") == _BACKGROUND:
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.tail = None
        if element.tag not in ("text", "tspan"):
            element.text = None
        for name in list(element.attrib):
            value = element.attrib.pop(name)
            if name == "id":
                if value not in referred:
                    continue
                value = prefix + value
            elif name == "style" and _STYLE.fullmatch(value):
                name, value = "class", f"s{styles.place(_GREY.sub(_of_page, _FONT.sub('', value)))}"
            elif name in ("d", "x", "y"):
                value = _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", value).replace("\n", " ").strip()
            elif name in _REFERENCES:
                value = value.replace("url(#", f"url(#{prefix}")
                value = f"#{prefix}{value[1:]}" if _local(name) == "href" and value.startswith("#") else value
            element.attrib[_local(name)] = value
    width = root.attrib.pop("width", "")
    root.attrib.pop("height", None)
    root.attrib |= {"style": f"width: {width}", "aria-hidden": "true"}
    return ET.tostring(root, encoding="unicode")


def _of_page(grey: re.Match[str]) -> str:
    ink = round(100 * (1 - int(grey[1], 16) / 255))
    if ink in (0, 100):
        return "var(--ink)" if ink else "var(--paper)"
    return f"color-mix(in srgb, var(--ink) {ink}%, var(--paper))"


def _local(name: str) -> str:
    return name.rpartition("}")[2]
