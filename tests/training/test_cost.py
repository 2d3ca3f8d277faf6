"""What a step takes: operations against what is worked out by hand, and that counting changes no result."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from gifine.training import cost
from gifine.training.callbacks import ChangeStatistics
from gifine.training.cost import Cost, Counter
from support import tiny_models


class _Square(torch.autograd.Function):
    """Hides its products from whoever looks at modules alone."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x @ x

    @staticmethod
    def backward(ctx: Any, *grad: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return (grad[0] @ x.T).addmm_(x.T, grad[0])


def test_products_are_counted_forward_and_backward() -> None:
    layer, x = nn.Linear(5, 3), torch.ones(7, 5)
    with Counter() as counter:
        layer(x).sum().backward()
    assert counter.operations == 2 * 7 * 5 * 3 * 2  # forward, and the weight's gradient: the input needs none


def test_products_in_functions_of_ones_own_and_in_place_are_counted() -> None:
    x = torch.ones(4, 4, requires_grad=True)
    with Counter() as counter:
        _Square.apply(x).sum().backward()
    assert counter.operations == 3 * 2 * 4**3


@pytest.mark.parametrize("is_causal", [False, True])
def test_fused_attention_on_a_cpu_is_counted(is_causal: bool) -> None:
    query, key, value = (torch.ones(2, 3, 8, 4, requires_grad=True) for _ in range(3))
    with Counter() as counter:
        nn.functional.scaled_dot_product_attention(query, key, value, is_causal=is_causal).sum().backward()
    product = 2 * 2 * 3 * 8 * 8 * 4
    assert counter.operations == 2 * product + 5 * product  # the scores are computed again for the gradients


@pytest.mark.parametrize("family", ["bert", "deberta_v2"])
def test_a_model_counts_what_torch_counts_where_nothing_is_hidden(family: str) -> None:
    counted = []
    for made in (Counter(), FlopCounterMode(display=False)):
        model = tiny_models.make(family).eval()
        model.set_attn_implementation("eager")
        with made as counter:
            model(**tiny_models.make_batch(family), labels=torch.tensor([0, 1, 0])).loss.backward()
        counted.append(counter.operations if isinstance(counter, Counter) else counter.get_total_flops())
    assert counted[0] >= counted[1] > 0  # torch leaves out sums in place
    assert counted[0] < 1.2 * counted[1]


def test_a_step_that_raises_leaves_no_counter_behind() -> None:
    found: dict[str, float] = {}
    arguments, state = cast("Any", SimpleNamespace(device=torch.device("cpu"))), SimpleNamespace(global_step=0)

    def raising() -> None:
        with Cost(found, 2) as made:
            made.on_step_begin(arguments, cast("Any", state), cast("Any", None))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        raising()
    assert found == {}
    with Counter() as counter:
        torch.ones(2, 2) @ torch.ones(2, 2)
    assert counter.operations == 16


def trained(seconds: list[float], watched: set[int], monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What is found of steps that take these seconds, if those of these numbers, from 0, are watched."""
    found: dict[str, float] = {}
    clock = iter([each for second in seconds for each in (0.0, second)])
    monkeypatch.setattr(cost, "_now", lambda device: next(clock))
    arguments = cast("Any", SimpleNamespace(device=torch.device("cpu")))
    with Cost(found, 4, lambda state: state.global_step in watched) as made:
        for step in range(len(seconds)):
            state = cast("Any", SimpleNamespace(global_step=step))
            made.on_step_begin(arguments, state, cast("Any", None))
            torch.ones(2, 2) @ torch.ones(2, 2)
            made.on_step_end(arguments, state, cast("Any", None))
    return found


def test_the_median_of_the_steps_after_the_first_and_the_first_ones_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    found = trained([9.0, 1.0, 2.0, 3.0], set(), monkeypatch)
    assert found == {"flops_an_example": 16 / 4, "steps_timed": 3, "seconds_a_step": 2}


def test_watched_steps_are_left_out_where_there_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    found = trained([9.0, 5.0, 2.0, 5.0, 3.0], {0, 1, 3}, monkeypatch)
    assert found == {"flops_an_example": 16 / 4, "steps_timed": 2, "seconds_a_step": 2.5}
    found = trained([9.0, 5.0, 6.0], {0, 1, 2}, monkeypatch)
    assert found == {"flops_an_example": 16 / 4, "steps_timed": 2, "seconds_a_step": 5.5, "steps_watched": 2}


def test_the_most_memory_is_of_steps_that_were_not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with a GPU, as far as it is asked for anything here."""
    for only_watched, most in ((False, 40), (True, 90)):
        found: dict[str, float] = {}
        peaks = iter([90, 40, 30])
        monkeypatch.setattr(cost, "_now", lambda device: 0.0)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device, peaks=peaks: next(peaks))
        arguments = cast("Any", SimpleNamespace(device=torch.device("cuda")))
        with Cost(found, None, lambda state, every=only_watched: every or state.global_step == 0) as made:
            for step in range(3):
                state = cast("Any", SimpleNamespace(global_step=step))
                made.on_step_begin(arguments, state, cast("Any", None))
                made.on_step_end(arguments, state, cast("Any", None))
        assert found["peak_memory_bytes"] == most


def test_watched_are_the_steps_in_which_a_changed_model_is_looked_at(tmp_path: Path) -> None:
    """And a plain model never."""
    state = cast("Any", SimpleNamespace(is_world_process_zero=True, max_steps=60))
    for gi, wanted in ((tiny_models.BOTH, [0, 2, 5, 8]), (tiny_models.NONE, [])):
        model = tiny_models.make("bert", gi)
        looking = ChangeStatistics(model, None, lambda point: None, tmp_path / "change.jsonl")
        seen = []
        for step in range(10):
            state.global_step = step
            seen += [step] if looking.watches(state) else []
        assert seen == wanted
