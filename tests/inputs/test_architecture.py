"""Parameters by arithmetic, against models that are built."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gifine import changes, cli, memory, models
from gifine.config import ModelConfig, RunConfig
from gifine.inputs import architecture, tokenizers
from gifine.models import pairs

SIZES = [
    (path.stem, size)
    for path in sorted((cli.conf_dir() / "model").glob("*.yaml"))
    if "-" not in path.stem
    for size in cli.config_from(cli.compose([f"model={path.stem}"])).model.sizes
]


def config(*overrides: str) -> RunConfig:
    return cli.config_from(cli.compose(list(overrides)))


@pytest.mark.parametrize(("model", "size"), SIZES)
@pytest.mark.parametrize("gates", [["gi=none"], ["gi=both"], ["gi=key", "gi.layers=2"]], ids=" ".join)
def test_counts_are_those_of_the_model(model, size, gates):
    for task in ("task=stsb", "task=mnli"):
        run = config(f"model={model}", f"model.size={size}", task, *gates)
        counted = memory.count(run)
        assert architecture.count(run) == (counted.parameters, counted.gates)


def test_config_overrides_count():
    tiny = config("experiment=demo")
    counted = memory.count(tiny)
    assert architecture.count(tiny) == (counted.parameters, counted.gates)


@pytest.mark.parametrize("name", changes.names())
def test_what_a_change_learns_is_that_of_the_model(name):
    for layers in ("null", "1"):
        words = [f"gi.layers={layers}"] if name == "gi" else [f"change={name}", f"change.layers={layers}"]
        tiny = config("experiment=demo", *words)
        counted = memory.count(tiny)
        assert architecture.count(tiny) == (counted.parameters, counted.gates)


def test_layers_are_what_is_left_of_embeddings_and_head():
    base = config("model=bert", "model.size=base", "gi=none")
    assert architecture.in_layers(base) == 12 * 7_087_872  # the 85 M of BERT base


def test_a_checkpoint_on_the_hub_is_not_known():
    own = ModelConfig(name="own", family="bert", checkpoint="my/bert")
    assert architecture.count(replace(config(), model=own)) is None


NARROW = "task.generator.config_overrides={hidden_size: 16, num_attention_heads: 2}"
PRETRAINED = [
    ["model=bert", "task=mlm"],
    ["model=deberta", "task=mlm"],
    ["model=bert", "task=rtd"],
    ["model=debertav3", "task=rtd"],
    ["model=debertav3", "task=rtd", "task.generator.sharing=shared"],
    ["model=roberta", "task=rtd", "task.generator.sharing=none", "task.changed=generator"],
    ["model=bert", "task=rtd", NARROW],
    ["model=debertav3", "task=rtd", NARROW, "task.changed=discriminator"],
]


@pytest.mark.parametrize("words", PRETRAINED, ids=" ".join)
def test_pre_training_counts_all_that_it_trains(words):
    """Of both models, each parameter once; a change of more layers than the generator has is in all of these."""
    tokenizer = tokenizers.load_for(ModelConfig(name="own", family="bert", tokenizer="demo"))
    sizes = (
        "model.config_overrides={hidden_size: 32, num_attention_heads: 2, intermediate_size: 24, num_hidden_layers: 3}"
    )
    tiny = config(sizes, "model.tokenizer=demo", "model.random_init=true", "gi=both", "gi.layers=2", *words)
    with torch.device("meta"):
        counted = models.count_parameters(pairs.build(tiny, tokenizer, {}))
    assert architecture.count_trained(tiny) == (counted["total"], counted["gates"], counted["trainable"])
