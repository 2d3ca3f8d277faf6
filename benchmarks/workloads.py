"""What both sides of the end-to-end benchmarks do: a model's shape and a task, as our config and as the peer's model.

The official GLUE files are looked for in `--data`, else in the folder `shared` beside the checkout (`GIFINE_SHARED`
names another one), with the published vocabularies in its `tokenizers`. Without either it is the demo task, which is a
smoke test and no measurement.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerFast, set_seed

from benchmarks import stock
from gifine import models
from gifine.cli import compose, config_from
from gifine.config import DEMO, RunConfig
from gifine.inputs import dataset, tokenizers
from gifine.objectives import classification

LENGTH = 128  # what the peer pads to
BATCH = 8
SHARED = Path(os.environ.get("GIFINE_SHARED", Path(__file__).parents[2] / "shared"))
# By name: the model of the command line, its published vocabulary, and what is changed.
SHAPES = {
    "MiniLM": ("minilm", "bert-base-uncased", ""),
    "DeBERTa-v3-large, 2 layers": ("deberta-v3-large", "deberta-v3-base", "num_hidden_layers: 2"),
}


def config(
    shape: str, task: str, scratch: Path, folder: Path | None = None, size: str = "", words: Sequence[str] = ()
) -> RunConfig:
    """The job of `shape` on `task`: random weights, GI on both sides of every layer, one epoch in batches of 8.

    `folder` holds the official files, `size` is put in the place of the shape's changes to config.json.
    """
    model, vocabulary, changes = SHAPES[shape]
    where = folder or SHARED / "glue"
    demo = not where.is_dir()
    chosen = [f"model={model}", "model.random_init=true", "gi=both", "gi.level=0.3"]
    chosen += ["task=demo", "data=demo"] if demo else [f"task={task}", "data=glue_dir", f"data.dir={where}"]
    chosen += [f"model.tokenizer={DEMO if demo else SHARED / 'tokenizers' / vocabulary}", "data.allow_partial=true"]
    chosen += [f"model.config_overrides={{{size or changes}}}", f"output_root={scratch}", f"data.cache_dir={scratch}"]
    chosen += [f"train.batch_size={BATCH}", f"train.max_length={LENGTH}", "train.epochs=1", "train.learning_rate=5e-5"]
    # As run_glue.py does: one evaluation, of the last weights.
    chosen += ["train.evaluate=end", "train.select_best=false", "train.log_steps=500"]
    return config_from(compose([*chosen, *words]))


def peer(ours: RunConfig, tokenizer: PreTrainedTokenizerFast, *, gated: bool = True) -> PreTrainedModel:
    """transformers' model of the same shape, with the published GI on both sides of every layer."""
    set_seed(ours.seed)
    plain = models.family_classes(ours.model.family).plain_config
    entries = ours.model.sizes[ours.model.size].config | ours.model.config_overrides
    entries |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    entries |= {"num_labels": len(ours.task.labels)}
    return stock.build(plain.from_dict(entries), gated=gated, level=ours.gi.level)


def examples(ours: RunConfig, tokenizer: PreTrainedTokenizerFast) -> dict[str, Dataset]:
    """All splits, tokenised; from here on they are in the run's cache."""
    splits = dataset.Reader(ours).load(tokenizer, classification)
    return {name: split.examples for name, split in splits.items()}


def evaluation_splits(ours: RunConfig, tokenizer: PreTrainedTokenizerFast) -> dict[str, dataset.Split]:
    return dataset.Reader(ours).load_evaluation(tokenizer, classification)


def sample(rows: Dataset, count: int, tokenizer: PreTrainedTokenizerFast) -> Dataset:
    """`count` rows spread evenly, as the peer reads them: padded to 128."""
    places = torch.linspace(0, len(rows) - 1, min(count, len(rows))).long().tolist()
    pad = tokenizer.pad_token_id
    assert isinstance(pad, int)
    return stock.padded([rows[place] for place in places], LENGTH, pad)


def load_tokenizer(ours: RunConfig) -> PreTrainedTokenizerFast:
    return tokenizers.load_for(ours.model)


@contextlib.contextmanager
def as_stock() -> Generator[None]:
    """For the peer: a run of gifine leaves torch's slower deterministic algorithms on, which run_glue.py has not."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def run(ours: RunConfig) -> None:
    """The whole run as the command line makes it, in this process; what it prints is dropped."""
    from gifine import train

    with contextlib.redirect_stdout(io.StringIO()):
        code = train.run(replace(ours, overwrite=True))
    if code:
        raise RuntimeError(f"gifine ended with {code!r}")
