"""Other ways to compute the same, in float64: less memory, or less time."""

from __future__ import annotations

from gifine.choices import Attention
from gifine.models.speedups import last_layer
from gifine.proof import subjects
from gifine.proof.findings import Finding, near
from gifine.proof.subjects import Subject

_ROUNDING = 1e-9
_SCALE = 1e-5  # transformers' DeBERTa computes the root that divides its scores in float32; gradients have several


def checkpointed(subject: Subject) -> Finding:
    """train.gradient_checkpointing: each layer is computed again for its gradients, with dropout."""
    found = []
    for checkpointing in (False, True):
        model = subjects.moved(subject.changed().double())
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        found.append(subjects.step(model, subject.family))
    return near("gradient checkpointing", subject.family, subjects.distance(*found), _ROUNDING)


def one_token(subject: Subject) -> Finding:
    """In the last layer runs compute for one token alone, the one that the head reads."""
    model = subjects.moved(subject.changed().double().eval())
    whole = subjects.step(model, subject.family)
    last_layer.one_token(model)
    apart = subjects.distance(whole, subjects.step(model, subject.family))
    return near("last layer, one token", subject.family, apart, _ROUNDING)


def fast(subject: Subject) -> Finding | None:
    """gifine's attention and transformers', of families that have both."""
    if len(subject.ways) == 1:
        return None
    found = [
        subjects.step(subjects.moved(subject.changed(attention=attention).double().eval()), subject.family)
        for attention in Attention
    ]
    return near("fast attention", subject.family, subjects.distance(*found), _SCALE)
