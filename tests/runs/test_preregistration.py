"""Plans as files: what is written is what is read, and nothing else is taken for one."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gifine.errors import OutputError, PlanError
from gifine.runs import preregistration
from gifine.runs.preregistration import Hypothesis, Preregistration
from gifine.runs.records import Record

PLAN = Preregistration(
    written=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    gifine="0.1.0",
    command=["gifine", "--multirun", "task=rte,cola", "gi.side=none,both", "data.dir='a b=ü'"],
    margin=0.5,
    alpha=0.05,
    primary=[{"gi.side": "both", "gi.level": "1e-05"}],
    seeds=[1, 2],
    tasks={"rte": "validation/accuracy", "no": "validation/matthews"},
    hypotheses=[
        Hypothesis("deberta-v3-large", "rte", {"gi.side": "both", "gi.level": 1e-5, "gi.layers": None}, {}, True),
        Hypothesis("deberta-v3-large", "no", {"gi.side": "key"}, {"train.learning_rate": 2e-5}, False),
    ],
    runs={"0123456789ab": "rte_deberta_plain_s1", "123456789012": "no_deberta_both-0.3_s2", "1e2345678901": "x"},
    finished_before=["123456789012"],
)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "PLAN.yaml"
    sha256 = preregistration.write(PLAN, path)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert preregistration.read(path) == replace(PLAN, path=str(path), sha256=sha256)
    assert preregistration.text(PLAN).encode() == path.read_bytes()


def test_it_is_short_and_for_people():
    lines = preregistration.text(PLAN).splitlines()
    assert "margin: 0.5" in lines
    assert "  0123456789ab: rte_deberta_plain_s1" in lines
    assert "- {gi.side: both, gi.level: 1e-05}" in lines
    assert len(lines) == 23


def test_a_plan_is_never_replaced(tmp_path):
    path = tmp_path / "PLAN.yaml"
    preregistration.write(PLAN, path)
    with pytest.raises(OutputError, match="never replaced"):
        preregistration.write(PLAN, path)
    with pytest.raises(OutputError, match="No such file or directory; give --preregister another FILE"):
        preregistration.write(PLAN, tmp_path / "nowhere" / "PLAN.yaml")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("margin: 0.5", "margin: 0.6"), "altered"),
        (lambda text: text + "more: 1\n", "altered"),
        (lambda text: text.replace("version: 1", "version: 2"), "version 2, this gifine reads 1"),
        (lambda text: text.replace("{gi.side", "{{gi.side"), "no YAML"),
        (lambda text: "- 1\n", "no plan"),
        (lambda text: "", "no plan"),
        (lambda text: "\0", "no YAML"),
        (lambda text: text.partition("checksum")[0], "no plan"),
    ],
)
def test_anything_else_is_refused(tmp_path, change, said):
    path = tmp_path / "PLAN.yaml"
    path.write_text(change(preregistration.text(PLAN)))
    with pytest.raises(PlanError, match=said):
        preregistration.read(path)


@pytest.mark.parametrize("value", ["margin: much", "seeds: [a]", "hypotheses: [{model: 1}]", "runs: 3", "written: 1"])
def test_right_checksum_and_wrong_values(tmp_path, value):
    key = value.partition(":")[0]
    kept = [
        line for line in preregistration.text(PLAN).splitlines() if not line.startswith((key, "checksum", "- ", " "))
    ]
    body = "\n".join([*kept, value]) + "\n"
    path = tmp_path / "PLAN.yaml"
    path.write_text(f"{body}checksum: {hashlib.sha256(body.encode()).hexdigest()}\n")
    with pytest.raises(PlanError, match="not a plan as gifine writes them"):
        preregistration.read(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"margin": 0.005}, "margin 0.005: points of percent, at least 0.05 and below 100, such as 0.5"),
        ({"margin": 100.0}, "margin 100: points of percent"),
        ({"alpha": 0.5}, "alpha 0.5: verdicts are at 0.05"),
        ({"primary": [{"nope": "1"}]}, "primary nope=1: no config has a key nope"),
        ({"primary": [{"gi.side": "query"}]}, "primary gi.side=query: is none of its 2 hypotheses that are primary"),
        ({"hypotheses": []}, "has no hypotheses"),
        ({"runs": {}}, "has no runs"),
        ({"written": datetime(2026, 1, 2)}, "written 2026-01-02T00:00:00: has no time zone"),
    ],
)
def test_what_nobody_could_have_meant_is_refused(tmp_path, change, said):
    path = tmp_path / "PLAN.yaml"
    preregistration.write(replace(PLAN, **change), path)
    with pytest.raises(PlanError) as caught:
        preregistration.read(path)
    assert str(caught.value).startswith(f"{path}: {said}")


def test_values_of_primary_are_compared_and_not_their_spelling(tmp_path):
    path = tmp_path / "PLAN.yaml"
    preregistration.write(
        replace(PLAN, primary=[{"gi.side": "both", "gi.level": "0.00001"}], seeds=[1, "1 order=3"]), path
    )
    assert preregistration.read(path).seeds == [1, "1 order=3"]


def test_no_file_is_named():
    with pytest.raises(PlanError, match=r"^: names no file; plan=null where there is none$"):
        preregistration.read("")


def test_a_folder_and_nothing_are_refused(tmp_path):
    with pytest.raises(PlanError, match="no such file"):
        preregistration.read(tmp_path / "PLAN.yaml")
    with pytest.raises(PlanError, match="cannot be read: Is a directory"):
        preregistration.read(tmp_path)


def test_a_file_that_has_changed_is_read_again(tmp_path):
    path = tmp_path / "PLAN.yaml"
    preregistration.write(PLAN, path)
    assert preregistration.read(path).margin == 0.5
    path.unlink()
    preregistration.write(replace(PLAN, margin=0.75), path)
    assert preregistration.read(path).margin == 0.75


def test_a_record_has_the_hash_and_when_the_first_attempt_was_started(tmp_path):
    path = tmp_path / "PLAN.yaml"
    sha256 = preregistration.write(PLAN, path)
    first = Record("0123456789ab", "", {}, started="2026-01-01T00:00:00+00:00")
    assert preregistration.note(first, None, None) is None
    assert first.provenance == {}
    second = Record("0123456789ab", "", {}, started="2026-01-03T00:00:00+00:00")
    assert preregistration.note(second, first, str(path)) is None
    third = Record("ffffffffffff", "", {})
    assert preregistration.note(third, second, str(path)) == f"it is not among the 3 runs of {path}"
    plan = {"sha256": sha256, "written": "2026-01-02T03:04:05+00:00", "path": str(path), "deviates": None}
    assert second.provenance == {"begun": first.started, "plan": plan}
    assert third.provenance["begun"] == first.started
    assert third.provenance["plan"]["deviates"] is not None
