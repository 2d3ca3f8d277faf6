"""A run with the change and its baseline of the same seed draw the same random numbers for all else."""

from __future__ import annotations

import random

import numpy as np
import torch

from gifine.proof import subjects
from gifine.proof.findings import Finding, Status
from gifine.proof.subjects import Subject


def paired(subject: Subject) -> Finding:
    """First weights of backbone and head; and where torch's, numpy's and Python's numbers are after a step.

    What is drawn after that, such as the next dropout masks and the order of the data, is the same then, too.
    """
    plain = subject.plain()
    built = _numbers()
    subjects.step(plain, subject.family)
    trained = _numbers()
    changed = subject.changed()
    weights = {name: value for name, value in changed.state_dict().items() if name in plain.state_dict()}
    wrong = []
    if subjects.distance(weights, plain.state_dict()) != 0:
        wrong.append("first weights")
    if _numbers() != built:
        wrong.append("numbers when it is built")
    subjects.step(changed, subject.family)
    if _numbers() != trained:
        wrong.append("numbers in a step")
    if not wrong:
        return Finding("random numbers", subject.family, Status.holds, "paired")
    return Finding("random numbers", subject.family, Status.fails, f"not the baseline's: {', '.join(wrong)}")


def _numbers() -> tuple[bytes, str, str]:
    return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), repr(random.getstate())
