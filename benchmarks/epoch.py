"""One epoch of CoLA, evaluation included, against stock settings: `python -m benchmarks.epoch`.

The peer is transformers' Trainer with the published GI (stock.py): batches of 8 in random order, every input padded to
128, eager attention, AdamW over the whole vocabulary. Ours is `gifine.train.run` as the command line calls it, GI on
both sides of every layer, batches of 8, with everything that belongs to it: building the model, the record, a
checkpoint. Tokenised data are cached for both. One thread: CPU time of the process; two: time on the clock.

All of the peer's steps cost the same, so it makes a sample of them, in blocks before, between and after our runs, and
of the evaluation, which are scaled up; `--whole` makes it train the whole epoch. `--run-glue PATH` takes a real
run_glue.py instead, which is started with the same task as csv files, a folder with a random model of the shape (its
config.json has the original's `gi_*` keys, which transformers' own classes do not read) and the arguments of
`run_glue_command`.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import harness, stock, workloads
from gifine.config import RunConfig
from gifine.inputs import glue_tsv, needs

QUICK = {
    "threads": (1,),
    "steps": 3,
    "runs": 1,
    "size": "{hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}",
    "shapes": ("MiniLM",),
    "words": ("data.demo_train_rows=64", "data.demo_eval_rows=16"),
    "data": "no folder",
}


def measure(
    shapes: Sequence[str] = tuple(workloads.SHAPES),
    threads: Sequence[int] = (1, 2),
    steps: int = 10,
    runs: int = 1,
    data: str | None = None,
    run_glue: str | None = None,
    size: str = "",
    words: Sequence[str] = (),
    device: str = "cpu",
    *,
    whole: bool = False,
) -> list[harness.Row]:
    rows = []
    for place, shape in enumerate(shapes):
        for count in threads if place == 0 else threads[:1]:  # the large one takes minutes
            torch.set_num_threads(count)
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(data) if data else None
                ours = workloads.config(shape, "cola", Path(scratch), folder, size.strip("{}"), words)
                peer, seconds, note = _measure(ours, Path(scratch), steps, runs, run_glue, device, count, whole=whole)
            note += f"; {count} thread{'s, on the clock' if count > 1 else ', CPU time'}"
            rows.append(harness.row(f"epoch of {ours.task.title or ours.task.name}, {shape}, GI", peer, seconds, note))
    return rows


def _measure(
    ours: RunConfig,
    scratch: Path,
    steps: int,
    runs: int,
    run_glue: str | None,
    device: str,
    threads: int,
    *,
    whole: bool,
) -> tuple[list[float], list[float], str]:
    """Seconds of the peer's epochs and of ours, and what the peer's are."""
    tokenizer, now = workloads.load_tokenizer(ours), harness.clock(device, wall=threads > 1)
    splits = workloads.examples(ours, tokenizer)
    train, dev = splits[ours.task.train_split], splits[ours.task.evaluation_splits[0]]
    whole_epoch = -(-len(train) // workloads.BATCH)
    sample = workloads.sample(train, len(train) if whole else (steps + 3) * workloads.BATCH, tokenizer)
    evaluated = workloads.sample(dev, len(dev) if whole else 12 * workloads.BATCH, tokenizer)
    options = {"num_train_epochs": 1} if whole else {"max_steps": steps + 3}
    trainer = None
    if run_glue is None:
        model = workloads.peer(ours, tokenizer)
        trainer = stock.trainer(model, sample, scratch / "peer", device, **options)

    def block() -> float:
        if trainer is None:
            return run_glue_seconds(Path(str(run_glue)), ours, scratch, threads)
        with workloads.as_stock():
            each = stock.per_step(stock.step_seconds(trainer, now))
            evaluation = stock.evaluation_seconds(trainer, evaluated, now) * len(dev) / len(evaluated)
        return each * whole_epoch + evaluation

    peer, seconds = [block()], []
    for _ in range(runs):
        before = now()
        workloads.run(ours)
        seconds.append(now() - before)
        assert torch.get_num_threads() == threads
        if not whole and run_glue is None:
            peer.append(block())
    if run_glue is not None:
        return peer, seconds, f"peer: {Path(run_glue).name}, all of it"
    if whole:
        return peer, seconds, "peer: stock settings, the whole epoch"
    return (
        peer,
        seconds,
        f"peer: stock settings, computed from {len(peer)} blocks of {steps} of its {whole_epoch:,} steps",
    )


def run_glue_seconds(script: Path, ours: RunConfig, scratch: Path, threads: int = 1) -> float:
    """Of a whole run of the script: CPU seconds with one thread, else seconds on the clock."""
    command = run_glue_command(script, ours, scratch)
    before = time.perf_counter()
    cpu = harness.child(command, OMP_NUM_THREADS=str(threads), HF_HUB_OFFLINE="1")
    return cpu if threads == 1 else time.perf_counter() - before


def run_glue_command(script: Path, ours: RunConfig, scratch: Path) -> list[str]:
    """Write what run_glue.py reads into `scratch`; the command with the original job's arguments, for one epoch."""
    tokenizer = workloads.load_tokenizer(ours)
    model = scratch / "run_glue_model"
    workloads.peer(ours, tokenizer, gated=False).save_pretrained(model)
    tokenizer.save_pretrained(model)
    entries = json.loads((model / "config.json").read_text(encoding="utf-8"))
    entries |= {"gi_key_side": True, "gi_query_side": True, "inhibition_level": ours.gi.level}
    entries |= {"gi_layer_num": entries["num_hidden_layers"] + 1}  # its code gates one layer less
    (model / "config.json").write_text(json.dumps(entries), encoding="utf-8")
    files = {}
    for option, split in (("train", ours.task.train_split), ("validation", ours.task.evaluation_splits[0])):
        files[option] = scratch / f"{option}.csv"
        layout, task = ours.task.splits[split], ours.task
        path = needs.official_file(Path(str(ours.data.dir)), str(layout.tsv), allow_partial=True)
        rows = glue_tsv.read(
            path,
            layout.columns,
            inputs=task.inputs,
            labels=task.labels,
            label=task.label,
            header=layout.header,
            skip_short_rows=True,
        )
        with files[option].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([*ours.task.inputs, "label"])
            writer.writerows([[*row.texts, row.label] for row in rows])
    options: dict[str, object] = {
        "model_name_or_path": model,
        "train_file": files["train"],
        "validation_file": files["validation"],
        "max_seq_length": workloads.LENGTH,
        "per_device_train_batch_size": workloads.BATCH,
        "per_device_eval_batch_size": workloads.BATCH,
        "learning_rate": ours.train.learning_rate,
        "num_train_epochs": 1,
        "seed": ours.seed,
        "output_dir": scratch / "run_glue",
        "save_strategy": "no",
        "report_to": "none",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, str(script), "--do_train", "--do_eval", "--use_cpu", *words]


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--shapes", nargs="+", choices=workloads.SHAPES, default=[*workloads.SHAPES])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=10, help="of the peer in a block")
    parser.add_argument("--runs", type=int, default=1, help="of ours, each between two blocks")
    parser.add_argument("--data", help="the folder with CoLA/")
    parser.add_argument("--run-glue", metavar="PATH", help="a real run_glue.py to be the peer")
    parser.add_argument("--whole", action="store_true", help="the peer trains the whole epoch")
    harness.report(measure, parser.parse_args())


if __name__ == "__main__":
    main()
