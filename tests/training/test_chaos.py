"""Training that is killed at random moments, its checkpoints harmed between attempts, ends as if nothing had happened.

    make chaos                                             at least 50 kills; `make test-all` makes a handful
    GIFINE_CHAOS_SEED=7 GIFINE_CHAOS_KILLS=200 make chaos  other ones, and more

One seed draws everything: the runs, the events of their work at which they are hit and by what, and the harm.
"""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conftest import TINY_DEMO
from gifine.training import checkpointing
from support import outcomes
from support.attempts import Blow, Ended, Place, run

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("processes")]

SEED = int(os.environ.get("GIFINE_CHAOS_SEED", "2208"))
KILLS = int(os.environ.get("GIFINE_CHAOS_KILLS", "6"))
BLOWS_PER_RUN = 6

RUN = [*TINY_DEMO, "train.epochs=3", "train.batch_size=8", "train.save_model=true"]  # 24 steps
FAMILIES = [["model=bert"], ["model=debertav3"]]
GATES = [
    ["gi=none"],
    *([f"gi={side}", f"gi.threshold={over}"] for side in ("key", "both") for over in ("batch", "token")),
]
EVALUATIONS = [
    ["train.evaluate=epoch", "train.select_best=true"],
    ["train.evaluate=epoch", "train.select_best=true", "evaluate.split_dev=true"],
    ["train.evaluate=epoch", "train.select_best=false"],
    ["train.evaluate=steps", "train.evaluate_steps=5", "train.select_best=true"],
    ["train.evaluate=steps", "train.evaluate_steps=7", "train.select_best=false"],
    ["train.evaluate=end", "train.select_best=false"],
]
# Where blows fall in training, and up to which of the events there. The last of a run may fall after training.
TRAINING = {
    Place.RECORD: 3,
    Place.CURVE: 8,
    Place.STEP: 10,
    Place.EVALUATION: 6,
    Place.CHECKPOINT: 30,
    Place.DELETION: 12,
}
WEIGHTS = {Place.STEP: 3, Place.EVALUATION: 2, Place.CHECKPOINT: 4, Place.MODEL: 3}  # of 1
AFTERWARDS = {Place.RECORD: 5, Place.EVALUATION: 12, Place.PREDICTIONS: 1, Place.MODEL: 6, Place.DELETION: 40}
SIGNALS = [signal.SIGKILL] * 3 + [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2]


@dataclass
class Plan:
    words: list[str]
    save_steps: list[str]  # does not change the result: runs that differ in it share an undisturbed one
    blows: list[Blow]
    harms: list[int | None]  # after each blow: a seed for the harm, or none


def plan(number: int) -> Plan:
    """The run of that number: a function of it and SEED."""
    draw = random.Random(f"{SEED}/{number}")
    grouped, accumulated = draw.choice(["true", "false"]), draw.choice([1, 2])
    words = [*RUN, f"train.group_by_length={grouped}", f"train.gradient_accumulation={accumulated}"]
    words += [*draw.choice(FAMILIES), "model.tokenizer=demo", *draw.choice(GATES), *draw.choice(EVALUATIONS)]
    save_steps = draw.choice(["null", "1", "2", "3"])
    places = [TRAINING] * (BLOWS_PER_RUN - 2) + [AFTERWARDS] * 2
    return Plan(
        words,
        [f"train.save_steps={save_steps}"],
        [blow(draw, events) for events in places],
        [draw.randrange(2**32) if draw.random() < 0.5 else None for _ in places],
    )


def blow(draw: random.Random, events: dict[Place, int]) -> Blow:
    (place,) = draw.choices(list(events), [WEIGHTS.get(place, 1) for place in events])
    nth = draw.randint(1, events[place])
    way = draw.choice(["at once", "later", "limit"])
    if way == "limit" and place is Place.CHECKPOINT:
        return Blow(place, nth, signal.SIGXFSZ, limit=draw.randint(4_000, 150_000))  # its files have up to 160 kB
    # Within the milliseconds that a step or the files of a checkpoint take; loading data and model takes longer.
    longest = 0.1 if place is Place.RECORD else 0.01
    return Blow(place, nth, draw.choice(SIGNALS), seconds=None if way == "at once" else draw.uniform(0, longest))


