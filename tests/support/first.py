"""Two tasks of own files in a folder for --config-dir, of which one is trained after the other: `first.task=three`."""

from __future__ import annotations

import json
from pathlib import Path

_ANIMALS = {"three": ["fox", "dog", "bird"], "two": ["fox", "dog"]}

# Enough for a model of two layers to tell the animals apart; less, and it answers one for all.
BASE = [
    "model=bert",
    "model.random_init=true",
    "model.tokenizer=demo",
    "model.config_overrides={hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64, "
    "initializer_range: 0.1}",
    "gi.side=both",
    "gi.init=identity",
    "data=hub",
    "train.device=cpu",
    "train.epochs=3",
    "train.batch_size=8",
    "train.eval_batch_size=16",
    "train.learning_rate=3e-3",
    "train.max_length=32",
]
FIRST = ["task=two", "first.task=three"]
NEVER = "first.train.learning_rate=1e-12"  # a first run that learns nothing, and answers one for all


def write(folder: Path) -> list[str]:
    """The tasks, and the words that say where they are."""
    (folder / "conf" / "task").mkdir(parents=True)
    for name, animals in _ANIMALS.items():
        labels = "abc"[: len(animals)]
        rows = [
            {"sentence": f"the {animals[n % len(animals)]} {'runs ' * (n % 4 + 1)}", "label": labels[n % len(animals)]}
            for n in range(60)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        lines = [f"name: {name}", "inputs: [sentence]", f"labels: [{', '.join(labels)}]", "metrics: [accuracy]"]
        lines += ["select_by: accuracy", "files:"]
        lines += [f"  {split}: {folder / name}.jsonl" for split in ("train", "validation")]
        (folder / "conf" / "task" / f"{name}.yaml").write_text("\n".join(lines))
    return ["--config-dir", str(folder / "conf")]
