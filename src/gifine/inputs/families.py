"""The families of models that can be gated: what is known of each without torch.

Their classes are in `models/families/NAME.py`. One more family is such a file and an entry here; tests hold both, and
conf/model, together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gifine.inputs.model_files import CONFIG
from gifine.inputs.parameters import (
    Parameters,
    Pretrained,
    count_bert,
    count_deberta,
    count_deberta_v2,
    count_xlnet,
    pretrained_bert,
    pretrained_deberta,
)

TOKENIZER_JSON = "tokenizer.json"
SENTENCEPIECE = "spm.model"


class Mend(Enum):
    """What transformers builds wrongly: `tokenizers.py` says how, and sets it right."""

    pairs = "pairs"
    sentencepiece = "sentencepiece"
    xlnet = "xlnet"


@dataclass(frozen=True)
class TokenizerClass:
    name: str  # its class in transformers
    vocabulary: tuple[str, ...]  # the files that it is built from where there is no tokenizer.json
    mend: Mend | None = None


@dataclass(frozen=True)
class Traits:
    """Of one family."""

    tokenizer: TokenizerClass
    count: Callable[[Mapping[str, Any], int], Parameters]  # of a config.json's entries and a number of labels
    pretrained: Callable[[Mapping[str, Any]], Pretrained] | None = None  # None: neither MLM nor RTD is defined
    positions_after_padding: bool = False  # they are counted from pad_token_id + 1
    # With position_biased_input=false there are none: only distances count, of which the farthest are alike.
    positions_optional: bool = False
    # A <sep> B <sep> <cls> with segments 0 0 1 1 2, padding on the left with segment 4; else [CLS] A [SEP] B [SEP] …
    cls_last: bool = False
    names: Mapping[str, str] = field(default_factory=dict)  # what config.json calls otherwise than BERT's does
    # Vectors of the hidden size that have "bias" in their names: in a layer, and elsewhere below the head.
    biases: tuple[int, int] = (7, 2)


_BYTE_PAIRS = ("vocab.json", "merges.txt")
FAMILIES = {
    "bert": Traits(TokenizerClass("BertTokenizer", ("vocab.txt",)), count_bert, pretrained_bert),
    "roberta": Traits(
        TokenizerClass("RobertaTokenizer", _BYTE_PAIRS), count_bert, pretrained_bert, positions_after_padding=True
    ),
    "deberta": Traits(
        TokenizerClass("DebertaTokenizer", _BYTE_PAIRS, Mend.pairs),
        count_deberta,
        pretrained_deberta,
        positions_optional=True,
    ),
    "deberta_v2": Traits(
        TokenizerClass("DebertaV2Tokenizer", (SENTENCEPIECE,), Mend.sentencepiece),
        count_deberta_v2,
        pretrained_deberta,
        positions_optional=True,
    ),
    "xlnet": Traits(
        TokenizerClass("XLNetTokenizer", ("spiece.model",), Mend.xlnet),
        count_xlnet,
        cls_last=True,
        names={
            "hidden_size": "d_model",
            "num_hidden_layers": "n_layer",
            "num_attention_heads": "n_head",
            "intermediate_size": "d_inner",
            "hidden_act": "ff_activation",
        },
        biases=(6, 0),
    ),
}
# All that a tokenizer may be read from; config.json tells the class where tokenizer_config.json does not.
TOKENIZER_FILES = (
    CONFIG,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    TOKENIZER_JSON,
    *dict.fromkeys(name for traits in FAMILIES.values() for name in traits.tokenizer.vocabulary),
)


def normalise_type(model_type: object) -> str:
    """The family that the `model_type` of a config.json means, plain or gated; it need not be one of ours."""
    return str(model_type).removeprefix("gi_").replace("-", "_")


def own_names(entries: Mapping[str, Any], family: str) -> dict[str, Any]:
    """Entries of a config.json under the names that a family has for them: `num_hidden_layers` is XLNet's `n_layer`."""
    names = FAMILIES[family].names if family in FAMILIES else {}
    return {names.get(key, key): value for key, value in entries.items()}


def common_names(entries: Mapping[str, Any], family: str | None = None) -> dict[str, Any]:
    """The same, and under BERT's names beside them, which is how they are asked for; without `family` of model_type."""
    family = normalise_type(entries.get("model_type")) if family is None else family
    names = FAMILIES[family].names if family in FAMILIES else {}
    return {**entries, **{common: entries[own] for common, own in names.items() if own in entries}}
