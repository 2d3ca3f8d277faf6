"""What a model's config.json says, without a network or torch: its entries, the longest input, how many parameters.

`gifine memory` counts parameters on a model, which takes torch; here it is arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gifine.choices import GateSide
from gifine.config import GiConfig, ModelConfig
from gifine.errors import ModelError
from gifine.inputs.families import FAMILIES, normalise_type
from gifine.inputs.model_files import CONFIG, locate
from gifine.inputs.parameters import linear

_SIDES = {GateSide.none: 0, GateSide.key: 1, GateSide.query: 1, GateSide.both: 2}

_LABELS = "task.labels decides it ([] for regression)"
_NOT_READ = "nothing here reads it"
_ENCODER = "only encoders are fine-tuned here"
# Entries of config.json that transformers would take, and that would change nothing: what to use instead.
SETTLED = {
    **dict.fromkeys(("problem_type", "num_labels", "_num_labels", "id2label", "label2id"), _LABELS),
    "architectures": "model.family decides it, or the checkpoint",
    "model_type": "model.family decides it, or the checkpoint",
    "dtype": "train.precision decides it",
    "torch_dtype": "train.precision decides it",
    "gradient_checkpointing": "train.gradient_checkpointing decides it",
    "position_embedding_type": "transformers 5 has absolute ones only",
    **dict.fromkeys(("is_decoder", "add_cross_attention", "is_encoder_decoder"), _ENCODER),
    **dict.fromkeys(
        ("output_hidden_states", "output_attentions", "return_dict", "torchscript", "use_cache"), _NOT_READ
    ),
    **dict.fromkeys(("bos_token_id", "eos_token_id", "tie_word_embeddings", "legacy"), _NOT_READ),
    **dict.fromkeys(("_name_or_path", "transformers_version"), _NOT_READ),
}


def architecture(model: ModelConfig) -> dict[str, Any]:
    """What is known of the model's config.json without a network: empty for a Hub id that conf/model does not name."""
    if model.init_from is not None:
        known = _read_json(f"{model.init_from}/model") or _read_json(model.init_from)
    elif model.checkpoint is not None:
        known = _read_json(model.checkpoint)
    else:
        size = model.sizes.get(model.size)
        known = dict(size.config) if size else {}
    return known | model.config_overrides


def _read_json(checkpoint: str) -> dict[str, Any]:
    try:
        entries = json.loads((Path(locate(checkpoint)) / CONFIG).read_text(encoding="utf-8"))
    except (ModelError, OSError, ValueError):
        return {}  # a Hub id; or models.build says what is wrong with it
    return entries if isinstance(entries, dict) else {}


def longest_input(known: Mapping[str, Any]) -> int | None:
    """Word pieces that the position embeddings of a config.json reach; None where unknown or without such a limit."""
    positions, family = known.get("max_position_embeddings"), FAMILIES.get(normalise_type(known.get("model_type")))
    if not isinstance(positions, int):
        return None
    if family is None:
        return positions
    if family.positions_optional and known.get("position_biased_input") is False:
        return None
    padding = known.get("pad_token_id", 1)  # RoBERTa's, where config.json does not say
    return positions - padding - 1 if family.positions_after_padding and isinstance(padding, int) else positions


def count(model: ModelConfig, gi: GiConfig, labels: int = 2) -> tuple[int, int] | None:
    """All parameters and those in gates; None where the architecture is not known without a network."""
    known = architecture(model)
    try:
        own = FAMILIES[model.family].count(known, labels)
        layers = known["num_hidden_layers"]
        gated = layers if gi.layers is None else min(gi.layers, layers)
        gates = 2 * linear(known["hidden_size"], known["hidden_size"]) * _SIDES[gi.side] * gated
    except (KeyError, TypeError):
        return None
    return own.embeddings + layers * own.layer + own.shared + own.head + gates, gates


def in_layers(model: ModelConfig, gi: GiConfig) -> int | None:
    """Those that every token meets: all but embeddings and the head."""
    known = architecture(model)
    counted = count(model, gi)
    if counted is None:
        return None
    own = FAMILIES[model.family].count(known, 2)
    return counted[0] - own.embeddings - own.head
