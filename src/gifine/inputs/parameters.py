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


class Pretrained(NamedTuple):
    """What pre-training has beside layers: of a masked language model, of a discriminator, and what two may share."""

    embeddings: int
    masked: int  # the head, and positions that come in at a mask decoder
    replaced: int  # the head
    shared: int  # of the embeddings


def linear(width: int, out: int) -> int:
    return width * out + out


def count_bert(known: Entries, labels: int) -> Parameters:
    """Of BERT and RoBERTa."""
    width = known["hidden_size"]
    layer = 4 * linear(width, width) + _feed_forward(known)
    return Parameters(_bert_embeddings(known), layer, 0, linear(width, width) + linear(width, labels))


def pretrained_bert(known: Entries) -> Pretrained:
    """Of BERT and RoBERTa: ELECTRA's head of a discriminator, and its sharing of all embeddings."""
    width, own = known["hidden_size"], _bert_embeddings(known)
    projection = linear(_embedding_width(known), width) if _embedding_width(known) != width else 0
    replaced = linear(width, width) + linear(width, 1)
    return Pretrained(own + projection, _masked_head(known), replaced, own)


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


def pretrained_deberta(known: Entries) -> Pretrained:
    """Of DeBERTas, with their discriminator's head; of the embeddings they share tokens and positions."""
    width, inner = known["hidden_size"], _embedding_width(known)
    positions = known["max_position_embeddings"] * inner
    decoder, at_input = (0, positions) if known["position_biased_input"] else (positions, 0)
    replaced = linear(width, width) + 2 * width + linear(width, 1)
    shared = known["vocab_size"] * inner + at_input
    return Pretrained(_embeddings(known), _masked_head(known) + decoder, replaced, shared)


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


def _embedding_width(known: Entries) -> int:
    return known.get("embedding_size") or known["hidden_size"]


def _masked_head(known: Entries) -> int:
    """A layer, its norm, and a bias of each token: the table is that of the embeddings."""
    width = _embedding_width(known)
    return linear(known["hidden_size"], width) + 2 * width + known["vocab_size"]


def _bert_embeddings(known: Entries) -> int:
    """Below the projection that narrow layers have."""
    rows = known["vocab_size"] + known["max_position_embeddings"] + known["type_vocab_size"]
    return (rows + 2) * _embedding_width(known)


def _embeddings(known: Entries) -> int:
    """DeBERTas'."""
    rows = known["vocab_size"] + known["type_vocab_size"]
    rows += known["max_position_embeddings"] if known["position_biased_input"] else 0
    width, inner = known["hidden_size"], _embedding_width(known)
    return rows * inner + 2 * width + (inner * width if inner != width else 0)


def _reach(known: Entries) -> int:
    """Relative positions on each side."""
    given = known["max_relative_positions"]
    return given if given >= 1 else known["max_position_embeddings"]
