"""The folder of --out when reports are written into it again: old figures go, what others put there stays."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from gifine.errors import ExitCode
from gifine.report import __main__ as report
from gifine.report.formats import output
from gifine.report.formats.output import MANIFEST
from support.synthetic import measures, sweep


def write(folder: Path, **files: Iterable[str]) -> None:
    with output.into(folder) as out:
        for name, text in files.items():
            out.write(f"figures/{name}.svg", text)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()} - {MANIFEST}


def test_a_report_of_fewer_runs_leaves_no_figure_of_the_others(tmp_path):
    runs, out = tmp_path / "runs", tmp_path / "out"
    sweep(runs, lambda config: [config.seed / 10 for _ in measures(config)], tasks=("rte", "mrpc"), seeds=(1, 2, 3))
    assert report.main([str(runs), "--out", str(out)]) == ExitCode.DONE
    both = names(out)
    for folder in runs.glob("mrpc*"):
        shutil.rmtree(folder)
    assert report.main([str(runs), "--out", str(out)]) == ExitCode.DONE
    gone = ("seeds-mrpc-deberta-v3-large", "over-tasks-deberta-v3-large")
    assert both - names(out) == {f"{name}.{form}" for name in gone for form in ("pdf", "png", "svg")}
    assert names(out) < both
    assert set(json.loads((out / MANIFEST).read_text())) == {
        path.relative_to(out).as_posix() for path in out.rglob("*.*") if path.is_file() and path.name != MANIFEST
    }


def test_what_others_wrote_stays(tmp_path):
    write(tmp_path, a="1", b="2", c="3", d="4", e="5")
    figures = tmp_path / "figures"
    (figures / "mine.svg").write_text("1")
    (figures / "b.svg").write_text("edited")
    (figures / "c.svg").unlink()
    (figures / "d.svg").unlink()
    (figures / "d.svg").mkdir()
    (tmp_path / "elsewhere").write_text("5")
    (figures / "e.svg").unlink()
    (figures / "e.svg").symlink_to(tmp_path / "elsewhere")
    write(tmp_path, f="6")
    assert {path.name for path in figures.iterdir()} == {"mine.svg", "b.svg", "d.svg", "e.svg", "f.svg"}
    assert (tmp_path / "elsewhere").exists()


def test_a_report_that_breaks_off_leaves_what_the_next_one_deletes(tmp_path):
    def cut() -> Iterator[str]:
        yield "half"
        raise OSError(errno.ENOSPC, "no space")

    write(tmp_path, a="1")
    with pytest.raises(OSError, match="no space"):
        write(tmp_path, b="2", c=cut())
    assert names(tmp_path) == {"a.svg", "b.svg", "c.svg"}
    write(tmp_path, d="4")
    assert names(tmp_path) == {"d.svg"}


@pytest.mark.parametrize("kind", ["empty", "list", "cut off", "outside"])
def test_a_list_of_files_that_is_not_ours_deletes_nothing(tmp_path, kind):
    folder, mine = tmp_path / "out", tmp_path / "mine"
    write(folder, a="1")
    digest = json.loads((folder / MANIFEST).read_text())["figures/a.svg"]
    mine.write_text("1")
    outside = json.dumps({"../mine": digest, str(mine): digest})
    (folder / MANIFEST).write_text({"empty": "", "list": "[1]", "cut off": "{", "outside": outside}[kind])
    write(folder, b="2")
    assert mine.exists()
    assert names(folder) == {"a.svg", "b.svg"}
