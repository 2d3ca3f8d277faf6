"""What a model's config.json says, without a network or torch: its entries, the longest input, how many parameters.

`gifine memory` counts parameters on a model, which takes torch; here it is arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gifine.config import GateSide, GiConfig, ModelConfig
from gifine.errors import ModelError
from gifine.inputs.model_files import locate

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
        entries = json.loads((Path(locate(checkpoint)) / "config.json").read_text(encoding="utf-8"))
    except (ModelError, OSError, ValueError):
        return {}  # a Hub id; or models.build says what is wrong with it
    return entries if isinstance(entries, dict) else {}


def longest_input(known: Mapping[str, Any]) -> int | None:
    """Word pieces that the position embeddings of a config.json reach; None where unknown or without such a limit."""
    positions, family = known.get("max_position_embeddings"), str(known.get("model_type")).removeprefix("gi_")
    if not isinstance(positions, int):
        return None
    if family.startswith("deberta") and known.get("position_biased_input") is False:
        return None  # only distances count, of which the farthest are alike
    padding = known.get("pad_token_id", 1)  # RoBERTa's, where config.json does not say; it counts positions from there
    return positions - padding - 1 if family == "roberta" and isinstance(padding, int) else positions


def count(model: ModelConfig, gi: GiConfig, labels: int = 2) -> tuple[int, int] | None:
    """All parameters and those in gates; None where the architecture is not known without a network."""
    known = architecture(model)
    try:
        embeddings, layer, once, head = _FAMILIES[model.family](known, labels)
        layers = known["num_hidden_layers"]
        gated = layers if gi.layers is None else min(gi.layers, layers)
        gates = 2 * _linear(known["hidden_size"], known["hidden_size"]) * _SIDES[gi.side] * gated
    except (KeyError, TypeError):
        return None
    return embeddings + layers * layer + once + head + gates, gates


def in_layers(model: ModelConfig, gi: GiConfig) -> int | None:
    """Those that every token meets: all but embeddings and the head."""
    known = architecture(model)
    counted = count(model, gi)
    if counted is None:
        return None
    embeddings, _, _, head = _FAMILIES[model.family](known, 2)
    return counted[0] - embeddings - head


def _linear(width: int, out: int) -> int:
    return width * out + out


def _feed_forward(known: dict[str, Any]) -> int:
    width, inner = known["hidden_size"], known["intermediate_size"]
    norms = 2 * 2 * width  # after attention and after this
    return _linear(width, inner) + _linear(inner, width) + norms


def _bert(known: dict[str, Any], labels: int) -> tuple[int, int, int, int]:
    """Embeddings, one layer, what all layers share, the head (with BERT's pooler)."""
    width = known["hidden_size"]
    rows = known["vocab_size"] + known["max_position_embeddings"] + known["type_vocab_size"]
    layer = 4 * _linear(width, width) + _feed_forward(known)
    return rows * width + 2 * width, layer, 0, _linear(width, width) + _linear(width, labels)


def _deberta(known: dict[str, Any], labels: int) -> tuple[int, int, int, int]:
    width, terms = known["hidden_size"], known["pos_att_type"]
    projections = 3 * width * width + 2 * width  # q, k, v in one, with biases of q and v
    projections += ("c2p" in terms) * width * width + ("p2c" in terms) * _linear(width, width)
    layer = projections + _linear(width, width) + _feed_forward(known)
    relative = 2 * _reach(known) * width
    return _word_embeddings(known), layer, relative, _linear(width, width) + _linear(width, labels)


def _deberta_v2(known: dict[str, Any], labels: int) -> tuple[int, int, int, int]:
    width = known["hidden_size"]
    once = 2 * known["position_buckets"] * width + ("layer_norm" in known["norm_rel_ebd"]) * 2 * width
    kernel = known.get("conv_kernel_size", 0)
    once += (kernel > 0) * (kernel * width * width + width + 2 * width)
    terms = 0 if known["share_att_key"] else len(known["pos_att_type"])
    layer = (4 + terms) * _linear(width, width) + _feed_forward(known)
    return _word_embeddings(known), layer, once, _linear(width, width) + _linear(width, labels)


def _word_embeddings(known: dict[str, Any]) -> int:
    rows = known["vocab_size"] + known["type_vocab_size"]
    rows += known["max_position_embeddings"] if known["position_biased_input"] else 0
    return rows * known["hidden_size"] + 2 * known["hidden_size"]


def _reach(known: dict[str, Any]) -> int:
    """Relative positions on each side."""
    given = known["max_relative_positions"]
    return given if given >= 1 else known["max_position_embeddings"]


_FAMILIES = {"bert": _bert, "roberta": _bert, "deberta": _deberta, "deberta_v2": _deberta_v2}
