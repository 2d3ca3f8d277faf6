"""The peer: transformers' own models and Trainer, and GI as its authors published it, as run_glue.py would train them.

It is written from the formulas (arXiv 2208.00929, see src/gifine/gi.py): eager attention, `select` evaluated twice with
the same input, plain autograd, and every input padded to the same length. It writes no checkpoints, which flatters it.

    from benchmarks import stock
    model = stock.build(config, gated=True)

Shapes: B examples, T positions, D features of the hidden states, K features of a projection.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import transformers
from datasets import Dataset
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
)
from transformers.models.bert.modeling_bert import BertSelfAttention
from transformers.models.deberta_v2.modeling_deberta_v2 import DisentangledSelfAttention
from transformers.models.roberta.modeling_roberta import RobertaSelfAttention

from benchmarks.harness import Clock


class GatedProjection(nn.Module):
    """A projection times its gate; with `gating` off it is the projection alone."""

    def __init__(self, projection: nn.Linear, level: float) -> None:
        super().__init__()
        self.projection, self.level, self.gating = projection, level, True
        self.inhibition = nn.Linear(projection.in_features, projection.in_features)
        self.select = nn.Linear(projection.in_features, projection.out_features)

    def forward(self, hidden_BTD: Tensor) -> Tensor:
        projected_BTK = self.projection(hidden_BTD)
        if not self.gating:
            return projected_BTK
        inner_BTD = F.gelu(self.inhibition(hidden_BTD))
        threshold = self.level * self.select(inner_BTD).max()
        return (F.gelu(self.select(inner_BTD) - threshold) + 1) * projected_BTK


class PublishedDisentangledAttention(DisentangledSelfAttention):
    """transformers' DeBERTa-v2/v3 attention as the authors have it: ungated positions, no context for padding."""

    def forward(self, hidden_states: Tensor, attention_mask: Tensor, *args: Any, **kwargs: Any) -> Any:
        context_BTK, weights_BHTT = super().forward(hidden_states, attention_mask, *args, **kwargs)
        real_BT = attention_mask[:, 0].diagonal(dim1=-2, dim2=-1).bool()
        return context_BTK.masked_fill(~real_BT[:, :, None], 0.0), weights_BHTT

    def disentangled_attention_bias(self, *args: Any, **kwargs: Any) -> Any:
        # With share_att_key the same projections are called on the relative positions.
        gates = [module for module in (self.query_proj, self.key_proj) if isinstance(module, GatedProjection)]
        for gate in gates:
            gate.gating = False
        try:
            return super().disentangled_attention_bias(*args, **kwargs)
        finally:
            for gate in gates:
                gate.gating = True


def build(
    config: PreTrainedConfig, *, gated: bool, level: float = 0.3, kind: Any = AutoModelForSequenceClassification
) -> PreTrainedModel:
    """transformers' model of a kind, random weights, eager attention; plain, or gated on both sides of every layer."""
    model = kind.from_config(config, attn_implementation="eager")
    if gated:
        for name, module in list(model.named_modules()):
            if isinstance(module, BertSelfAttention | RobertaSelfAttention):
                names = ("query", "key")
            elif isinstance(module, DisentangledSelfAttention):
                module.__class__ = PublishedDisentangledAttention  # same parameters, another forward
                names = ("query_proj", "key_proj")
            else:
                continue
            for projection in names:
                linear = module.get_submodule(projection)
                assert isinstance(linear, nn.Linear)
                gate = GatedProjection(linear, level)
                for part in (gate.inhibition, gate.select):
                    nn.init.normal_(part.weight, std=config.initializer_range)
                    nn.init.zeros_(part.bias)
                model.set_submodule(f"{name}.{projection}", gate)
    return model


def copy_weights(model: PreTrainedModel, ours: Mapping[str, Tensor]) -> None:
    """Give a gated peer the weights of gifine's model, from its state dict."""
    renamed = {}
    for name, value in ours.items():
        parent, _, rest = name.rpartition(".self.")
        module, _, kind = rest.rpartition(".")
        part, _, side = module.rpartition("_")
        suffix = "_proj" if isinstance(model.config, transformers.DebertaV2Config) else ""
        if part in ("inhibition", "select"):
            name = f"{parent}.self.{ {'q': 'query', 'k': 'key'}[side] }{suffix}.{part}.{kind}"
        elif module in (f"query{suffix}", f"key{suffix}"):
            name = f"{parent}.self.{module}.projection.{kind}"
        renamed[name] = value
    model.load_state_dict(renamed)


class StepSeconds(TrainerCallback):
    """From the end of one step to the end of the next one; the first `warm_up` are left out."""

    def __init__(self, now: Clock, warm_up: int = 2) -> None:
        self.now, self.warm_up = now, warm_up
        self.ends: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.ends.append(self.now())

    @property
    def seconds(self) -> list[float]:
        ends = self.ends[self.warm_up :]
        return [after - before for before, after in itertools.pairwise(ends)]


def padded(rows: Sequence[Mapping[str, Any]], length: int, pad_token_id: int) -> Dataset:
    """Tokenised rows (input_ids, labels), every one filled up to `length`, as run_glue.py does by default."""
    ids = [[*row["input_ids"]] for row in rows]
    return Dataset.from_dict(
        {
            "input_ids": [row + [pad_token_id] * (length - len(row)) for row in ids],
            "attention_mask": [[1] * len(row) + [0] * (length - len(row)) for row in ids],
            "labels": [row["labels"] for row in rows],
        }
    )


def trainer(
    model: PreTrainedModel, train: Dataset | None, folder: Path, device: str = "cpu", **arguments: Any
) -> transformers.Trainer:
    """With the defaults of transformers: AdamW over all rows, batches of 8 in random order, learning rate 5e-5."""
    options = TrainingArguments(
        output_dir=str(folder),
        use_cpu=device == "cpu",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=device != "cpu",
        **arguments,
    )
    made = transformers.Trainer(model=model, args=options, train_dataset=train, data_collator=default_data_collator)
    made.remove_callback(transformers.PrinterCallback)
    return made


def step_seconds(trained: transformers.Trainer, now: Clock = time.process_time) -> list[float]:
    """Train `max_steps` steps; seconds of each but for the first ones."""
    watch = StepSeconds(now)
    trained.add_callback(watch)
    try:
        trained.train()
    finally:
        trained.remove_callback(watch)
    return watch.seconds


def evaluation_seconds(evaluated: transformers.Trainer, examples: Dataset, now: Clock = time.process_time) -> float:
    before = now()
    evaluated.predict(cast("Any", examples))  # its type leaves datasets' own out
    return now() - before


def per_step(seconds: Sequence[float]) -> float:
    """The mean: all steps cost the same, and what is scaled up is their sum."""
    return statistics.fmean(seconds)
