"""Grids: what is composed once for many runs equals what Hydra composes for each, in seconds and without torch."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gifine import cli
from gifine.choices import GateSide
from gifine.compose import composition, grid
from gifine.errors import ConfigError

FEW = settings(max_examples=settings().max_examples // 12)  # each composes several runs
AXES = {  # each with values that are fine, that only Hydra can place, and that are wrong
    "model": ["bert", "debertav3", "minilm", "deberta-large", "bret"],
    "gi": ["none", "both", "{side: key}"],
    "task": ["cola", "rte", "stsb"],
    "train": ["base", "seed"],
    "recipe": ["none", "auto", "seed"],
    "model.size": ["base", "large", "huge"],
    "gi.side": ["none", "key", "left", "${gi.init}"],
    "gi.level": ["0", "0.3", ".5", "30", "nan", "high", "${train.warmup}", "${.init}"],
    "gi.layers": ["null", "3", "25", "2.5", "true"],
    "seed": ["1", "2", "-1", "null", "'3'", "${gi.layers}", "???"],
    "train.epochs": ["1", "2.5", "${seed}", "'${seed}'", "0"],
    "train.warmup": ["0", "50", "0.1"],
    "train.max_length": ["64", "600"],
    "task.label": ["label", "x y", "null", "1", "${task.name}"],
    "task.labels": ["[a,b]", "[]"],
    "model.config_overrides": ["{num_hidden_layers: 2}", "{}"],
    "model.config_overrides.num_hidden_layers": ["2", "0", "${seed}"],
    "model.name": ["bert", "${task.name}"],
    "data": ["hub", "demo", "{source: hub}"],
    "output_root": ["a", "${oc.env:HOME}/runs", "runs/${task.name}", "${now:%Y}"],
    "evaluate": ["{split_dev: true}"],
    "evaluate.split_dev": ["true", "false"],
    "deterministic": ["true", "null"],
    "search.trial": ["0", "3", "-1", "null"],
    "search.seed": ["1"],
    "search.space.train": ["{warmup: {low: 0, high: 0.2}, epochs: {values: [1, 2]}}", "{warmup: 3}"],
    "hydra.job.name": ["x"],
}
WORDS = st.sampled_from(sorted(AXES)).flatmap(
    lambda key: st.builds("{}{}={}".format, st.sampled_from(["", "", "", "", "+", "++"]), st.just(key), VALUES[key])
)
VALUES = {key: st.sampled_from(values) for key, values in AXES.items()}
RUNS = st.lists(st.lists(WORDS | st.sampled_from(["~gi", "~gi.level", "~seed", "recipe=auto"]), max_size=5), max_size=4)


def one_by_one(runs: list[list[str]]) -> list[str] | set[str]:
    """What the configs, or else the problems, of these runs are when Hydra composes each."""
    found, problems = [], set()
    for words in runs:
        try:
            found.append(repr(composition.config_from(composition.compose(words), words)))
        except ConfigError as error:
            problems.update(error.problems)
        except Exception as error:  # Hydra lets through whatever its parts raise
            problems.add(composition.unwrap(error))
    return problems or found


def together(runs: list[list[str]]) -> list[str] | set[str]:
    try:
        return [repr(config) for config in cli.configs(runs)]
    except ConfigError as error:
        return set(error.problems)


@FEW
@given(RUNS)
@example([["++gi.level=0.3", "gi.level=0.1"], ["++gi.level=0.3", "gi.level=0.9"]])
@example([["gi.level=0.1", "++gi.level=0.3"], ["gi.level=0.9", "++gi.level=0.3"]])
@example([["evaluate.split_dev=true", "evaluate={split_dev: false}"], ["evaluate.split_dev=false"]])
@example([["recipe=auto", f"task={task}", f"model.size={size}"] for task in ("cola", "rte") for size in ("large", "x")])
@example([["seed=1", "gi.layers=${seed}"], ["seed=2", "gi.layers=${seed}"], ["seed=1", "gi.layers=${seed}"]])
@example([["seed=1", "gi.level=${.layers}", "gi.layers=1"], ["seed=1", "gi.level=${.layers}", "gi.layers=0"]])
@example([["model.name=bert", "output_root=${model}"], ["model.name=roberta", "output_root=${model}"]])
@example([["~gi", "gi.side=key", "gi.level=0.1"], ["~gi", "gi.side=key", "gi.level=0.2"], ["~gi", "gi.side=none"]])
@example([["gi.level=30"], ["gi.level=0.3"], ["gi.level=40"]])
def test_configs_are_what_hydra_composes_for_each(runs):
    assert together(runs) == one_by_one(runs)


@pytest.mark.long
@settings(FEW, max_examples=FEW.max_examples // 2)
@given(  # a fault shows between two values of two or three keys; more of them are more to compose
    st.lists(st.sampled_from(sorted(AXES)), min_size=1, max_size=3, unique=True).flatmap(
        lambda keys: st.fixed_dictionaries(
            {key: st.lists(VALUES[key], min_size=1, max_size=2, unique=True) for key in keys}
        )
    )
)
def test_sweeps_are_what_hydra_composes_for_each(axes):
    runs = [list(run) for run in itertools.product(*([f"{key}={value}" for value in axes[key]] for key in axes))]
    assert together(runs) == one_by_one(runs)


def test_a_group_of_ones_own_that_is_called_like_a_key(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "output_root").mkdir()
    for name in ("one", "two"):
        (tmp_path / "output_root" / f"{name}.yaml").write_text(f"# @package _global_\noutput_root: disk {name}\n")
    (tmp_path / "experiment" / "own.yaml").write_text("# @package _global_\ndefaults:\n  - /output_root: one\n")
    runs = [["experiment=own", f"output_root={name}"] for name in ("one", "two")]
    assert [config.output_root for config in cli.configs(runs, str(tmp_path))] == ["disk one", "disk two"]


def test_configs_do_not_share_what_can_be_changed():
    first, second = cli.configs([["seed=1"], ["seed=2"]])
    first.task.metrics.append("f1")
    first.gi.side = GateSide.none
    assert second.task.metrics == ["matthews"]
    assert second.gi.side is GateSide.both


GRID = [
    "model=bert,roberta,deberta,debertav3",
    "gi.side=none,key,query,both",
    "gi.level=0,0.1,0.3,0.9",
    "seed=range(0,32)",
]


@pytest.mark.integration
def test_two_thousand_runs_are_few_compositions_without_torch():
    """Each takes a tenth of a second. In a process of its own, since this one has torch."""
    program = (
        "import sys\n"
        "from gifine.compose import grid\n"
        "compose, calls = grid.compose, []\n"
        "grid.compose = lambda *words, **how: calls.append(1) or compose(*words, **how)\n"
        "runs = grid.expand(sys.argv[1:])\n"
        "assert 0 < len(calls) < 20, len(calls)\n"
        "assert len(runs) == 2048, len(runs)\n"
        "assert len(grid.distinct(runs)) == 4 * (1 + 3 * 4) * 32\n"
        "heavy = {'torch', 'transformers', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *GRID], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_thousands_of_wrong_runs_are_few_compositions_too(monkeypatch):
    compose, calls = grid.compose, []
    monkeypatch.setattr(grid, "compose", lambda *words, **how: calls.append(1) or compose(*words, **how))
    with pytest.raises(ConfigError) as error:
        grid.expand([*GRID[:3], "seed=range(0,8)", "gi.init=normal,uniform", "train.batch_size=0"])
    assert 0 < len(calls) < 20
    assert [problem.split(":")[0] for problem in error.value.problems] == [
        "gi.init=normal,uniform",
        "train.batch_size=0",
    ]


def test_problems_of_values_that_are_wrong_together_are_told():
    with pytest.raises(ConfigError) as error:
        grid.expand(["task=cola,rte", "data=hub,demo", "model=bert", "task.hub.path=x"])
    assert error.value.problems == (
        "data=demo: generates sentences for task=demo, not for task=cola",
        "data=demo: generates sentences for task=demo, not for task=rte",
    )


def test_the_sweep_of_an_experiment_is_expanded_unless_overruled(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      gi.side: none,key\n      seed: 1,2,3\n"
    )

    def cells(*words: str) -> list[tuple[str, int]]:
        runs = grid.expand(["experiment=own", *words], str(tmp_path))
        return [(run.config.gi.side.value, run.config.seed) for run in runs]

    assert cells() == [(side, seed) for side in ("none", "key") for seed in (1, 2, 3)]
    assert cells("seed=7") == [("none", 7), ("key", 7)]
    assert cells("gi.side=both,query", "seed=7") == [("both", 7), ("query", 7)]


GRIDS = {
    "one": "hydra:\n  sweeper:\n    params:\n      gi.side: none,key\n      seed: 1,2\n",
    "two": "hydra:\n  sweeper:\n    params:\n      gi.level: 0,0.1,0.3\nseed: 9\n",
    "plain": "seed: 7\n",
    "slurm": "defaults:\n  - override /hydra/launcher: slurm\n",
    "long": "defaults:\n  - override /hydra/launcher: slurm\nhydra:\n  launcher:\n    timeout_min: 99\n",
}


@pytest.fixture
def own(tmp_path) -> str:
    """A folder of experiments: grids, and such that name a launcher."""
    (tmp_path / "experiment").mkdir()
    for name, text in GRIDS.items():
        (tmp_path / "experiment" / f"{name}.yaml").write_text(f"# @package _global_\n{text}")
    return str(tmp_path)


def test_of_several_experiments_each_brings_its_sweep(own):
    def cells(*words: str) -> list[tuple[str, float, int]]:
        runs = grid.expand(list(words), own)
        return [(run.config.gi.side.value, run.config.gi.level, run.config.seed) for run in runs]

    one = [(side, 0.3, seed) for side in ("none", "key") for seed in (1, 2)]
    two = [("both", level, 9) for level in (0, 0.1, 0.3)]
    assert cells("experiment=one,two,plain") == [*one, *two, ("both", 0.3, 7)]
    assert cells("experiment=two,one", "seed=5", "gi.level=0.9") == [
        ("both", 0.9, 5),
        ("none", 0.9, 5),
        ("key", 0.9, 5),
    ]
    assert len(cells("experiment=one,two", "task=cola,rte")) == 2 * (4 + 3)
    with pytest.raises(ConfigError, match="experiment=tow: no such choice"):
        cells("experiment=one,tow")
    with pytest.raises(ConfigError, match=r"^gi\.layers=25: the model has 24 layers$"):
        cells("experiment=one,two", "gi.layers=25")


def test_a_launcher_that_one_of_several_experiments_names_is_not_forgotten(own):
    with pytest.raises(ConfigError) as error:
        grid.expand(["experiment=one,slurm,long", "seed=1,2"], own)
    said = "{} hydra/launcher=slurm is not used, since experiment=one,slurm,long are several: give hydra/launcher=slurm"
    first, second = error.value.problems
    assert first.startswith(said.format("experiment=slurm: its"))
    assert second.startswith(said.format("experiment=long: its"))
    assert len(grid.expand(["experiment=one,slurm", "hydra/launcher=slurm"], own)) == 5
    with pytest.raises(ConfigError, match="experiment=long: its hydra/launcher=slurm is not used"):
        grid.expand(["experiment=slurm,long", "hydra/launcher=slurm"], own)
    words = ["experiment=slurm,long", "hydra/launcher=slurm", "hydra.launcher.timeout_min=5"]
    assert len(grid.expand(words, own)) == 2
    assert len(grid.expand(["experiment=long"], own)) == 1


def test_patterns_stand_for_the_names_of_a_group():
    assert [run.overrides for run in grid.expand(["model=glob(bert*)", "seed=1,2"])] == [
        [f"model={model}", f"seed={seed}"] for model in ("bert", "bert-large") for seed in (1, 2)
    ]
    assert grid.expand(["gi=glob(q*)"])[0].config.gi.side is GateSide.query


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("gi=glob(x*)", "fits none of both, key, none, query"),
        ("gi.side=glob(*)", "glob stands for names of a config group, and gi.side is none; give the values"),
    ],
)
def test_patterns_that_stand_for_nothing(word, said):
    with pytest.raises(ConfigError) as error:
        grid.expand([word])
    assert error.value.problems == (f"{word}: {said}",)
