"""The families of models that can be gated: what is known of each without torch.

Their classes are in `models/families/NAME.py`. One more family is such a file and an entry here; tests hold both, and
conf/model, together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from gifine.inputs.model_files import CONFIG
from gifine.inputs.parameters import Parameters, count_bert, count_deberta, count_deberta_v2

TOKENIZER_JSON = "tokenizer.json"
SENTENCEPIECE = "spm.model"


class Mend(Enum):
    """What transformers builds wrongly: `tokenizers.py` says how, and sets it right."""

    pairs = "pairs"
    sentencepiece = "sentencepiece"


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
    positions_after_padding: bool = False  # they are counted from pad_token_id + 1
    # With position_biased_input=false there are none: only distances count, of which the farthest are alike.
    positions_optional: bool = False


_BYTE_PAIRS = ("vocab.json", "merges.txt")
FAMILIES = {
    "bert": Traits(TokenizerClass("BertTokenizer", ("vocab.txt",)), count_bert),
    "roberta": Traits(TokenizerClass("RobertaTokenizer", _BYTE_PAIRS), count_bert, positions_after_padding=True),
    "deberta": Traits(
        TokenizerClass("DebertaTokenizer", _BYTE_PAIRS, Mend.pairs), count_deberta, positions_optional=True
    ),
    "deberta_v2": Traits(
        TokenizerClass("DebertaV2Tokenizer", (SENTENCEPIECE,), Mend.sentencepiece),
        count_deberta_v2,
        positions_optional=True,
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
