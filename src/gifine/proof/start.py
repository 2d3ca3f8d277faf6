"""How far the model is from the plain one at its first step, and whether what a change gives is what stood there."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gifine.changes.contract import At, Change
from gifine.errors import ModelError
from gifine.inputs import change_trial
from gifine.proof import subjects
from gifine.proof.findings import Finding, Status
from gifine.proof.subjects import Subject


def distance(subject: Subject) -> Finding:
    """Logits in float32, with dropout and without it, by each attention that the family has."""
    largest, ulps = 0.0, 0.0
    for attention in subject.ways:
        plain, changed = subject.plain(attention=attention), subject.changed(attention=attention)
        subjects.watch(changed, _examine)
        for training in (True, False):
            found = []
            for model in (plain, changed):
                torch.manual_seed(subjects.SEED)
                found.append(subjects.logits(model.train(training), subjects.batch(family=subject.family)))
            apart = subjects.apart(*found)
            if apart > largest:
                largest = apart
                ulps = apart / float(np.spacing(np.float32(found[0].abs().max())))
    if largest == 0:
        return Finding("start", subject.family, Status.holds, "plain, to the bit")
    rounding = f" ({ulps:,.0f} ulp)" if ulps < 1000 else ""  # above that it is no matter of rounding
    return Finding("start", subject.family, Status.told, f"{largest:.1e} away{rounding}")


def bfloat16(subject: Subject) -> Finding:
    """Autocast, as train.precision=bf16: whether each value keeps its type."""
    model = subjects.moved(subject.changed())
    subjects.watch(model, _examine)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**subjects.batch(family=subject.family), labels=torch.tensor([0, 2, 1])).loss
    loss.backward()
    finite = all(
        bool(each.grad.isfinite().all()) for each in subjects.parameters(model).values() if each.grad is not None
    )
    if finite and bool(loss.isfinite()):
        return Finding("bfloat16", subject.family, Status.holds, "runs")
    return Finding("bfloat16", subject.family, Status.fails, "not finite")


def _examine(change: Change, at: At, value: Tensor, changed: Tensor) -> None:
    change_trial.check_value(change, at.place, value, changed)
    if value.isfinite().all() and not changed.isfinite().all():
        raise ModelError(
            f"change={change.name}: apply at {at.place.site}, layer {at.place.layer}: NaN or infinite at the start, "
            f"of {value.numel():,} values {int((~changed.isfinite()).sum()):,}"
        )
