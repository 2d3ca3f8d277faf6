"""A model for a run, or one that a run has saved: config.json read, weights loaded, change and head put on."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig, PreTrainedModel

from gifine.choices import Attention, GateSide, Objective, Parameters
from gifine.config import GI, GiConfig, ModelConfig
from gifine.errors import ModelError, first_line
from gifine.inputs import change_files, model_files
from gifine.inputs.families import normalise_type, own_names
from gifine.models import bases, change_config, configuration, families, heads, layouts, trained
from gifine.models.attention import disentangled_sdpa
from gifine.models.attention.deberta import FastAttention
from gifine.models.attention.xlnet import FastXLNetAttention
from gifine.models.bases import read_config
from gifine.models.heads import Head
from gifine.models.loading import WHOLE, Loaded, Unused, check_apart, load
from gifine.models.speedups import embedding_rows

log = logging.getLogger(__name__)


def build(
    model: ModelConfig,
    gi: GiConfig,
    change: Mapping[str, Any] = MappingProxyType({"name": GI}),
    *,
    labels: Sequence[str],
    objective: Objective = Objective.classification,
    vocab_size: int | None = None,
    pad_token_id: int | None = None,
    token_types: int = 1,
    parameters: Parameters = Parameters.all,
    embedding_size: int | None = None,
    provenance: dict[str, Any] | None = None,
) -> PreTrainedModel:
    """A classifier for `labels`, in the order of their ids (none: regression), as the config says; or, as `objective`
    says and without labels, what scores the first and the last tokens of answers, or a model of pre-training.

    `change` has the name of what is done to attention and its keys, of one's own also its `file`; GI's are `gi`, which
    nothing else reads. With `gi.side=none` it is transformers' own class, if all `parameters` train. `vocab_size`,
    `pad_token_id` and `token_types` (how many the data have) are the tokeniser's: with random weights the model takes
    the first two over, a checkpoint has to go with them. `embedding_size` is the width of the
    word embeddings of a drawn model whose layers are narrower. Into `provenance` goes what became of the checkpoint's
    head, and how many word embeddings are new. Seed torch first. ModelError: see the message.
    """
    checkpoint = model_files.source(model)
    if model.random_init and model.checkpoint is None:
        entries = {"model_type": model.family} | model.sizes[model.size].config
    else:
        entries = read_config(checkpoint, model.revision)
    family = families.find(entries.get("model_type", "none"), checkpoint)
    configuration.check_overrides(model.config_overrides, family)
    outputs = 2 if objective is Objective.questions else 1
    id2label = dict(enumerate(labels or [f"LABEL_{row}" for row in range(outputs)]))  # unnamed: as transformers does it
    head = heads.choose(entries, family, list(id2label.values()), objective)
    refused, theirs = _refused(model, entries), change_config.name(entries)
    configuration.clean(entries, checkpoint)
    if model.classifier_dropout is not None:
        entries[family.classifier_dropout] = model.classifier_dropout
    entries |= model.config_overrides
    if objective is Objective.mlm and family.pretraining is not None:
        entries |= family.pretraining.settled
    if embedding_size is not None:
        entries["embedding_size"] = embedding_size
    entries = own_names(entries, normalise_type(entries["model_type"])) | {
        "id2label": id2label,
        "label2id": {label: index for index, label in id2label.items()},
        "problem_type": _problem(objective, labels),
    }
    tokeniser = {
        key: value for key, value in (("vocab_size", vocab_size), ("pad_token_id", pad_token_id)) if value is not None
    }
    if model.random_init:
        entries |= tokeniser
    ours, own = change_config.write(gi, change), parameters is not Parameters.all
    config, model_class = _resolve(entries, ours, checkpoint, objective, own=own)
    if token_types > getattr(config, "type_vocab_size", 0) > 0:  # XLNet knows any number
        raise ModelError(
            f"'{checkpoint}' has {config.type_vocab_size} token type(s), its tokenizer gives {token_types}: "
            "give the checkpoint's own tokenizer, or one without token types"
        )
    if model.random_init:
        with bases.model_errors(checkpoint):
            drawn = model_class(config)
        trained.choose(drawn, parameters, ())
        return with_attention(drawn, model.attention)
    known, wanted = config.vocab_size, vocab_size or 0
    if wanted > known and not model.resize_embeddings:
        raise ModelError(
            f"'{checkpoint}' knows {known} tokens, its tokenizer has {wanted}; "
            "model.resize_embeddings=true adds untrained rows for the others"
        )
    if pad_token_id not in (None, config.pad_token_id):
        raise ModelError(f"'{checkpoint}' pads with token {config.pad_token_id}, its tokenizer with {pad_token_id}")
    loaded = load(
        model_class,
        config,
        checkpoint,
        model.revision,
        is_whole=head.is_whole,
        new_head=head.order is None,
        drop_change=model.drop_change,
        refused=refused,
        base=model.base,
        entries=entries,
    )
    check_apart(loaded, theirs, change_config.name(ours), checkpoint)
    trained.choose(loaded.model, parameters, loaded.new)
    told = _settle_head(loaded, head)
    if told != "new":
        log.info("%s: head: %s", checkpoint, told)
    if wanted > known:
        embedding_rows.add(loaded.model, wanted)
        log.info("%s: %d tokens more than it knows have untrained word embeddings", checkpoint, wanted - known)
    if provenance is not None:
        provenance["head"] = told
        if wanted > known:
            provenance["embeddings"] = {"rows": wanted, "new": wanted - known}
    return with_attention(loaded.model, model.attention)


def _problem(objective: Objective, labels: Sequence[str]) -> str | None:
    """What transformers' classifiers choose their loss by."""
    if objective is not Objective.classification:
        return None
    return "single_label_classification" if labels else "regression"


