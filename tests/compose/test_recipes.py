"""Recipes: every published file is whole, and what is chosen is what its source says."""

from __future__ import annotations

import pytest
import yaml

from gifine import cli
from gifine.compose import checks, recipes
from gifine.errors import ConfigError
from gifine.runs import identity

PUBLISHED = sorted((cli.conf_dir() / "recipe" / "published").glob("*.yaml"))
TASKS = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"]
QUESTIONS = ["squad", "squad_v2"]  # which not every model has
KEYS = {
    "epochs",
    "batch_size",
    "learning_rate",
    "warmup",
    "weight_decay",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "max_length",
    "classifier_dropout",
}


def config(*overrides: str):
    return cli.config_from(cli.compose(list(overrides)))


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_every_published_file_names_its_source_and_has_all_tasks(path):
    assert "Source: " in path.read_text()
    tasks = yaml.safe_load(path.read_text())
    assert {*TASKS} <= tasks.keys() <= {*TASKS, *QUESTIONS}
    sizes = config(f"model={path.stem}").model.sizes
    for task, entries in tasks.items():
        published = {size: settings for size, settings in entries.items() if size != "source"}
        assert entries["source"], task
        assert published, task
        assert published.keys() <= sizes.keys(), task
        assert all(settings.keys() - {*recipes.FEW, recipes.OURS} == KEYS for settings in published.values()), task


@pytest.mark.parametrize(("path", "task"), [(path, task) for path in PUBLISHED for task in TASKS])
def test_auto_composes_for_every_task_of_the_published_default_size(path, task):
    composed = config(f"model={path.stem}", f"task={task}", "recipe=auto")
    chosen = recipes.settings(cli.conf_dir(), path.stem, task, composed.model.size)
    assert composed.train.learning_rate == chosen["learning_rate"]
    assert composed.train.max_steps == chosen.get("max_steps")
    assert composed.model.classifier_dropout == chosen["classifier_dropout"]
    assert composed.recipe.source == chosen["source"]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["model=debertav3", "task=cola"], (5.5e-6, 10, 32, 50, 64)),
        (["model=bert", "task=squad"], (3e-5, 2, 24, 0.1, 384)),
        (["model=roberta", "task=squad_v2"], (1.5e-5, 2, 48, 0.06, 512)),
        (["model=xlnet", "task=squad_v2"], (3e-5, 3, 48, 1000, 512)),
        (["model=xlnet", "task=mnli"], (2e-5, 4, 128, 0.1, 128)),
        (["model=deberta-large", "task=squad"], (1e-5, 3, 64, 500, 512)),
        (["model=debertav3", "task=squad"], (1e-5, 3, 64, 500, 512)),
        (["model=deberta-v3-large", "task=rte"], (1e-5, 6, 32, 50, 320)),
        (["model=debertav3", "model.size=base", "task=mnli"], (1.5e-5, 3, 64, 1000, 256)),
        (["model=roberta", "task=qqp"], (1e-5, 10, 32, 0.25, 512)),
        (["model=bert", "task=mrpc"], (2e-5, 3, 32, 0.1, 128)),
        (["model=xlnet", "task=stsb"], (5e-5, 6.666, 32, 120, 128)),
    ],
)
def test_auto_takes_the_published_values(overrides, expected):
    train = config("recipe=auto", *overrides).train
    assert (train.learning_rate, train.epochs, train.batch_size, train.warmup, train.max_length) == expected


def test_the_longest_answer_is_the_published_one_where_one_is():
    words = ["recipe=auto", "task=squad"]
    assert config(*words, "model=xlnet").task.max_answer_tokens == 64
    assert config(*words, "model=bert").task.max_answer_tokens == 30
    assert config(*words, "model=xlnet", "task.max_answer_tokens=20").task.max_answer_tokens == 20


def test_what_of_a_recipe_is_ours_is_said():
    assert config("recipe=auto", "model=debertav3", "task=squad_v2").recipe.source == (
        "arXiv 2006.03654, table 9 (ranges of the first version); "
        "ours: the choice within the ranges, 3 epochs, length 512"
    )
    assert "ours" not in (config("recipe=auto", "model=xlnet", "task=squad").recipe.source or "ours")


def test_values_on_the_command_line_and_of_an_experiment_win():
    train = config("recipe=auto", "task=rte", "train.epochs=2", "train.max_length=64").train
    assert (train.epochs, train.max_length, train.learning_rate) == (2, 64, 1e-5)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model=debertav3", "model.size=base", "task=rte"], "model.size=base task=rte; sizes: large"),
        (["model=minilm", "task=rte"], "models: bert, deberta, debertav2, debertav3, roberta"),
        (["model=bert", "task=demo", "data=demo"], "task=demo; tasks: cola"),
    ],
)
def test_what_is_not_published_is_said(overrides, said):
    with pytest.raises(ConfigError, match=said):
        config("recipe=auto", *overrides)


def test_recipe_original_is_the_original_script():
    assert identity.to_dict(config("recipe=original"))["train"] == identity.to_dict(config("train=original"))["train"]


def test_where_values_come_from_decides_nothing():
    by_hand = ["train.learning_rate=5.5e-6", "train.epochs=10", "train.batch_size=32", "train.warmup=50"]
    by_hand += ["train.max_length=64", "model.classifier_dropout=0.1"]
    assert identity.run_id(config("recipe=auto")) == identity.run_id(config(*by_hand))


@pytest.mark.parametrize(
    ("recipe", "model", "steps", "batch", "rate"),
    [
        ("rtd_deberta", "debertav3", 1_000_000, 256, 1e-4),
        ("rtd_deberta_xsmall", "debertav3", 1_000_000, 64, 3e-4),
        ("rtd_deberta_continue", "debertav3", 100_000, 256, 5e-5),
        ("mlm_deberta", "debertav2", 1_000_000, 32, 1e-4),
        ("mlm_bert", "bert", 1_000_000, 256, 1e-4),
        ("rtd_electra_base", "bert", 766_000, 256, 2e-4),
        ("rtd_electra_large", "bert", 400_000, 2048, 2e-4),
    ],
)
def test_recipes_of_pre_training_name_their_source_and_pass_the_checks(recipe, model, steps, batch, rate):
    assert "Source: " in (cli.conf_dir() / "recipe" / f"{recipe}.yaml").read_text()
    composed = config(f"recipe={recipe}", f"model={model}", f"task={recipe.partition('_')[0]}", "data=demo")
    checks.check(composed)
    assert composed.recipe.name == recipe
    assert composed.recipe.source
    train = composed.train
    assert (train.max_steps, train.batch_size, train.learning_rate) == (steps, batch, rate)


def test_electras_recipes_are_electras():
    base = config("recipe=rtd_electra_base", "model=bert", "model.size=base", "task=rtd", "data=demo").task
    large = config("recipe=rtd_electra_large", "model=bert", "model.size=large", "task=rtd", "data=demo").task
    assert (base.rtd_weight, base.masking.share, large.masking.share, base.masking.mask) == (50, 0.15, 0.25, 0.85)
    assert not base.steps_apart("bert")
