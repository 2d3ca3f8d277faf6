"""How many parameters a gated classifier has, by arithmetic: memory.py counts them on a model, which takes torch."""

from __future__ import annotations

from typing import Any

from gifine.compose.checks import architecture
from gifine.config import GateSide, GiConfig, ModelConfig

_SIDES = {GateSide.none: 0, GateSide.key: 1, GateSide.query: 1, GateSide.both: 2}


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
