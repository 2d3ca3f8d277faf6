"""The ledger: which runs stand beside a published number, and what is said to differ."""

from __future__ import annotations

import pytest
import yaml

from gifine.compose.conf_dir import conf_dir
from gifine.objectives import metrics, squad_scores
from gifine.report.analysis import published
from gifine.report.analysis.published import Entry
from gifine.report.settings import GLUE, SQUAD
from gifine.runs import origin
from support.synthetic import BOTH, PLAIN, config, measures, read, record, sweep, write


def entries(root, *overrides: str, seeds=(1, 2, 3), **gate: object) -> list[Entry]:
    for seed in seeds:
        made = config(*overrides, seed=seed, **gate)
        write(root, record(made, [0.75 + 0.01 * seed] * len(measures(made))))
    return published.set_beside(read(root))


def test_ours_and_theirs(tmp_path):
    own, rerun = sorted(entries(tmp_path, "task=cola", "model=debertav3"), key=lambda each: len(each.column))
    assert (own.column, own.measure, own.theirs) == ("DeBERTaV3-L", "cola/validation/matthews", 0.753)
    assert (own.ours.n, own.ours.mean, own.difference) == (3, pytest.approx(0.77), pytest.approx(0.017))
    assert rerun.theirs == 0.723
    assert len(own.runs) == 3


def test_of_a_pair_of_metrics_the_published_one(tmp_path):
    found = entries(tmp_path, "task=stsb", "model=bert")
    assert [(each.column, each.measure) for each in found] == [("BERT-L", "stsb/validation/pearson")]
    both = entries(tmp_path / "mnli", "task=mnli", "model=debertav3", **BOTH)
    assert [(each.column, each.measure, each.theirs, each.their_spread) for each in both] == [
        ("giDeBERTaV3-L", f"mnli/validation_{part}/accuracy", 0.911, 0.001) for part in ("matched", "mismatched")
    ]


@pytest.mark.parametrize(
    "overrides",
    [
        ["task=rte", "model=debertav3", "model.size=base"],
        ["task=rte", "model=debertav3", "model.checkpoint=someone/deberta-v3-large"],
        ["task=rte", "model=debertav3", "model.random_init=true", "model.tokenizer=demo"],
        ["task=rte", "model=minilm"],
        ["task=wnli", "model=debertav3"],
        ["task=demo", "data=demo", "model=debertav3"],
    ],
)
def test_other_models_and_tasks_have_no_number(tmp_path, overrides):
    assert entries(tmp_path, *overrides) == []


def test_gates_on_other_models_have_none_either(tmp_path):
    assert entries(tmp_path, "task=rte", "model=roberta", **BOTH) == []


