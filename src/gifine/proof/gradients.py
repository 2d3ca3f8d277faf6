"""Gradients, in float64: whether they are those of finite differences, and whether there are any."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.deberta.modeling_deberta import DebertaLayerNorm

from gifine.errors import ModelError
from gifine.proof import subjects
from gifine.proof.findings import Finding, Status
from gifine.proof.subjects import Subject

_STEPS = (1e-5, 1e-6)  # the better one counts: at a kink, such as a maximum, one may straddle it
_TOLERANCE = 1e-6  # relative; central differences in float64 are better by two digits on smooth functions
_NONE = 1e-12  # of the model's largest gradient: what rounding leaves of one that is 0


def differences(subject: Subject) -> Finding:
    """The loss along random directions: of the change's parameters alone, and of all others."""
    model = _in_float64(subjects.moved(subject.changed().double().eval()))
    names = subjects.parameters(model)
    subjects.step(model, subject.family)
    _check_used(subject, {name: weight.grad for name, weight in model.named_parameters() if name in names})
    worst = 0.0
    for own in (True, False):
        weights: list[Tensor] = [
            weight for name, weight in model.named_parameters() if (name in names) == own and weight.grad is not None
        ]
        for draw in range(2 if weights else 0):
            numbers = torch.Generator().manual_seed(draw)
            directions = [torch.randn(each.shape, generator=numbers, dtype=each.dtype) for each in weights]
            _leave_out_padding(model, weights, directions)
            expected = sum(
                float((each.grad * way).sum())
                for each, way in zip(weights, directions, strict=True)
                if each.grad is not None
            )
            found = [_slope(model, subject.family, weights, directions, size) for size in _STEPS]
            nearest = min(abs(each - expected) / max(abs(expected), 1e-3) for each in found)
            worst = max(worst, nearest if math.isfinite(sum(found, expected)) else math.inf)
    if worst <= _TOLERANCE:
        return Finding("gradients", subject.family, Status.holds, f"right to {worst:.0e}")
    return Finding("gradients", subject.family, Status.fails, f"off by {worst:.1e} of the slope")


def learned(subject: Subject) -> Finding | None:
    """Whether the change can learn: all gradients are 0 at its start, or those of one tensor wherever it is.

    At the start some may be 0, as LoRA's A while B is 0. If all are, they stay so, since nothing moves them: those of
    a product of two tensors that both start at 0, or of what a step function takes. A tensor without any elsewhere is
    told, no fault: BERT's softmax does not see an offset of all keys, such as the bias of `added` there. None: there
    is nothing to learn.
    """
    at_start = _largest(subject, subjects.moved(subject.changed().double().eval(), change=0.0))
    if not at_start:
        return None
    if not any(at_start.values()):
        return Finding("learns", subject.family, Status.fails, "at the start all gradients are 0")
    away = _largest(subject, subjects.moved(subject.changed().double().eval()))
    if still := [name for name, largest in away.items() if largest == 0]:
        return Finding("learns", subject.family, Status.told, f"all but {', '.join(still)}")
    return Finding("learns", subject.family, Status.holds, "yes")


def _largest(subject: Subject, model: PreTrainedModel) -> dict[str, float]:
    """By name (`change_q.t`) the largest gradient of each tensor of the change, over all layers."""
    subjects.step(model, subject.family)
    sizes = {
        name: float(weight.grad.abs().max()) for name, weight in model.named_parameters() if weight.grad is not None
    }
    rounding = _NONE * max(sizes.values())
    found: dict[str, float] = {}
    for name in subjects.parameters(model):
        own = ".".join(name.split(".")[-2:])
        size = sizes.get(name, 0.0)
        found[own] = max(found.get(own, 0.0), size if size > rounding else 0.0)
    return found


def _in_float64(model: PreTrainedModel) -> PreTrainedModel:
    """The model itself, with DeBERTa's LayerNorms, which compute in float32 whatever they are given, as torch's."""
    for name, module in [*model.named_modules()]:
        if isinstance(module, DebertaLayerNorm):
            norm = nn.LayerNorm(module.weight.shape, eps=module.variance_epsilon)
            norm.weight, norm.bias = module.weight, module.bias
            model.set_submodule(name, norm)
    return model


def _leave_out_padding(model: nn.Module, weights: list[Tensor], directions: list[Tensor]) -> None:
    """Embeddings of padding stay where they are: torch gives them no gradient, whatever reads them."""
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            for weight, direction in zip(weights, directions, strict=True):
                if weight is module.weight:
                    direction[module.padding_idx] = 0


def _slope(model: nn.Module, family: str, weights: list[Tensor], directions: list[Tensor], size: float) -> float:
    """Of the loss; the weights are then where they were, but for rounding."""
    inputs, losses = subjects.batch(family=family), []
    with torch.no_grad():
        for way in (size, -2 * size):
            for weight, direction in zip(weights, directions, strict=True):
                weight += way * direction
            losses.append(float(model(**inputs, labels=torch.tensor([0, 2, 1])).loss))
        for weight, direction in zip(weights, directions, strict=True):
            weight += size * direction
    return (losses[0] - losses[1]) / (2 * size)


def _check_used(subject: Subject, gradients: dict[str, Tensor | None]) -> None:
    unused = [name for name, gradient in gradients.items() if gradient is None]
    if unused:
        raise ModelError(
            f"change={subject.change['name']}: {unused[0]} has no gradient in {subject.family}: apply does not use "
            f"it, or cuts the graph; find_parameters names {len(unused)} such of {len(gradients)}"
        )
