"""What is known of a config before anything is loaded: what the model takes, and what it would not look at."""

from __future__ import annotations

import json

import pytest

from gifine.cli import compose, config_from
from gifine.compose import grid
from gifine.errors import ConfigError
from gifine.inputs.architecture import longest_input


@pytest.mark.parametrize(
    ("entries", "longest"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "gi_roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 0}, 513),
        ({"model_type": "deberta-v2", "max_position_embeddings": 512}, 512),
        ({"model_type": "deberta-v2", "max_position_embeddings": 512, "position_biased_input": True}, 512),
        ({"model_type": "deberta-v2", "max_position_embeddings": 512, "position_biased_input": False}, None),
        ({"model_type": "gi_deberta_v2", "max_position_embeddings": 512, "position_biased_input": False}, None),
        ({"model_type": "deberta", "max_position_embeddings": 512, "position_biased_input": False}, None),
        ({"model_type": "bert", "max_position_embeddings": "many"}, None),
        ({}, None),
    ],
)
def test_the_longest_input(entries, longest):
    assert longest_input(entries) == longest


@pytest.mark.parametrize(
    ("name", "length"), [("bert", 512), ("roberta", 512), ("deberta", None), ("debertav2", None), ("debertav3", None)]
)
def test_published_models_take_as_much_as_they_can(name, length):
    assert config_from(compose([f"model={name}", f"train.max_length={length or 2000}"]))
    if length is not None:
        with pytest.raises(ConfigError, match=f"the model takes at most {length} word pieces"):
            config_from(compose([f"model={name}", f"train.max_length={length + 1}"]))


@pytest.mark.parametrize(
    ("override", "instead"),
    [
        ("problem_type=regression", "task.labels decides it"),
        ("num_labels=3", "task.labels decides it"),
        ("id2label={0: a}", "task.labels decides it"),
        ("architectures=[BertModel]", "model.family decides it"),
        ("dtype=float16", "train.precision decides it"),
        ("output_hidden_states=true", "nothing here reads it"),
        ("return_dict=false", "nothing here reads it"),
        ("is_decoder=true", "only encoders are fine-tuned here"),
        ("position_embedding_type=relative_key", "transformers 5 has absolute ones only"),
    ],
)
def test_overrides_that_would_change_nothing_say_what_does(override, instead):
    key, _, value = override.partition("=")
    for words in ([], ["model.random_init=true", "model.tokenizer=demo"]):
        with pytest.raises(ConfigError) as caught:
            config_from(compose([f"model.config_overrides={{{key}: {value}}}", *words]))
        assert f"model.config_overrides.{key}: {instead}" in str(caught.value)


def test_two_keys_for_one_thing_are_refused():
    words = ["model=bert", "model.config_overrides.classifier_dropout=0.2", "model.classifier_dropout=0.1"]
    with pytest.raises(ConfigError, match=r"classifier_dropout: model\.classifier_dropout=0\.1 says it"):
        config_from(compose(words))


def test_folders_without_their_weights_are_said_at_once(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", "num_attention_heads": 0}))
    for key in ("checkpoint", "init_from"):
        with pytest.raises(ConfigError, match=rf"model\.{key}=.* has no model\.safetensors"):
            config_from(compose([f"model.{key}={tmp_path}"]))
    assert config_from(compose([f"model.checkpoint={tmp_path}", "model.random_init=true"])), "of which none are read"
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text("[]")
    assert config_from(compose([f"model.checkpoint={tmp_path}"])), "which loading refuses"


def test_a_run_that_is_named_as_a_checkpoint_is_started_from_as_one(tmp_path):
    (tmp_path / "record.json").touch()
    with pytest.raises(ConfigError, match=rf"model\.init_from={tmp_path}: the run .* kept no weights"):
        config_from(compose([f"model.checkpoint={tmp_path}"]))
    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text("{}")
    one, other = ([f"model.{key}={tmp_path}", "gi=none,both"] for key in ("checkpoint", "init_from"))
    assert config_from(compose([one[0]])) == config_from(compose([other[0]]))
    assert [cell.config for cell in grid.expand(one)] == [cell.config for cell in grid.expand(other)]


@pytest.mark.parametrize("number", [0, -1, 100_000])
def test_threads_are_as_many_as_a_process_can_have(number):
    with pytest.raises(ConfigError, match=rf"^threads={number}: must be in 1 … 1024, or null"):
        config_from(compose([f"threads={number}"]))


@pytest.mark.parametrize("word", ["seed=-1", "seeds.head=-1", "seeds.order=4294967296", "seeds.change=-7"])
def test_seeds_are_what_random_numbers_can_start_from(word):
    with pytest.raises(ConfigError, match=f"^{word}: must be in 0 … 2\\^32 − 1$"):
        config_from(compose([word]))
