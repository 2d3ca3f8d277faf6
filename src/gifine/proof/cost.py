"""What a change costs beside the plain model: parameters, arithmetic, and the time of a step on this machine.

Parameters and floating-point operations are counted for the model of a config, by shapes: no weights are fetched or
made. Operations are those of matrix products, as torch.utils.flop_counter counts them.
"""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from gifine import models
from gifine.changes.contract import Sizes
from gifine.choices import Attention, GateSide
from gifine.config import GI, RunConfig
from gifine.errors import ModelError, chain
from gifine.models.change_config import is_change
from gifine.proof import subjects
from gifine.proof.findings import aligned
from gifine.training.cost import Counter as Operations

TOKENS = 128  # of the one example whose operations are counted
_TIMED = Sizes(depth=4, hidden=256, heads=4, inner=1024)
_BATCH, _LENGTH, _REPEATS = 8, 40, 7


@dataclass(frozen=True)
class Cost:
    model: str
    parameters: int  # of the change
    a_layer: int  # the most that a layer has
    of: int  # of the plain model
    flops: int | None = None  # of a forward and a backward pass; None: not counted
    plain_flops: int | None = None
    time_ratio: float | None = None  # of a step beside the plain model's; None: not measured


def of_model(config: RunConfig) -> Cost:
    """Of the model that a run with this config builds, with transformers' attention."""
    plain = replace(config, gi=replace(config.gi, side=GateSide.none), change={"name": GI})
    with FakeTensorMode():
        built, baseline = _built(config), _built(plain)
        flops, plain_flops = (_flops(each, config.model.family) for each in (built, baseline))
    own, a_layer = _count(built)
    size = models.count_parameters(baseline)["total"]
    name = config.model.title or config.model.name
    return Cost(f"{name} {config.model.size}", own, a_layer, size, flops, plain_flops)


def of_families(found: list[subjects.Subject]) -> Iterator[Cost]:
    """Of a small model of each family, large enough for its arithmetic to count, with the attention that runs take."""
    for subject in found:
        wider = replace(subject, sizes=_timed(subject.sizes))
        plain, changed = (build(attention=Attention.fast) for build in (wider.plain, wider.changed))
        own, a_layer = _count(changed)
        size = models.count_parameters(plain)["total"]
        yield Cost(f"{subject.family}, small", own, a_layer, size, time_ratio=_ratio(plain, changed, subject.family))


def table(costs: list[Cost]) -> str:
    lines = [["cost", "parameters", "a layer", "of the plain model", f"operations, {TOKENS} tokens", "time of a step"]]
    for each in costs:
        operations = "-"
        if each.flops is not None and each.plain_flops:
            more = 100 * (each.flops / each.plain_flops - 1)
            operations = f"{each.flops / 1e9:,.1f} G ({more:+.1f} %)"
        spent = "-" if each.time_ratio is None else f"{each.time_ratio:.2f} × plain"
        share = f"{100 * each.parameters / each.of:.3g} %"
        lines.append([each.model, f"{each.parameters:,}", f"{each.a_layer:,}", share, operations, spent])
    return aligned(lines)


def _timed(sizes: Sizes) -> Sizes:
    assert sizes.depth is not None
    assert sizes.hidden is not None
    return replace(_TIMED, depth=max(4, sizes.depth), hidden=max(256, sizes.hidden))


def _built(config: RunConfig) -> PreTrainedModel:
    """Under FakeTensorMode: shapes without numbers."""
    model = replace(config.model, random_init=True, attention=Attention.hf)
    with no_init_weights():
        return models.build(model, config.gi, config.change, labels=subjects.LABELS).eval()


def _count(model: PreTrainedModel) -> tuple[int, int]:
    """Of the change: its parameters, and the most that a layer has."""
    layers: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        found = re.search(r"\.layer\.(\d+)\.", name)
        if found is not None and is_change(name):
            layers[found.group(1)] += parameter.numel()
    return sum(layers.values()), max(layers.values(), default=0)


def _flops(model: PreTrainedModel, family: str) -> int | None:
    inputs = {"input_ids": torch.ones(1, TOKENS, dtype=torch.long)}
    if family.startswith("deberta"):  # the others look into a mask, and DeBERTas into the ids if there is none
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    try:
        with Operations() as counter:
            model(**inputs).logits.sum().backward()
    except (DataDependentOutputException, ModelError) as error:
        if any(isinstance(each, DataDependentOutputException) for each in chain(error)):
            return None  # the change looks at numbers, and here are none
        raise
    return counter.operations


def _ratio(plain: PreTrainedModel, changed: PreTrainedModel, family: str) -> float:
    """The median of steps that alternate with the plain model's, each beside the one before."""
    inputs = subjects.batch((_LENGTH - 3,) * _BATCH, _LENGTH - 3, family)
    labels = torch.zeros(_BATCH, dtype=torch.long)

    def seconds(model: PreTrainedModel) -> float:
        model.zero_grad()
        begun = time.perf_counter()
        model(**inputs, labels=labels).loss.backward()
        return time.perf_counter() - begun

    ratios = []
    for _ in range(_REPEATS + 2):
        before = seconds(plain)
        ratios.append(seconds(changed) / before)
    return statistics.median(ratios[2:])  # the first ones fill caches
