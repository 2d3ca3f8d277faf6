"""The gate's maths against the formula written out, and its limits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from gifine import gi

B, T, D = 3, 4, 5


def tensors(seed: int, scale: float = 1.0) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: scale * torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731 - a name for one expression
    return draw(B, T, D), (draw(D, D), draw(D), draw(D, D), draw(D))


def written_out(
    hidden: Tensor, weights: tuple[Tensor, ...], level: float, over: str, real: Tensor | None = None
) -> list[list[list[float]]]:
    """The formula with Python floats, one feature at a time."""

    def gelu(x: float) -> float:
        return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))

    def linear(weight: Tensor, bias: Tensor, x: list[float]) -> list[float]:
        return [
            sum(w * v for w, v in zip(row, x, strict=True)) + b
            for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
        ]

    inhibition_weight, inhibition_bias, select_weight, select_bias = weights
    signal = [
        [
            linear(select_weight, select_bias, [gelu(v) for v in linear(inhibition_weight, inhibition_bias, x)])
            for x in row
        ]
        for row in hidden.tolist()
    ]

    def reach(b: int, t: int) -> list[float]:
        rows = range(B) if over == "batch" else [b]
        places = [(r, p) for r in rows for p in (range(T) if over != "token" else [t])]
        if real is not None and over != "token":
            places = [(r, p) for r, p in places if real[r, p]]
        return [value for r, p in places for value in signal[r][p]]

    return [
        [[gelu(v - level * max(reach(b, t), default=0.0)) + 1 for v in signal[b][t]] for t in range(T)]
        for b in range(B)
    ]


@given(
    seed=st.integers(0, 2**32),
    scale=st.sampled_from([0.1, 1.0, 3.0]),
    level=st.sampled_from([0.0, 0.1, 0.3, 0.9, 1.0]),
    over=st.sampled_from(gi.OVER),
    lengths=st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B),
)
def test_gate_is_the_formula(seed: int, scale: float, level: float, over: gi.Over, lengths: list[int] | None) -> None:
    hidden, weights = tensors(seed, scale)
    real = None if lengths is None else torch.arange(T) < torch.tensor(lengths)[:, None]
    gate = gi.gate(hidden, *weights, level=level, over=over, real_BT=real)
    expected = torch.tensor(written_out(hidden, weights, level, over, real), dtype=torch.float64)
    torch.testing.assert_close(gate, expected, rtol=1e-10, atol=1e-10)
    assert gate.min() > 0.83  # gelu's minimum is −0.16997


@pytest.mark.parametrize("over", gi.OVER)
def test_gradient(over: gi.Over) -> None:
    hidden, weights = tensors(1)
    leaves = [tensor.requires_grad_() for tensor in (hidden, *weights)]
    assert torch.autograd.gradcheck(lambda *t: gi.gate(*t, level=0.7, over=over), leaves)


def test_level_zero_is_gelu_exactly() -> None:
    hidden, weights = tensors(2)
    inner = torch.nn.functional.gelu(torch.nn.functional.linear(hidden, *weights[:2]))
    signal = torch.nn.functional.linear(inner, *weights[2:])
    assert torch.equal(gi.gate(hidden, *weights, level=0.0), torch.nn.functional.gelu(signal) + 1)


@pytest.mark.parametrize("over", gi.OVER)
def test_select_at_zero_gives_one_exactly(over: gi.Over) -> None:
    hidden, (weight, bias, select, select_bias) = tensors(3)
    gate = gi.gate(hidden, weight, bias, select.zero_(), select_bias.zero_(), level=0.9, over=over)
    assert torch.equal(gate, torch.ones_like(gate))


@pytest.mark.parametrize("over", gi.OVER)
def test_gradient_of_a_tie_goes_to_one_position(over: gi.Over) -> None:
    signal = torch.zeros(B, T, D, requires_grad=True)
    gi.maximum(signal, over).sum().backward()
    assert signal.grad is not None
    assert set(signal.grad.flatten().tolist()) == {0.0, 1.0}
    assert signal.grad.sum() == {"batch": 1, "sequence": B, "token": B * T}[over]


@pytest.mark.parametrize("over", gi.OVER)
def test_gradients_are_finite_where_everything_is_padding(over: gi.Over) -> None:
    hidden, weights = tensors(4)
    leaves = [tensor.requires_grad_() for tensor in (hidden, *weights)]
    gi.gate(*leaves, level=0.3, over=over, real_BT=torch.zeros(B, T, dtype=torch.bool)).sum().backward()
    assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


def test_unknown_reach() -> None:
    with pytest.raises(ValueError, match="batch, sequence, token"):
        gi.maximum(torch.zeros(1, 1, 1), "head")  # pyrefly: ignore[bad-argument-type] - the wrong value is the test


def test_statistics_say_what_gates_do():
    torch.manual_seed(0)
    hidden, weights = torch.randn(2, 5, 8), [torch.randn(8, 8), torch.randn(8), torch.randn(6, 8), torch.randn(6)]
    seen = []
    gate = gi.gate(hidden, *weights, level=0.3, over="batch", watch=seen.append)
    (found,) = seen
    signal = F.linear(F.gelu(F.linear(hidden, weights[0], weights[1])), weights[2], weights[3])
    shifted = signal - 0.3 * signal.max()
    assert torch.equal(gate, gi.gate(hidden, *weights, level=0.3, over="batch"))
    assert found.mean == gate.mean()
    assert found.threshold == 0.3 * signal.max()
    assert found.below_one == (gate < 1).float().mean() > 0
    assert found.saturated == ((shifted < -1) & ((gate - 1).abs() < 0.01)).float().mean() > 0
    assert not any(value.requires_grad for value in vars(found).values())


def test_statistics_without_a_threshold_and_with_one_an_example():
    hidden, weights = torch.randn(2, 5, 8), [torch.randn(8, 8), torch.zeros(8), torch.randn(6, 8), torch.zeros(6)]
    seen = []
    gi.gate(hidden, *weights, level=0, watch=seen.append)
    gi.gate(hidden, *weights, level=0.5, over="sequence", watch=seen.append)
    signal = F.linear(F.gelu(F.linear(hidden, weights[0])), weights[2])
    assert seen[0].threshold == 0
    torch.testing.assert_close(seen[1].threshold, 0.5 * signal.amax(dim=(1, 2)).mean())
