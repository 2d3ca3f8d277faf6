"""What a model's config.json says, without a network or torch: its entries, the longest input, how many parameters.

`gifine memory` counts parameters on a model, which takes torch; here it is arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gifine.choices import GateSide, Parameters
from gifine.config import ModelConfig, RunConfig
from gifine.errors import ModelError
from gifine.inputs import change_files
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


def count(config: RunConfig) -> tuple[int, int] | None:
    """All parameters and those of the change; None where the architecture is not known without a network.

    Raises:
        ModelError: for a change that cannot be read, or does not go with the model.
    """
    known, labels = architecture(config.model), max(1, len(config.task.labels))
    learned = 0 if config.is_gi else change_files.parameters_of(config.change, change_files.sizes(known))
    try:
        own = FAMILIES[config.model.family].count(known, labels)
        layers = known["num_hidden_layers"]
        changed = _gates(config, known) if config.is_gi else learned
    except (KeyError, TypeError):
        return None
    return None if changed is None else (own.embeddings + layers * own.layer + own.shared + own.head + changed, changed)


def count_trained(config: RunConfig) -> tuple[int, int, int] | None:
    """As `count`, and how many train, as train.parameters says; a pooler is always counted.

    Raises:
        ModelError: as `count`.
    """
    counted, known = count(config), architecture(config.model)
    if counted is None:
        return None
    total, changed = counted
    head = FAMILIES[config.model.family].count(known, max(1, len(config.task.labels))).head
    match config.train.parameters:
        case Parameters.all:
            return total, changed, total
        case Parameters.change:
            return total, changed, changed + head
        case Parameters.bias:
            width, inner = known["hidden_size"], known["intermediate_size"]
            # Of a layer: query, key and value, what follows attention, two norms, both linear layers of the network.
            biases = known["num_hidden_layers"] * (7 * width + inner) + 2 * width
            return total, changed, biases + changed + head


def _gates(config: RunConfig, known: Mapping[str, Any]) -> int:
    layers = known["num_hidden_layers"]
    gated = layers if config.gi.layers is None else min(config.gi.layers, layers)
    return 2 * linear(known["hidden_size"], known["hidden_size"]) * _SIDES[config.gi.side] * gated


def in_layers(config: RunConfig) -> int | None:
    """Those that every token meets: all but embeddings and the head."""
    known, labels = architecture(config.model), max(1, len(config.task.labels))
    counted = count(config)
    if counted is None:
        return None
    own = FAMILIES[config.model.family].count(known, labels)
    return counted[0] - own.embeddings - own.head