def test_data_of_ones_own_under_a_tasks_name_are_not_that_task(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").touch()
    words = ["task.files.train=a.csv", "task.files.validation=a.csv"]
    made = config("task=rte", "model=debertav3", *words)
    write(tmp_path / "runs", record(made, [], metrics={"rte/validation/accuracy": 0.9}))
    assert published.set_beside(read(tmp_path / "runs")) == []


def test_the_published_recipe_differs_in_nothing_that_is_known(tmp_path):
    own, *_ = entries(tmp_path, "task=cola", "model=debertav3", "recipe=auto")
    assert own.differing == []
    assert own.caveats == ["one number a task, from the table over models; of how many runs is not said"]


def test_published_steps_are_no_difference(tmp_path):
    found = entries(tmp_path, "task=squad_v2", "model=xlnet", "recipe=auto")
    (own,) = (each for each in found if "its own" in each.column and each.measure.endswith("best_f1"))
    assert own.differing == []
    for seed in (1, 2, 3):
        made = config("task=squad_v2", "model=xlnet", "recipe=auto", "task.max_answer_tokens=30", seed=seed)
        write(tmp_path / "shorter", record(made, [0.8] * len(measures(made))))
    entry = published.set_beside(read(tmp_path / "shorter"))[-1]
    assert entry.differing == ["task.max_answer_tokens 30, theirs 64"]


@pytest.mark.parametrize(("model", "task"), [("debertav3", "squad_v2"), ("xlnet", "rte")])
def test_settings_that_are_not_published_are_said_to_be_unknown(tmp_path, model, task):
    found = entries(tmp_path, f"task={task}", f"model={model}", "recipe=auto")
    assert {each.column: each.differing for each in found}
    assert all(each.differing == ["their settings are not published, or not all"] for each in found)


@pytest.mark.parametrize(
    ("overrides", "gate", "said"),
    [
        (["train.epochs=3"], PLAIN, "train.epochs 3, theirs 10"),
        (["model.revision=main"], PLAIN, "model.revision main"),
        (["data.max_train_rows=1000"], PLAIN, "data.max_train_rows 1000"),
        (["evaluate.split_dev=true"], PLAIN, "evaluate.split_dev true"),
        ([], BOTH | {"level": 0.9}, "gi.level 0.9, theirs 0.1 or 0.3"),
        (["gi.threshold=token"], BOTH, "gi.threshold token, theirs batch"),
        (["train.epochs=3"], BOTH, "train.epochs 3, theirs 10 or 40"),
    ],
)
def test_what_differs_is_said(tmp_path, overrides, gate, said):
    words = ["task=cola", "model=debertav3", "recipe=auto", *overrides]
    made = config(*words, **gate)
    half = "_report" if made.evaluate.split_dev else ""
    write(tmp_path, record(made, [], metrics={f"cola/validation{half}/matthews": 0.7}))
    found = published.set_beside(read(tmp_path))[0]
    assert said in found.differing
    assert "ours is one seed" in found.differing


def test_the_grid_behind_the_gated_numbers_is_said(tmp_path):
    (found,) = entries(tmp_path, "task=cola", "model=debertav3", **BOTH)
    assert any("best of a grid" in each for each in found.caveats)
    assert any("quoted from the table over models, not re-run" in each for each in found.caveats)


@pytest.mark.parametrize(
    ("model", "column", "said"),
    [
        ("deberta", "DeBERTa-L", ["theirs from weights trained on MNLI first"]),
        ("deberta", "DeBERTa-L, over seeds", ["theirs perhaps from weights trained on MNLI first"]),
        ("debertav2", "DeBERTaV2-XL", ["theirs from weights trained on MNLI first"]),
        ("roberta", "RoBERTa-L", ["theirs perhaps from weights trained on MNLI first"]),
        ("debertav3", "DeBERTaV3-L", []),
        ("bert", "BERT-L", []),
    ],
)
def test_a_footnote_says_whose_scores_are_after_mnli(tmp_path, model, column, said):
    found = entries(tmp_path, "task=rte", f"model={model}", *(["model.size=large"] if model == "deberta" else []))
    differing = next(each for each in found if each.column == column).differing
    assert [each for each in differing if "MNLI" in each] == said
    cola = entries(tmp_path / "cola", "task=cola", f"model={model}")
    assert not any("MNLI" in said for each in cola for said in each.differing)


@pytest.mark.parametrize(
    ("model", "column", "differs"),
    [("deberta", "DeBERTa-L", False), ("deberta", "DeBERTa-L, over seeds", True), ("debertav3", "DeBERTaV3-L", True)],
)
def test_ours_after_mnli_differs_from_theirs_unless_they_were_as_well(tmp_path, model, column, differs):
    made = record(config("task=rte", f"model={model}", **PLAIN), [0.9])
    made.config["model"]["init_from"] = "somewhere/mnli"
    write(tmp_path, made)
    found = published.set_beside(read(tmp_path))
    differing = next(each for each in found if each.column == column).differing
    assert any("model.init_from" in each for each in differing) is differs
    assert not any("theirs" in each and "MNLI" in each for each in differing)


@pytest.mark.parametrize(("task", "differs"), [("mnli", False), ("qnli", True), ("mnli (mine)", True)])
def test_a_run_before_is_known_by_its_task(tmp_path, task, differs):
    before = record(config("task=mnli", "model=deberta", **PLAIN), [])
    before.config["task"]["name"] = task
    made = record(config("task=rte", "model=deberta", "model.size=large", **PLAIN), [0.9])
    made.provenance["init_from"] = {"run_id": before.run_id, **origin.as_parent(vars(before))}
    write(tmp_path, made)
    found = published.set_beside(read(tmp_path))
    differing = next(each for each in found if each.column == "DeBERTa-L").differing
    assert any("model.init_from" in each for each in differing) is differs


def test_a_model_has_a_number_over_models_and_one_over_seeds(tmp_path):
    found = {each.column: each for each in entries(tmp_path, "task=rte", "model=deberta")}
    assert (found["DeBERTa-L"].theirs, found["DeBERTa-L"].their_spread) == (0.91, None)
    assert (found["DeBERTa-L, over seeds"].theirs, found["DeBERTa-L, over seeds"].their_spread) == (0.866, 0.01)
    (base,) = entries(tmp_path / "base", "task=mnli", "model=deberta", "model.size=base")[:1]
    assert (base.column, base.theirs, base.their_spread) == ("DeBERTa-B, over seeds", 0.888, 0.002)


def test_f1_and_spearman_stand_beside_where_they_were_published(tmp_path):
    found = entries(tmp_path, "task=mrpc", "model=debertav2")
    assert [(each.column, each.measure, each.theirs) for each in found] == [
        ("DeBERTaV2-XL", "mrpc/validation/accuracy", 0.92),
        ("DeBERTaV2-XL", "mrpc/validation/f1", 0.942),
    ]
    found = entries(tmp_path / "stsb", "task=stsb", "model=deberta")
    assert {each.measure for each in found if each.column == "DeBERTa-L"} == {
        "stsb/validation/pearson",
        "stsb/validation/spearman",
    }


def test_the_recipe_is_that_of_the_published_size(tmp_path):
    (found,) = entries(tmp_path, "task=cola", "model=debertav2", "recipe=auto")
    assert found.differing == []


def test_the_data_file_names_models_tasks_and_metrics_that_there_are():
    data = yaml.safe_load(published.SOURCE.read_text(encoding="utf-8"))
    sizes = [
        yaml.safe_load(path.read_text())["sizes"]
        for path in (conf_dir() / "model").glob("*.yaml")
        if "sizes" in path.read_text()
    ]
    checkpoints = {size["checkpoint"] for each in sizes for size in each.values()}
    known = {key for each in (config(), config(**BOTH)) for key in _keys(each)}
    for column in data["columns"]:
        assert column["checkpoints"][0] in checkpoints
        assert column["source"] in published._SOURCES
        assert column.get("after_mnli") in (None, *published._THEIRS)
        assert set(column["scores"]) <= {*GLUE, *SQUAD}
        assert set(column.get("settings", {})) <= known
        assert ("recipe" in column) != ("settings" in column)
        assert "recipe" not in column or (conf_dir() / "recipe" / "published" / f"{column['recipe']}.yaml").is_file()
        for task, scores in column["scores"].items():
            splits = config(f"task={task}").task.evaluation_splits
            for name, number in scores.items():
                split, _, metric = name.partition("/")
                assert split in splits
                assert metric in {**metrics.METRICS, **dict.fromkeys((*squad_scores.V1, *squad_scores.V2))}
                assert 60 <= (number[0] if isinstance(number, list) else number) <= 100


def _keys(made) -> set[str]:
    return {f"{name}.{key}" for name in ("gi", "train", "model") for key in vars(getattr(made, name))}


def test_settings_that_differ_are_rows_of_their_own(tmp_path):
    for epochs in (3, 10):
        sweep(tmp_path, lambda made: [0.7], tasks=("cola",), gates=(PLAIN,), overrides=[f"train.epochs={epochs}"])
    found = [each for each in published.set_beside(read(tmp_path)) if each.column == "DeBERTaV3-L"]
    assert [(each.extra, each.ours.n) for each in found] == [({"train.epochs": 3.0}, 5), ({"train.epochs": 10.0}, 5)]
