"""Tokenizers: `load("microsoft/deberta-v3-large")`, or a folder, gives one that is right, and stays right when saved.

transformers 5.23 builds three of ours wrongly from their vocabulary files, and again whenever it loads them under their
own class, even from a right tokenizer.json:

- DeBERTa v1 pairs come out as `[CLS] A [SEP] [SEP] B [SEP]` with token types all 0; `[CLS] A [SEP] B [SEP]` with types
  0 and 1 is what the model was trained on.
- DeBERTa v2/v3 lose SentencePiece's normalisation (`½ ² ﬁ …`, full-width letters and the no-break space become [UNK])
  and its byte fallback (an emoji becomes [UNK] rather than its UTF-8 bytes).

- XLNet's are wrong in most texts, or in a few of ten thousand: `xlnet_tokenizer.py`, which goes its own way.

Of the first two `load` mends both and returns a plain PreTrainedTokenizerFast: saved as such, its tokenizer.json is
taken as it is by `AutoTokenizer`, whether or not gifine is imported and whatever model lies beside it.

Where DeBERTa v2/v3 ids still differ from those of `sentencepiece`:
- A special token spelled out in a text ("[SEP]") becomes that token, as in every transformers tokenizer, and so does a
  byte piece ("<0x41>").
- Combining marks out of canonical order, or right after a character that the normalisation rewrites ("½" and an
  accent, half-width kana and its voicing mark): `tokenizers` normalises by grapheme, `sentencepiece` by longest match.
- Two segmentations with the same score ("3333" + "33" or "33" + "3333"): rounding decides.
Both refuse a lone surrogate, which no file in UTF-8 can hold.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub import snapshot_download
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, normalizers, processors
from tokenizers.models import Unigram
from transformers import DebertaTokenizer, DebertaV2Tokenizer, PreTrainedTokenizerFast

from gifine.config import DEMO, ModelConfig
from gifine.errors import ModelError, first_line
from gifine.inputs import demo, xlnet_tokenizer
from gifine.inputs.architecture import architecture
from gifine.inputs.families import (
    FAMILIES,
    SENTENCEPIECE,
    TOKENIZER_FILES,
    TOKENIZER_JSON,
    Mend,
    TokenizerClass,
    normalise_type,
)
from gifine.inputs.model_files import CONFIG, locate, source

_TOKEN_TYPES = "token_type_ids"  # noqa: S105 - not a password
# The class that builds nothing itself, and TokenizersBackend, as it is called in transformers 5.
_PLAIN = TokenizerClass("PreTrainedTokenizerFast", (TOKENIZER_JSON,))
_KINDS = {traits.tokenizer.name: traits.tokenizer for traits in FAMILIES.values()}
_KINDS |= {"PreTrainedTokenizerFast": _PLAIN, PreTrainedTokenizerFast.__name__: _PLAIN}
_ELSEWHERE = (
    "prefetch it on a machine with internet access, or name a local folder that has it with model.tokenizer=FOLDER"
)


def load_for(model: ModelConfig) -> PreTrainedTokenizerFast:
    """The tokenizer that a run of `model` uses: for a model of one token type it gives none. ModelError: see `load`."""
    for key in ("vocab_size", "pad_token_id"):
        if model.random_init and key in model.config_overrides:
            raise ModelError(f"model.config_overrides.{key}: the tokenizer decides it; give another model.tokenizer")
    known = architecture(model)
    family = normalise_type(known.get("model_type", model.family))
    cls_last = family in FAMILIES and FAMILIES[family].cls_last
    if model.tokenizer == DEMO:
        tokenizer = demo.tokenizer(cls_last=cls_last)
    elif model.tokenizer is not None:
        tokenizer = load(model.tokenizer, family=model.family)
    else:
        tokenizer = load(source(model), revision=model.revision)
    _check_layout(model, tokenizer, cls_last=cls_last)
    _pad_as(tokenizer, family)
    if known.get("type_vocab_size") == 1 and _TOKEN_TYPES in tokenizer.model_input_names:
        names = [name for name in tokenizer.model_input_names if name != _TOKEN_TYPES]
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names  # the second is what is saved
    return tokenizer


def _check_layout(model: ModelConfig, tokenizer: PreTrainedTokenizerFast, *, cls_last: bool) -> None:
    """Refuse a tokenizer whose [CLS] is not where the model's head looks."""
    ids = tokenizer("a")["input_ids"]
    place = len(ids) - 1 if cls_last else 0
    if (
        tokenizer.cls_token_id not in ids
        or ids.index(tokenizer.cls_token_id) != place
        or is_left(tokenizer) != cls_last
    ):
        where = "last, and padding on the left" if cls_last else "first, and padding on the right"
        raise ModelError(
            f"model.tokenizer={model.tokenizer}: a {model.family} wants its {tokenizer.cls_token or 'token [CLS]'} "
            f"{where}: give the tokenizer of a {model.family}"
        )


