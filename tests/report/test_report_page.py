"""The page: one file without a network, with links from numbers to runs, where no name is markup."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from conftest import needs
from gifine.choices import GateSide
from gifine.errors import ExitCode
from gifine.report import __main__ as report
from gifine.report import contents, plots
from gifine.report.contents import Contents
from gifine.report.formats import page, sheets
from gifine.report.formats.page import Picture
from gifine.report.reading import Reader
from gifine.runs.records import RECORD, Status
from support.html import Page, told
from support.synthetic import BOTH, PLAIN, config, measures, record, sweep, write

ODD = "<script>alert(1)</script>\"'>&amp; <img src=x onerror=alert(2)> $a_b$"
GATES = [PLAIN, *({"side": GateSide.both, "level": level, "layers": n} for level in (0.0, 0.3) for n in (None, 6))]


def helpful(config) -> list[float]:
    rng = np.random.default_rng([config.seed, *config.gi.side.value.encode()])
    return [0.8 + 0.05 * (config.gi.side is GateSide.both) + rng.normal(0, 0.005) for _ in measures(config)]


def gather(root: Path) -> Contents:
    return contents.gather(Reader([root]).read())


def text(found: Contents) -> str:
    pictures = [Picture(each.name, each.title, each.caption, plots.written(each, "svg")) for each in plots.make(found)]
    return "".join(page.make(found, pictures))


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Contents:
    root = sweep(tmp_path_factory.mktemp("runs"), helpful, tasks=("mrpc", "rte"), gates=GATES)
    failed = record(config("task=rte", "model=debertav3", seed=6, **BOTH), [], Status.FAILED)
    failed.error = "RuntimeError: out of memory"
    write(root, failed)
    write(root, record(config("task=rte", "model=debertav3", seed=6), [0.8]))
    folder = write(root, record(config("task=mrpc", "model=debertav3", seed=9, **BOTH), [0.8, 0.8]))
    lines = [{"step": step, "loss": 2.0 - step / 1000 if step != 501 else 0.123456} for step in range(1, 1001)]
    lines += [{"step": 500, "mrpc/validation/f1": 0.5}, {"step": 1000, "mrpc/validation/accuracy": 0.87654}]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"step": 10')
    (root / "odd").mkdir()
    (root / "odd" / RECORD).write_text("{")
    return gather(root)


@pytest.fixture(scope="module")
def whole(found) -> str:
    return text(found)


@pytest.fixture(scope="module")
def parsed(whole) -> Page:
    return Page(whole)


def test_it_has_all_sheets_and_figures(found, parsed):
    for sheet in sheets.make(found):
        assert sheet.title in parsed.texts
        assert set(sheet.columns) <= set(parsed.cells)
        for row in sheet.rows:
            assert {"".join(piece.text for piece in item) for item in row} <= set(parsed.cells)
        assert all(note in parsed.texts for note in sheet.notes)
    assert sum(tag == "svg" for tag, _ in parsed.elements) == len(list(plots.make(found))) == 10
    assert "RTE, deberta-v3-large" in parsed.texts


@pytest.mark.parametrize(
    ("gap", "gates", "seeds", "expected"),
    [
        (0.05, GATES[:1], 3, "Nobody can say: no changed run has a baseline"),
        (0.05, [PLAIN, BOTH], 2, ": undecided, since a verdict needs 3 pairs."),
        (0.0, [PLAIN, BOTH], 3, ": undecided, which does not mean that there is no difference."),
        (
            0.05,
            [PLAIN, BOTH],
            5,
            "Over one task (RTE) and five seeds, GI on both sides at level 0.3 changes",
        ),
        (
            -0.05,
            GATES[:3],
            5,
            "one of two changes that were tried, changes the score of deberta-v3-large by −4.",
        ),
        (0.0, [PLAIN, BOTH], 10, ": no difference above 0.5 points."),
    ],
)
def test_it_answers_its_question_first(tmp_path, gap, gates, seeds, expected):
    def scores(made) -> list[float]:
        noise = np.random.default_rng([made.seed, *repr(made.gi).encode()]).normal(0, 0.002)
        return [0.8 + noise + gap * (made.gi.side is GateSide.both)]

    found = gather(sweep(tmp_path, scores, gates=gates, seeds=range(seeds)))
    whole = "".join(page.make(found, []))
    assert expected in re.findall(r"</h1>\s*<p[^>]*>([^<]*)</p>", whole)[0]


def test_ids_are_unique_and_each_link_has_its_target(parsed):
    ids = Counter(parsed.all("id"))
    assert [name for name, count in ids.items() if count > 1] == []
    references = [each.removeprefix("#") for each in parsed.all("href")]
    values = " ".join(value for _, attributes in parsed.elements for value in attributes.values() if value)
    references += re.findall(r"url\(#([^)]+)\)", values)
    assert len(references) > 100
    assert set(references) <= set(ids)


def test_each_number_leads_to_its_runs(found, parsed):
    linked = [(attributes["data-runs"], words) for attributes, words in parsed.links if "data-runs" in attributes]
    pieces = [
        piece
        for sheet in sheets.make(found)
        for row in sheet.rows
        for item in row
        for piece in item
        if piece.text.strip()
    ]
    expected = [
        (" ".join(str(found.runs.index(run)) for run in piece.runs), piece.text) for piece in pieces if piece.runs
    ]
    assert linked == expected
    assert len(linked) > 100
    cell = found.table.rows[0].cells["rte",]
    assert len(cell.runs) == 6
    assert sum(runs == " ".join(str(found.runs.index(run)) for run in cell.runs) for runs, _ in linked) >= 2
    effect = next(each for each in found.comparisons if each.is_primary).effect
    said = [len(runs.split()) for runs, words in linked if words == f"{100 * (effect.summary.mean or 0):+.2f}"]
    assert 2 * effect.summary.n == 10 in said


def test_each_run_has_its_record_settings_and_provenance(found, parsed):
    everything = "\n".join(parsed.texts)
    for run in found.runs:
        assert str(run.folder / RECORD) in everything
        assert f"run_id {run.run_id}\n" in everything
    assert "RuntimeError: out of memory" in everything
    assert "model.checkpoint=microsoft/deberta-v3-large" in everything
    assert "gi.level=0.3" in everything
    assert '"processes": 1' in everything
    assert sum(name.startswith("setup-") for name in parsed.all("id")) == 2, "a task each; not a run each"


def test_a_run_has_its_curve(parsed):
    [[loss, accuracy]] = parsed.curves
    steps, values, best = loss
    assert len(steps) == len(values) == 61, "thinned, and the best one"
    assert (steps[0], steps[-1], steps[best], values[best]) == (1, 1000, 501, 0.1235)
    assert steps == sorted(set(steps))
    assert dict(zip(steps, values, strict=True))[1000] == 1.0
    assert accuracy == [[1000], [87.65], 0]
    words = [text for text in parsed.texts if "(step" in text]
    assert words == [
        "training loss: first 1.999 (step 1), last 1 (step 1000), best 0.1235 (step 501)",
        "accuracy (%) on validation: first 87.65 (step 1000), last 87.65 (step 1000), best 87.65 (step 1000)",
    ]


def test_more_than_two_answers_are_short(parsed, tmp_path):
    few = Page("".join(page.make(gather(sweep(tmp_path, helpful)), [])))
    assert [each["class"] for each in parsed.named("details") if "class" in each] == ["details"] * 4
    assert "details" in few.all("class")
    assert not any("class" in each for each in few.named("details"))


def test_figures_share_their_styles(whole, parsed):
    classes = {name for name in parsed.all("class") if re.fullmatch(r"s\d+", name)}
    rules = dict(re.findall(r"^\.(s\d+) \{(.+)\}$", whole, re.MULTILINE))
    assert classes == set(rules)
    assert 10 < len(rules) < 500, "most are the 256 colours of a scale"
    assert any("stroke: #0072b2" in rule for rule in rules.values()), "the palette's blue"
    assert not any("font-family" in rule for rule in rules.values())
    assert "fill: #ffffff" not in rules.values(), (
        "the paper below a figure is the page's, with shadows where it scrolls"
    )
    paths = re.findall(r'<path d="([^"]+)"', whole)
    assert max(len(digits) for path in paths for digits in re.findall(r"\.(\d+)", path)) == 2


def test_it_reaches_for_nothing_outside(whole, parsed):
    assert {tag for tag, _ in parsed.elements} & {"link", "iframe", "img", "object", "embed", "base", "form"} == set()
    assert parsed.all("src") == []
    assert all(each.startswith("#") for each in parsed.all("href"))
    assert "default-src 'none'" in " ".join(parsed.all("content"))
    assert not re.search(r"@import|url\((?!#)|fetch\(|XMLHttpRequest", whole)


def test_names_stay_text(tmp_path):
    for seed in (1, 2):
        for gate in GATES:
            made = config("task=rte", "model=debertav3", seed=seed, **gate)
            entry = record(made, helpful(made))
            entry.config["model"]["checkpoint"], entry.config["task"]["title"] = f"x{ODD}", ODD
            entry.slug, entry.error, entry.provenance["device"] = "plain", ODD, ODD
            write(tmp_path / ODD.replace("/", "|"), entry)
    whole = text(gather(tmp_path))
    parsed = Page(whole)
    assert len(parsed.scripts) == 1
    assert "alert" not in parsed.scripts[0]
    assert not any(tag == "img" for tag, _ in parsed.elements)
    assert not any(name.startswith("on") for _, attributes in parsed.elements for name in attributes)
    assert ODD in parsed.texts
    assert any(ODD in each for each in parsed.cells)


@pytest.mark.machine
def test_the_script_is_javascript(parsed, tmp_path):
    node = needs("node")
    (tmp_path / "page.js").write_text(parsed.scripts[0])
    done = subprocess.run([node, "--check", tmp_path / "page.js"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# What a reader does: sort the results twice by their last column, filter them, follow a number, go back, open settings.
USE = """
const seen = {}, part = document.querySelector("#table"), table = part.querySelector("table"), body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells], button = heads.at(-1).querySelector("button");
const column = () => [...body.rows].map((row) => parseFloat(row.cells[heads.length - 1].textContent));
const shown = (rows) => [...rows].filter((row) => !row.hidden).length;
button.focus();
seen.focused = document.activeElement === button;
button.click();
seen.rising = column();
seen.sorted = [heads.at(-1).getAttribute("aria-sort")];
button.click();
seen.falling = column();
seen.sorted.push(heads.at(-1).getAttribute("aria-sort"));
const filter = part.querySelector("input[type=search]");
filter.value = "BOTH all";
filter.dispatchEvent(new Event("input"));
seen.filtered = [shown(body.rows), part.querySelector("output").textContent];
const members = document.querySelector("#runs tbody").rows, link = part.querySelector("a[data-runs]");
link.click();
seen.chosen = [shown(members), link.dataset.runs.split(" ").length, document.querySelector("#choice span").textContent];
const [all, back] = document.querySelectorAll("#choice button");
back.click();
seen.back = document.activeElement === link;
all.click();
seen.all = shown(members);
const cut = () => [...members].filter((row) => getComputedStyle(row).display !== "none").length;
const more = document.querySelector("#runs .more");
seen.cut = [cut(), more.textContent];
more.click();
seen.whole = [cut(), more.hidden, document.activeElement.closest("tr") === members[25]];
const settings = document.querySelector('a[href^="#setup-"]');
settings.click();
const record = document.querySelector("details:has(.curve)");
record.open = true;
seen.requests = performance.getEntriesByType("resource").length;
setTimeout(() => {
  seen.curves = [...record.querySelectorAll("svg")].map((svg) => ({
    words: svg.getAttribute("aria-label"),
    labels: [...svg.querySelectorAll("text")].map((text) => text.textContent),
    points: svg.querySelectorAll("polyline")[1].points.length,
    fits: [...svg.querySelectorAll("*")].every((part) => {
      const [inner, outer] = [part.getBoundingClientRect(), svg.getBoundingClientRect()];
      return inner.left >= outer.left && inner.right <= outer.right && inner.bottom <= outer.bottom;
    }),
  }));
  seen.opened = document.querySelector(settings.getAttribute("href")).open;
  told(seen);
}, 200);
"""


@pytest.mark.machine
def test_a_browser_sorts_filters_and_follows_numbers(found, whole, tmp_path):
    seen = told(whole, USE, tmp_path)
    rows = len(found.table.rows)
    assert len(seen["rising"]) == len(seen["falling"]) == rows
    assert seen["rising"] == sorted(seen["rising"])
    assert seen["falling"] == sorted(seen["falling"], reverse=True)
    assert (seen["focused"], seen["sorted"]) == (True, ["ascending", "descending"])
    assert seen["filtered"] == [2, f"2 of {rows} rows"], "two levels"
    assert seen["chosen"][0] == seen["chosen"][1] < seen["all"] == len(found.runs)
    assert re.fullmatch(rf"Only the {seen['chosen'][0]} runs of the number \d.*", seen["chosen"][2])
    assert seen["back"]
    assert seen["cut"] == [25, f"Show all {seen['all']} rows"]
    assert seen["whole"] == [seen["all"], True, True]
    assert (seen["requests"], seen["opened"]) == (0, True)
    loss, accuracy = seen["curves"]
    assert loss["words"].startswith("training loss: first 1.999 (step 1), last 1 (step 1000)")
    assert loss["labels"] == ["0.1235", "1.999", "1", "1000", "step"]
    assert accuracy["labels"] == ["87.65", "1000", "step"]
    assert (loss["points"], accuracy["points"]) == (61, 1)
    assert loss["fits"]
    assert accuracy["fits"]


def test_a_record_that_is_gone_meanwhile_is_told(tmp_path):
    found = gather(sweep(tmp_path, helpful, seeds=(1,)))
    (found.runs[0].folder / RECORD).unlink()
    parsed = Page("".join(page.make(found, [])))
    assert any("the record cannot be read any more" in each for each in parsed.texts)
    assert "figures" not in parsed.all("id")


def test_the_same_runs_are_the_same_page(found, whole):
    assert text(found) == whole


def test_out_has_the_page(tmp_path):
    root = sweep(tmp_path / "runs", helpful)
    assert report.main([str(root), "--out", str(tmp_path / "out"), "--no-predictions"]) == ExitCode.DONE
    parsed = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert sum(tag == "svg" for tag, _ in parsed.elements) == 2
