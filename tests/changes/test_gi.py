"""The gate's maths against the formula written out, its gradients against autograd's, what it keeps, and its limits."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from torch.utils.checkpoint import checkpoint

from gifine.changes.autograd import gate as gi
from support.rounding import tolerances

B, T, D = 3, 4, 5


def tensors(seed: int, scale: float = 1.0) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: scale * torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731 - a name for one expression
    return draw(B, T, D), (draw(D, D), draw(D), draw(D, D), draw(D))


def gate(hidden: Tensor, *weights: Tensor, **how: Any) -> Tensor:
    """What a projection is multiplied with."""
    return gi.gated(hidden.new_ones(*hidden.shape[:2], len(weights[2])), hidden, *weights, **how)


def by_autograd(
    projected: Tensor, hidden: Tensor, *weights: Tensor, level: float, over: str, real: Tensor | None = None
) -> Tensor:
    """The formula in torch's own operations, with their derivatives."""
    signal = F.linear(F.gelu(F.linear(hidden, *weights[:2])), *weights[2:])
    if level != 0:
        among = signal if real is None or over == "token" else signal.masked_fill(~real[:, :, None], -torch.inf)
        batch, length, _features = signal.shape
        rows = {"batch": 1, "sequence": batch, "token": batch * length}[over]
        peak = among.reshape(rows, -1).max(dim=1).values
        peak = peak.masked_fill(peak == -torch.inf, 0.0)
        signal = signal - level * peak[:, None].expand(-1, signal.numel() // rows).reshape(signal.shape)
    return (F.gelu(signal) + 1) * projected


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
    found = gate(hidden, *weights, level=level, over=over, real_BT=real)
    expected = torch.tensor(written_out(hidden, weights, level, over, real), dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    assert found.min() > 0.83  # gelu's minimum is −0.16997


NAMES = ("projected", "hidden", "inhibition.weight", "inhibition.bias", "select.weight", "select.bias")


@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(*[st.integers(1, 5)] * 5),
    level=st.sampled_from([0.0, 0.1, 0.3, 1.0]),
    over=st.sampled_from(gi.OVER),
    lengths=st.none() | st.lists(st.integers(0, 5), min_size=5, max_size=5),
    learning=st.sets(st.sampled_from(NAMES)),
    dtype=st.sampled_from([torch.float64, torch.float32]),
)
def test_gradients_are_those_of_autograd(
    seed: int,
    shape: tuple[int, ...],
    level: float,
    over: gi.Over,
    lengths: list[int] | None,
    learning: set[str],
    dtype: torch.dtype,
) -> None:
    batch, length, width, inner, features = shape
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *sizes: torch.randn(*sizes, generator=generator, dtype=torch.float64).to(dtype)  # noqa: E731 - a name for one expression
    tensors = (
        draw(features, batch, length).permute(1, 2, 0),  # strided, as parts of a fused projection are
        draw(width, length, batch).permute(2, 1, 0),
        draw(inner, width),
        draw(inner),
        draw(features, inner),
        draw(features),
    )
    real = None if lengths is None else torch.arange(length) < torch.tensor(lengths[:batch])[:, None]
    upstream = draw(features, batch, length).permute(1, 2, 0)

    def results(function: Any, dtype: torch.dtype, **how: Any) -> dict[str, Tensor]:
        leaves = {name: tensor.detach().to(dtype, copy=True) for name, tensor in zip(NAMES, tensors, strict=True)}
        for name in learning:
            leaves[name].requires_grad_()
        product = function(*leaves.values(), level=level, over=over, **how)
        if learning:
            product.backward(upstream.to(dtype))
        gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
        return {"product": product.detach(), **gradients}

    ours, expected = results(gi.gated, dtype, real_BT=real), results(by_autograd, dtype, real=real)
    assert ours.keys() == expected.keys() == {"product", *learning}
    allowed = tolerances(lambda: results(by_autograd, torch.float64, real=real), dtype)
    for name, found in ours.items():
        assert found.shape == expected[name].shape
        assert float((found - expected[name]).abs().max()) <= allowed[name], name


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("over", gi.OVER)
def test_gradcheck(over: gi.Over, masked: bool) -> None:
    hidden, weights = tensors(1)
    real = torch.arange(T) < torch.tensor([4, 0, 2])[:, None] if masked else None
    leaves = [tensor.requires_grad_() for tensor in (hidden.flip(0).clone(), hidden, *weights)]
    assert torch.autograd.gradcheck(lambda *t: gi.gated(*t, level=0.7, over=over, real_BT=real), leaves)


def saved_bytes(function: Any, known: tuple[Tensor, ...]) -> int:
    """What autograd keeps of one call beside its result and the storages of `known`, each storage once."""
    found: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function()
    for tensor in (*known, result):
        found.pop(tensor.untyped_storage().data_ptr(), None)
    return sum(found.values())


@pytest.mark.parametrize("over", gi.OVER)
def test_keeps_two_tensors_of_the_size_of_x(over: gi.Over) -> None:
    torch.manual_seed(5)
    hidden, projected = torch.randn(2, 8, 64, requires_grad=True), torch.randn(2, 8, 64, requires_grad=True)
    weights = [torch.randn(*shape, requires_grad=True) for shape in ((64, 64), (64,), (64, 64), (64,))]
    inputs = (projected, hidden, *weights)
    kept = saved_bytes(lambda: gi.gated(*inputs, level=0.3, over=over), inputs)
    small = 4 * 2 * 8  # thresholds: at most one a position
    assert 2 * hidden.nbytes < kept <= 2 * hidden.nbytes + small
    assert saved_bytes(lambda: by_autograd(*inputs, level=0.3, over=over), inputs) > 4 * hidden.nbytes


def test_keeps_nothing_where_no_gradient_is_wanted() -> None:
    hidden, weights = tensors(6)
    inputs = (hidden, hidden, *[weight.requires_grad_() for weight in weights])
    before = [tensor.clone() for tensor in inputs]
    with torch.no_grad():
        product = gi.gated(*inputs, level=0.3)
    assert product.grad_fn is None
    assert torch.equal(product, gi.gated(*inputs, level=0.3))  # the same numbers on both paths
    assert all(torch.equal(tensor, old) for tensor, old in zip(inputs, before, strict=True))
    with torch.inference_mode():
        assert torch.equal(gi.gated(*inputs, level=0.3), product)


def test_writing_into_the_result_is_noticed() -> None:
    hidden, weights = tensors(6)
    product = gi.gated(hidden, hidden.requires_grad_(), *weights, level=0.3)
    product.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_nothing(reentrant: bool) -> None:
    hidden, weights = tensors(7)
    inputs = [tensor.requires_grad_() for tensor in (hidden.flip(0).clone(), hidden, *weights)]
    plain = torch.autograd.grad(gi.gated(*inputs, level=0.3).square().sum(), inputs)
    product = checkpoint(lambda *t: gi.gated(*t, level=0.3), *inputs, use_reentrant=reentrant)
    assert isinstance(product, Tensor)
    product.square().sum().backward()
    found = [tensor.grad for tensor in inputs if tensor.grad is not None]
    assert all(torch.equal(grad, wanted) for grad, wanted in zip(found, plain, strict=True))


@pytest.mark.parametrize("projection", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("over", gi.OVER)
def test_autocast(over: gi.Over, projection: torch.dtype) -> None:
    """As precise as autograd's own: two roundings in bfloat16 differ by no more than each does from float32."""
    torch.manual_seed(8)
    shapes = ((4, 16, 32), (4, 16, 32), (32, 32), (32,), (32, 32), (32,))
    values = [torch.randn(shape) / (1 if len(shape) == 3 else 4) for shape in shapes]

    def results(function: Any, *, low: bool) -> list[Tensor]:
        leaves = [value.clone().requires_grad_() for value in values]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            product = function(leaves[0].to(projection) if low else leaves[0], *leaves[1:], level=0.3, over=over)
        product.float().square().sum().backward()
        return [product, *[leaf.grad for leaf in leaves if leaf.grad is not None]]

    exact, ours, theirs = results(by_autograd, low=False), results(gi.gated, low=True), results(by_autograd, low=True)
    assert len(exact) == len(ours) == len(theirs) == 7
    for reference, found, wanted in zip(exact, ours, theirs, strict=True):
        assert found.dtype == wanted.dtype
        error, usual = (found - reference).norm() / reference.norm(), (wanted - reference).norm() / reference.norm()
        assert error <= 1.5 * usual < 0.1


def test_a_weight_that_autocast_has_seen_still_learns() -> None:
    """Autocast caches its casts; one made where gradients are off would cut the weight off where they are on."""
    hidden, weights = torch.randn(2, 3, 8), [torch.randn(8, 8), torch.randn(8), torch.randn(8, 8), torch.randn(8)]
    leaves = [weight.requires_grad_() for weight in weights]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gi.gated(hidden, hidden, *leaves, level=0.3)
        F.linear(hidden, leaves[0]).sum().backward()
    assert leaves[0].grad is not None


@pytest.mark.parametrize("over", gi.OVER)
def test_strided_projection_under_autocast(over: gi.Over) -> None:
    """DeBERTa v1 adds a bias in float32 to a part of its fused projection; the gate is in bfloat16."""
    torch.manual_seed(10)
    hidden, weights = torch.randn(2, 3, 8), [torch.randn(8, 8), torch.randn(8), torch.randn(8, 8), torch.randn(8)]
    strided = torch.randn(8, 3, 2).permute(2, 1, 0)

    def gradient(projected: Tensor) -> Tensor:
        leaf = weights[2].clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            product = gi.gated(projected, hidden, *(*weights[:2], leaf, weights[3]), level=0.3, over=over)
        assert product.dtype == torch.float32
        return torch.autograd.grad(product.square().sum(), leaf)[0]

    assert torch.equal(gradient(strided), gradient(strided.contiguous()))


def test_second_derivatives_are_refused() -> None:
    hidden, weights = tensors(11)
    product = gi.gated(hidden.requires_grad_(), hidden, *weights, level=0.3)
    (first,) = torch.autograd.grad(product.square().sum(), hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_float64_stays_under_autocast() -> None:
    hidden, weights = tensors(9)
    expected = gi.gated(hidden, hidden, *weights, level=0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(gi.gated(hidden, hidden, *weights, level=0.3), expected)


def test_level_zero_is_gelu_exactly() -> None:
    hidden, weights = tensors(2)
    inner = torch.nn.functional.gelu(torch.nn.functional.linear(hidden, *weights[:2]))
    signal = torch.nn.functional.linear(inner, *weights[2:])
    assert torch.equal(gate(hidden, *weights, level=0.0), torch.nn.functional.gelu(signal) + 1)


@pytest.mark.parametrize("over", gi.OVER)
def test_select_at_zero_gives_one_exactly(over: gi.Over) -> None:
    hidden, (weight, bias, select, select_bias) = tensors(3)
    found = gate(hidden, weight, bias, select.zero_(), select_bias.zero_(), level=0.9, over=over)
    assert torch.equal(found, torch.ones_like(found))


@pytest.mark.parametrize("over", gi.OVER)
def test_gradient_of_a_tie_goes_to_the_first_position(over: gi.Over) -> None:
    """With `select` at zero all signals tie at 0, where gelu's derivative is 1/2: so known is what goes where."""
    hidden, (weight, bias, select, select_bias) = tensors(3)
    inputs = (torch.ones(B, T, D, dtype=hidden.dtype), hidden, weight, bias, select.zero_(), select_bias.zero_())
    leaves = [tensor.requires_grad_() for tensor in inputs]
    gi.gated(*leaves, level=0.5, over=over).sum().backward()
    reach = {"batch": B * T, "sequence": T, "token": 1}[over]
    own = torch.full((B * T, D), 0.5, dtype=hidden.dtype)
    own[::reach, 0] -= 0.5 * 0.5 * reach * D
    torch.testing.assert_close(select_bias.grad, own.sum(0))
    inner = F.gelu(F.linear(hidden, weight, bias)).flatten(0, 1)
    torch.testing.assert_close(select.grad, own.T @ inner)


@pytest.mark.parametrize("over", ["batch", "sequence"])
def test_no_gradient_through_the_maximum_where_everything_is_padding(over: gi.Over) -> None:
    hidden, weights = tensors(4)

    def gradients(level: float) -> list[Tensor]:
        leaves = [tensor.clone().requires_grad_() for tensor in (hidden, hidden, *weights)]
        padding = torch.zeros(B, T, dtype=torch.bool)
        gi.gated(*leaves, level=level, over=over, real_BT=padding).sum().backward()
        return [leaf.grad for leaf in leaves if leaf.grad is not None]

    assert len(gradients(0.3)) == 6
    assert all(torch.equal(found, wanted) for found, wanted in zip(gradients(0.3), gradients(0.0), strict=True))


@pytest.mark.parametrize("learns", [False, True])
def test_unknown_reach(learns: bool) -> None:
    hidden, weights = tensors(4)
    with pytest.raises(ValueError, match="batch, sequence, token"):
        gate(hidden.requires_grad_(learns), *weights, level=0.3, over="head")


@pytest.mark.parametrize("learns", [False, True])
def test_statistics_say_what_gates_do(learns: bool):
    torch.manual_seed(0)
    hidden, weights = torch.randn(2, 5, 8), [torch.randn(8, 8), torch.randn(8), torch.randn(6, 8), torch.randn(6)]
    hidden.requires_grad_(learns)
    seen = []
    found_gate = gate(hidden, *weights, level=0.3, over="batch", watch=seen.append)
    (found,) = seen
    signal = F.linear(F.gelu(F.linear(hidden, weights[0], weights[1])), weights[2], weights[3])
    shifted = signal - 0.3 * signal.max()
    assert torch.equal(found_gate, gate(hidden, *weights, level=0.3, over="batch"))
    assert found.mean == found_gate.mean()
    assert found.threshold == 0.3 * signal.max()
    assert found.below_one == (found_gate < 1).float().mean() > 0
    assert found.saturated == ((shifted < -1) & ((found_gate - 1).abs() < 0.01)).float().mean() > 0
    assert not any(value.requires_grad for value in vars(found).values())


def test_statistics_without_a_threshold_and_with_one_an_example():
    hidden, weights = torch.randn(2, 5, 8), [torch.randn(8, 8), torch.zeros(8), torch.randn(6, 8), torch.zeros(6)]
    seen = []
    gate(hidden, *weights, level=0, watch=seen.append)
    gate(hidden, *weights, level=0.5, over="sequence", watch=seen.append)
    signal = F.linear(F.gelu(F.linear(hidden, weights[0])), weights[2])
    assert seen[0].threshold == 0
    torch.testing.assert_close(seen[1].threshold, 0.5 * signal.amax(dim=(1, 2)).mean())