@dataclass
class Report:
    kills: int = 0
    by_signal: Counter[str] = field(default_factory=Counter)
    by_place: Counter[str] = field(default_factory=Counter)
    before_the_first_checkpoint: int = 0
    corruptions: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    resumes: int = 0
    runs_compared: int = 0

    def note(self, ended: Ended, blow: Blow, *, had_checkpoint: bool) -> None:
        self.kills += 1
        self.by_signal[blow.signal.name] += 1
        self.by_place[where(ended.trail)] += 1
        self.before_the_first_checkpoint += not had_checkpoint


def where(trail: str) -> str:
    """In what a process was killed, by what it began last."""
    last = Place(trail[-1])
    if last in (Place.CHECKPOINT, Place.DELETION) and Place.MODEL not in trail:
        return "writing or deleting a checkpoint" if Place.STEP in trail else "starting"
    if last is Place.EVALUATION:
        return "evaluating"
    if Place.PREDICTIONS in trail:
        return "writing the results"
    return "in mid-step" if Place.STEP in trail else "starting"


@pytest.fixture
def report(capsys) -> Iterator[Report]:
    report = Report()
    yield report
    entries = {"seed": SEED, **vars(report)}
    with capsys.disabled():
        print(f"\nchaos: {json.dumps(entries)}")
    if path := os.environ.get("GIFINE_CHAOS_REPORT"):
        Path(path).write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")


def test_runs_that_are_killed_end_as_undisturbed_ones(tmp_path, report):
    undisturbed: dict[tuple[str, ...], dict] = {}
    number = 0
    while report.kills < KILLS:
        planned = plan(number)
        key = tuple(planned.words)
        if key not in undisturbed:
            undisturbed[key] = reference(planned.words, tmp_path / f"undisturbed-{number}", tmp_path / "cache")
        words = [*planned.words, *planned.save_steps]
        folder = endure(planned, place(words, tmp_path / f"run-{number}", tmp_path / "cache"), report)
        found = outcomes.result(folder)
        assert outcomes.differing(found, undisturbed[key]) == [], f"run {number} of seed {SEED}: {planned}"
        report.runs_compared += 1
        number += 1


def place(words: list[str], root: Path, cache: Path) -> list[str]:
    return [*words, f"output_dir={root / 'run'}", f"data.cache_dir={cache}"]


def reference(words: list[str], root: Path, cache: Path) -> dict:
    root.mkdir()
    ended = run(place(words, root, cache), root / "output")
    assert ended.code == 0, ended.output
    steps = [line["step"] for line in outcomes.curve(root / "run") if "loss" in line]
    assert steps == list(range(1, len(steps) + 1))
    return outcomes.result(root / "run")


def endure(planned: Plan, words: list[str], report: Report) -> Path:
    """Hit a run as planned, then let it end; its folder."""
    folder = Path(next(word for word in words if word.startswith("output_dir=")).partition("=")[2])
    folder.parent.mkdir()
    for attempt, (blow, harm_seed) in enumerate(zip(planned.blows, planned.harms, strict=True)):
        before = outcomes.record_of(folder)
        ended = run(words, folder.parent / f"output-{attempt}", blow)
        report.attempts += 1
        try:
            was_hit = check(folder, ended, blow, before)
        except Exception as error:
            error.add_note(f"attempt {attempt} of {planned}\n{ended.trail}\n{ended.output}")
            raise
        found = outcomes.checkpoints(folder)
        after = outcomes.record_of(folder)
        report.resumes += "resuming from" in ended.output
        if was_hit:
            report.note(ended, blow, had_checkpoint=bool(found["whole"]))
        if after is not None and after["status"] in outcomes.FINISHED:
            break
        if harm_seed is not None and found["named"]:
            report.corruptions[harm(random.Random(harm_seed), folder)] += 1
    before = outcomes.record_of(folder)
    ended = run(words, folder.parent / "output-last")
    report.attempts += 1
    report.resumes += "resuming from" in ended.output
    assert ended.code == 0, ended.output
    check(folder, ended, None, before)
    assert not (folder / "checkpoints").exists()
    return folder


