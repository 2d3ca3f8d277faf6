"""CPU seconds before anything is trained: `python -m benchmarks.startup`.

Each measurement is a process of its own, in turn with its peer's: the commands that compute nothing against what
run_glue.py needs to show its options; and a run of one step of MiniLM's shape on demo sentences, tokenised before, with
what it evaluates and writes, against the same step by transformers' Auto classes and Trainer, which writes nothing.
Where the run's time goes is measured inside of one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import harness

QUICK: dict[str, Any] = {"parts": ("commands",), "repetitions": 1}
PARTS = ("commands", "imports", "run")
OPTIONS = """
import sys
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, HfArgumentParser, Trainer
from transformers import TrainingArguments
HfArgumentParser(TrainingArguments).parse_args_into_dataclasses(["--help"])
"""
IMPORTS = {
    "torch": "import torch",
    "transformers' AutoTokenizer": "from transformers import AutoTokenizer",
    "transformers' Trainer": "from transformers import Trainer",
    "gifine.train": "import gifine.train",
}
STEP = """
import json, sys
from datasets import Dataset
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments
folder = sys.argv[1]
tokenizer = AutoTokenizer.from_pretrained(folder)
rows = Dataset.from_list(json.load(open(f"{folder}/rows.json")))
rows = rows.map(lambda row: tokenizer(row["sentence"], padding="max_length", truncation=True, max_length=128))
model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(folder))
arguments = TrainingArguments(folder, max_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True)
Trainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer).train()
"""
SPLIT = """
import contextlib, io, json, sys, time
marks = [time.process_time()]
def mark(): marks.append(time.process_time())
from gifine.cli import compose, config_from
config = config_from(compose(sys.argv[1:])); mark()
from gifine.machine.imports import uncollected
with uncollected():
    from gifine import models, objectives, train
    from gifine.inputs import dataset, tokenizers
mark()
tokenizer = tokenizers.load_for(config.model)
dataset.Reader(config).load(tokenizer, objectives.choose(config.task)); mark()
models.build(config.model, config.gi, labels=config.task.labels, vocab_size=len(tokenizer)); mark()
with contextlib.redirect_stdout(io.StringIO()): train.run(config)
mark()
config, imports, data, model, run = (after - before for before, after in zip(marks, marks[1:]))
print(json.dumps({"config": config, "imports": imports, "data": data, "model": model,
                  "step, evaluation, checkpoint and record": run - data - model}))
"""


def measure(
    parts: Sequence[str] = PARTS, repetitions: int = 3, words: Sequence[str] = (), device: str = "cpu"
) -> list[harness.Row]:
    python, rows = [sys.executable, "-c"], []
    if "commands" in parts:
        commands = {name: [sys.executable, "-m", "gifine", *name.split()] for name in ("--help", "--cfg job")}
        found = _in_turn({"peer": [*python, OPTIONS], **commands}, repetitions)
        note = "peer: run_glue.py --help"
        rows += [harness.row(f"start-up: {name}", found["peer"], found[name], note) for name in commands]
    if "imports" in parts:
        found = _in_turn({name: [*python, program] for name, program in IMPORTS.items()}, repetitions)
        for name, seconds in found.items():
            rows.append(harness.figure(f"start-up: import {name}", sorted(seconds)[len(seconds) // 2]))
    if "run" in parts:
        with tempfile.TemporaryDirectory() as folder:
            rows += _run(Path(folder), repetitions, device, words)
    return rows


def _run(scratch: Path, repetitions: int, device: str, words: Sequence[str]) -> list[harness.Row]:
    from benchmarks import workloads
    from gifine.inputs import demo

    overrides = ["experiment=minilm", "task=demo", "data=demo", "model.tokenizer=demo", "model.random_init=true"]
    overrides += ["data.demo_train_rows=64", "data.demo_eval_rows=8", "train.max_steps=1", "train.batch_size=8"]
    overrides += ["train.evaluate=end", "train.select_best=false", f"data.cache_dir={scratch}", "overwrite=true"]
    overrides += [f"output_root={scratch}", *(["train.device=cpu"] if device == "cpu" else []), *words]
    ours = workloads.config_from(workloads.compose(overrides))
    tokenizer = workloads.load_tokenizer(ours)
    workloads.peer(ours, tokenizer, gated=False).save_pretrained(scratch / "peer")
    tokenizer.save_pretrained(scratch / "peer")
    rows = [{"sentence": row["sentence"], "label": row["label"]} for row in demo.generate("train", 64, 0)]
    (scratch / "peer" / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    ours_command = [sys.executable, "-m", "gifine", *overrides]
    harness.child(ours_command)  # which fills the cache
    peer_command = [sys.executable, "-c", STEP, str(scratch / "peer")]
    found = _in_turn({"peer": peer_command, "ours": ours_command}, repetitions)
    table = [harness.row("start-up: a run of one step", found["peer"], found["ours"], "MiniLM's shape, 64 sentences")]
    done = subprocess.run(
        [sys.executable, "-c", SPLIT, *overrides], stdout=subprocess.PIPE, text=True, check=True, env={**os.environ}
    )
    for name, seconds in json.loads(done.stdout.splitlines()[-1]).items():
        table.append(harness.figure(f"start-up, of that run of ours: {name}", seconds))
    return table


def _in_turn(commands: dict[str, list[str]], repetitions: int) -> dict[str, list[float]]:
    """CPU seconds of each process, children's included; the first turn warms the disk's cache up."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repetitions + 1):
        for name, call in {name: partial(harness.child, command) for name, command in commands.items()}.items():
            seconds = call()
            if turn:
                found[name].append(seconds)
    return found


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--repetitions", type=int, default=3)
    harness.report(measure, parser.parse_args())


if __name__ == "__main__":
    main()
