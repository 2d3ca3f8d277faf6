"""The command line as a user meets it: what is wrong is said in one message, before torch is imported."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from gifine import cli, train, usage
from gifine.config import GateSide, RunConfig
from gifine.errors import ConfigError, DataError, ExitCode


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Call the command line in this process; returns its exit code and what it said on stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["gifine", *words])
        code = cli.main()
        return code, capsys.readouterr().err

    return call


@pytest.fixture
def started(monkeypatch) -> list[RunConfig]:
    """The configs that would have been trained."""
    configs: list[RunConfig] = []

    def run(config: RunConfig) -> ExitCode:
        configs.append(config)
        return ExitCode.DONE

    monkeypatch.setattr(train, "run", run)
    return configs


def composed(*overrides: str) -> RunConfig:
    return cli.config_from(cli.compose(list(overrides)))


def test_first_command_composes():
    config = composed("model=debertav3", "gi.level=0.3", "task=cola")
    assert config.model.sizes[config.model.size].checkpoint == "microsoft/deberta-v3-large"
    assert (config.gi.side, config.gi.level, config.gi.layers) == (GateSide.both, 0.3, None)
    assert config.task.metrics == ["matthews"]


@pytest.mark.parametrize("model", [path.stem for path in (cli.conf_dir() / "model").glob("*.yaml")])
@pytest.mark.parametrize("recipe", [path.stem for path in (cli.conf_dir() / "train").glob("*.yaml")])
def test_every_model_and_recipe_composes(model, recipe):
    composed(f"model={model}", f"train={recipe}")


@pytest.mark.parametrize("task", [path.stem for path in (cli.conf_dir() / "task").glob("*.yaml")])
def test_every_task_composes(task):
    assert composed(f"task={task}", *(["data=demo"] if task == "demo" else [])).task.name == task


@pytest.mark.parametrize("side", ["none", "key", "query", "both"])
def test_every_side_composes(side):
    assert composed(f"gi={side}").gi.side is GateSide[side]


@pytest.mark.parametrize("experiment", [path.stem for path in (cli.conf_dir() / "experiment").glob("*.yaml")])
def test_every_experiment_composes(experiment):
    composed(f"experiment={experiment}")


@pytest.mark.parametrize(
    ("name", "checkpoint"),
    [
        ("bert-large", "google-bert/bert-large-uncased"),
        ("roberta-large", "FacebookAI/roberta-large"),
        ("deberta-large", "microsoft/deberta-large"),
        ("deberta-v3-large", "microsoft/deberta-v3-large"),
    ],
)
def test_published_names_are_the_large_models(name, checkpoint):
    model = composed(f"model={name}").model
    assert model.sizes[model.size].checkpoint == checkpoint


def test_config_overrides_take_any_key_in_both_spellings(started, command):
    for word in ("model.config_overrides={num_hidden_layers: 2}", "model.config_overrides.num_hidden_layers=2"):
        assert command("model.random_init=true", word, "model.tokenizer=demo")[0] == 0
    assert [config.model.config_overrides for config in started] == [{"num_hidden_layers": 2}] * 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gi.levle=0.3"], "gi.levle: no such key (did you mean 'level'?); valid: side, level"),
        (["model=debertav4"], "model=debertav4: no such choice (did you mean 'debertav3'?); valid: bert, "),
        (["gi.level=high"], "gi.level=high: Value 'high' of type 'str' could not be converted to Float"),
        (["gi.side=left"], "gi.side=left: Invalid value 'left', expected one of [none, key, query, both]"),
        (["gi.layers=2.5"], "gi.layers=2.5: Value '2.5' of type 'float' could not be converted to Integer"),
        (["gi.level=30"], "gi.level=30: a fraction of the maximum, 0 … 1 (did you mean 0.3?)"),
        (["gi.layers=0"], "gi.layers=0: number of last layers"),
        (["gi.layers=25"], "gi.layers=25: the model has 24 layers"),
        (["gi.level=0,0.1"], "gi.level=0,0.1: several values need --multirun"),
        (["gi"], "gi: not of the form KEY=VALUE or GROUP=NAME"),
        (["++speed=3"], "speed: no such key"),
        (["~gi"], "gi.side: has no value; choose gi=both|key|none|query"),
        (["model.size=huge"], "model.size=huge: model=debertav3 has no such size; valid: xsmall, small, base, large"),
        (["model.checkpoint=/no/such"], "model.checkpoint=/no/such: folder /no/such does not exist"),
        (["model.checkpoint=package:no_such/model"], "the Python package no_such is not installed"),
        (["model.family=gpt"], "model.family=gpt: no such family; valid: bert, deberta, deberta_v2, roberta"),
        (["model.tokenizer=demo"], "it goes with model.random_init=true"),
        (["model.config_overrides.num_hidden_layers=0"], "must be a whole number of at least 1"),
        (["model.config_overrides.num_attention_heads=5"], "hidden_size 1024 is no multiple"),
        (["task=rte", "data=demo"], "data=demo: generates sentences for task=demo, not for task=rte"),
        (["task=demo"], "task=demo: goes with data=demo"),
        (["data=glue_dir"], "data=glue_dir: needs data.dir=FOLDER"),
        (["data=glue_dir", "data.dir=/no/such"], "data.dir=/no/such: no such folder"),
        (["task.files.train=/no/such.csv"], "task.files.validation: missing"),
        (["task.metrics=[mathews]"], "metric mathews: no such metric (did you mean 'matthews'?)"),
        (["task=stsb", "task.metrics=[accuracy]"], "metric accuracy needs classes; for regression: pearson, spearman"),
        (["task.select_by=f1"], "task.select_by=f1: must be one of task.metrics=['matthews']"),
        (["task.labels=[yes]"], "two or more different names"),
        (["train.learning_rate=nan"], "train.learning_rate=nan: must be above 0"),
        (["train.warmup=10.5"], "train.warmup=10.5: a fraction below 1, or a whole number of steps"),
        (["train.evaluate=steps"], "train.evaluate=steps: needs train.evaluate_steps"),
        (["train.evaluate=end"], "train.select_best=true: needs train.evaluate=epoch or steps"),
        (["model=bert", "train.max_length=600"], "train.max_length=600: the model takes at most 512 word pieces"),
        (["model=roberta", "train.max_length=513"], "the model takes at most 512 word pieces"),
        (["train.precision=fp8"], "expected one of [auto, fp32, bf16]"),
        (["seed=-1"], "seed=-1: must be in 0"),
        (["model.name=${nope}"], "Interpolation key 'nope' not found"),
        (["train.epochs=${task.name}"], "Value 'cola' of type 'str' could not be"),
        (["model.sizes=${seed}"], "Cannot assign int to Dict[str, SizeConfig]"),
        (["prefetch=/no/such"], "prefetch=/no/such: no such folder; python -m gifine.prefetch makes and fills it"),
        (["--config-dir", "/no/such"], "--config-dir /no/such: no such folder"),
        (["--multirun", "gi.level=0,30"], "gi.level=30: a fraction"),
        (["--multirun", "gi.side=key,left"], "gi.side=key,left: Invalid value 'left'"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(command, started, words, said):
    code, err = command(*words)
    assert code == ExitCode.BAD_INPUT
    assert err.startswith("error: ") or err.startswith("error:\n")
    assert said in err
    assert "Traceback" not in err
    assert not started, "nothing may be trained on bad input"


def test_all_problems_are_reported_at_once(command):
    _, err = command("gi.levle=1", "model=bret", "task=colla", "gi.level=30", "train.batch_size=0")
    assert [line.split(":")[0].strip() for line in err.splitlines()] == [
        "error",
        "gi.levle",
        "model=bret",
        "task=colla",
        "gi.level=30",
        "train.batch_size=0",
    ]


def test_full_error_shows_the_traceback(command, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(ConfigError, match=r"gi\.level=30"):
        command("gi.level=30")


def test_nothing_is_written_for_bad_input(command, tmp_path):
    command("gi.level=30")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_run_does_not_stop_a_sweep(command, monkeypatch):
    seeds = []

    def run(config: RunConfig) -> ExitCode:
        seeds.append(config.seed)
        if config.seed == 1:
            raise DataError("row 3 is broken")
        if config.seed == 2:
            raise RuntimeError("a bug")
        return ExitCode.DONE

    monkeypatch.setattr(train, "run", run)
    code, err = command("--multirun", "seed=1,2,3")
    assert seeds == [1, 2, 3]
    assert code == ExitCode.BAD_INPUT
    assert "error: row 3 is broken" in err
    assert "RuntimeError: a bug" in err


def test_ctrl_c_exits_as_interrupted(command, monkeypatch):
    def run(config: RunConfig) -> ExitCode:
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "run", run)
    assert command("seed=1") == (ExitCode.INTERRUPTED, "interrupted by Ctrl-C; the same command goes on\n")


def test_help_lists_every_choice(tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").touch()
    listed = usage.text(["--config-dir", str(tmp_path), "task=cola", "-h"])
    assert listed is not None
    lines = dict(line.split(": ") for line in listed.splitlines() if re.match(r"[a-z/]+: ", line))
    for group in ("data", "experiment", "gi", "model", "recipe", "task", "tracking", "train", "hydra/launcher"):
        names = {path.stem for path in (cli.conf_dir() / group).glob("*.yaml")} | (
            {"mine"} if group == "task" else set()
        )
        assert set(lines[group].split(", ")) == names
    assert usage.text(["task=cola"]) is None


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"], ["--info", "searchpath"], ["gi.level=30"]])
def test_start_up_is_light(words):
    """Without torch and the like; in a process of its own, since this one has them."""
    program = (
        "import sys\n"
        "from gifine.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'datasets', 'evaluate', 'wandb', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
