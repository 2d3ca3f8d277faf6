"""One training step of DeBERTa-v3-large's shape: `python -m benchmarks.step`.

Forward, backward, clipping, AdamW and zero_grad, batch 8 of N word pieces, which are among the 6,180 that CoLA has of
the vocabulary's 128,100; random weights, dropout as published. Contestants in turn in one process, 1 thread, CPU time:
transformers' plain model with dense fused AdamW, the same with the published GI (stock.py), and gifine's models as runs
have them (occurring embedding rows, the last layer for the first token), plain and with GI on both sides of every
layer.

24 layers of two contestants do not fit into 12 GB of memory. Their step is computed from those of `--layers` (a line
through two points: what a step costs without layers, and each layer), and below N=128 measured beside that, one
contestant after the other, each in a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel, set_seed

from benchmarks import harness, stock
from gifine import execution, models
from gifine.cli import compose, config_from
from gifine.inputs.families import own_names
from gifine.models import layouts
from gifine.models.speedups import embedding_rows, last_layer

BATCH = 8
WORD_PIECES = 6180
TINY = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 7000}
QUICK = {"lengths": (12,), "layers": (1, 2), "whole": 3, "real": False, "repetitions": 1, "size": TINY}
OURS, OURS_GATED, PEER, PEER_GATED = "gifine", "gifine with GI", "transformers", "transformers with published GI"
PAIRS = {
    "plain": (PEER, OURS),
    "GI on both sides": (PEER_GATED, OURS_GATED),
    "GI, against transformers without": (PEER, OURS_GATED),
}
# Those that share a process: all four would hold 12 GB.
TOGETHER = ((PEER, OURS, OURS_GATED), (PEER_GATED, OURS_GATED))


def measure(
    lengths: Sequence[int] = (16, 32, 128),
    layers: Sequence[int] = (2, 6),
    whole: int = 24,
    repetitions: int = 3,
    size: dict[str, int] | None = None,
    device: str = "cpu",
    *,
    real: bool = True,
) -> list[harness.Row]:
    torch.set_num_threads(1)
    few, many = layers
    peak = max(harness.gemm_peak(1, device, (1024, 2048)).values())
    rows = [harness.figure("GEMM peak beside the steps, 1 thread, float32", peak, "GFLOP/s")]
    measured = [_seconds(depth, lengths, repetitions, size, device) for depth in (few, many)]
    for n in lengths:
        for name, pair in PAIRS.items():
            each, computed, ratios = (whole - few) / (many - few), [], []
            for first, second in zip(*(seconds[n][pair] for seconds in measured), strict=True):
                computed.append([a + each * (b - a) for a, b in zip(first, second, strict=True)])
            for seconds in measured:
                peer, ours = map(statistics.median, seconds[n][pair])
                ratios.append(f"{peer / ours:.2f}")
            note = f"computed from {few} and {many} layers, whose ratios are {' and '.join(ratios)}"
            rows.append(harness.row(f"step of {whole} layers, N={n}: {name}", computed[0], computed[1], note))
    if real:
        rows += _real(whole, lengths, repetitions, size, device, peak)
    return rows


def _seconds(
    depth: int, lengths: Sequence[int], repetitions: int, size: dict[str, int] | None, device: str
) -> dict[int, dict[tuple[str, str], list[list[float]]]]:
    """By length and pair: the seconds of the peer, and ours."""
    found: dict[int, dict[tuple[str, str], list[list[float]]]] = {n: {} for n in lengths}
    for together in TOGETHER:
        steps = {who: step(build(who, depth, size, device)) for who in together}
        for n in lengths:
            inputs = batch(n, device)
            calls = {who: partial(call, *inputs) for who, call in steps.items()}
            seconds = harness.in_turn(calls, repetitions, harness.clock(device))
            pairs = [pair for pair in PAIRS.values() if {*pair} <= {*together}]
            found[n] |= {pair: [seconds[who] for who in pair] for pair in pairs}
        steps.clear()
        gc.collect()  # models are in cycles
    return found


def build(
    who: str, depth: int, size: dict[str, int] | None = None, device: str = "cpu", model: str = "deberta-v3-large"
) -> PreTrainedModel:
    """A contestant in training mode, in the shape of `model`; ours has the embedding rows that `batch` draws from."""
    set_seed(0)
    if who in (PEER, PEER_GATED):
        shape = config_from(compose([f"model={model}"])).model
        entries = shape.sizes["large"].config | (size or {}) | {"num_hidden_layers": depth, "num_labels": 2}
        plain = models.family_classes(shape.family).plain_config
        built = stock.build(plain.from_dict(own_names(entries, shape.family)), gated=who == PEER_GATED)
    else:
        changed = "".join(f", {key}: {value}" for key, value in (size or {}).items())
        words = [f"model={model}", f"gi={'both' if who == OURS_GATED else 'none'}", "model.random_init=true"]
        ours = config_from(compose([*words, f"model.config_overrides={{num_hidden_layers: {depth}{changed}}}"]))
        built = models.build(ours.model, ours.gi, labels=["no", "yes"])
        embedding_rows.keep(built, word_pieces().tolist())
        last_layer.one_token(built)
    torch.nn.Module.to(built, device)
    return built.train()


def word_pieces() -> Tensor:
    """The ids that occur."""
    return torch.arange(WORD_PIECES)


def batch(n: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)  # from 5 on: before it some are padding
    ids = torch.randint(5, WORD_PIECES, (BATCH, n), generator=generator)
    return ids.to(device), (ids[:, 0] % 2).to(device)


def segments(model: PreTrainedModel, ids_BT: Tensor) -> dict[str, Tensor]:
    """Of two texts of equal length, for XLNet, whose attention reads them."""
    if not layouts.cls_last(model):
        return {}
    T = ids_BT.shape[1]
    return {"token_type_ids": (torch.arange(T, device=ids_BT.device) >= T // 2).long().expand_as(ids_BT)}


def step(model: PreTrainedModel) -> Callable[[Tensor, Tensor], None]:
    """A training step as transformers' Trainer makes it: gradients clipped to norm 1, fused AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True)

    def call(ids_BT: Tensor, labels_B: Tensor) -> None:
        inputs = {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)} | segments(model, ids_BT)
        model(**inputs, labels=labels_B).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return call