def _refused(model: ModelConfig, theirs: Mapping[str, Any]) -> Unused:
    """Weights that a run saved are known by name; what a config other than `theirs` leaves unused was asked for."""
    own = own_names(model.config_overrides, model.family)
    changed = {key for key, value in own.items() if theirs.get(key) != value}
    if changed - {*own_names({"num_hidden_layers": None}, model.family)}:
        return Unused.changes
    ours = model.init_from is not None and model_files.is_run(model.init_from)
    return Unused.all if ours else Unused.layers


def _settle_head(loaded: Loaded, head: Head) -> str:
    """Put the head's rows in the order of our labels; what became of it, for people."""
    if loaded.left_behind:
        why = head.why if head.order is None else f"not all weights of a {type(loaded.model).__name__} are there"
        return f"new; {', '.join(loaded.left_behind)} left behind: {why}"
    if head.order is None or any(name.startswith(layouts.of(loaded.model).heads) for name in loaded.new):
        return "new"
    if head.order == sorted(head.order):
        return f"kept, {head.why}"
    heads.reorder(loaded.model, head.order)
    return f"kept, its rows reordered: {head.why}"


def with_attention(model: PreTrainedModel, attention: Attention) -> PreTrainedModel:
    """The model itself, with modules of its family that compute the same faster, if there are such and they are wanted.

    Parameters, their names and what is saved stay as they are, so that nothing has to know of it afterwards.
    """
    family = families.find(model.config.model_type, "")
    if family.complete is not None:
        family.complete(model)
    if attention is Attention.fast:
        fast = family.fast
        for module in model.modules():
            # As torch's fully_shard does it: subclasses without fields of their own, so that only methods change.
            module.__class__ = fast.get(type(module), type(module))
    return model


