"""The command line as a user meets it: what is wrong is said in one message, before torch is imported."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from gifine import cli, train
from gifine.choices import GateSide
from gifine.compose import usage
from gifine.config import RunConfig
from gifine.errors import ConfigError, DataError, ExitCode


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
        (["task.labels=[false,true]"], "task.labels: false, true: no text; quote it"),
        (["task.labels=[1.0,0.0]"], 'task.labels: 1.0, 0.0: no text; quote it, as "no" or "1.0"'),
        (["task.labels=['1','1.0']"], "task.labels: '1' and '1.0' are the same number"),
        (["task.labels=[a,' b']"], "task.labels: ' b': a name is not empty and has no blanks at its ends"),
        (["task.inputs=[null]"], "task.inputs: null: no text; quote it"),
        (["task.submission_labels=[0,1]"], "task.submission_labels: 0, 1: no text; quote it"),
        (["task.splits.train.columns.label=true"], "task.splits.train.columns.label=true: no text; quote it"),
        (["task.inputs=[label]"], "task.inputs=['label'], task.label=label: 'label' is there twice"),
        (["task.inputs=[a,a]"], "'a' is there twice"),
        (["task.files.quoting=maybe"], "expected one of [auto, none, standard]"),
        (["--multirun", "task.labels=[[false,true],[a,b]]"], "no text; quote it"),
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
        (["task.labels=${seed}"], "error: "),
        (["task.splits=${seed}"], "error: "),
        (["task.splits.train=${task.hub}"], "error: "),
        (["task.splits.train.columns=${seed}"], "error: "),
        (["model.sizes=${seed}"], "Cannot assign int to Dict[str, SizeConfig]"),
        (["tracking=wandb", "tracking.project=a/b"], "tracking.project=a/b: has /, and wandb takes none of"),
        (["tracking=wandb", "tracking.entity=a:b"], "tracking.entity=a:b: has :, and wandb takes none of"),
        (["tracking=wandb", f"tracking.group={'g' * 129}"], "has 129 characters, wandb takes at most 128"),
        (["tracking=wandb", "tracking.project=' '"], "tracking.project: is empty"),
        (
            ["tracking=wandb", f"tracking.tags=['',{'t' * 65}]"],
            "tracking.tags: '' has 0 characters, wandb takes 1 to 64",
        ),
        (
            ["output_root=a=b"],
            """output_root=a=b: not of the form KEY=VALUE or GROUP=NAME; quote it: "output_root='a=b'\"""",
        ),
        (["hydra.launcher=slurm"], "which are chosen with a slash: hydra/launcher=slurm"),
        (["gi=glob(*)"], "gi=glob(*): several values need --multirun"),
        (["prefetch=/no/such"], "prefetch=/no/such: no such folder; python -m gifine.prefetch makes and fills it"),
        (["--config-dir", "/no/such"], "--config-dir /no/such: no such folder"),
        (
            ["--config-dir", ".", "--config-dir=docs"],
            "--config-dir: given more than once, of which the last would count",
        ),
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


LISTS = """
name: own
inputs: [off]
labels: [no, yes]
metrics: [1]
select_by: accuracy
hub: {path: own/data}
splits: {train: {hub: train, columns: {'off': 1.5, label: 3}}, validation: {hub: validation}}
"""


def test_yamls_own_truths_are_no_names(command, started, tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "own.yaml").write_text(LISTS)
    words = ["--config-dir", str(tmp_path), "task=own"]
    code, err = command(*words)
    assert code == ExitCode.BAD_INPUT
    assert [line.strip().split(": no text")[0] for line in err.splitlines()] == [
        "error:",
        "task.inputs: false",
        "task.labels: false, true",
        "task.metrics: 1",
        "task.splits.train.columns.off=1.5",
    ]
    quoted = LISTS.replace("[no, yes]", '["no", yes ]').replace("[off]", "['off']").replace("[1]", "[accuracy]")
    quoted = quoted.replace("yes ]", "'yes']").replace("1.5", "1")
    (tmp_path / "task" / "own.yaml").write_text(quoted)
    assert command(*words, "--cfg", "job")[0] == ExitCode.DONE
    assert command(*words)[0] == ExitCode.DONE
    task = started[0].task
    assert (task.inputs, task.labels) == (["off"], ["no", "yes"])
    assert task.splits["train"].columns == {"off": "1", "label": "3"}


def test_yamls_own_truths_are_no_columns(command, tmp_path):
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "own.yaml").write_text(LISTS.replace("'off': 1.5", "off: text"))
    _, err = command("--config-dir", str(tmp_path), "task=own")
    assert err == "error: task=own: Key False (bool) is incompatible with (str)\n"


def test_words_on_the_command_line_are_text(command, started):
    """Hydra's grammar has no truth values but true and false."""
    assert command("task.labels=[no,yes]")[0] == ExitCode.DONE
    assert started[0].task.labels == ["no", "yes"]


def test_what_wandb_would_refuse_is_fine_without_it(started, command):
    assert command("tracking.project=a/b")[0] == ExitCode.DONE
    assert command("tracking=wandb", f"tracking.tags=[{'t' * 64}]", f"tracking.group={'g' * 128}")[0] == ExitCode.DONE


def test_wandbs_own_variables_hold_where_no_key_is_given(monkeypatch):
    for name, value in {"MODE": "offline", "PROJECT": "p", "ENTITY": "e", "RUN_GROUP": "g"}.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    tracking = composed("tracking=wandb").tracking
    assert (tracking.mode.value, tracking.project, tracking.entity, tracking.group) == ("offline", "p", "e", "g")
    tracking = composed("tracking=wandb", "tracking.mode=online", "tracking.project=own").tracking
    assert (tracking.mode.value, tracking.project) == ("online", "own")
    monkeypatch.setenv("WANDB_MODE", "off")
    with pytest.raises(ConfigError, match=r"Invalid value 'off', expected one of \[online, offline, disabled\]"):
        composed("tracking=wandb")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("WANDB_PROJECT", "a?b")
    with pytest.raises(ConfigError, match=r"tracking\.project=a\?b: has \?"):
        composed("tracking=wandb")


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
