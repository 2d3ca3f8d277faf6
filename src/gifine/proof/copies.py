"""Models that are saved and loaded, and training that stops and goes on."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import PreTrainedModel

from gifine import models
from gifine.inputs.change_files import FILE
from gifine.proof import subjects
from gifine.proof.findings import Finding, Status
from gifine.proof.subjects import Subject


def saved(subject: Subject) -> Finding:
    """`save_pretrained`, `from_pretrained`: weights and logits, to the bit."""
    model = subjects.moved(subject.changed()).eval()
    inputs = subjects.batch(family=subject.family)
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        file = subject.change.get(FILE)
        loaded = models.from_pretrained(Path(folder), change_file=file, whole=True).eval()
    apart = subjects.distance(model.state_dict(), loaded.state_dict())
    apart = max(apart, subjects.apart(subjects.logits(model, inputs), subjects.logits(loaded, inputs)))
    if apart == 0:
        return Finding("save and load", subject.family, Status.holds, "equal, to the bit")
    return Finding("save and load", subject.family, Status.fails, f"differs by {apart:.1e}")


def resumed(subject: Subject) -> Finding:
    """Four steps, or two and two from what a checkpoint holds: losses and weights, to the bit."""
    whole = subjects.moved(subject.changed())
    losses, _ = _train(whole, subject.family, range(4))
    first = subjects.moved(subject.changed())
    _, optimizer = _train(first, subject.family, range(2))
    kept = copy.deepcopy((first.state_dict(), optimizer.state_dict()))
    second = subject.changed()
    second.load_state_dict(kept[0])
    rest, _ = _train(second, subject.family, range(2, 4), kept[1])
    moved = subjects.distance(whole.state_dict(), second.state_dict())
    if rest == losses[2:] and moved == 0:
        return Finding("resume", subject.family, Status.holds, "equal, to the bit")
    apart = max(abs(one - other) for one, other in zip(rest, losses[2:], strict=True))
    return Finding("resume", subject.family, Status.fails, f"losses differ by {apart:.1e}, weights by {moved:.1e}")


def _train(
    model: PreTrainedModel, family: str, steps: Sequence[int], state: dict[str, Any] | None = None
) -> tuple[list[float], torch.optim.Optimizer]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    if state is not None:
        optimizer.load_state_dict(state)
    losses = []
    for number in steps:
        torch.manual_seed(number)  # of torch's own numbers a checkpoint holds where they were
        loss = model.train()(**subjects.batch(family=family), labels=torch.tensor([0, 2, 1])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, optimizer
