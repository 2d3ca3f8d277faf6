"""The page for everybody: in order, by keyboard, read aloud, on a telephone, on paper, and in the dark."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib import colors as mcolors

from gifine.choices import GateSide
from gifine.report import contents, plots
from gifine.report.analysis.families import Rules
from gifine.report.contents import Contents
from gifine.report.formats import page
from gifine.report.formats.page import Picture
from gifine.report.plots import drawing
from gifine.report.reading import Reader
from gifine.runs.records import Status
from support.html import Page, told
from support.synthetic import BOTH, KEY, PLAIN, config, measures, record, sweep, write

CSS = (Path(page.__file__).parent / "page.css").read_text(encoding="utf-8")
HASHES = {
    "predictions": {"validation": "a" * 64},
    "weights": {"model.safetensors": "b" * 64},
    "plan": {"path": "PLAN.yaml", "sha256": "c" * 64},
}


def text(found: Contents) -> str:
    pictures = [Picture(each.name, each.title, each.caption, plots.written(each, "svg")) for each in plots.make(found)]
    return "".join(page.make(found, pictures))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Contents:
    def scores(made) -> list[float]:
        rng = np.random.default_rng([made.seed, *made.gi.side.value.encode()])
        return [0.8 + 0.05 * (made.gi.side is GateSide.both) + rng.normal(0, 0.005) for _ in measures(made)]

    root = sweep(tmp_path_factory.mktemp("runs"), scores, tasks=("mrpc", "rte"), gates=(PLAIN, BOTH, KEY))
    made = record(config("task=rte", "model=debertav3", seed=9, **BOTH), [], Status.FAILED)
    made.error = "RuntimeError: " + "no_word_ends_here_" * 40
    made.provenance |= HASHES
    write(root, made)
    return contents.gather(Reader([root]).read(), rules=Rules(margin=0.0075))


@pytest.fixture(scope="module")
def whole(found) -> str:
    return text(found)


@pytest.fixture(scope="module")
def parsed(whole) -> Page:
    return Page(whole)


def test_the_answer_comes_first_then_differences_tables_and_reasons(parsed):
    ids = parsed.all("id")
    order = ["parts", "differences", "answer", "table", "comparison", "decided", "figures", "runs"]
    assert [name for name in ids if name in order] == order
    links = [attributes["href"] for attributes, _ in parsed.links if "class" not in attributes]
    assert links[:4] == ["#differences", "#answer", "#table", "#comparison"]
    tags = [tag for tag, _ in parsed.elements]
    assert tags.index("h1") < tags.index("nav") < tags.index("section")


def test_it_says_how_it_was_decided_by_the_rules_of_this_report(parsed):
    words = " ".join(parsed.texts)
    assert "no difference above 0.75" in words
    assert "the 90 % interval lies between −0.75 and +0.75" in words
    assert "(deberta-v3-large: 4)" in words
    assert len(parsed.named("math")) == 2


def test_landmarks_and_names_for_who_hears_the_page(parsed):
    ids = set(parsed.all("id"))
    assert len(parsed.named("main")) == 1
    assert [each["aria-label"] for each in parsed.named("nav")] == ["Contents"]
    assert {each["aria-labelledby"] for each in parsed.named("section")} <= ids
    assert next(attributes for tag, attributes in parsed.elements if tag == "a") == {"class": "skip", "href": "#parts"}
    assert len(parsed.named("caption")) == len(parsed.named("table")) > 2
    assert {each.get("scope") for each in parsed.named("th")} == {"col", "row"}
    scrolled = [each for each in parsed.named("div") if each.get("class") == "wide"]
    assert all(each.get("tabindex") == "0" for each in scrolled), "what scrolls can be scrolled by keys"
    assert all(each.get("aria-label") or each.get("aria-labelledby") in ids for each in scrolled)
    assert {each.get("role") for each in scrolled} == {"group"}, "no landmarks: there may be dozens"
    levels = [int(tag[1]) for tag, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert all(each.get("aria-hidden") == "true" for each in parsed.named("svg")), "its figure has the words"


def test_a_run_has_the_hashes_of_what_it_read_and_wrote(parsed):
    words = "\n".join(parsed.texts)
    assert f"sha256 of predictions, validation: {'a' * 64}\n" in words
    assert f"sha256 of weights, model.safetensors: {'b' * 64}\n" in words
    assert f"sha256 of plan: {'c' * 64}" in words
    assert words.count("a" * 64) == 1, "the provenance that runs share has none of one run's own"
    assert words.count("b" * 64) == 2


def luminance(colour: str) -> float:
    """Relative, of `#rgb` or `#rrggbb`: WCAG 2.2."""
    digits = colour.removeprefix("#")
    digits = "".join(2 * each for each in digits) if len(digits) == 3 else digits
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_can_be_read_in_the_light_in_the_dark_and_on_paper():
    assert contrast("#fff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    schemes = [dict(re.findall(r"--(\w+): (#\w+);", rule)) for rule in re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)]
    assert len(schemes) == 3
    for scheme in schemes:
        for ink in ("ink", "faint", "link"):
            for paper in ("paper", "mark"):
                assert contrast(scheme[ink], scheme[paper]) >= 4.5, (ink, paper, scheme)


def test_figures_follow_the_page_into_the_dark(whole):
    styles = "\n".join(re.findall(r"^\.s\d+ \{.*\}$", whole, re.MULTILINE))
    for colour in ("var(--ink)", "var(--paper)", "color-mix(in srgb, var(--ink) 12%, var(--paper))"):
        assert re.search(f"(fill|stroke): {re.escape(colour)}[;}}]", styles), colour
    greys = {found[0] for found in re.finditer(r"#([0-9a-f]{2})\1\1\b", styles)}
    assert greys <= {mcolors.to_hex(each) for each in matplotlib.colormaps["cividis"](range(256))}, "none of their own"
    (dark,) = re.findall(r"dark\) \{\s*:root \{.*?--paper: (#\w+)", CSS)
    for colour in drawing.PALETTE:
        assert contrast(colour, dark) >= 3, colour


def test_nothing_moves():
    assert not re.search(r"transition|animation|scroll-behavior|@keyframes", CSS), "so nothing has to be reduced"


# The page itself is never wider than the window, whatever is in it.
MEASURE = """
const wide = document.documentElement, tables = [...document.querySelectorAll(".wide:has(table)")];
told({
  fits: wide.scrollWidth <= wide.clientWidth,
  tables: tables.map((each) => each.scrollWidth <= each.clientWidth),
  roles: [...new Set([...document.querySelectorAll("#comparison [role]")].map((each) => each.getAttribute("role")))],
  name: getComputedStyle(document.querySelector("#comparison tbody td:nth-child(2)"), "::before").content,
  hidden: [...document.querySelectorAll("#comparison td")].filter((td) => !td.offsetParent).length,
  sort: document.querySelector("#comparison th button").getBoundingClientRect().height > 0,
});
"""


@pytest.mark.machine
@pytest.mark.parametrize("width", [1300, 400])
def test_tables_fit_a_desk_and_a_telephone(whole, tmp_path, width):
    seen = told(whole, MEASURE, tmp_path, width)
    assert seen["fits"]
    assert all(seen["tables"])
    assert seen["sort"]
    if width == 400:
        assert set(seen["roles"]) >= {"table", "row", "cell", "columnheader", "rowheader", "rowgroup"}
        assert seen["name"] == "attr(data-name)" or "change" in seen["name"]
        assert seen["hidden"] > 0, "what is empty takes no line of a card"


@pytest.mark.machine
def test_a_table_between_the_two_scrolls_in_itself(whole, tmp_path):
    seen = told(whole, MEASURE, tmp_path, 700)
    assert seen["fits"]
    assert not all(seen["tables"])


PRINT = """
const count = () => document.querySelectorAll("details[open]").length, seen = [count()];
dispatchEvent(new Event("beforeprint"));
seen.push(count(), document.querySelectorAll("details").length - document.querySelectorAll("#runs details").length);
dispatchEvent(new Event("afterprint"));
seen.push(count());
told(seen);
"""


@pytest.mark.machine
def test_what_is_closed_is_open_on_paper_but_for_single_runs(whole, tmp_path):
    before, printed, others, after = told(whole, PRINT, tmp_path)
    assert (before, after) == (0, 0)
    assert printed == others > 0
