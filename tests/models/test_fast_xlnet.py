"""XLNet's fast attention: transformers' outputs and gradients, and what it saves. With changes: `test_changed.py`."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import XLNetConfig
from transformers.models.xlnet.modeling_xlnet import XLNetRelativeAttention

from gifine.choices import Attention
from gifine.config import GiConfig
from gifine.models import build
from gifine.models.attention import distances, relative
from gifine.models.attention.xlnet import FastXLNetAttention
from support.tiny_models import BOTH, LABELS, NONE, ROUNDING, make_batch, model_config

HEADS, E = 3, 4
NO_DROPOUT = {"dropout": 0.0, "summary_last_dropout": 0.0}


def module(kind: type[Any] = FastXLNetAttention, dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> Any:
    """With weights of its own, in training mode."""
    made = kind(XLNetConfig(d_model=HEADS * E, n_head=HEADS, n_layer=1, dropout=dropout))
    generator = torch.Generator().manual_seed(2)
    for parameter in made.parameters():
        parameter.data = 0.4 * torch.randn(parameter.shape, generator=generator)
    return made.to(dtype).train()


def inputs(T: int, B: int = 3, *, masked: bool = True, segments: bool = True, shared: bool = False) -> dict[str, Any]:
    """As the backbone makes them; the positions differ by example, as after dropout, or are `shared`."""
    generator = torch.Generator().manual_seed(T)
    positions = torch.randn(2 * T, 1 if shared else B, HEADS * E, generator=generator, dtype=torch.float64)
    real_TB = torch.arange(T)[:, None] >= torch.arange(B) * T // (B + 1)
    mask_TTB1 = (~real_TB[None] & ~torch.eye(T, dtype=torch.bool)[:, :, None])[..., None].double()
    types_TB = torch.randint(0, 3, (T, B), generator=generator)
    differ_TTB = types_TB[:, None] != types_TB
    return {
        "h": torch.randn(T, B, HEADS * E, generator=generator, dtype=torch.float64).requires_grad_(),
        "g": None,
        "attn_mask_h": mask_TTB1 if masked else None,
        "attn_mask_g": None,
        "r": positions.expand(-1, B, -1) if shared else positions,
        "seg_mat": torch.nn.functional.one_hot(differ_TTB.long(), 2).double() if segments else None,
    }


def results(made: Any, given: dict[str, Any]) -> dict[str, Tensor]:
    made.zero_grad()
    given = given | {"h": given["h"].detach().clone().requires_grad_()}
    output = made(**given)[0]
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (output * weights).sum().backward()
    gradients = {name: weight.grad for name, weight in made.named_parameters() if weight.grad is not None}
    return {"output": output.detach(), "hidden": given["h"].grad, **gradients}


def assert_transformers(given: dict[str, Any]) -> None:
    expected, found = (results(module(kind), given) for kind in (XLNetRelativeAttention, FastXLNetAttention))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0.0, atol=ROUNDING, msg=name)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("segments", [False, True])
@pytest.mark.parametrize("length", [1, 2, 9, 70])
def test_outputs_and_gradients_are_transformers(length: int, segments: bool, masked: bool, shared: bool) -> None:
    assert_transformers(inputs(length, masked=masked, segments=segments, shared=shared))


@pytest.mark.parametrize("part", [1, 2 * 81, 4 * 81, 6 * 81, 7 * 81])  # of 3 heads: 1, 2, or those of 1 or 2 examples
@pytest.mark.parametrize("block", [2, 5])
def test_parts_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, part: int, block: int) -> None:
    monkeypatch.setattr(relative, "PART", part)
    monkeypatch.setattr(distances, "BLOCK", block)
    assert_transformers(inputs(9))


def test_without_dropout_positions_are_projected_once() -> None:
    made, rows = module(), []
    core = made.rel_attn_core
    made.rel_attn_core = lambda *args, **kwargs: rows.append(args[3].shape[1]) or core(*args, **kwargs)
    for shared in (True, False):
        made(**inputs(5, shared=shared))
    assert rows == [1, 3]


@pytest.mark.parametrize("shared", [False, True])
def test_who_asks_for_weights_gets_transformers(shared: bool) -> None:
    given = inputs(7, shared=shared) | {"output_attentions": True}
    expected, found = (module(kind)(**given) for kind in (XLNetRelativeAttention, FastXLNetAttention))
    for mine, own in zip(found[::2], expected[::2], strict=True):
        # One projection for all examples adds in another order than one for each.
        torch.testing.assert_close(mine, own, rtol=0.0, atol=ROUNDING if shared else 0.0)


def test_dropout_has_its_gradient_and_repeats_by_seed() -> None:
    """The gradient of what was drawn, by finite differences: with the same seed the same numbers are dropped."""
    made, given = module(dropout=0.4), inputs(4, B=2)

    def output(hidden_TBD: Tensor, seed: int = 3) -> Tensor:
        torch.manual_seed(seed)
        return made(**given | {"h": hidden_TBD})[0]

    assert torch.equal(output(given["h"]), output(given["h"]))
    assert not torch.equal(output(given["h"]), output(given["h"], seed=4))
    assert torch.autograd.gradcheck(output, (given["h"],))


def test_dropout_leaves_the_mean_what_it_is() -> None:
    torch.manual_seed(0)
    made, (query, key, value) = module(), torch.randn(3, 5, 1, HEADS, E, dtype=torch.float64)
    positions = torch.randn(9, 1, HEADS, E, dtype=torch.float64)
    given = (query, key, value, positions, made.r_w_bias, made.r_r_bias)
    with torch.no_grad():
        expected = relative.attention(*given, scale=0.5)
        drawn = torch.stack([relative.attention(*given, scale=0.5, dropout=0.3) for _ in range(3000)])
    error = drawn.std(dim=0) / 3000**0.5
    assert drawn.std(dim=0).min() > 0.01
    assert float(((drawn.mean(dim=0) - expected) / error).abs().max()) < 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_floats_keep_the_mask(dtype: torch.dtype) -> None:
    made, given = module(), inputs(9)
    moved = given | {"h": given["h"].detach().clone()}
    moved["h"][0, 1:] = 100.0  # padding of all examples but the first
    small = copy.deepcopy(made).to(dtype)

    def output(which: dict[str, Any]) -> Tensor:
        cast = {key: each.to(dtype) if isinstance(each, Tensor) else each for key, each in which.items()}
        return small(**cast)[0]

    found = output(given)
    torch.testing.assert_close(found.double(), made(**given)[0], rtol=0.1, atol=0.1)
    assert torch.equal(output(moved)[1:], found[1:])


@pytest.mark.parametrize("gi", [NONE, BOTH], ids=["plain", "gated"])
def test_models_give_the_same(gi: GiConfig) -> None:
    fast, theirs = (
        build(model_config("xlnet", attention=way, config_overrides=NO_DROPOUT), gi, labels=LABELS).double().train()
        for way in (Attention.fast, Attention.hf)
    )
    theirs.load_state_dict(fast.state_dict())
    kinds = {type(each).__name__ for each in fast.modules()}
    assert "FastDropout" in kinds
    assert ("FastXLNetAttention" if gi is NONE else "FastGiXLNetAttention") in kinds
    for model in (theirs, fast):
        model(**make_batch("xlnet"), labels=torch.tensor([0, 2, 1])).loss.backward()
    expected = dict(theirs.named_parameters())
    for name, weight in fast.named_parameters():
        torch.testing.assert_close(weight.grad, expected[name].grad, rtol=0.0, atol=ROUNDING, msg=name)


def test_it_keeps_less_for_the_backward_pass() -> None:
    sizes = []
    for kind in (XLNetRelativeAttention, FastXLNetAttention):
        made, held = module(kind, dropout=0.1), {}

        def keep(tensor: Tensor, held: dict[int, Tensor] = held) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            made(**inputs(64))
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in held.values()))
    assert sizes[1] < sizes[0] / 2.5


def test_what_is_frozen_has_no_gradient_and_changes_no_other() -> None:
    found = []
    for frozen in (False, True):
        made = module()
        made.r.requires_grad_(not frozen)
        found.append(results(made, inputs(6)))
    assert "r" in found[0]
    assert "r" not in found[1]
    assert all(torch.equal(value, found[0][name]) for name, value in found[1].items())
