"""task.generator.checkpoint: known by its contents, and a part of what runs read."""

from __future__ import annotations

from pathlib import Path

import pytest

from gifine import cli
from gifine.config import RunConfig
from gifine.errors import PrefetchError
from gifine.inputs import needs, offline, sources
from gifine.inputs.needs import Repository
from gifine.runs import identity

SMALL = ["model=debertav3", "model.random_init=true", "model.tokenizer=demo", "data=demo"]


def config(place: str | Path, task: str = "rtd") -> RunConfig:
    return cli.config_from(cli.compose([f"task={task}", *SMALL, f"task.generator.checkpoint={place}"]))


def saved(folder: Path, weights: str, below: str = "model") -> Path:
    (folder / below).mkdir(parents=True)
    (folder / below / "config.json").write_text('{"model_type": "deberta-v2"}')
    (folder / below / "model.safetensors").write_text(weights)
    return folder


def test_its_contents_and_not_its_path_decide_a_run(tmp_path):
    one, same, other = (saved(tmp_path / name, text) for name, text in zip("abc", "xxy", strict=True))
    ids = [identity.run_id(config(place)) for place in (one, same, other)]
    assert ids[0] == ids[1] != ids[2]
    assert str(one / "model" / "model.safetensors") in sources.files(config(one))
    # Of a run of task=rtd it is the generator.
    saved(other, "z", "model/generator")
    assert identity.run_id(config(other)) not in ids
    assert str(other / "model" / "generator" / "model.safetensors") in sources.files(config(other))


def test_a_generator_of_the_hub_is_prefetched(tmp_path):
    named = config("own/mlm")
    assert needs.collect([named]).repositories[Repository("own/mlm")]
    folder = offline.Folder(tmp_path, offline.Manifest(), ["task=rtd"])
    with pytest.raises(PrefetchError, match="lacks the weights of own/mlm@main"):
        folder.redirect(named)
    assert "task.generator.checkpoint=own/mlm" in offline._words(named)
    (tmp_path / "hub").mkdir()
    folder.manifest.models["own/mlm@main"] = offline.Snapshot("1", "hub", weights=True, files={})
    assert folder.redirect(named).task.generator.checkpoint == str(tmp_path / "hub")
