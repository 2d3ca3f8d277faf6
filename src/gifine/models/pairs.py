"""Models of pre-training for a run: a masked language model, or a generator and a discriminator.

what                     starts from
a masked language model  model.checkpoint, its head too if it has one; or drawn
the discriminator        model.checkpoint, be it an encoder, a masked language model or a discriminator; or drawn
the generator            task.generator.checkpoint; null: that of the run that model.checkpoint is from, or the first
                         layers of model.checkpoint, if its sizes are those; or drawn (`inputs/generators.py`)
E_Δ (sharing=gdes)       E_D − E_G, so that the discriminator is its checkpoint; 0 if both are drawn
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from gifine.choices import GateSide, Objective, Part, Sharing
from gifine.config import GI, GiConfig, ModelConfig, RunConfig
from gifine.errors import ModelError
from gifine.inputs import generators, model_files, sources, tokenizers
from gifine.inputs.families import normalise_type, own_names
from gifine.inputs.generators import GENERATOR
from gifine.models import bases, pretrained, streams
from gifine.models.pretraining.heads import embedding_width
from gifine.models.pretraining.pair import Pair, saved_state
from gifine.models.pretraining.parts import MaskedLM, ReplacedTokens


def build(config: RunConfig, tokenizer: PreTrainedTokenizerFast, provenance: dict[str, Any]) -> PreTrainedModel:
    """
    Raises:
        ModelError: see `models.build`; and for a generator that does not fit the discriminator.
    """
    task, model = config.task, config.model
    if task.objective is Objective.mlm:
        return _build(config, model, tokenizer, Objective.mlm, changed=True, provenance=provenance)
    changed = task.changed is not Part.generator
    discriminator = _build(config, model, tokenizer, Objective.rtd, changed=changed, provenance=provenance)
    own: dict[str, Any] = {}
    # A stream of its own: gates of the same layer would start alike in both, and so would dropout inside of them.
    with streams.drawn_from(streams.generator("generator").initial_seed()):
        source = generators.of(config, discriminator.config.to_dict())
        changed = task.changed is not Part.discriminator
        # Tables that are shared keep their width, whatever that of the layers.
        shares = config.task.sharing(normalise_type(discriminator.config.model_type)) is not Sharing.none
        width = embedding_width(discriminator.config) if shares and source.random_init else None
        generator = _build(
            config, source, tokenizer, Objective.mlm, changed=changed, embedding_size=width, provenance=own
        )
    own["from"] = None if source.random_init else model_files.source(source)
    provenance["generator"] = own | {"commit": pretrained.commit(source), "weights": sources.checkpoint(source)}
    return _pair(config, generator, discriminator, start_from_sum=not model.random_init)


def check(config: RunConfig, tokenizer: PreTrainedTokenizerFast) -> None:
    """What can be said of a pair before any data are read.

    Raises:
        ModelError: for a generator that is not there, or that knows other tokens than the discriminator.
    """
    if config.task.objective is not Objective.rtd:
        return
    theirs = _entries(config.model)
    source = generators.of(config, theirs)
    ours = _entries(source)
    known, other = (
        size if model.random_init else max(size, entries.get("vocab_size", 0))
        for size in (tokenizers.size(tokenizer),)
        for model, entries in ((source, ours), (config.model, theirs))
    )
    if known != other:
        raise ModelError(
            f"the generator, '{model_files.source(source)}', knows {known} tokens, the discriminator {other}: they "
            "must be the same; task.generator.checkpoint takes another one"
        )


def reload(config: RunConfig, folder: Path) -> PreTrainedModel:
    """
    Raises:
        ModelError: for weights that cannot be read, or that are not those of this run.
    """

    def read(place: Path, objective: Objective) -> PreTrainedModel:
        own = config.change.get("file")
        found = pretrained.from_pretrained(
            place, whole=True, base=config.model.base, change_file=own, objective=objective
        )
        return pretrained.with_attention(found, config.model.attention)

    if config.task.objective is Objective.mlm:
        return read(folder, Objective.mlm)
    generator, discriminator = read(folder / GENERATOR, Objective.mlm), read(folder, Objective.rtd)
    pair = _pair(config, generator, discriminator, start_from_sum=False)
    pair.load_state_dict(saved_state(folder, pair))
    return pair.eval()


def _pair(
    config: RunConfig, generator: PreTrainedModel, discriminator: PreTrainedModel, *, start_from_sum: bool
) -> Pair:
    assert isinstance(generator, MaskedLM)
    assert isinstance(discriminator, ReplacedTokens)
    sharing = config.task.sharing(normalise_type(discriminator.config.model_type))
    return Pair(generator, discriminator, sharing, config.task.rtd_weight, start_from_sum=start_from_sum)


def _build(
    config: RunConfig,
    model: ModelConfig,
    tokenizer: PreTrainedTokenizerFast,
    objective: Objective,
    *,
    changed: bool,
    embedding_size: int | None = None,
    provenance: dict[str, Any],
) -> PreTrainedModel:
    gi, change = _within(config, _entries(model)) if changed else (GiConfig(side=GateSide.none), {"name": GI})
    return pretrained.build(
        model if changed else replace(model, drop_change=True),
        gi,
        change,
        labels=(),
        objective=objective,
        vocab_size=tokenizers.size(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        token_types=1,
        parameters=config.train.parameters,
        embedding_size=embedding_size,
        provenance=provenance,
    )


def _entries(model: ModelConfig) -> dict[str, Any]:
    """Of the config.json that a model is built of."""
    if model.random_init and model.checkpoint is None:
        entries = {"model_type": model.family} | model.sizes[model.size].config
    else:
        entries = bases.read_config(model_files.source(model), model.revision)
    return entries | own_names(model.config_overrides, model.family)


def _within(config: RunConfig, entries: Mapping[str, Any]) -> tuple[GiConfig, dict[str, Any]]:
    """The change, of no more layers than the model has: a generator may have fewer than the discriminator."""
    depth = entries.get("num_hidden_layers")
    gi, change = config.gi, dict(config.change)
    if config.task.objective is not Objective.rtd or depth is None:
        return gi, change
    if gi.layers is not None:
        gi = replace(gi, layers=min(gi.layers, depth))
    if change.get("layers") is not None:
        change["layers"] = min(change["layers"], depth)
    return gi, change
