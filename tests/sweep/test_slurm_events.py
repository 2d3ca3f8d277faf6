"""What happens to jobs on a real SLURM: the same command ends with every record, and nothing ran twice."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY_MODEL
from gifine import cli
from gifine.runs import identity
from gifine.sweep import __main__ as sweep
from gifine.sweep import ledger, slurm
from support.outcomes import FINISHED, differing, record_of, result
from support.sweeps import NAME, SLURM, command, job_of, pause, status, step_of, submit, wait_for

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm"), pytest.mark.usefixtures("cluster")]


def run(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def update(node: str, *words: str) -> None:
    run("scontrol", "update", f"nodename={node}", *words)


@pytest.fixture
def nodes(cluster):
    """The two nodes of the SLURM that is ours to disturb, with nothing on them; afterwards they are as before."""
    if "ClusterName=gifine\n" not in run("scontrol", "show", "config").replace(" ", ""):
        pytest.skip("takes nodes down, so it needs the SLURM that tests/slurm/up starts")
    both = ("node1", "node2")
    idle = ["sinfo", "--noheader", "--Node", "--states=idle", "--partition=normal", "--format=%N"]
    wait_for(lambda: run(*idle).split() == [*both], "idle nodes")
    yield both
    for node in both:  # refused where there is nothing to resume
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], capture_output=True, check=False)


@pytest.fixture
def real(shared) -> list[str]:
    """Runs on GLUE's own files, long enough to be hit."""
    return [
        "data=glue_dir",
        f"data.dir={shared / 'glue'}",
        "data.max_train_rows=480",
        "data.max_eval_rows=48",
        "model=bert",
        *TINY_MODEL,
        f"model.tokenizer={shared / 'tokenizers' / 'bert-base-uncased'}",
        "train.epochs=2",
        "train.batch_size=8",
        "train.eval_batch_size=16",
        "train.learning_rate=1e-3",
        "train.max_length=32",
        "train.log_steps=1",
        "train.save_steps=20",
        "train.save_model=true",
    ]


class Grid:
    """A sweep whose runs have names here: what happens to them."""

    def __init__(self, folder: Path, capsys) -> None:
        self.folder, self.capsys = folder, capsys
        self.book = ledger.read(folder)
        self.jobs = {run_id: job_of(self.book, entry) for run_id, entry in self.book.runs.items()}
        self.names: dict[str, str] = {}  # run_id: name
        self.told: dict[str, set[str]] = {}  # name: each state that `status` has told

    def name(self, on_fuller: tuple[str, ...], on_other: tuple[str, ...], anywhere: tuple[str, ...]) -> tuple[str, str]:
        """Name the runs that have no name yet: the first ones of each node, and the rest wherever they are.

        Which node SLURM fills first is its own affair; the fuller one and the other are returned.
        """
        places: dict[str, str] = {}

        def all_run() -> bool:
            jobs = ["squeue", "--noheader", "--array", f"--name={NAME}", "--states=running", "--format=%F_%K %N"]
            places.update(dict([line.split() for line in run(*jobs).splitlines()]))
            return len(places) == len(self.book.runs)

        wait_for(all_run, "all jobs run")
        (fuller, _), (other, _) = Counter(places.values()).most_common()
        rest = iter(anywhere)
        for node, chosen in ((fuller, on_fuller), (other, on_other)):
            here = [run_id for run_id, job in self.jobs.items() if places[job] == node and run_id not in self.names]
            assert len(here) >= len(chosen), f"{node} has {len(here)} of the jobs, {len(chosen)} are needed there"
            self.names |= dict(zip(here, [*chosen, *islice(rest, len(here) - len(chosen))], strict=True))
        self.told = {name: set() for name in self.names.values()}
        return fuller, other

    def entry(self, name: str) -> ledger.Entry:
        return next(entry for run_id, entry in self.book.runs.items() if self.names[run_id] == name)

    def job(self, name: str) -> str:
        return self.jobs[self.entry(name).run_id]

    def record(self, name: str) -> dict[str, Any]:
        record = record_of(Path(self.entry(name).folder))
        assert record is not None
        return record

    def pause(self, **steps: int) -> dict[str, int]:
        """`sweeps.pause` by names."""
        paused = pause(self.folder, {self.entry(name).run_id: step for name, step in steps.items()}, self.book)
        return {self.names[run_id]: process for run_id, process in paused.items()}

    def settle(self, expected: dict[str, str], seconds: float = 90.0) -> None:
        """Wait until `status` tells this, and of all other runs that they have finished."""
        wanted = dict.fromkeys(self.names.values(), "finished") | expected
        now: dict[str, str] = {}

        def is_told() -> bool:
            states = status(self.folder, self.capsys)
            for run_id, name in self.names.items():
                state = states[self.book.runs[run_id].slug]
                now[name] = "finished" if state in FINISHED else state
                self.told[name].add(now[name])
            return now == wanted

        wait_for(is_told, lambda: f"{wanted}; status tells {now}", seconds)

    def in_slurm(self, **expected: str) -> None:
        """Wait until SLURM says this of jobs."""
        wanted = {self.job(name): state for name, state in expected.items()}
        wait_for(lambda: slurm.states(wanted) == wanted, str(expected))


