"""What is examined: a tiny model of a family, with a change and without it, and batches for both.

Shapes: B examples, T positions, C labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel, set_seed

from gifine import models
from gifine.changes.contract import At, Change, Sizes
from gifine.choices import Attention, GateSide
from gifine.config import GI, GiConfig, ModelConfig, SizeConfig
from gifine.errors import ModelError
from gifine.inputs import change_files
from gifine.inputs.families import FAMILIES as TRAITS
from gifine.inputs.xlnet_tokenizer import PAD_SEGMENT
from gifine.models.change_config import is_change
from gifine.models.changed import at_work

SEED = 7
LABELS = ["no", "maybe", "yes"]
VOCABULARY, HEADS, LONGEST = 97, 4, 40
_DISENTANGLED = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
_BUCKETS = {"share_att_key": True, "position_buckets": 8, "norm_rel_ebd": "layer_norm"}
FAMILIES: dict[str, dict[str, Any]] = {  # entries of config.json; null: it has none of this name
    "bert": {},
    "roberta": {},
    "deberta": _DISENTANGLED,
    "deberta_v2": _DISENTANGLED | _BUCKETS,
    "xlnet": {"max_position_embeddings": None},
}


@dataclass(frozen=True)
class Subject:
    """A family and a change, with the keys that a run's config has for it."""

    family: str
    gi: GiConfig
    change: Mapping[str, Any]
    sizes: Sizes

    def plain(self, **settings: Any) -> PreTrainedModel:
        """Without a change, as `changed`. Where it changes attention weights these are written out here, too."""
        if self.writes_out and not self.is_deberta and self.family != "xlnet":  # which has no other kernel
            settings["attn_implementation"] = "eager"
        return self._build(GiConfig(side=GateSide.none, level=0.0), {"name": GI}, **settings)

    def changed(self, **settings: Any) -> PreTrainedModel:
        """A model of random weights in float32 and training mode, its random numbers of `SEED`.

        `settings`: `attention`, and entries of config.json.
        """
        return self._build(self.gi, self.change, **settings)

    @property
    def is_deberta(self) -> bool:
        return self.family.startswith("deberta")

    @property
    def ways(self) -> tuple[Attention, ...]:
        return (Attention.hf, Attention.fast) if models.family_classes(self.family).fast else (Attention.hf,)

    @cached_property
    def writes_out(self) -> bool:
        """Is it a change of the attention weights?"""
        return any(site.place.site == "weights" for site in at_work(self.changed()))

    def _build(
        self, gi: GiConfig, change: Mapping[str, Any], attention: Attention = Attention.hf, **entries: Any
    ) -> PreTrainedModel:
        set_seed(SEED)
        known = entries_of(self.sizes) | FAMILIES[self.family]
        known = {key: value for key, value in known.items() if value is not None}
        sizes = {"tiny": SizeConfig(checkpoint="none/tiny", config=known)}
        model = ModelConfig(name="tiny", family=self.family, size="tiny", sizes=sizes, random_init=True)
        model = replace(model, attention=attention, config_overrides=entries)
        return models.build(model, gi, change, labels=LABELS).train()


@contextmanager
def undisturbed() -> Generator[None]:
    """In a `with` block torch takes one thread, since small models gain nothing by more, and transformers is silent."""
    threads, level = torch.get_num_threads(), transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()


def entries_of(sizes: Sizes) -> dict[str, Any]:
    """Of config.json. Weights are large, so that whatever goes wrong shows."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": sizes.hidden,
        "num_hidden_layers": sizes.depth,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.inner,
        "max_position_embeddings": LONGEST,
        "initializer_range": 0.2,
    }


def subjects(gi: GiConfig, change: Mapping[str, Any]) -> list[Subject]:
    """The families, in the smallest of some sizes that the change can have.

    Raises:
        ModelError: if it can have none of them.
    """
    problems: list[str] = []
    for sizes in _sizes(gi, change):
        loaded = change_files.load(change)
        known = {} if loaded.name == GI else change
        problems = list(change_files.problems(loaded, change_files.settings(loaded, known), sizes))
        if not problems:
            return [Subject(family, gi, change, sizes) for family in FAMILIES]
    raise ModelError("\n".join(problems))


def _sizes(gi: GiConfig, change: Mapping[str, Any]) -> list[Sizes]:
    layers = gi.layers if change["name"] == GI else change.get("layers")
    depth = max(3, layers) if isinstance(layers, int) else 3
    return [Sizes(depth, hidden, HEADS, hidden + hidden // 2) for hidden in (32, 64, 128, 256)]


def batch(lengths: tuple[int, ...] = (9, 4, 6), width: int = 9, family: str = "bert") -> dict[str, Tensor]:
    """Ids and mask, BT, of which an example is the same in every batch that has it at its place.

    Padding is where the family has it; XLNet gets segments, too.
    """
    pad = models.family_classes(family).plain_config().pad_token_id
    tokens = torch.randint(5, VOCABULARY, (len(lengths), LONGEST), generator=torch.Generator().manual_seed(SEED))
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    made = {"input_ids": tokens[:, :width].masked_fill(~mask, pad), "attention_mask": mask.long()}
    if not TRAITS[family].cls_last:
        return made
    made["token_type_ids"] = (made["input_ids"] % 2).masked_fill(~mask, PAD_SEGMENT)
    return {name: each.flip(1) for name, each in made.items()}


def parameters(model: PreTrainedModel) -> dict[str, Tensor]:
    """Those of the change."""
    return {name: parameter for name, parameter in model.named_parameters() if is_change(name)}


def moved(model: PreTrainedModel, change: float = 0.1, others: float = 0.02) -> PreTrainedModel:
    """The model itself away from its start, by these deviations, so that the change does something in every layer.

    The others move, too: biases start at zero, and DeBERTa's padding then is a row of zeros, at which LayerNorm is all
    but singular. A change that reads padding would have gradients of 1e11 there, and rounding would look like a fault.
    """
    numbers = torch.Generator().manual_seed(SEED + 1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=numbers).to(parameter.dtype)
            parameter += (change if is_change(name) else others) * noise
    return model


def logits(model: PreTrainedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    """BC, without gradients."""
    with torch.no_grad():
        return model(**inputs).logits


def step(model: PreTrainedModel, family: str) -> dict[str, Tensor]:
    """Logits, loss and each gradient of a step, with dropout from one seed."""
    model.zero_grad()
    torch.manual_seed(SEED)
    found = model(**batch(family=family), labels=torch.tensor([0, 2, 1]))
    found.loss.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return {"logits": found.logits.detach(), "loss": found.loss.detach(), **gradients}


def distance(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The largest difference of tensors with one name; infinite where one of them is missing."""
    if one.keys() != other.keys():
        return float("inf")
    return max((apart(value, other[name]) for name, value in one.items()), default=0.0)


def apart(one: Tensor, other: Tensor) -> float:
    """The largest difference; infinite where it is no number, which would compare as none."""
    found = float((one - other).abs().max())
    return found if math.isfinite(found) else float("inf")


def watch(model: PreTrainedModel, look: Callable[[Change, At, Tensor, Tensor], None]) -> None:
    """Call `look(change, at, value, changed)` whenever the model's change changes a value."""
    for site in at_work(model):
        change = site.change

        def apply(settings: Any, parameters: Any, value: Tensor, at: At, change: Change = change) -> Tensor:
            changed = change.apply(settings, parameters, value, at)
            look(change, at, value, changed)
            return changed

        site.change = replace(change, apply=apply)
