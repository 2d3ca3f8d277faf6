"""What a checkpoint's config.json and its overrides may say: else a run would fail in mid-work, or not do as asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers.activations import ACT2FN

from gifine.errors import ModelError, did_you_mean
from gifine.inputs.architecture import SETTLED
from gifine.inputs.families import FAMILIES, normalise_type
from gifine.models.families import Family

# How a model answers and computes, not what: loss and logits are wanted, and no more.
_ANSWERS = ("output_hidden_states", "output_attentions", "return_dict", "use_return_dict", "torchscript", "use_cache")
_COMPUTES = ("chunk_size_feed_forward", "attn_implementation", "_attn_implementation", "_attn_implementation_internal")
_COUNTED = ("num_labels", "_num_labels")  # by id2label
_OTHER_MODELS = {
    "is_decoder": "a decoder does not look at later tokens; only encoders are fine-tuned here",
    "add_cross_attention": "there is no second text to attend to; only encoders are fine-tuned here",
    "is_encoder_decoder": "only encoders are fine-tuned here",
    "quantization_config": "quantised weights are not trained; give the checkpoint that they were made of",
}
_SMALLEST = dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"), 1)
_SMALLEST |= {"vocab_size": 1, "max_position_embeddings": 1, "type_vocab_size": 0}
_SMALLEST |= {"d_inner": 1}  # XLNet's
_SMALLEST |= {"attention_head_size": 1, "embedding_size": 1, "pooler_hidden_size": 1}  # DeBERTas'
_SMALLEST |= {"conv_kernel_size": 0, "conv_groups": 1, "position_buckets": -1, "max_relative_positions": -1}


def clean(entries: dict[str, Any], checkpoint: str) -> None:
    """Drop what is ours to say, and refuse what would make it another model than a run's.

    Raises:
        ModelError: for the latter.
    """
    for key in (*_ANSWERS, *_COMPUTES, *_COUNTED):
        entries.pop(key, None)
    problems = [f"{key} is {entries[key]!r}: {why}" for key, why in _OTHER_MODELS.items() if entries.get(key)]
    if entries.get("position_embedding_type", "absolute") != "absolute":
        problems.append(
            f"position_embedding_type is {entries['position_embedding_type']!r}: transformers 5 has absolute only"
        )
    _refuse(problems, checkpoint)


def check(config: Any, checkpoint: str) -> None:
    """Refuse what transformers' config classes let pass and their models do not.

    Raises:
        ModelError: with all of it.
    """
    entries = config.to_dict()
    smallest = {config.attribute_map.get(key, key): least for key, least in _SMALLEST.items()}
    problems = [
        f"{key} is {value!r}: must be a whole number of at least {least}"
        for key, least in smallest.items()
        if key in entries and (not isinstance(value := entries[key], int) or isinstance(value, bool) or value < least)
    ]
    if getattr(config, "attn_type", "bi") != "bi" or getattr(config, "bi_data", False):
        problems.append("attn_type must be bi, and bi_data false: only encoders are fine-tuned here")
    if getattr(config, "summary_type", "last") != "last":
        problems.append(f"summary_type is {config.summary_type!r}: must be last, which is where <cls> stands")
    if not isinstance(norm := getattr(config, "norm_rel_ebd", "none"), str):
        problems.append(f"norm_rel_ebd is {norm!r}: must be 'none' or 'layer_norm'")
    if not problems and config.hidden_size % config.num_attention_heads:
        problems.append(
            f"hidden_size {config.hidden_size} is no multiple of num_attention_heads {config.num_attention_heads}"
        )
    head = getattr(config, "attention_head_size", None)  # DeBERTaV2's, whose projections may have another width
    if not problems and head is not None and head * config.num_attention_heads != config.hidden_size:
        problems.append(
            f"attention_head_size {head} times num_attention_heads {config.num_attention_heads} is not hidden_size "
            f"{config.hidden_size}"
        )
    for key, value in entries.items():
        if key.endswith(("dropout", "dropout_prob")) and value is not None and not _is_fraction(value):
            problems.append(f"{key} is {value!r}: must be in 0 … 1")
    for key in ("hidden_act", "ff_activation", "pooler_hidden_act", "conv_act"):
        value = getattr(config, key, None)
        if value is not None and (not isinstance(value, str) or value not in ACT2FN):
            problems.append(f"{key} is {value!r}: no such activation{did_you_mean(str(value), ACT2FN)}")
    _refuse(problems, checkpoint)


def check_overrides(overrides: Mapping[str, Any], family: Family) -> None:
    """Transformers takes any key and looks at those it knows: a typing error would change nothing, silently.

    Raises:
        ModelError: with the key, and what is valid.
    """
    plain = family.plain_config()
    names = FAMILIES[normalise_type(plain.model_type)].names
    known = {"attn_implementation", *plain.to_dict(), *names, *family.undeclared} - SETTLED.keys()
    for key in overrides:
        if key in SETTLED:
            raise ModelError(f"model.config_overrides.{key}: {SETTLED[key]}")
        if key not in known or key.startswith("gi_"):
            valid = ", ".join(sorted(entry for entry in known if not entry.startswith(("_", "gi_"))))
            raise ModelError(f"model.config_overrides.{key}: no such entry{did_you_mean(key, known)}; valid: {valid}")


def _is_fraction(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _refuse(problems: list[str], checkpoint: str) -> None:
    if problems:
        raise ModelError("\n".join(f"'{checkpoint}': config.json: {problem}" for problem in problems))
