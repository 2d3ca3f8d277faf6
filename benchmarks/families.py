"""A layer and a training step of each family, with and without GI: `python -m benchmarks.families`.

Steps as in step.py (batch 8 of N word pieces, clipping, AdamW), of models with two numbers of layers: what a step grows
by is a layer, and the line through both gives a step of 24. Contestants in turn in one process, 1 thread, CPU time. Of
DeBERTa v1 and XLNet there is no published GI.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from benchmarks import harness, step

MODELS = ("bert-large", "roberta-large", "deberta-large", "deberta-v3-large", "xlnet-large")
UNPUBLISHED = ("deberta-large", "xlnet-large")  # with GI
QUICK: dict[str, Any] = {"length": 12, "layers": (1, 8), "whole": 9, "repetitions": 1, "size": step.TINY}


def measure(
    models: Sequence[str] = MODELS,
    length: int = 32,
    layers: Sequence[int] = (1, 3),
    whole: int = 24,
    repetitions: int = 5,
    size: dict[str, int] | None = None,
    device: str = "cpu",
) -> list[harness.Row]:
    torch.set_num_threads(1)
    few, many = layers
    rows = []
    for model in models:
        of_few, of_many = (_seconds(model, depth, length, repetitions, size, device) for depth in layers)
        layer, computed = {}, {}
        for who, seconds in of_few.items():
            # The few layers by their median: a difference of two single measurements scatters too much.
            base = statistics.median(seconds)
            layer[who] = [(more - base) / (many - few) for more in of_many[who]]
            computed[who] = [base + each * (whole - few) for each in layer[who]]
        for what, found in ((f"layer of {model}", layer), (f"step of {model}, {whole} layers", computed)):
            for name, (peer, ours) in step.PAIRS.items():
                if peer in found:
                    note = f"computed from {few} and {many} layers"
                    rows.append(harness.row(f"{what}, N={length}: {name}", found[peer], found[ours], note))
    return rows


def _seconds(
    model: str, depth: int, length: int, repetitions: int, size: dict[str, int] | None, device: str
) -> dict[str, list[float]]:
    contestants = [step.PEER, step.OURS, step.OURS_GATED]
    if model not in UNPUBLISHED:
        contestants.append(step.PEER_GATED)
    inputs = step.batch(length, device)
    steps = {who: step.step(step.build(who, depth, size, device, model)) for who in contestants}
    calls = {who: partial(call, *inputs) for who, call in steps.items()}
    seconds = harness.in_turn(calls, repetitions, harness.clock(device))
    steps.clear()
    calls.clear()
    gc.collect()  # models are in cycles
    return seconds


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--length", type=int, default=32, help="N")
    parser.add_argument("--layers", type=int, nargs=2, default=[1, 3])
    parser.add_argument("--repetitions", type=int, default=5)
    harness.report(measure, parser.parse_args())


if __name__ == "__main__":
    main()
