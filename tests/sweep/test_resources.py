"""What runs of some tasks and models ask the cluster for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from gifine.compose import grid
from gifine.compose.launchers import SlurmConfig
from gifine.config import RunConfig
from gifine.sweep import batches, launch, resources
from gifine.sweep.batches import Request
from gifine.sweep.ledger import Entry


@pytest.fixture(scope="module")
def configs() -> dict[str, RunConfig]:
    words = ["model=bert,debertav2", "task=rte,mnli,wnli"]
    runs = grid.expand(words)
    return {f"{run.config.model.name} {run.config.task.name}": run.config for run in runs}


SETTINGS = SlurmConfig(
    timeout_min=240,
    gres="gpu:1",
    mem_per_gpu="32G",
    resources=[
        {"task": ["mnli", "qqp"], "timeout_min": 4320},
        {"task": "wnli", "pack": 5},
        {"model": "debertav2", "size": ["xlarge"], "mem_gb": 96, "gpus_per_node": 4, "tasks_per_node": 4},
        {"model": "debertav2", "task": "mnli", "timeout_min": 9000},
    ],
)


def test_later_entries_win_and_replace_what_excludes_them(configs):
    assert resources.choose(configs["bert rte"], SETTINGS) == SlurmConfig(
        timeout_min=240, gres="gpu:1", mem_per_gpu="32G"
    )
    assert resources.choose(configs["bert mnli"], SETTINGS).timeout_min == 4320
    found = resources.choose(configs["debertav2 mnli"], SETTINGS)
    assert (found.timeout_min, found.mem_gb, found.mem_per_gpu) == (9000, 96, None)
    assert (found.gpus_per_node, found.gres, found.tasks_per_node) == (4, None, 4)
    assert launch.problems(found) == []


def test_the_command_line_holds_for_all(configs):
    found = resources.choose(configs["debertav2 mnli"], SETTINGS, fixed={"timeout_min", "mem_per_gpu", "gres"})
    assert (found.timeout_min, found.mem_per_gpu, found.mem_gb) == (240, "32G", None)
    assert (found.gres, found.gpus_per_node) == ("gpu:1", None)


def test_what_needs_the_same_is_submitted_together_in_the_order_of_the_sweep(configs):
    settings = replace(SETTINGS, max_array_size=1000)  # else the cluster is asked
    requests = [
        Request(Entry(name, name, f"/{name}"), config, resources.choose(config, settings), "/")
        for name, config in configs.items()
    ]
    portions = batches.portions(requests)
    assert [[[each.entry.run_id for each in task] for task in portion] for portion in portions] == [
        [["bert rte"]],
        [["bert mnli"]],
        [["bert wnli"]],
        [["debertav2 rte"]],
        [["debertav2 mnli"]],
        [["debertav2 wnli"]],
    ]
    same = batches.portions([*requests, *requests])
    assert [len(portion) for portion in same] == [2, 2, 1, 2, 2, 1], "five WNLI runs are one job"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"tsk": "rte", "pack": 2}, "resources[0].tsk: no such key (did you mean 'task'?); valid: task, model, size;"),
        ({"task": "rte", "wait": False}, "resources[0].wait: no such key; valid: "),
        ({"task": ["rte", "wnil"], "pack": 2}, "resources[0].task=wnil: no such task (did you mean 'wnli'?); valid: "),
        ({"model": "debertav3-large", "pack": 2}, "resources[0].model=debertav3-large: no such model (did you mean"),
        ({"size": "huge", "pack": 2}, "resources[0].size=huge: no such size; valid: base, "),
        ({"task": "rte", "timeout_min": "long"}, "resources[0]: Value 'long' of type 'str' could not be converted"),
        ({"task": "rte", "nodes": 0}, "resources[0]: nodes=0: must be above 0"),
        ({"task": "rte", "side_by_side": 3}, "resources[0]: side_by_side=3: at most pack=1"),
        ({"task": "rte", "mem_gb": 1, "mem_per_cpu": "1G"}, "resources[0]: mem_gb: excludes mem_per_cpu"),
    ],
)
def test_wrong_entries_are_told(entry, said):
    (problem,) = resources.wrong(SlurmConfig(resources=[json.loads(json.dumps(entry))]))
    assert problem.startswith(f"hydra.launcher.{said}")


def test_tasks_of_one_s_own_have_names_too(configs):
    config = configs["bert rte"]
    config.task.name = "mine"
    settings = SlurmConfig(resources=[{"task": "mine", "timeout_min": 5}])
    assert list(resources.wrong(settings, [config])) == []
    assert resources.choose(config, settings).timeout_min == 5
    config.task.name = "rte"