def _pad_as(tokenizer: PreTrainedTokenizerFast, family: str) -> PreTrainedTokenizerFast:
    """The tokenizer itself, with the segment of padding that a family has, which no tokenizer's files keep."""
    if family in FAMILIES and FAMILIES[family].cls_last:
        tokenizer._pad_token_type_id = xlnet_tokenizer.PAD_SEGMENT
    return tokenizer


def is_left(tokenizer: PreTrainedTokenizerFast) -> bool:
    """Whether it pads there: then the last token is the one that heads read, else the first."""
    return tokenizer.padding_side == "left"


def size(tokenizer: PreTrainedTokenizerFast) -> int:
    """The rows that embeddings need for it: ids may have gaps."""
    return max(tokenizer.get_vocab().values()) + 1


def token_types(tokenizer: PreTrainedTokenizerFast, inputs: int) -> int:
    """How many token types there are in examples of so many texts."""
    return inputs if _TOKEN_TYPES in tokenizer.model_input_names else 1


def doubt(tokenizer: PreTrainedTokenizerFast) -> str | None:
    """What to warn of: a cased vocabulary whose texts are lowercased, as transformers does unless it is told not to."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    if normalizer is None or normalizer.normalize_str("A") != "a":
        return None
    pieces = [piece for piece in tokenizer.get_vocab() if not piece.startswith(("[", "<"))]  # nor special ones
    cased = [piece for piece in pieces if any("A" <= character <= "Z" for character in piece)]
    if len(cased) * 100 <= len(pieces):
        return None
    return (
        f"the tokenizer lowercases texts, though {len(cased):,} of its {len(pieces):,} word pieces have capitals: "
        'for a cased model, put "do_lower_case": false into its tokenizer_config.json'
    )


def load(source: str, family: str | None = None, revision: str | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer of a folder, a `package:` or a Hub id (at `revision`).

    `family` tells what it is where neither tokenizer_config.json nor config.json
    names a tokenizer class; null: the model type in config.json does.

    Raises:
        ModelError: if it cannot be found or read, or is of a class other than the families' (the Python-only
            tokenizers and those with code of their own are).
    """
    folder = _folder(source, revision)
    kind = _kind(source, folder, family)
    cls = getattr(transformers, kind.name)
    # Without its files, transformers goes on silently with a vocabulary of a few special tokens.
    if kind.mend is Mend.xlnet and not (folder / kind.vocabulary[0]).is_file():
        raise ModelError(
            f"{source}: no {kind.vocabulary[0]} there (looked in {folder}), which XLNet's texts are cut by: "
            f"{TOKENIZER_JSON} alone cannot; {_ELSEWHERE}"
        )
    if not (folder / TOKENIZER_JSON).is_file() and not all((folder / name).is_file() for name in kind.vocabulary):
        files = " and ".join(kind.vocabulary)
        files = files if kind is _PLAIN else f"{TOKENIZER_JSON}, or {files}"
        raise ModelError(
            f"{source}: no tokenizer there: a {cls.__name__} needs {files} (looked in {folder}); {_ELSEWHERE}"
        )
    try:
        if kind.mend is Mend.xlnet:
            return xlnet_tokenizer.load(folder)
        tokenizer = cls.from_pretrained(folder)
        if kind is _PLAIN:
            return _pad_as(tokenizer, normalise_type(_read(source, folder / CONFIG).get("model_type")))
        if kind.mend is Mend.pairs:
            _mend_pairs(tokenizer)
        elif kind.mend is Mend.sentencepiece:
            _mend_sentencepiece(tokenizer, folder)
    except ModelError:
        raise
    except Exception as error:  # what a damaged file raises depends on its reader; `tokenizers` has bare Exceptions
        raise ModelError(f"{source}: its tokenizer files cannot be read ({first_line(error)})") from error
    _check_special_tokens(source, tokenizer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        model_max_length=tokenizer.model_max_length,
        padding_side=tokenizer.padding_side,
        truncation_side=tokenizer.truncation_side,
        model_input_names=tokenizer.model_input_names,  # RoBERTa's have no token types
        **tokenizer.special_tokens_map,
    )


