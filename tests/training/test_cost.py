"""What a step takes: operations against what is worked out by hand, and that counting changes no result."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

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
        with Cost(found, 2) as cost:
            cost.on_step_begin(arguments, cast("Any", state), cast("Any", None))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        raising()
    assert found == {}
    with Counter() as counter:
        torch.ones(2, 2) @ torch.ones(2, 2)
    assert counter.operations == 16


def test_the_median_of_the_steps_after_the_first_and_the_first_ones_operations() -> None:
    found: dict[str, float] = {}
    arguments = cast("Any", SimpleNamespace(device=torch.device("cpu")))
    with Cost(found, 4) as cost:
        for step in range(4):
            state = cast("Any", SimpleNamespace(global_step=step))
            cost.on_step_begin(arguments, state, cast("Any", None))
            torch.ones(2, 2) @ torch.ones(2, 2)
            cost.on_step_end(arguments, state, cast("Any", None))
    assert found["flops_an_example"] == 16 / 4
    assert found["steps_timed"] == 3
    assert 0 < found["seconds_a_step"] < 1
