"""Finished runs with a change of one's own: its file has to be what the run was made with."""

from __future__ import annotations

from pathlib import Path

import pytest

from gifine import cli
from gifine.errors import RunError
from gifine.inputs import sources
from gifine.runs import finished, identity, records
from gifine.runs.records import Record, Status
from support.own_change import MINE


def test_the_file_of_a_change_is_held_against_the_record(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    words = ["model=bert", "task=demo", "data=demo", "++change.name=mine", f"++change.file={file}"]
    config = cli.config_from(cli.compose(words))
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "model" / "model.safetensors").touch()
    record = Record("0", "mine", identity.to_dict(config), Status.DONE, contents=sources.contents(config))
    records.write(run, record)
    assert [each.config.change for each in finished.read([run])] == [config.change]
    file.write_text(MINE + "\n")
    with pytest.raises(RunError, match=rf"^{run}: its change's file {file} was edited since the run \(sha256 "):
        finished.read([run])
    file.unlink()
    with pytest.raises(RunError, match=r"mine.py cannot be read: No such file or directory; put it back$"):
        finished.read([run])
