"""Where a checkpoint is: folders, packages, Hub ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from gifine.checkpoints import locate
from gifine.errors import ModelError


def test_hub_ids_stay_as_they_are():
    assert locate("bert-base-uncased") == "bert-base-uncased"
    assert locate("microsoft/deberta-v3-large") == "microsoft/deberta-v3-large"


def test_folders_win_over_hub_ids(tmp_path, monkeypatch):
    (tmp_path / "microsoft" / "deberta").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("microsoft/deberta") == Path("microsoft/deberta")


def test_packages_ship_folders():
    assert (Path(locate("package:gifine/demo")) / "__init__.py").is_file()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/no/such", "folder /no/such does not exist"),
        ("./no", r"folder \./no does not exist"),
        ("~/no/such/folder", "does not exist"),
        ("runs/cola/model", "folder runs/cola/model does not exist"),
        (__file__, "is a file, not a folder"),
        ("", "the name is empty"),
        ("package:no_such_package/model", r"no_such_package is not installed; pip install 'gifine\[offline\]'"),
        ("package:gifine/no_such", "gifine/no_such does not exist"),
        ("package:../x", "is not installed"),
    ],
)
def test_what_is_not_there_is_refused(source, said):
    with pytest.raises(ModelError, match=said):
        locate(source)
