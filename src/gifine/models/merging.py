"""Whole weights of a model of which parts were trained, with its change as it is or multiplied into them.

A change can be merged where it is an affine function of what a linear layer beside it takes or gives:

    query, key, value, output, ffn_output    f(W x + b) = M x + c      M and c take the place of W and b
    context, ffn                             W f(h) + b, f(h) = M h + c  W M and b + W c do, in the layer that follows

M and c are found by asking f for 0 and for each unit vector, in float64, and it is tried on random inputs whether they
say all of it. So no change has to say how it is merged, and one that looks at anything else is found out.

Shapes: F features that f takes, G that it gives; N random positions.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from gifine.changes.contract import Site
from gifine.choices import Objective
from gifine.errors import ModelError
from gifine.inputs import change_files
from gifine.models import at_site, change_config, families, heads, layouts
from gifine.models.changed import ChangedModule
from gifine.models.pretrained import from_pretrained

EXACT = 1e-9  # of float64, relative to the largest number: far above its rounding, far below what float32 has
_ROUNDING = 1e-3  # of logits in float32: what merged weights may differ by, which are rounded anew

_NAMES: dict[str, tuple[str, ...]] = {
    "query": ("query", "query_proj"),
    "key": ("key", "key_proj"),
    "value": ("value", "value_proj"),
}
_FUSED = ("query", "key", "value")  # the parts of DeBERTa v1's in_proj, head by head


def fill_in(model: PreTrainedModel) -> PreTrainedModel:
    """The same model, saved whole: what it was trained over is part of it. Without a change it is transformers' own."""
    if not getattr(model.config, "changed_layers", ()):
        return _plain(model)
    whole = copy.deepcopy(model)
    whole.config.trained_over = None
    return whole


def merge(model: PreTrainedModel) -> PreTrainedModel:
    """Transformers' own model that computes the same, in float32.

    Raises:
        ModelError: with the reason, for a change that no plain model can hold.
    """
    exact = copy.deepcopy(model).double().eval()
    plain = _plain(exact)
    for name, module in exact.named_modules():
        if isinstance(module, ChangedModule):
            for site in module.sites:
                _merge_site(module, site, plain, name)
    problem = _differ(exact, plain)
    if not problem <= EXACT:  # nor NaN
        raise ModelError(f"merged, the model is another one: its logits differ by {problem:.1g}")
    return plain.float()


def compare(model: PreTrainedModel, folder: Path) -> float:
    """The largest difference between logits of `model` and of what was saved in `folder`, in float32.

    Raises:
        ModelError: if it is more than rounding.
    """
    own = (getattr(model.config, "change", None) or {}).get(change_files.FILE)
    moved = _differ(model, from_pretrained(folder, whole=True, change_file=own))
    if not moved <= _ROUNDING:  # nor NaN
        raise ModelError(f"the weights that were written give other logits, by {moved:.1g}: not kept")
    return moved


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """Transformers' own class with these weights, the change left out."""
    family = families.find(model.config.model_type, "")
    entries = change_config.without_change(model.config.to_dict())
    for key in ("model_type", "architectures", "trained_over"):
        entries.pop(key, None)
    key = family.config.attribute_map.get("hidden_act", "hidden_act")
    entries[key] = change_config.unmark(entries[key])
    with torch.random.fork_rng(devices=[]):
        plain = family.model(heads.objective_of(model), plain=True)(family.plain_config.from_dict(entries))
    kept = {name: each for name, each in model.state_dict().items() if not change_config.is_change(name)}
    nn.Module.to(plain, model.dtype).load_state_dict(kept)
    return plain.eval()


def _merge_site(module: ChangedModule, site: Site, plain: PreTrainedModel, name: str) -> None:
    place = module.sites[site].place
    where = f"change {module.sites[site].change.name}, {site} of layer {place.layer}"
    if site == "weights":
        raise ModelError(f"{where}: it acts on attention's weights, which are no linear layer's")
    layer: Any = layouts.layers(plain)[place.layer]
    if layouts.of(plain).bare_projections:
        _merge_xlnet(module, site, layer, where)
        return
    if site in ("context", "ffn"):
        into = layer.attention.output.dense if site == "context" else layer.output.dense
        matrix_FF, offset_F = _affine(module, site, place.given, lambda value: value, where)
        _set(into, into.weight @ matrix_FF, into.bias + into.weight @ offset_F)
        return
    if site in ("output", "ffn_output"):
        into = layer.attention.output.dense if site == "output" else layer.output.dense
        _set(into, *_affine(module, site, place.taken, into, where))
        return
    attention = layer.attention.self
    if hasattr(attention, "in_proj"):
        _merge_fused(module, site, attention, where)
        return
    into = next(getattr(attention, own) for own in _NAMES[site] if hasattr(attention, own))
    _set(into, *_affine(module, site, place.taken, into, where))
    if getattr(attention, "share_att_key", False) and site != "value" and not module.changes_positions:
        raise ModelError(
            f"{where}: with share_att_key the same weights serve relative positions, on which the change does not act "
            "(change.positions=false)"
        )


