"""Evaluation of a finished model on dev, against stock settings: `python -m benchmarks.evaluation`.

MiniLM's shape with GI on both sides of every layer, 1 thread, CPU time. The peer is transformers' Trainer with the
published GI, batches of 8 padded to 128; in turn with ours it evaluates a sample of the rows, spread evenly, which is
scaled up. Ours is what `python -m gifine.evaluate` computes: all of them, from a run's saved weights, in the batches of
the default recipe, with metrics and predictions. Of MNLI's two splits of 9,800 rows it is the first 2,000 each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import harness, stock, workloads
from gifine.objectives import classification
from gifine.runs import finished, identity
from gifine.training import restoration

QUICK: dict[str, Any] = {
    "tasks": ("cola",),
    "rows": 16,
    "repetitions": 1,
    "size": "hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32",
    "words": ("data.demo_train_rows=64", "data.demo_eval_rows=32"),
    "data": "no folder",
}


def measure(
    tasks: Sequence[str] = ("cola", "mnli"),
    rows: int = 160,
    max_rows: int = 2000,
    repetitions: int = 2,
    data: str | None = None,
    size: str = "",
    words: Sequence[str] = (),
    device: str = "cpu",
) -> list[harness.Row]:
    torch.set_num_threads(1)
    now, found = harness.clock(device), []
    for task in tasks:
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder)
            short = ["train.max_steps=1", "data.max_train_rows=64", "train.save_model=true", *words]
            short += [f"data.max_eval_rows={max_rows or 'null'}"]
            ours = workloads.config("MiniLM", task, scratch, Path(data) if data else None, size, short)
            tokenizer = workloads.load_tokenizer(ours)
            workloads.run(ours)
            (run,) = finished.read([identity.directory(ours)])
            splits = workloads.evaluation_splits(ours, tokenizer)
            count = sum(len(split.examples) for split in splits.values())
            first = next(iter(splits.values())).examples
            sample = workloads.sample(first, rows, tokenizer)
            peer = stock.trainer(workloads.peer(ours, tokenizer), None, scratch / "peer", device)
            trainer, _ = restoration.restore(run, scratch)
            seconds: dict[str, list[float]] = {"peer": [], "ours": []}
            stock.evaluation_seconds(peer, workloads.sample(first, 16, tokenizer))  # the warm-up
            for _ in range(repetitions):
                with workloads.as_stock():
                    each = stock.evaluation_seconds(peer, sample, now) / len(sample)
                seconds["peer"].append(each * count)
                before = now()
                classification.score(trainer, classification.arrange(splits, ours), ours, scratch)
                seconds["ours"].append(now() - before)
            note = f"{count:,} rows; the peer made {len(sample)} of them"
            note += f"; ours in batches of {ours.train.eval_batch_size}"
            title = ours.task.title or ours.task.name
            found.append(harness.row(f"evaluation of {title}, MiniLM, GI", seconds["peer"], seconds["ours"], note))
    return found


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--tasks", nargs="+", default=["cola", "mnli"])
    parser.add_argument("--rows", type=int, default=160, help="that the peer evaluates")
    parser.add_argument("--max-rows", type=int, default=2000, help="the first of each split; 0: all")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--data", help="the folder with CoLA/ and MNLI/")
    harness.report(measure, parser.parse_args())


if __name__ == "__main__":
    main()
