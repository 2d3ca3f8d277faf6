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
        source, changed = _generator(config, discriminator), task.changed is not Part.discriminator
        # Tables that are shared keep their width, whatever that of the layers.
        shares = config.task.sharing(normalise_type(discriminator.config.model_type)) is not Sharing.none
        width = embedding_width(discriminator.config) if shares and source.random_init else None
        generator = _build(
            config, source, tokenizer, Objective.mlm, changed=changed, embedding_size=width, provenance=own
        )
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
    embedding_size: int | None = None,
    provenance: dict[str, Any],
) -> PreTrainedModel:
    gi, change = (config.gi, config.change) if changed else (GiConfig(side=GateSide.none), {"name": GI})
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


def _generator(config: RunConfig, discriminator: PreTrainedModel) -> ModelConfig:
    """What the generator is built of: `model` with its sizes, and its place of weights."""
    model, wanted = config.model, config.task.generator
    own = own_names(wanted.config_overrides, model.family)
    own |= {} if wanted.layers is None else {"num_hidden_layers": wanted.layers}
    place = wanted.checkpoint
    if place is not None and Path(place).expanduser().is_dir():
        place = str(_in_pair(model_files.saved_model(place)) or model_files.saved_model(place))
    elif place is None and not model.random_init and isinstance(folder := _source(model), Path):
        place = None if (inner := _in_pair(folder)) is None else str(inner)
    elsewhere: dict[str, Any] = {"revision": None, "init_from": None, "random_init": False}
    if place is not None:
        return replace(model, config_overrides=own, checkpoint=place, **elsewhere)
    halved = {"num_hidden_layers": -(-discriminator.config.num_hidden_layers // 2)} | own
    ours = replace(model, config_overrides=own_names(model.config_overrides, model.family) | halved)
    theirs = discriminator.config.to_dict()
    if model.random_init or all(theirs.get(key) == halved[key] for key in halved if key != "num_hidden_layers"):
        return ours
    # Of other sizes than the checkpoint, whose first layers are none of its.
    return replace(ours, checkpoint=model_files.source(model), init_from=None, random_init=True)


def _source(model: ModelConfig) -> Path | str:
    return model_files.locate(model_files.source(model))


def _in_pair(folder: Path) -> Path | None:
    """The generator's folder below a discriminator's, if that is what a run has saved."""
    return folder / GENERATOR if (folder / GENERATOR / CONFIG).is_file() else None