def _merge_xlnet(module: ChangedModule, site: Site, layer: Any, where: str) -> None:
    """Into XLNet's parameters, D × H × E and without biases, and the linear layers of its feed-forward network."""
    place, attention, network = module.sites[site].place, layer.rel_attn, layer.ff
    if site == "ffn":
        matrix_FF, offset_F = _affine(module, site, place.given, lambda value: value, where)
        into = network.layer_2
        _set(into, into.weight @ matrix_FF, into.bias + into.weight @ offset_F)
    elif site == "ffn_output":
        _set(network.layer_2, *_affine(module, site, place.taken, network.layer_2, where))
    elif site in ("context", "output"):
        output_DK = attention.o.flatten(1)
        if site == "context":
            matrix_KK, offset_K = _affine(module, site, place.given, lambda value: value, where)
            matrix_DK, offset_D = output_DK @ matrix_KK, output_DK @ offset_K
        else:
            matrix_DK, offset_D = _affine(module, site, place.taken, lambda x: x @ output_DK.T, where)
        _set_without_bias(attention.o, matrix_DK, offset_D, where)
    else:
        projection = {"query": attention.q, "key": attention.k, "value": attention.v}[site]
        weight_DK = projection.flatten(1)
        matrix_KD, offset_K = _affine(module, site, place.taken, lambda x: x @ weight_DK, where)
        _set_without_bias(projection, matrix_KD.T, offset_K, where)


@torch.no_grad()
def _set_without_bias(into: Tensor, matrix: Tensor, offset: Tensor, where: str) -> None:
    if offset.abs().max() > EXACT:
        raise ModelError(f"{where}: it adds a bias, which XLNet's attention does not have")
    into.copy_(matrix.reshape(into.shape))


def _merge_fused(module: ChangedModule, site: Site, attention: Any, where: str) -> None:
    """Into DeBERTa v1's projection, whose rows lie head by head, with biases of their own for queries and values."""
    number, heads = _FUSED.index(site), attention.num_attention_heads
    weight_HD = attention.in_proj.weight.unflatten(0, (heads, len(_FUSED), -1))[:, number].flatten(0, 1)
    bias = {"query": attention.q_bias, "key": None, "value": attention.v_bias}[site]

    def project(x: Tensor) -> Tensor:
        return nn.functional.linear(x, weight_HD, bias)

    matrix_GF, offset_G = _affine(module, site, weight_HD.shape[1], project, where)
    if bias is None and offset_G.abs().max() > EXACT:
        raise ModelError(f"{where}: it adds a bias, which the keys of DeBERTa v1 do not have")
    with torch.no_grad():
        parts = attention.in_proj.weight.unflatten(0, (heads, len(_FUSED), -1))
        parts[:, number].copy_(matrix_GF.unflatten(0, (heads, -1)))
        if bias is not None:
            bias.copy_(offset_G)


@torch.no_grad()
def _set(into: nn.Linear, matrix_GF: Tensor, offset_G: Tensor) -> None:
    into.weight.copy_(matrix_GF)
    into.bias.copy_(offset_G)


@torch.no_grad()
def _affine(
    module: ChangedModule, site: Site, features: int, layer: Callable[[Tensor], Tensor], where: str
) -> tuple[Tensor, Tensor]:
    """`matrix_GF` and `offset_G` of x ↦ f(layer(x)); at query, key and value all that f may look at is x."""
    place, numbers = module.sites[site].place, torch.Generator().manual_seed(0)

    def ask(x_1NF: Tensor) -> Tensor:
        other = torch.randn(1, x_1NF.shape[1], place.hidden, generator=numbers, dtype=torch.float64)
        hidden = x_1NF if site in _NAMES else other
        taken = other if site in ("context", "ffn") else x_1NF
        alone = at_site.Pass()
        alone.kept = _Unread()
        with at_site.during(alone):
            return module.changed(site, layer(x_1NF), hidden, taken=taken)

    try:
        offset_G = ask(torch.zeros(1, 1, features, dtype=torch.float64))[0, 0]
        matrix_GF = (ask(torch.eye(features, dtype=torch.float64)[None])[0] - offset_G).T
        x_1NF = 3 * torch.randn(1, 64, features, generator=numbers, dtype=torch.float64)
        found_1NG = ask(x_1NF)
    except _LookedElsewhereError:
        raise ModelError(f"{where}: it looks at what an earlier layer left, which no linear layer does") from None
    difference = (found_1NG - (x_1NF @ matrix_GF.T + offset_G)).abs().max()
    if not difference <= EXACT * found_1NG.abs().max().clamp(min=1):  # NaN, too
        raise ModelError(f"{where}: it is no linear function of what it changes, so no weights can hold it")
    return matrix_GF, offset_G


class _LookedElsewhereError(Exception):
    pass


class _Unread(dict[str, Tensor]):
    """What earlier layers left: a layer alone has none, and a change that asks for it depends on more than its own."""

    def __contains__(self, key: object) -> bool:
        raise _LookedElsewhereError

    def __getitem__(self, key: str) -> Tensor:
        raise _LookedElsewhereError

    def get(self, key: str, default: Any = None) -> Any:
        raise _LookedElsewhereError

    def setdefault(self, key: str, default: Any = None) -> Any:
        raise _LookedElsewhereError


def _batches(config: Any) -> Iterator[dict[str, Tensor]]:
    numbers = torch.Generator().manual_seed(0)
    pad = config.pad_token_id or 0
    for lengths in ((16, 16), (16, 9)):
        mask_BT = torch.arange(16) < torch.tensor(lengths)[:, None]
        ids_BT = torch.randint(0, config.vocab_size, mask_BT.shape, generator=numbers).masked_fill(~mask_BT, pad)
        yield {"input_ids": ids_BT, "attention_mask": mask_BT.long()}


@torch.no_grad()
def _differ(one: PreTrainedModel, other: PreTrainedModel) -> float:
    """The largest difference of their logits on random tokens."""
    apart = [(_logits(one, batch) - _logits(other, batch)).abs().max() for batch in _batches(one.config)]
    return float(torch.stack(apart).max())  # NaN, if one of them is


def _logits(model: PreTrainedModel, batch: dict[str, Tensor]) -> Tensor:
    found = model(**batch)
    if heads.objective_of(model) is Objective.questions:  # nobody asks for those of padding
        return torch.stack([found.start_logits, found.end_logits])[:, batch["attention_mask"].bool()]
    return found.logits
