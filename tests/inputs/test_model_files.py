"""Where a checkpoint is: folders, packages, Hub ids."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gifine.errors import ModelError
from gifine.inputs.model_files import locate, weight_files


def test_hub_ids_stay_as_they_are():
    assert locate("bert-base-uncased") == "bert-base-uncased"
    assert locate("microsoft/deberta-v3-large") == "microsoft/deberta-v3-large"


def test_folders_win_over_hub_ids(tmp_path, monkeypatch):
    (tmp_path / "microsoft" / "deberta").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert locate("microsoft/deberta") == Path("microsoft/deberta")


def test_packages_ship_folders():
    assert (Path(locate("package:gifine/inputs/demo")) / "__init__.py").is_file()


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


INDEX = "model.safetensors.index.json"


def files(folder: Path, *names: str, index: object = None) -> Path:
    for name in names:
        (folder / name).write_text("weights")
    if index is not None:
        (folder / INDEX).write_text(json.dumps(index))
    return folder


def test_weights_are_read_from_their_file_or_their_index_whatever_lies_beside(tmp_path):
    files(tmp_path, "a.safetensors", "model-1.safetensors", "model-2.safetensors", "pytorch_model.bin")
    files(
        tmp_path,
        index={"weight_map": {"a": "model-2.safetensors", "b": "model-1.safetensors", "c": "model-1.safetensors"}},
    )
    names = [path.name for path in weight_files(tmp_path)]
    assert names == [INDEX, "model-1.safetensors", "model-2.safetensors"]
    files(tmp_path, "model.safetensors")
    assert weight_files(tmp_path) == [tmp_path / "model.safetensors"]


@pytest.mark.parametrize(
    ("names", "index", "said"),
    [
        ([], None, r"has no model\.safetensors$"),
        (["pytorch_model.bin"], None, r"no model\.safetensors: pytorch_model\.bin is not read, save it again"),
        (["other.safetensors"], None, r"no model\.safetensors: other\.safetensors is not read"),
        (["adapter_config.json", "adapter_model.safetensors"], None, r"holds an adapter .* merge_and_unload"),
        (["adapter_config.json", "model.safetensors"], None, "holds an adapter"),
        (
            ["m-1.safetensors"],
            {"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}},
            r"lacks 1 of the 2 .*m-2",
        ),
        ([], {"weight_map": {str(n): f"m-{n}.safetensors" for n in range(5)}}, "lacks 5 of the 5 .* …$"),
        ([], {"weight_map": {}}, "is no index of weights"),
        ([], {"weight_map": {"a": "../m.safetensors"}}, "must name files in its folder"),
        ([], {"weight_map": {"a": 3}}, "is no index of weights"),
        ([], ["m-1.safetensors"], "is no index of weights"),
    ],
)
def test_weights_that_are_not_there_are_said(tmp_path, names, index, said):
    with pytest.raises(ModelError, match=said) as caught:
        weight_files(files(tmp_path, *names, index=index))
    assert "\n" not in str(caught.value)
