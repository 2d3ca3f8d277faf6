"""What is printed and written: every format, odd names, wrong arguments, and the watch."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import time

import numpy as np
import pytest

from conftest import needs
from gifine.errors import ExitCode
from gifine.report import __main__ as report
from gifine.report import contents
from gifine.report.contents import Contents
from gifine.report.formats import flat, latex, markdown, output, sheets, terminal
from gifine.report.formats.words import Piece, Sheet
from gifine.report.reading import Reader
from gifine.runs.records import Status
from support.synthetic import BOTH, KEY, PLAIN, config, measures, record, sweep, write

ODD = r"a|b_c*d`e<script>$f$ & 50 % #1 {x} \x ~^ [l](u)"


def helpful(config) -> list[float]:
    rng = np.random.default_rng([config.seed, *config.gi.side.value.encode(), *config.task.name.encode()])
    return [0.8 + 0.05 * (config.gi.side.value == "both") + rng.normal(0, 0.005) for _ in measures(config)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two tasks, two gates, five seeds; a degenerate, a diverged, an unpaired run; and a file that is none."""
    root = sweep(tmp_path_factory.mktemp("runs"), helpful, tasks=("mrpc", "rte"), gates=(PLAIN, BOTH, KEY))
    for seed, status in ((6, Status.DEGENERATE), (7, Status.DIVERGED)):
        made = record(config("task=rte", "model=debertav3", seed=seed, **BOTH), [0.5] if seed == 6 else [], status)
        made.error = "one class for all" if status is Status.DEGENERATE else "the loss is nan"
        write(root, made)
        baseline = record(config("task=rte", "model=debertav3", seed=seed), [0.8])
        baseline.provenance["threads"] = {"torch": seed}  # other than their partners
        write(root, baseline)
    changed = record(config("task=mrpc", "model=debertav3", seed=9, **BOTH), [0.8, 0.8])
    (root / "train.tsv").write_text("now")
    changed.provenance["files"] = {str(root / "train.tsv"): "then", "/no/such/file": "then"}
    write(root, changed)
    (root / "odd").mkdir()
    (root / "odd" / "record.json").write_text("{")
    return root


@pytest.fixture(scope="module")
def found(root) -> Contents:
    return contents.gather(Reader([root]).read())


def run(capsys, *words) -> tuple[int, str, str]:
    code = report.main([str(word) for word in words])
    return code, *capsys.readouterr()


def test_markdown_is_what_a_pipe_gets(capsys, root):
    code, out, err = run(capsys, root)
    assert (code, err) == (ExitCode.DONE, "")
    said = "35 runs: 33 done, 1 degenerate, 1 diverged; 1 of data or weights that are not those on disk any more; "
    assert out.startswith(f"{said}1 record left out\n")
    assert re.findall(r"^## (.+)$", out, re.MULTILINE) == [
        "Over all tasks",
        "Results",
        "Changed runs against their baseline",
        "Runs that are lost or degenerate, by arm",
        "Pairs that were not computed alike",
        "Runs without a partner, which no comparison has",
        "Beside the published numbers",
        "Runs without a result",
        "Runs of data or weights that are not those on disk any more",
        "Records left out",
    ]
    assert "| MRPC (accuracy/f1) | RTE (accuracy) |" in out
    assert re.search(r"\| \*\*8\d\.\d ± \d\.\d\*\* / \*\*8\d\.\d ± \d\.\d\*\* \(6\)", out)
    assert re.search(r"79\.\d ± \d+\.\d \(6\); 1 degenerate, 1 diverged; 8\d\.\d ± 0\.\d \(5\) without", out)
    assert "**helps**" in out
    assert "comparisons are of runs alone, given this dev set: no predictions were kept." in out
    assert "corrected over all comparisons of a model's main metrics (deberta-v3-large: 4)" in out
    assert "no baseline of the same seed; there are seeds 1, 2, 3, 4, 5" in out
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) >= 3 for row in rows)


