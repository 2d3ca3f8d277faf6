"""One training step on questions, in the shape of DeBERTa-v3-large and XLNet-large: `python -m benchmarks.questions`.

Windows of N word pieces (384 and 512, as SQuAD is read), `--examples` of them, `--layers` layers, random weights,
dropout as published; forward, backward, clipping, AdamW. Contestants in turn in one process, 1 thread, CPU time:
transformers' plain model with its own loss, the same with the published GI (stock.py; of XLNet there is none), and
gifine's models as runs have them. Beside the seconds, what autograd keeps between forward and backward, parameters left
out. There is no short cut for the last layer here: all tokens are scored.
"""

from __future__ import annotations

import gc
import itertools
import statistics
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForQuestionAnswering, PreTrainedModel, set_seed

from benchmarks import families, harness, step, stock
from gifine import models
from gifine.choices import Objective
from gifine.cli import compose, config_from
from gifine.inputs.families import own_names
from gifine.models.speedups import embedding_rows
from gifine.objectives.question_answering.loss import SpanLoss

MODELS = ("deberta-v3-large", "xlnet-large")
QUICK: dict[str, Any] = {"lengths": (12,), "layers": 1, "examples": 2, "repetitions": 1, "size": step.TINY}
Batch = dict[str, Tensor]


def measure(
    shapes: Sequence[str] = MODELS,
    lengths: Sequence[int] = (384, 512),
    layers: int = 2,
    examples: int = 4,
    repetitions: int = 3,
    size: dict[str, int] | None = None,
    device: str = "cpu",
) -> list[harness.Row]:
    torch.set_num_threads(1)
    rows = []
    for shape, together in itertools.product(shapes, step.TOGETHER):
        if step.PEER_GATED in together and shape in families.UNPUBLISHED:
            continue
        built = {who: build(who, layers, size, device, shape) for who in together}
        for n in lengths:
            batch = make_batch(n, examples, device)
            steps = {who: harness.training_step(model, partial(_loss, model, who)) for who, model in built.items()}
            calls = {who: partial(call, batch) for who, call in steps.items()}
            seconds = harness.in_turn(calls, repetitions, harness.clock(device))
            kept = {who: _saved(model, who, batch) / 1e6 for who, model in built.items()}
            for name, (peer, ours) in step.PAIRS.items():
                if not {peer, ours} <= {*together}:
                    continue
                title = f"{shape}, {layers} layers, N={n}, batch {examples}: {name}"
                note = f"medians {statistics.median(seconds[peer]):.2f} and {statistics.median(seconds[ours]):.2f} s"
                rows.append(harness.row(f"step on questions, {title}", seconds[peer], seconds[ours], note))
                rows.append(harness.row(f"saved for backward, {title}", [kept[peer]], [kept[ours]], unit="MB"))
        built.clear()
        gc.collect()  # models are in cycles
    return rows


def build(who: str, layers: int, size: dict[str, int] | None, device: str, model: str) -> PreTrainedModel:
    """A contestant in training mode."""
    set_seed(0)
    shape = config_from(compose([f"model={model}"])).model
    if who in (step.PEER, step.PEER_GATED):
        entries = shape.sizes["large"].config | (size or {}) | {"num_hidden_layers": layers}
        plain = models.family_classes(shape.family).plain_config.from_dict(own_names(entries, shape.family))
        built = stock.build(plain, gated=who == step.PEER_GATED, kind=AutoModelForQuestionAnswering)
    else:
        gi = f"gi={'both' if who == step.OURS_GATED else 'none'}"
        ours = config_from(compose([f"model={model}", gi, "model.random_init=true"]))
        ours.model.config_overrides |= {"num_hidden_layers": layers, **(size or {})}
        built = models.build(ours.model, ours.gi, labels=(), objective=Objective.questions)
        embedding_rows.keep(built, step.word_pieces().tolist())
    torch.nn.Module.to(built, device)
    return built.train()


def make_batch(n: int, examples: int, device: str) -> Batch:
    """Full windows, so that both losses are the same."""
    generator = torch.Generator().manual_seed(n)  # from 5 on: before it some are padding
    ids_BT = torch.randint(5, step.WORD_PIECES, (examples, n), generator=generator)
    starts_B = torch.randint(0, n - 4, (examples,), generator=generator)
    batch = {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT)}
    batch |= {"start_positions": starts_B, "end_positions": starts_B + 3}
    return {name: tensor.to(device) for name, tensor in batch.items()}


def _loss(model: PreTrainedModel, who: str, batch: Batch) -> Tensor:
    outputs = model(**batch, **step.segments(model, batch["input_ids"]))
    return outputs.loss if who in (step.PEER, step.PEER_GATED) else SpanLoss().of(outputs, batch, None)


def _saved(model: PreTrainedModel, who: str, batch: Batch) -> int:
    return harness.saved(lambda: _loss(model, who, batch), [*model.parameters(), *model.buffers()])


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--shapes", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--lengths", type=int, nargs="+", default=[384, 512])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--examples", type=int, default=4)
    parser.add_argument("--repetitions", type=int, default=3)
    harness.report(measure, parser.parse_args())


if __name__ == "__main__":
    main()
