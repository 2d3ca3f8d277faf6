"""Whether an example's logits depend on the others in its batch, or on its padding, in float64.

With some changes they do: GI's published threshold is a maximum over the batch. It is told, since evaluation then
depends on the batches.
"""

from __future__ import annotations

from gifine.proof import subjects
from gifine.proof.findings import Finding, Status
from gifine.proof.subjects import Subject

_ROUNDING = 1e-9


def batch(subject: Subject) -> Finding:
    """Each example alone, with the padding that it has among others."""
    model = subjects.moved(subject.changed().double().eval())
    inputs = subjects.batch(family=subject.family)
    together = subjects.logits(model, inputs)
    alone = [
        subjects.logits(model, {name: each[row : row + 1] for name, each in inputs.items()})
        for row in range(len(together))
    ]
    apart = max(float((one[0] - row).abs().max()) for one, row in zip(alone, together, strict=True))
    return _told("batch", subject, apart, "couples examples")


def padding(subject: Subject) -> Finding:
    """The same batch, padded to more positions."""
    model = subjects.moved(subject.changed().double().eval())
    short, long = (subjects.logits(model, subjects.batch(width=width, family=subject.family)) for width in (9, 14))
    return _told("padding", subject, float((short - long).abs().max()), "takes part")


def _told(check: str, subject: Subject, apart: float, what: str) -> Finding:
    if apart <= _ROUNDING:
        return Finding(check, subject.family, Status.holds, "makes no difference")
    return Finding(check, subject.family, Status.told, f"{what}: {apart:.1e}")