def test_no_table_row_has_another_number_of_places_than_its_head(found):
    for sheet in sheets.make(found):
        assert {len(row) for row in sheet.rows} <= {len(sheet.columns)}, sheet.name


def odd_sheet() -> Sheet:
    return Sheet(
        "table", ODD, ["k", ODD], [[(Piece(ODD),), (Piece(f"{ODD}\nnext", is_bold=True), Piece(" (5)"))]], [ODD]
    )


def test_names_are_no_markup_in_markdown():
    text = markdown.text([odd_sheet()], ODD)
    bare = re.sub(r"\\.", "", text)
    assert "<" not in bare
    assert "`" not in bare
    assert bare.count("|") == 3 * 3
    assert bare.replace("**", "").count("*") == 0
    assert re.sub(r"\\(.)", r"\1", text).count(ODD) == 6


def test_names_are_no_markup_in_latex():
    text = latex.text([odd_sheet()], "summary")
    body = text.partition("\n\n")[2]
    bare = re.sub(r"\\(?:text\w+\{\}|[&%$#_{}])", "", body)
    assert bare.count("&") == 2, "one a row of two columns"
    assert not re.search(r"[$#_~^<>|]|(?<!\\)%", bare)
    assert body.count(r"\textless{}script\textgreater{}") == 5
    assert body.count("{") == body.count("}")


@pytest.mark.machine
def test_latex_is_taken_by_latex(tmp_path, found):
    pdflatex = needs("pdflatex")
    document = "\n".join(
        [
            r"\documentclass{article}\usepackage{booktabs}\begin{document}",
            latex.text([odd_sheet(), *sheets.make(found)], ODD),
            r"\end{document}",
        ]
    )
    (tmp_path / "report.tex").write_text(document)
    words = [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]


