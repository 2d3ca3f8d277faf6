"""Models of pre-training for a run: a masked language model, or a generator and a discriminator.

what                     starts from
a masked language model  model.checkpoint, its head too if it has one; or drawn
the discriminator        model.checkpoint, be it an encoder, a masked language model or a discriminator; or drawn
the generator            task.generator.checkpoint; null: that of the run that model.checkpoint is from, or the first
                         layers of model.checkpoint, if its sizes are those; or drawn
E_Δ (sharing=gdes)       E_D − E_G, so that the discriminator is its checkpoint; 0 if both are drawn
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerFast

from gifine.choices import GateSide, Objective, Part, Sharing
from gifine.config import GI, GiConfig, ModelConfig, RunConfig
from gifine.inputs import model_files, tokenizers
from gifine.inputs.families import normalise_type, own_names
from gifine.inputs.model_files import CONFIG
from gifine.models import pretrained, streams
from gifine.models.pretraining.heads import embedding_width
from gifine.models.pretraining.pair import GENERATOR, Pair, saved_state
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
        source = _generator(config, discriminator)
        changed = task.changed is not Part.discriminator
        generator = _build(config, source, tokenizer, Objective.mlm, changed=changed, provenance=own)
    own["from"] = None if source.random_init else model_files.source(source)
    provenance["generator"] = own
    return _pair(config, generator, discriminator, start_from_sum=not model.random_init)


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
    pair.load_state_dict(saved_state(folder))
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
    provenance: dict[str, Any],
) -> PreTrainedModel:
    gi, change = (config.gi, config.change) if changed else (GiConfig(side=GateSide.none), {"name": GI})
    return pretrained.build(
        model,
        gi,
        change,
        labels=(),
        objective=objective,
        vocab_size=tokenizers.size(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        token_types=1,
        parameters=config.train.parameters,
        drop_change=not changed,
        provenance=provenance,
    )


def _generator(config: RunConfig, discriminator: PreTrainedModel) -> ModelConfig:
    """What the generator is built of: `model` with its sizes, and its place of weights."""
    model, wanted = config.model, config.task.generator
    family = normalise_type(discriminator.config.model_type)
    entries = discriminator.config.to_dict()
    depth = wanted.layers or -(-discriminator.config.num_hidden_layers // 2)
    sizes = own_names(model.config_overrides | wanted.config_overrides, family) | {"num_hidden_layers": depth}
    # Tables that are shared keep their width; layers may be narrower.
    width = discriminator.config.hidden_size
    if sizes.get("hidden_size", width) != width and config.task.sharing(family) is not Sharing.none:
        sizes = {"embedding_size": embedding_width(discriminator.config)} | sizes
    ours = replace(model, config_overrides=sizes)
    if wanted.checkpoint is not None:
        return replace(ours, checkpoint=wanted.checkpoint, revision=None, init_from=None, random_init=False)
    if model.random_init:
        return ours
    folder = model_files.locate(model_files.source(model))
    if isinstance(folder, Path) and (folder / GENERATOR / CONFIG).is_file():
        return replace(ours, checkpoint=str(folder / GENERATOR), revision=None, init_from=None)
    if any(entries.get(key) != value for key, value in sizes.items() if key != "num_hidden_layers"):
        return replace(ours, random_init=True)
    return ours
