"""One training step of a masked language model: `python -m benchmarks.masked`.

BERT-base's and DeBERTa-v3-base's shape with `--layers` layers and the whole vocabulary (30,522 and 128,100 tokens),
random weights, dropout as published; `--examples` rows of N tokens, of which 15 % are asked for. Forward, backward,
clipping, AdamW. Contestants in turn in one process, 1 thread, CPU time: transformers' model with its own loss, which
scores all places, gifine's, which scores those that are asked for, and gifine's with GI on both sides. Beside the
seconds, what autograd keeps between forward and backward, parameters left out.

DeBERTa's mask decoder is not in transformers: but for one line, all have positions in their input
(`position_biased_input: true`). What the decoder costs, the last layer a second time, is a line of its own.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForMaskedLM, PreTrainedModel, set_seed

from benchmarks import harness
from gifine import models
from gifine.choices import Objective
from gifine.cli import compose, config_from
from gifine.config import RunConfig

TINY = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 7000}
QUICK: dict[str, Any] = {"lengths": (12,), "layers": 1, "examples": 2, "repetitions": 1, "size": TINY}
SHARE = 0.15  # of all tokens, as published
PEER, OURS, GATED, DECODER = "transformers", "gifine", "gifine with GI", "gifine with the mask decoder"
SHAPES = {"BERT-base": ("bert", (PEER, OURS, GATED)), "DeBERTa-v3-base": ("debertav3", (PEER, OURS, GATED, DECODER))}
ROWS = {OURS: "plain", GATED: "GI, against transformers without", DECODER: "with the mask decoder, against none"}
Batch = dict[str, Tensor]


def measure(
    lengths: Sequence[int] = (128,),
    layers: int = 2,
    examples: int = 4,
    repetitions: int = 3,
    size: dict[str, int] | None = None,
    device: str = "cpu",
) -> list[harness.Row]:
    torch.set_num_threads(1)
    rows = []
    for shape, (name, contestants) in SHAPES.items():
        built = {who: build(who, name, layers, size, device) for who in contestants}
        for n in lengths:
            batch = make_batch(n, examples, built[OURS].config.vocab_size, device)
            steps = {who: harness.training_step(model, partial(_loss, model)) for who, model in built.items()}
            calls = {who: partial(call, batch) for who, call in steps.items()}
            seconds = harness.in_turn(calls, repetitions, harness.clock(device))
            kept = {who: _saved(model, batch) / 1e6 for who, model in built.items()}
            for who in contestants[1:]:
                title = f"{shape}, {layers} layers, N={n}, batch {examples}: {ROWS[who]}"
                note = f"medians {statistics.median(seconds[PEER]):.2f} and {statistics.median(seconds[who]):.2f} s"
                rows.append(harness.row(f"step on masked words, {title}", seconds[PEER], seconds[who], note))
                rows.append(harness.row(f"saved for backward, {title}", [kept[PEER]], [kept[who]], unit="MB"))
        built.clear()
        gc.collect()  # models are in cycles
    return rows


def build(who: str, name: str, layers: int, size: dict[str, int] | None, device: str) -> PreTrainedModel:
    """A contestant in training mode."""
    set_seed(0)
    ours = _config(name, "both" if who == GATED else "none")
    changed: dict[str, Any] = {"num_hidden_layers": layers, **(size or {})}
    if name == "debertav3":
        changed["position_biased_input"] = who != DECODER
    if who == PEER:
        entries = ours.model.sizes["base"].config | changed | {"legacy": False}
        plain = models.family_classes(ours.model.family).plain_config.from_dict(entries)
        built = AutoModelForMaskedLM.from_config(plain)
    else:
        ours.model.config_overrides |= changed
        built = models.build(ours.model, ours.gi, labels=(), objective=Objective.mlm)
    torch.nn.Module.to(built, device)
    return built.train()


def _config(name: str, gi: str) -> RunConfig:
    return config_from(compose([f"model={name}", "model.size=base", f"gi={gi}", "model.random_init=true"]))


def make_batch(n: int, examples: int, tokens: int, device: str) -> Batch:
    """Full rows, with places that are asked for in each."""
    generator = torch.Generator().manual_seed(n)  # from 5 on: before it some are padding
    ids_BT = torch.randint(5, tokens, (examples, n), generator=generator)
    asked_BT = torch.rand(ids_BT.shape, generator=generator).argsort(dim=1) < max(1, round(SHARE * n))
    labels_BT = ids_BT.masked_fill(~asked_BT, -100)
    batch = {"input_ids": ids_BT.masked_fill(asked_BT, 4), "attention_mask": torch.ones_like(ids_BT)}
    return {key: tensor.to(device) for key, tensor in (batch | {"labels": labels_BT}).items()}


def _loss(model: PreTrainedModel, batch: Batch) -> Tensor:
    return model(**batch).loss


def _saved(model: PreTrainedModel, batch: Batch) -> int:
    return harness.saved(lambda: _loss(model, batch), [*model.parameters(), *model.buffers()])


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[128])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--examples", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=3)
    harness.report(measure, parser.parse_args())


if __name__ == "__main__":
    main()
