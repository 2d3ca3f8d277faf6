"""What is read of a run's curve, in whatever state its file is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gifine.runs import curves


def test_whole_lines_of_a_damaged_file_are_read(tmp_path):
    lines = [
        b'{"step": 1, "loss": 0.5, "x": 2}',
        b"[1]",
        b'{"step": 2, "loss": null, "x": true}',
        b'{"step": "3", "loss": 1}',
        b'{"step": 4, "loss": NaN}',
        b'{"step": 1e999, "loss": 1}',
        b'{"step": 5, "loss": ' + b"1" * 400 + b"}",
        b'{"step": 6, "loss": 0.4, "\xff": 1}',
        b'{"step": 7, "lo\xc3',
    ]
    (tmp_path / curves.CURVE).write_bytes(b"\n".join(lines))
    assert curves.read(tmp_path, ["loss", "y", "x"]) == {"loss": {1: 0.5, 6: 0.4}, "y": {}, "x": {1: 2.0}}
    assert curves.last_step(tmp_path) == 6


@pytest.mark.parametrize("kind", ["absent", "empty", "folder", "loop"])
def test_a_curve_that_cannot_be_read_is_an_empty_one(tmp_path, kind):
    path = tmp_path / curves.CURVE
    if kind == "empty":
        path.touch()
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)  # a file that nobody can open, not even root
    assert curves.read(tmp_path, ["loss"]) == {"loss": {}}
    assert curves.last_step(tmp_path) is None


def test_thinned_steps_keep_their_ends():
    assert curves.thinned(range(5, 1005), 4) == [5, 338, 671, 1004]
    assert curves.thinned([1, 2, 3], 3) == [1, 2, 3]
    assert curves.thinned([], 3) == []
    assert len(set(curves.thinned(range(61), 60))) == 60


def test_reading_curves_is_light():
    code = "import sys, gifine.runs.curves; print(*{'torch', 'numpy', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