def _folder(source: str, revision: str | None) -> Path:
    folder = Path(locate(source))
    if folder.is_dir():
        return folder
    # Not `from_pretrained(id)`: without a network it takes half a minute and more to say so, this does at once.
    try:
        return Path(snapshot_download(source, revision=revision, allow_patterns=[*TOKENIZER_FILES]))
    except (OSError, ValueError) as error:  # no network, not in the cache, no such repository; not a Hub id
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"tokenizer {source}{at}: not in the Hub's local cache, and not got from the Hub ({first_line(error)}); "
            f"{_ELSEWHERE}"
        ) from error


def _kind(source: str, folder: Path, family: str | None) -> TokenizerClass:
    settings, config = (_read(source, folder / name) for name in ("tokenizer_config.json", CONFIG))
    name = settings.get("tokenizer_class") or config.get("tokenizer_class")
    if name is None:
        family = family or normalise_type(config.get("model_type"))
        if family not in FAMILIES:
            raise ModelError(
                f"{source}: cannot tell which tokenizer it is: tokenizer_config.json names no tokenizer_class, and "
                f"neither model.family nor the model_type in config.json is one of {', '.join(FAMILIES)}"
            )
        return FAMILIES[family].tokenizer
    kind = _KINDS.get(name) or _KINDS.get(name.removesuffix("Fast"))  # transformers 4 wrote BertTokenizerFast
    if kind is None:
        raise ModelError(f"{source}: tokenizer class {name} is none of {', '.join(sorted(_KINDS))}")
    return kind


def _read(source: str, path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{source}: {path} is not JSON ({error})") from error
    if not isinstance(settings, dict):
        raise ModelError(f"{source}: {path} is not JSON of an object, but of a {type(settings).__name__}")
    return settings


def _check_special_tokens(source: str, tokenizer: PreTrainedTokenizerFast) -> None:
    """Refuse another family's vocabulary: transformers appends what it lacks, with ids that no model has rows for."""
    needed = (tokenizer.cls_token, tokenizer.sep_token, tokenizer.pad_token, tokenizer.unk_token)
    # DeBERTa-v2/v3's own [MASK] is appended like that, and nothing here uses it.
    missing = [token for token in needed if tokenizer.backend_tokenizer.model.token_to_id(token) is None]
    if missing:
        raise ModelError(
            f"{source}: its vocabulary has no {', '.join(missing)}: it is not that of a {type(tokenizer).__name__}"
        )


def _mend_pairs(tokenizer: DebertaTokenizer) -> None:
    """`[CLS] A [SEP] B [SEP]` with token types 0 and 1, as BERT has it."""
    sep, cls = (tokenizer.sep_token, tokenizer.sep_token_id), (tokenizer.cls_token, tokenizer.cls_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.BertProcessing(sep, cls)


def _mend_sentencepiece(tokenizer: DebertaV2Tokenizer, folder: Path) -> None:
    """Normalisation and byte fallback as in `folder`'s spm.model; without one, the normalisation of tokenizer.json."""
    backend = tokenizer.backend_tokenizer
    spm = folder / SENTENCEPIECE
    if not spm.is_file():  # transformers 4 kept the normalisation in tokenizer.json, and had no byte fallback
        normalizer = Tokenizer.from_file(str(folder / TOKENIZER_JSON)).normalizer
        if "Precompiled" not in repr(normalizer):
            raise ModelError(
                f"{folder / TOKENIZER_JSON} lacks SentencePiece's normalisation, as transformers 5 saves it; put the "
                f"{SENTENCEPIECE} of the checkpoint it comes from beside it, or name that checkpoint with "
                "model.tokenizer"
            )
        backend.normalizer = normalizer
        return
    # pyrefly: ignore [missing-attribute] - protobuf makes the class at import
    model = sentencepiece_model_pb2.ModelProto.FromString(spm.read_bytes())
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    backend.model = Unigram(pieces, model.trainer_spec.unk_id, model.trainer_spec.byte_fallback)
    backend.normalizer = normalizers.Sequence(
        [
            *([normalizers.Lowercase()] if tokenizer.do_lower_case else []),
            normalizers.NFC(),  # the map's own composing stops at graphemes of 6 bytes: no decomposed Greek or Korean
            normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap),
            # remove_extra_whitespaces; the map has turned all white space into spaces
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Replace(Regex(r"\A | \z"), ""),
        ]
    )
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), backend.decoder])
