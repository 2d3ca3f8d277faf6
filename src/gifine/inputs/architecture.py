"""What a model's config.json says, without a network or torch: its entries, the longest input, how many parameters.

`gifine memory` counts parameters on a model, which takes torch; here it is arithmetic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gifine.choices import GateSide, Objective, Parameters, Part, Sharing
from gifine.config import DEMO, ModelConfig, RunConfig
from gifine.errors import ModelError
from gifine.inputs import change_files, demo, generators, parameters
from gifine.inputs.families import FAMILIES, common_names, normalise_type, own_names
from gifine.inputs.model_files import CONFIG, locate
from gifine.inputs.parameters import linear

_SIDES = {GateSide.none: 0, GateSide.key: 1, GateSide.query: 1, GateSide.both: 2}

_LABELS = "task.labels decides it ([] for regression)"
_NOT_READ = "nothing here reads it"
_WHOLE = "texts are read whole, without a memory of earlier ones"
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
    # XLNet's
    **dict.fromkeys(("mem_len", "reuse_len", "same_length", "use_mems_eval", "use_mems_train"), _WHOLE),
    **dict.fromkeys(("attn_type", "bi_data"), _ENCODER),
    "d_head": "it is d_model / n_head",
    "summary_type": "the last token is read, which is <cls>",
    **dict.fromkeys(("start_n_top", "end_n_top"), _NOT_READ),
}


def architecture(model: ModelConfig) -> dict[str, Any]:
    """What is known of the model's config.json without a network: empty for a Hub id that conf/model does not name.

    Whatever a family calls them, sizes have BERT's names, too.
    """
    if model.init_from is not None:
        known = _read_json(f"{model.init_from}/model") or _read_json(model.init_from)
    elif model.checkpoint is not None:
        known = _read_json(model.checkpoint)
    else:
        size = model.sizes.get(model.size)
        known = dict(size.config) if size else {}
    family = normalise_type(known["model_type"]) if "model_type" in known else model.family
    if model.tokenizer == DEMO and known:
        known["vocab_size"] = len(demo.vocabulary())
    return common_names(known | own_names(model.config_overrides, family), family)


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
    if config.task.objective.pretrains:
        return _count_pretraining(config)
    known = architecture(config.model)
    learned = 0 if config.is_gi else change_files.parameters_of(config.change, change_files.sizes(known))
    try:
        own = _parts(config, known)
        layers = known["num_hidden_layers"]
        changed = _gates(config, known) if config.is_gi else learned
    except (KeyError, TypeError):
        return None
    return None if changed is None else (own.embeddings + layers * own.layer + own.shared + own.head + changed, changed)


def _count_pretraining(config: RunConfig) -> tuple[int, int] | None:
    """Of a masked language model, or of generator and discriminator; E_Δ is as large as the table it is added to."""
    task, known = config.task, architecture(config.model)
    try:
        if task.objective is Objective.mlm:
            return _count_one(config, known, masked=True, changed=True)
        source = generators.of(config, known)
        ours = architecture(source)
        if source.random_init and task.sharing(config.model.family) is not Sharing.none:
            ours["embedding_size"] = known.get("embedding_size") or known["hidden_size"]
        pair = (
            _count_one(config, ours, masked=True, changed=task.changed is not Part.discriminator),
            _count_one(config, known, masked=False, changed=task.changed is not Part.generator),
        )
        shared = _pretrained(config, known).shared if task.sharing(config.model.family) is Sharing.shared else 0
    except (KeyError, TypeError):
        return None
    (one, own), (other, others) = pair
    return one + other - shared, own + others


def _count_one(config: RunConfig, known: Mapping[str, Any], *, masked: bool, changed: bool) -> tuple[int, int]:
    """A masked language model, or a discriminator, by the entries of its config.json."""
    parts, own = FAMILIES[config.model.family].count(known, 1), _pretrained(config, known)
    learned = 0
    if changed and config.is_gi:
        learned = _gates(config, known)
    elif changed:
        depth, layers = known["num_hidden_layers"], config.change.get("layers")
        change = config.change | ({} if layers is None else {"layers": min(layers, depth)})
        learned = change_files.parameters_of(change, change_files.sizes(known)) or 0
    head = own.masked if masked else own.replaced
    return own.embeddings + known["num_hidden_layers"] * parts.layer + parts.shared + head + learned, learned


def _pretrained(config: RunConfig, known: Mapping[str, Any]) -> parameters.Pretrained:
    count = FAMILIES[config.model.family].pretrained
    assert count is not None, "task_checks refuses a family without"
    return count(known)


def count_trained(config: RunConfig) -> tuple[int, int, int] | None:
    """As `count`, and how many train, as train.parameters says; a pooler is always counted.

    Raises:
        ModelError: as `count`.
    """
    counted, known = count(config), architecture(config.model)
    if counted is None:
        return None
    total, changed = counted
    if config.train.parameters is Parameters.all:
        return total, changed, total
    head = _parts(config, known).head
    if config.train.parameters is Parameters.change:
        return total, changed, changed + head
    width, inner = known["hidden_size"], known["intermediate_size"]
    in_layer, elsewhere = FAMILIES[config.model.family].biases
    biases = known["num_hidden_layers"] * (in_layer * width + inner) + elsewhere * width
    return total, changed, biases + changed + head


def _parts(config: RunConfig, known: Mapping[str, Any]) -> parameters.Parameters:
    own = FAMILIES[config.model.family].count(known, max(1, len(config.task.labels)))
    if config.task.objective is Objective.questions:  # scores of two ends, and no pooler
        return own._replace(head=linear(known["hidden_size"], 2))
    return own


def _gates(config: RunConfig, known: Mapping[str, Any]) -> int:
    layers = known["num_hidden_layers"]
    gated = layers if config.gi.layers is None else min(config.gi.layers, layers)
    return 2 * linear(known["hidden_size"], known["hidden_size"]) * _SIDES[config.gi.side] * gated


def in_layers(config: RunConfig) -> int | None:
    """Those that every token meets: all but embeddings and the head; None of pre-training, where some meet more."""
    if config.task.objective.pretrains:
        return None
    counted = count(config)
    if counted is None:
        return None
    own = _parts(config, architecture(config.model))
    return counted[0] - own.embeddings - own.head