@pytest.mark.shared
def test_a_disturbed_grid_ends_as_an_undisturbed_one(tmp_path, nodes, real, capsys, request):
    """Runs are named by what happens to them; `signalled` needs three allocations."""
    folder, calm = tmp_path / "sweep", tmp_path / "calm"
    # Without a signal before its limit, a run that hangs ends by the limit.
    words = ["task=rte,mrpc,cola", "gi.side=none,both", "seed=1,2", *SLURM, "hydra.launcher.signal_delay_s=0"]
    raises = cli.config_from(cli.compose([*real, "task=rte", "gi.side=none", "seed=1", f"output_root={folder}"]))
    obstacle = identity.directory(raises) / "checkpoints"  # a file: its first checkpoint cannot be written
    obstacle.parent.mkdir(parents=True)
    obstacle.touch()
    said = submit(folder, *words, "hydra.launcher.wait=false", launcher="slurm", base=real)
    assert "12 runs: 12 to submit" in said
    undisturbed = subprocess.Popen(
        command(calm, *words[:3], launcher="basic", base=real), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    request.addfinalizer(undisturbed.wait)
    request.addfinalizer(undisturbed.kill)

    grid = Grid(folder, capsys)
    grid.names = {run_id: "raises" for run_id, entry in grid.book.runs.items() if Path(entry.folder) == obstacle.parent}
    on_first = ("killed", "limited", "signalled", "requeued", "drained", "down")
    calm_ones = ("calm", "calm too")
    first, second = grid.name(on_first, ("preempted",), ("cancelled", "cancelled too", *calm_ones))
    steps = dict.fromkeys(grid.told.keys() - {"raises", *calm_ones}, 3) | {"killed": 21}
    process = grid.pause(**steps)
    now = dict.fromkeys(steps, "running") | {"raises": "failed"}
    grid.settle(now)
    grid.in_slurm(**{"raises": "FAILED", "calm": "COMPLETED", "calm too": "COMPLETED"})
    assert sweep.main(["logs", str(folder), grid.entry("raises").run_id]) == 0
    assert "FileExistsError" in capsys.readouterr().out

    update(first, "state=drain", "reason=test")
    os.kill(process["drained"], signal.SIGCONT)
    os.kill(process["killed"], signal.SIGKILL)
    run("scancel", grid.job("cancelled"))
    assert sweep.main(["cancel", str(folder), grid.entry("cancelled too").run_id]) == 0
    options = ["--partition=urgent", f"--nodelist={second}", "--exclusive", f"--job-name={NAME}", "--output=/dev/null"]
    urgent = run("sbatch", "--parsable", *options, "--wrap=sleep 600").strip()
    wait_for(lambda: slurm.states([urgent]) == {urgent: "RUNNING"}, "the urgent job")
    # Nothing starts now: one node is drained, the other one is the urgent job's.
    run("scontrol", "requeue", grid.job("requeued"))
    run("scancel", "--signal=USR2", grid.job("signalled"))
    os.kill(process["signalled"], signal.SIGCONT)
    del now["drained"]
    now |= {"cancelled": "cancelled", "cancelled too": "cancelled", "killed": "killed"}
    now |= dict.fromkeys(("signalled", "requeued", "preempted"), "queued")
    grid.settle(now)
    grid.in_slurm(cancelled="CANCELLED", killed="FAILED", requeued="PENDING", drained="COMPLETED")

    run("scontrol", "update", f"jobid={grid.job('limited')}", "timelimit=1")
    run("scancel", urgent)
    (again,) = grid.pause(signalled=step_of(grid.entry("signalled")) + 3).values()
    run("scancel", "--signal=USR2", grid.job("signalled"))
    os.kill(again, signal.SIGCONT)
    for name in ("signalled", "requeued", "preempted"):
        del now[name]
    now["limited"] = "timed out"
    grid.settle(now)
    grid.in_slurm(limited="TIMEOUT")

    update(first, "state=down", "reason=test")
    now["down"] = "queued"
    grid.settle(now, 10)
    update(first, "state=resume")
    obstacle.unlink()
    said = submit(folder, *words, "hydra.launcher.retry_failed=true", launcher="slurm", base=real)
    assert "12 runs" in said
    assert "5 to submit" in said
    grid.settle({})
    counted = dict.fromkeys(grid.told, 2) | dict.fromkeys(("drained", *calm_ones), 1) | {"signalled": 3}
    assert {name: grid.record(name)["attempts"] for name in grid.told} == counted
    assert "0 to submit" in submit(folder, *words, launcher="slurm", base=real)
    ends = {"raises": "failed", "cancelled": "cancelled", "cancelled too": "cancelled", "killed": "killed"}
    ends |= {"limited": "timed out"}
    for name, told in grid.told.items():  # not for a moment what it was not
        assert told <= {"queued", "running", "finished", ends.get(name)}, name

    assert undisturbed.wait(120) == 0
    for entry in grid.book.runs.values():
        assert differing(result(Path(entry.folder)), result(calm / Path(entry.folder).name)) == []