def _real(
    depth: int, lengths: Sequence[int], repetitions: int, size: dict[str, int] | None, device: str, peak: float
) -> list[harness.Row]:
    """The pairs at full depth, below N=128, where the activations alone are several GB."""
    some, found = [n for n in lengths if n < 128], {}
    needed, free = _gigabytes(depth, size), psutil.virtual_memory().available / 1e9
    if device == "cpu" and free < needed:  # others' processes would pay for it
        note = f"not measured: {free:.0f} GB of memory are free, it takes about {needed:.0f}"
        return [harness.figure(f"step of {depth} layers", None, note=note)]
    for who in (PEER, OURS, OURS_GATED, PEER_GATED):
        words = [sys.executable, "-m", "benchmarks.step", "--one", who, json.dumps([depth, some, repetitions, size])]
        words += ["--device", device]
        root = Path(__file__).parents[1]
        done = subprocess.run(words, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
        found[who] = json.loads(done.stdout.splitlines()[-1])
    rows = []
    for n in map(str, some):
        for name, (peer, ours) in PAIRS.items():
            fraction = found[ours]["flops"][n] / statistics.median(found[ours]["seconds"][n]) / peak / 1e9
            note = f"measured, one after the other; ours runs at {fraction:.0%} of the GEMM peak"
            seconds = [found[who]["seconds"][n] for who in (peer, ours)]
            rows.append(harness.row(f"step of {depth} layers, N={n}: {name}", seconds[0], seconds[1], note))
    return rows


def _gigabytes(depth: int, size: dict[str, int] | None) -> float:
    """Of the largest contestant: weights, gradients and AdamW's moments in float32, and a third for the rest."""
    width, vocabulary = (size or {}).get("hidden_size", 1024), (size or {}).get("vocab_size", 128_100)
    return 4 / 3 * 16 * (vocabulary * width + depth * (12 + 4) * width**2) / 1e9


def one(
    who: str, depth: int, lengths: Sequence[int], repetitions: int, size: dict[str, int] | None, device: str
) -> dict[str, dict[int, Any]]:
    """A contestant's `seconds` of each step, and the floating-point operations (`flops`, of products), by length."""
    torch.set_num_threads(1)
    if who in (OURS, OURS_GATED):
        execution.hold()  # as runs do
    call, found = step(build(who, depth, size, device)), {"seconds": {}, "flops": {}}
    for n in lengths:
        timed = partial(call, *batch(n, device))
        with FlopCounterMode(display=False) as counter:  # this is the warm-up as well
            timed()
        found["flops"][n] = counter.get_total_flops()
        found["seconds"][n] = harness.in_turn({who: timed}, repetitions, harness.clock(device), warm_up=0)[who]
    return found


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 32, 128])
    parser.add_argument("--layers", type=int, nargs=2, default=[2, 6])
    parser.add_argument("--whole", type=int, default=24, help="layers of the model")
    parser.add_argument("--real", action=argparse.BooleanOptionalAction, default=True, help="measure it as well")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--one", nargs=2, metavar=("WHO", "WHAT"), help="what the script starts itself for --real")
    args = parser.parse_args()
    asked = vars(args).pop("one")
    if asked:
        depth, lengths, repetitions, size = json.loads(asked[1])
        print(json.dumps(one(asked[0], depth, lengths, repetitions, size, args.device)))
    else:
        harness.report(measure, args)


if __name__ == "__main__":
    main()
