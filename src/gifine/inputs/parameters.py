"""How many parameters the architectures have, by arithmetic on the entries of a config.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

Entries = Mapping[str, Any]


class Parameters(NamedTuple):
    embeddings: int
    layer: int  # of one layer
    shared: int  # by all layers
    head: int  # the classifier, with the pooler before it


def linear(width: int, out: int) -> int:
    return width * out + out


def count_bert(known: Entries, labels: int) -> Parameters:
    """Of BERT and RoBERTa."""
    width = known["hidden_size"]
    rows = known["vocab_size"] + known["max_position_embeddings"] + known["type_vocab_size"]
    layer = 4 * linear(width, width) + _feed_forward(known)
    return Parameters(rows * width + 2 * width, layer, 0, linear(width, width) + linear(width, labels))


def count_deberta(known: Entries, labels: int) -> Parameters:
    width, terms = known["hidden_size"], known["pos_att_type"]
    projections = 3 * width * width + 2 * width  # q, k, v in one, with biases of q and v
    projections += ("c2p" in terms) * width * width + ("p2c" in terms) * linear(width, width)
    layer = projections + linear(width, width) + _feed_forward(known)
    relative = 2 * _reach(known) * width
    return Parameters(_embeddings(known), layer, relative, linear(width, width) + linear(width, labels))


def count_deberta_v2(known: Entries, labels: int) -> Parameters:
    width = known["hidden_size"]
    shared = 2 * known["position_buckets"] * width + ("layer_norm" in known["norm_rel_ebd"]) * 2 * width
    kernel = known.get("conv_kernel_size", 0)
    shared += (kernel > 0) * (kernel * width * width + width + 2 * width)
    terms = 0 if known["share_att_key"] else len(known["pos_att_type"])
    layer = (4 + terms) * linear(width, width) + _feed_forward(known)
    return Parameters(_embeddings(known), layer, shared, linear(width, width) + linear(width, labels))


def count_xlnet(known: Entries, labels: int) -> Parameters:
    width = known["hidden_size"]
    # Of a layer: q, k, v, o and r, a vector for each of three terms of a score, two for segments. No biases.
    layer = 5 * width * width + (3 + 2) * width + _feed_forward(known)
    mask = width  # pretraining's, which nothing here reads
    return Parameters(known["vocab_size"] * width, layer, mask, linear(width, width) + linear(width, labels))


def _feed_forward(known: Entries) -> int:
    width, inner = known["hidden_size"], known["intermediate_size"]
    norms = 2 * 2 * width  # after attention and after this
    return linear(width, inner) + linear(inner, width) + norms


def _embeddings(known: Entries) -> int:
    """DeBERTas'."""
    rows = known["vocab_size"] + known["type_vocab_size"]
    rows += known["max_position_embeddings"] if known["position_biased_input"] else 0
    return rows * known["hidden_size"] + 2 * known["hidden_size"]


def _reach(known: Entries) -> int:
    """Relative positions on each side."""
    given = known["max_relative_positions"]
    return given if given >= 1 else known["max_position_embeddings"]