def check(folder: Path, ended: Ended, blow: Blow | None, before: dict | None) -> bool:
    """What must hold after each attempt; whether it was ended by the blow."""
    fell = blow is not None and ended.trail.count(blow.place) >= blow.nth
    record, found = outcomes.record_of(folder), outcomes.checkpoints(folder)
    assert len(found["named"]) + len(found["partial"]) <= 3, found
    lines = outcomes.curve(folder, cut=ended.code < 0 or Place.CURVE not in ended.trail)
    steps = [line["step"] for line in lines if "loss" in line]
    assert steps == list(range(1, len(steps) + 1)), "a step comes twice, or is missing"
    evaluations = [line["step"] for line in lines if "loss" not in line]
    assert len({(line["step"], *line) for line in lines}) == len(lines), f"an evaluation comes twice: {evaluations}"

    if record is None:
        assert ended.code < 0, ended.output
        assert ended.trail in ("r", "rr"), "it was killed before its first record had its name"
        return True
    finished = record["status"] in outcomes.FINISHED
    if finished:
        assert record["steps"]["done"] == record["steps"]["planned"] == len(steps)
        assert record["status"] != "diverged"
    if before is not None and before["status"] in outcomes.FINISHED:
        assert record == before, "what is finished is left alone"
    else:
        previous = before["attempts"] if before is not None else 0
        was_counted = ended.trail.count(Place.RECORD) > 2
        assert record["attempts"] in ([previous + 1] if was_counted else [previous, previous + 1])
    if ended.code < 0:
        assert blow is not None
        assert -ended.code == blow.signal, ended.output
        assert finished or record["status"] in ("running", "interrupted")
        return True
    if ended.code == 0:
        assert finished, ended.output
        return False
    assert (ended.code, fell) == (75, True), ended.output
    if not finished:  # it may have been at the point of ending
        assert record["status"] == "interrupted"
        if Place.STEP in ended.trail:
            last = folder / "checkpoints" / f"checkpoint-{record['steps']['done']}"
            assert checkpointing.last_complete(last.parent) == last
    return True


def harm(draw: random.Random, folder: Path) -> str:
    """Damage one file of one checkpoint, or what lies beside them; what was done."""
    checkpoint = draw.choice(outcomes.checkpoints(folder)["named"])
    path = draw.choice(sorted(path for path in checkpoint.rglob("*") if path.is_file()) or [checkpoint / "none"])
    content = path.read_bytes() if path.exists() else b""
    match draw.choice(["cut", "changed byte", "deleted file", "deleted checkpoint", "half a line", "junk beside"]):
        case "cut":
            path.write_bytes(content[: draw.randrange(len(content) or 1)])
            return "file cut short"
        case "changed byte" if content:
            place = draw.randrange(len(content))
            path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
            return "byte changed"
        case "deleted checkpoint":
            for file in [file for file in checkpoint.rglob("*") if file.is_file()]:
                file.unlink()
            checkpoint.rmdir()
            return "checkpoint deleted"
        case "half a line":
            with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write('{"step": 25, "epo')
            return "half a line in the curve"
        case "junk beside":
            junk = folder / "checkpoints" / checkpointing.PARTIAL / "checkpoint-99"
            junk.mkdir(parents=True, exist_ok=True)
            (junk / "optimizer.pt").write_bytes(b"half")
            return "half a checkpoint beside"
        case _:
            path.unlink(missing_ok=True)
            return "file deleted"