def test_latex_has_booktabs_and_bold(capsys, root):
    _, out, _ = run(capsys, root, "--format", "latex", "--show", "table")
    assert [out.count(rf"\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == [1, 1, 1]
    assert re.search(r"\\textbf\{8\d\.\d \$\\pm\$ \d\.\d\}", out)
    assert out.isascii()


def test_csv_reads_back_as_it_was(found):
    for name, rows in flat.tables(found).items():
        assert rows or name in ("cost", "plan", "tuning", "twins", "variance"), name
        back = list(csv.DictReader(io.StringIO(flat.csv_text(rows))))
        assert len(back) == len(rows)
        for row, again in zip(rows, back, strict=True):
            for key, value in row.items():
                if isinstance(value, bool | list | dict):
                    assert json.loads(again[key]) == json.loads(json.dumps(value))
                elif isinstance(value, float | int):
                    assert float(again[key]) == value
                else:
                    assert again[key] == ("" if value is None else value)


def test_csv_has_any_name():
    rows = [{"a,b": ODD, 'q"': "two\nlines", "n": None}]
    assert list(csv.DictReader(io.StringIO(flat.csv_text(rows)))) == [{"a,b": ODD, 'q"': "two\nlines", "n": ""}]
    assert flat.csv_text([]) == "\n"


def test_csv_on_stdout_is_one_table(capsys, root):
    _, out, _ = run(capsys, root, "--format", "csv")
    assert {row["measure"] for row in csv.DictReader(io.StringIO(out))} == {
        "mrpc/validation/accuracy",
        "mrpc/validation/f1",
        "rte/validation/accuracy",
    }
    _, out, _ = run(capsys, root, "--format", "csv", "--show", "comparison")
    verdicts = [
        (row["gi.side"], row["task"], row["primary"], row["verdict"]) for row in csv.DictReader(io.StringIO(out))
    ]
    assert ("both", "mrpc", "true", "helps") in verdicts
    assert ("both", "mrpc", "false", "") in verdicts


def test_json_has_every_number(capsys, root):
    _, out, _ = run(capsys, root, "--format", "json")
    entries = json.loads(out)
    assert entries["runs"] == {"done": 33, "degenerate": 1, "diverged": 1}
    assert entries["rules"] == {"margin": 0.005, "primary": []}
    assert set(entries) == {"runs", "rules", *sheets.NAMES, "notes"}
    assert [(each["status"], each["error"]) for each in entries["failures"]] == [("diverged", "the loss is nan")]
    rte = next(each for each in entries["comparison"] if (each["gi.side"], each["task"]) == ("both", "rte"))
    assert (rte["n"], rte["verdict"], rte["failures"]["gated"]) == (6, "undecided", {"degenerate": 1, "diverged": 1})
    assert (rte["without_degenerate"]["n"], rte["without_degenerate"]["verdict"]) == (5, None)
    assert rte["difference"] == pytest.approx(np.mean(rte["gated"]) - np.mean(rte["baseline"]))
    assert len(rte["runs"]["gated"]) == 6
    assert rte["random"] == "runs, given this dev set"
    assert rte["low"] < rte["difference"] < rte["high"]
    assert rte["detectable_low"] < rte["detectable"] < rte["detectable_high"]
    assert rte["p"] <= rte["p_holm"]
    assert rte["p_equivalent"] <= rte["p_equivalent_holm"]


def test_comparisons_that_were_named_are_told_from_others(capsys, root):
    _, out, _ = run(capsys, root, "--show", "comparison", "--primary", "gi.side=both,task=rte")
    rows = [line for line in out.splitlines() if line.startswith("|") and "survivors" not in line]
    assert [("(primary)" in row, "(exploratory)" in row) for row in rows if "accuracy" in row] == [
        (False, True),
        (False, True),
        (False, True),
        (True, False),
    ]
    assert all("descriptive" in row for row in rows if "(f1)" in row)
    assert "Nobody can see here whether they were named before the runs." in out
    assert "(primary)" not in run(capsys, root)[1]


def test_the_margin_is_the_users(capsys, root):
    for points, said in (("0.5", "difference of 0.5 points or more"), ("20", "difference of 20 points or more")):
        _, out, _ = run(capsys, root, "--show", "comparison", "--margin", points)
        assert said in out
        assert ("| no difference above 20 " in out) == (points == "20")
        assert ("by less than 20" in out) == (points == "20")


def test_a_terminal_gets_a_table(capsys, found):
    terminal.show([odd_sheet(), *sheets.make(found)], sheets.summary(found))
    out = capsys.readouterr().out
    assert "[l](u)" in "".join(out.split()), "rich takes brackets for markup unless it is told not to"
    assert "Changed runs against their baseline" in out
    assert "\x1b" not in out


TRACEBACK = """Traceback (most recent call last):
  File "train.py", line 1, in run
    step()
    ~~~~^^
torch.AcceleratorError: CUDA error: device-side assert triggered
CUDA kernel errors might be asynchronously reported at some other API call.
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""


def test_why_runs_have_no_result_is_told_apart_from_damaged_files(capsys, tmp_path):
    sweep(tmp_path, helpful, seeds=(1, 2))
    folders = {}
    for seed, (status, error) in enumerate(
        [
            (Status.INTERRUPTED, "stopped by SIGTERM"),
            (Status.RUNNING, None),
            (Status.FAILED, TRACEBACK),
            (Status.DIVERGED, "the loss is nan\nat step 3"),
            (Status.FAILED, None),
            (Status.DEGENERATE, "one class for all"),
        ],
        start=3,
    ):
        made = record(config("task=rte", "model=debertav3", seed=seed), [], status, error=error, started="2026-01-01")
        folders[status, error] = write(tmp_path, made)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "record.json").write_text("{")
    rows = [
        (Status.FAILED, TRACEBACK, "torch.AcceleratorError: CUDA error: device-side assert triggered"),
        (Status.FAILED, None, "its record gives no reason"),
        (Status.DIVERGED, "the loss is nan\nat step 3", "the loss is nan"),
        (Status.INTERRUPTED, "stopped by SIGTERM", "stopped by SIGTERM"),
        (Status.RUNNING, None, "started 2026-01-01: under way, or killed"),
    ]
    found = contents.gather(Reader([tmp_path]).read())
    made = {sheet.name: sheet for sheet in sheets.make(found)}
    shown = [["".join(piece.text for piece in item) for item in row] for row in made["failures"].rows]
    assert sorted(shown) == sorted([str(folders[status, error]), status, why] for status, error, why in rows)
    assert [status for _, status, _ in shown] == [status for status, _, _ in rows]
    assert "gifine.sweep status" in made["failures"].notes[0]
    assert [row[0][0].text for row in made["problems"].rows] == [str(tmp_path / "odd" / "record.json")]
    _, out, _ = run(capsys, tmp_path, "--show", "failures")
    assert out.count("device-side") == 1
    assert "odd" not in out


def test_a_terminal_lists_the_first_of_many_failures_and_files_have_all(capsys, tmp_path):
    for seed in range(1, 24):
        made = record(config("task=rte", "model=debertav3", seed=seed), [], Status.FAILED, error=f"ValueError: n{seed}")
        write(tmp_path / "runs", made)
    for words in ((), ("--format", "terminal"), ("--out", tmp_path / "out")):
        _, out, _ = run(capsys, tmp_path / "runs", *words)
        is_bounded = "terminal" in words
        assert out.count("ValueError: n") == (20 if is_bounded else 23)
        assert ("and 3 more; --out lists all" in out) is is_bounded
    for name in ("report.md", "report.tex", "failures.csv", "report.json"):
        assert (tmp_path / "out" / name).read_text().count("ValueError: n") == 23
    html = (tmp_path / "out" / "report.html").read_text()
    assert html.partition('<section id="runs"')[0].count("ValueError: n") == 23


def test_all_formats_in_a_folder(capsys, root, tmp_path):
    code, out, _ = run(capsys, root, "--out", tmp_path / "new" / "folder", "--no-predictions")
    assert code == ExitCode.DONE
    tables = {f"{name}.csv" for name in sheets.NAMES}
    names = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    assert names == {"report.html", "report.md", "report.tex", "report.json", "figures", output.MANIFEST, *tables}
    assert (tmp_path / "new" / "folder" / "report.md").read_text() == out


def test_a_folder_that_cannot_be_written_is_told(capsys, root, tmp_path):
    (tmp_path / "file").touch()
    code, _, err = run(capsys, root, "--out", tmp_path / "file")
    assert code == ExitCode.BAD_INPUT
    assert "cannot write to" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: RUNS_OR_ROOT"),
        (["nowhere"], "nowhere: no such file or folder"),
        (["."], "no record.json in or below"),
        (["ROOT", "--format", "html"], "invalid choice: 'html'"),
        (["ROOT", "--show", "tables"], "did you mean 'table'?"),
        (["ROOT", "--show", ","], "',' names no part; answer, table, "),
        (["ROOT", "--show", ""], "'' names no part; answer, table, "),
        (["ROOT", ""], "an empty word is no path"),
        (["ROOT", "--plan", ""], "an empty word is no path"),
        (["ROOT", "--format", "csv", "--show", "table,comparison"], "--format csv is one table"),
        (["ROOT", "--rows", "gi.sides"], "did you mean 'gi.side'?"),
        (["ROOT", "--margin", "0"], "0 is no margin: points of percent above 0 and below 100, such as 0.5"),
        (["ROOT", "--margin", "100"], "100 is no margin"),
        (["ROOT", "--margin", "half"], "half is no margin"),
        (["ROOT", "--margin", "nan"], "nan is no margin"),
        (["ROOT", "--margin", "0.005"], "0.005 points of percent: at least 0.05; for the fraction 0.005 write 0.5"),
        (["ROOT", "--primary", "gi.side"], "gi.side: not KEY=VALUE,KEY=VALUE"),
        (["ROOT", "--primary", "gi.side=key,gi.side=both"], "a key more than once; give --primary again"),
        (["ROOT", "--primary", "gi.side=bith"], "did you mean 'both'?"),
        (["ROOT", "--primary", "gi.sides=both"], "did you mean 'gi.side'?"),
        (["ROOT", "--watch", "0"], "0 is no number of seconds above 0"),
        (["ROOT", "--watch", "soon"], "soon is no number of seconds above 0"),
    ],
)
def test_wrong_arguments_are_one_message(capsys, root, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *(root if word == "ROOT" else word for word in words))
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.startswith("error: ")
    assert said in err
    assert "Traceback" not in err


def test_rows_and_columns(capsys, root):
    _, out, _ = run(capsys, root, "--rows", "task", "--columns", "gi.side", "--show", "table")
    assert "| task | gi.side=none | gi.side=key | gi.side=both |" in out.replace("\\", "")
    assert "| MRPC (accuracy/f1) |" in out


def test_runs_without_gates_are_a_table(capsys, tmp_path):
    _, out, _ = run(capsys, sweep(tmp_path, helpful, gates=(PLAIN,)))
    assert "## Results" in out
    assert "no changed run of this task" in out


def test_watching_prints_what_has_changed_until_it_is_interrupted(capsys, tmp_path, monkeypatch):
    sweep(tmp_path, helpful, seeds=(1, 2))
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            sweep(tmp_path, helpful, seeds=(3,))
        if len(waits) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    code, out, _ = run(capsys, tmp_path, "--watch", "2.5", "--show", "table")
    assert code == ExitCode.DONE
    assert waits == [2.5] * 4
    assert re.findall(r"^\d+ runs: .+$", out, re.MULTILINE) == ["4 runs: 4 done", "6 runs: 6 done"]


def test_watching_survives_a_folder_that_is_emptied_for_a_while(capsys, tmp_path, monkeypatch, caplog):
    sweep(tmp_path / "runs", helpful, seeds=(1, 2))
    waits = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            shutil.rmtree(tmp_path / "runs")
        if len(waits) == 2:
            sweep(tmp_path / "runs", helpful, seeds=(3,))
        if len(waits) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", wait)
    code, out, _ = run(capsys, tmp_path / "runs", "--watch", "1", "--show", "table")
    assert code == ExitCode.DONE
    assert re.findall(r"^\d+ runs: .+$", out, re.MULTILINE) == ["4 runs: 4 done", "2 runs: 2 done"]


def test_names_that_steer_a_terminal_or_are_no_text_are_shown_as_such(capsys, tmp_path):
    for gate in (PLAIN, BOTH):
        for seed in (1, 2, 3):
            folder = write(tmp_path / "runs", record(config("task=rte", seed=seed, **gate), [0.7 + 0.01 * seed]))
            text = (folder / "record.json").read_text().replace('"RTE"', '"R\\u001b[31m\\u202eTE"')
            (folder / "record.json").write_text(text)
    folder.rename(tmp_path / "runs" / os.fsdecode(b"caf\xe9"))
    (tmp_path / "runs" / os.fsdecode(b"\xff")).mkdir()
    (tmp_path / "runs" / os.fsdecode(b"\xff") / "record.json").write_text("{")
    for style in ("terminal", "markdown", "latex"):
        code, out, _ = run(capsys, tmp_path / "runs", "--format", style)
        assert (code, "\x1b" in out, "\u202e" in out, "R\ufffd" in out) == (ExitCode.DONE, False, False, True)
    code, _, _ = run(capsys, tmp_path / "runs", "--format", "json", "--out", tmp_path / "out", "--no-predictions")
    assert code == ExitCode.DONE
    problems = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["problems"]
    assert os.fsencode(problems[0]["record"]).endswith(b"/\xff/record.json")


def test_without_a_single_readable_record_the_answer_says_so(capsys, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "record.json").write_text("{")
    code, out, _ = run(capsys, tmp_path)
    assert code == ExitCode.DONE
    assert out.startswith("0 runs; 1 record left out\n")
    assert "One record cannot be read, and counts nowhere: the list is under “Records left out”." in out
    assert "Bold" not in out, "there is no table to explain"