def attention_path(model: PreTrainedModel, device: torch.device, dtype: torch.dtype) -> str:
    """Which code computes attention on this device, in this precision: `fast` or transformers' `hf`, and its kernel."""
    config, is_deberta = model.config, any(isinstance(module, FastAttention) for module in model.modules())
    if not is_deberta and not any(isinstance(module, FastXLNetAttention) for module in model.modules()):
        return f"hf/{config._attn_implementation or 'eager'}"
    if getattr(config, "changes_weights", False):
        return "fast/written-out"
    head = torch.empty(1, 1, 1, config.hidden_size // config.num_attention_heads, dtype=dtype, device=device)
    return f"fast/{'fused' if is_deberta and disentangled_sdpa.serves(head) else 'products'}"


def from_pretrained(
    checkpoint: str | Path,
    gi: GiConfig | None = None,
    change: Mapping[str, Any] | None = None,
    *,
    change_file: str | Path | None = None,
    whole: bool = False,
    base: str | Path | None = None,
    objective: Objective | None = None,
    **kwargs: Any,
) -> PreTrainedModel:
    """The classifier in a folder or on the Hub, changed as `gi` or `change` says, or as its config.json does; float32,
    in eval mode. Where config.json says that it answers questions, it is a model that does; `objective` asks for
    another than it says: one of pre-training is told by nothing there.

    `change` is as for `build`. A config.json that names a change of one's own wants its file: `change_file`.

    Reads what `save_pretrained` wrote, plain checkpoints, and the authors' form of config.json (the base `model_type`
    with `gi_key_side`, `gi_query_side`, `inhibition_level`, `gi_layer_num`). Of `kwargs`, `num_labels`, `id2label` and
    `label2id` go to the config, the others to transformers' `from_pretrained`. With `whole` it is an error if a weight
    is not there, or has no place. Of trained parameters alone, the others come from the base that config.json names,
    or from `base`, where that lies now, and are frozen. ModelError: see the message.
    LayerCountWarning: the authors' form names a number of layers.
    """
    checkpoint = str(checkpoint)
    revision = kwargs.pop("revision", None)
    entries = read_config(checkpoint, revision)
    over = entries.get(model_files.OVER)
    labels = {key: kwargs.pop(key) for key in ("num_labels", "id2label", "label2id") if key in kwargs}
    if "num_labels" in labels:  # else the checkpoint's own names would overrule the number
        entries = {key: value for key, value in entries.items() if key not in ("id2label", "label2id")}
    elif "id2label" not in labels and entries.get("id2label") is not None:
        names = heads.names(entries)
        if names is None:
            given = entries["id2label"]
            raise ModelError(f"'{checkpoint}': config.json: id2label does not name labels by id: {given!r}")
        entries |= {"id2label": dict(enumerate(names)), "label2id": {name: row for row, name in enumerate(names)}}
    entries |= labels
    if gi is None and change is None:
        ours = change_config.read(entries, checkpoint, change_file)
    else:
        ours = change_config.write(gi or GiConfig(side=GateSide.none), change or {"name": GI})
    family = families.find(entries.get("model_type", "none"), checkpoint)
    objective = objective or heads.objective(entries, family)
    config, model_class = _resolve(entries, ours, checkpoint, objective, own=over is not None)
    if over is not None:
        config.trained_over = over
    options = WHOLE if whole else {}
    place = None if base is None else str(base)
    return load(model_class, config, checkpoint, revision, base=place, entries=entries, **options, **kwargs).model


def commit(model: ModelConfig) -> str | None:
    """The Hub's commit of the checkpoint that `build` read; None for random weights and local folders."""
    if model.random_init:
        return None
    return bases.commit(model_files.source(model), model.revision)


def describe_change(model: PreTrainedModel) -> dict[str, Any] | None:
    """What is done to the model's attention, for a record, as `change_files.describe`; None of a plain one."""
    if not isinstance(model.config, change_config.ChangedConfig) or not model.config.changed_layers:
        return None
    change, settings = model.config.find_change()
    return change_files.describe(change, settings, model.config.to_dict())


def count_parameters(model: PreTrainedModel) -> dict[str, int]:
    """Parameters in total, and how many of them train, belong to the change (`gates`), and to the embeddings."""
    parameters, embeddings = dict(model.named_parameters()), layouts.of(model).embeddings
    return {
        "total": sum(parameter.numel() for parameter in parameters.values()),
        "trainable": sum(parameter.numel() for parameter in parameters.values() if parameter.requires_grad),
        "gates": sum(parameter.numel() for name, parameter in parameters.items() if change_config.is_change(name)),
        "embeddings": sum(parameter.numel() for name, parameter in parameters.items() if f".{embeddings}." in name),
    }


def _resolve(
    entries: Mapping[str, Any], ours: Mapping[str, Any], checkpoint: str, objective: Objective, *, own: bool = False
) -> tuple[PreTrainedConfig, type[PreTrainedModel]]:
    """The config and the class for these entries of a config.json: changed as `ours` says, plain if it is empty.

    With `own` the class is ours without a change, too.
    """
    family = families.find(entries.get("model_type", "none"), checkpoint)
    base = change_config.without_change(entries)
    for key in ("model_type", "architectures", model_files.OVER):
        base.pop(key, None)
    base |= family.settled
    key = family.config.attribute_map.get("hidden_act", "hidden_act")
    if not isinstance(activation := base.get(key, "gelu"), str):
        raise ModelError(f"'{checkpoint}': config.json: {key} is {activation!r}: must be an activation's name")
    if key in base:
        base[key] = change_config.unmark(activation)
    try:
        is_plain = not (ours or own)
        if is_plain:
            config: PreTrainedConfig = family.plain_config.from_dict(base)
        else:
            config = family.config.from_dict(base | (dict(ours) or change_config.NONE))
    except StrictDataclassError as error:
        raise ModelError(f"'{checkpoint}': {error}") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # what each entry's reader makes of nonsense
        raise ModelError(f"'{checkpoint}': config.json: {first_line(error)}") from error
    configuration.check(config, checkpoint)
    return config, family.model(objective, plain=is_plain)
