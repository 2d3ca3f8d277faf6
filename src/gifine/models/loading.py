"""Reads checkpoints: safetensors in a local folder or from the Hub. What goes wrong here says so in one line."""

from __future__ import annotations

import logging
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from gifine.errors import ModelError
from gifine.inputs.model_files import weight_files
from gifine.models import bases, layouts
from gifine.models.bases import local_folder, model_errors
from gifine.models.change_config import is_change, is_gate
from gifine.models.layouts import Layout

log = logging.getLogger(__name__)

_DROP = "; a run leaves them behind with model.drop_change=true"

# transformers' own, not TrainedOver's, which calls `load`.
_from_pretrained: Any = PreTrainedModel.from_pretrained.__func__  # pyrefly: ignore[missing-attribute] - a classmethod


class Unused(Enum):
    """Which weights without a place in the model are refused, rather than logged."""

    changes = "changes"
    layers = "layers"  # anything in the layers that the model has
    all = "all"  # anything but deeper layers and a head that is left behind


# Options of `load` for a checkpoint that has to have all that its config.json speaks of, and no more.
WHOLE: dict[str, Any] = {"is_whole": True, "new_change": False, "refused": Unused.all}


@dataclass
class Loaded:
    model: PreTrainedModel
    new: list[str]  # parameters that the checkpoint does not have
    left_behind: list[str]  # weights of a head that was not taken over


def load(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    checkpoint: str,
    revision: str | None = None,
    *,
    is_whole: bool | None = None,
    new_head: bool = False,
    new_change: bool = True,
    drop_change: bool = False,
    refused: Unused = Unused.changes,
    base: str | None = None,
    entries: Mapping[str, Any] | None = None,
    **kwargs: Any,
) -> Loaded:
    """A model with the checkpoint's weights, in float32; the log says which parameters are new and which are unused.

    Of a checkpoint of trained parameters alone, the others come from its base (`bases.py`), and are frozen. `entries`
    are those of its config.json, if they were read already.

    New may be what a change learns (with `new_change`), the head (with `new_head`, though the checkpoint may have one),
    and pooler and head where the weights are not those of such a model (`is_whole`; None: their names tell), and what
    the model says is in no encoder (`not_in_encoders`). With `drop_change` a change's parameters may have no place.

    Raises:
        ModelError: the encoder is incomplete or of other shapes, or there are weights without a place in the model of
            the kind that is `refused`.
    """
    pile = bases.resolve(checkpoint, revision, base, entries)
    folder = local_folder(pile.checkpoint)
    if folder:
        weight_files(folder)
    kwargs.setdefault("dtype", torch.float32)  # some checkpoints hold float16, which does not train
    # What a base lacks is drawn, and then what was trained takes its place: nobody is to notice.
    apart = torch.random.fork_rng(devices=[], enabled=bool(pile.trained))
    with model_errors(pile.checkpoint), _without_load_report(), apart:
        loaded: Any = _from_pretrained(
            model_class,
            str(folder or pile.checkpoint),
            config=config,
            revision=pile.revision or "main",
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # a head is drawn anew; anything else is refused below
            **kwargs,
        )
    model, report = loaded
    # The renamings that were used. transformers would undo them whenever it saves: checkpoints of training, which
    # Trainer reads back by the model's names, would lack what had an old name (LayerNorm.gamma, as BERT's files have).
    model._weight_conversions = []
    missing, unused = set(report["missing_keys"]), set(report["unexpected_keys"])
    reshaped = {name: (tuple(theirs), tuple(ours)) for name, theirs, ours in report["mismatched_keys"]}
    in_base, trained = {*unused}, set[str]()
    layout = layouts.of(model)
    for path in pile.trained:
        with model_errors(checkpoint):
            trained = _put_over(model, load_file(path), missing, unused, reshaped)
    bases.check(pile)
    ours = {name for name in model.state_dict() if name.startswith(layout.heads)}
    # One of pre-training concerns such models alone: many a published encoder has one.
    heads = layout.tuned_heads if all(name.startswith(layout.tuned_heads) for name in ours) else layout.heads
    their_head = {name for name in (ours - missing) | unused if name.startswith(heads)}
    if is_whole is None and their_head and any(_is_on_top(name, layout) for name in missing):
        is_whole, new_head = False, True
    if new_head:
        missing |= ours
        unused -= {name for name in unused if _is_on_top(name, layout)}  # the pooler, too, where the new head has none
        reshaped = {name: shapes for name, shapes in reshaped.items() if name not in their_head}
        if their_head & ours:
            _draw_head(model, layout)
    encoder = f"{model.base_model_prefix}."
    in_layers = {name for name in unused if name.startswith(f"{encoder}{layout.layers}.")}
    layers = tuple(f"{encoder}{layout.layers}.{index}." for index in range(config.num_hidden_layers))
    deeper = {name for name in in_layers if not name.startswith(layers)}
    misfits = [
        f"{name} {theirs}, not {ours}"
        for name, (theirs, ours) in reshaped.items()
        if is_whole or not (name.startswith(layout.heads) and theirs[1:] == ours[1:])  # another number of labels
    ]
    on_top = {name for name in missing if _is_on_top(name, layout)} | {*getattr(model, "not_in_encoders", ())}
    may_be_new = {name for name in missing if (new_change if is_change(name) else name in on_top and not is_whole)}
    if new_head:
        may_be_new |= {name for name in missing if name.startswith(layout.heads)}
    changes = set() if drop_change else {name for name in unused if is_change(name)}
    gates = {name for name in changes if is_gate(name)}
    misplaced = {Unused.changes: set[str](), Unused.layers: in_layers - deeper, Unused.all: unused - deeper}[refused]
    if pile.trained:
        misplaced -= in_base - in_layers  # a base need not be a run's
    problems = [
        f"'{checkpoint}' does not fit {model_class.__name__}: {what}: {_some(names)}{remedy}"
        for what, names, remedy in (
            ("weights of another shape", misfits, ""),
            ("weights that it lacks", missing - may_be_new, ""),
            ("gates that the gi settings leave no place for", gates, _DROP),
            ("parameters of a change that the settings leave no place for", changes - gates, _DROP),
            ("weights that the model has no place for", {name for name in misplaced if not is_change(name)}, ""),
        )
        if names
    ]
    if problems:
        raise ModelError("\n".join(problems))
    # So far they are pages of the file, at odd addresses, where a product of one row is rounded differently than in
    # torch's own memory: weights saved and loaded again would not give the very numbers that they were saved with.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    freeze(model, {name for name, _ in model.named_parameters() if name not in trained} if pile.trained else ())
    if new := sorted(missing | reshaped.keys()):
        told = [name for name in new if not is_change(name)]
        if len(told) < len(new):
            kind = "gates" if any(is_gate(name) for name in new) else "the change"
            told.insert(0, f"{len(new) - len(told)} of {kind}")
        log.info("%s: new parameters: %s", checkpoint, ", ".join(told))
    if unused:
        level = logging.WARNING if in_layers else logging.INFO
        log.log(level, "%s: not used: %s", checkpoint, ", ".join(sorted(unused)))
    return Loaded(model, new, sorted(their_head) if new_head else [])


def check_apart(loaded: Loaded, theirs: str | None, ours: str | None, checkpoint: str) -> None:
    """ModelError if parameters of one change were taken for those of another: `added` calls its own like GI's."""
    taken = {name for name in loaded.model.state_dict() if is_change(name)} - {*loaded.new}
    if taken and theirs not in (None, ours):
        raise ModelError(
            f"'{checkpoint}' has change={theirs}, whose parameters have the names of change={ours}'s and would be "
            "taken for them; start from weights without a change, or with this one"
        )


def freeze(model: PreTrainedModel, names: Iterable[str]) -> None:
    """These parameters do not train, and are those of the checkpoint, whatever may be done to them to look at it."""
    of_base: Any = frozenset(names)
    model._of_base = of_base
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in of_base)


def of_base(model: PreTrainedModel) -> frozenset[str]:
    """What was frozen when the model was made."""
    return getattr(model, "_of_base", frozenset())


@torch.no_grad()
def _put_over(
    model: PreTrainedModel,
    tensors: dict[str, Tensor],
    missing: set[str],
    unused: set[str],
    reshaped: dict[str, tuple[tuple[int, ...], tuple[int, ...]]],
) -> set[str]:
    """Put trained tensors in the place of the base's; the names of all that were trained.

    `missing`, `unused` and `reshaped` are brought up to what differs now.
    """
    ours = {**dict(model.named_buffers()), **dict(model.named_parameters())}
    for name, tensor in tensors.items():
        unused.discard(name)
        if name not in ours:
            unused.add(name)
        elif tensor.shape != ours[name].shape:
            reshaped[name] = tuple(tensor.shape), tuple(ours[name].shape)
        else:
            ours[name].data = tensor.to(ours[name])
            missing.discard(name)
            reshaped.pop(name, None)
    return {*tensors}


@torch.no_grad()
def _draw_head(model: PreTrainedModel, layout: Layout) -> None:
    """As transformers draws what a checkpoint lacks; loaded, it would leave it alone."""
    names = (prefix.rstrip(".") for prefix in layout.heads)
    for module in (module for name in names if hasattr(model, name) for module in model.get_submodule(name).modules()):
        for parameter in module.parameters(recurse=False):
            parameter._is_hf_initialized = False  # pyrefly: ignore[missing-attribute] - transformers' own mark
        model._init_weights(module)


def _is_on_top(name: str, layout: Layout) -> bool:
    """Does this parameter lie between the encoder and the logits?"""
    return name.startswith(layout.heads) or f".{layout.pooler}." in f".{name}"


@contextmanager
def _without_load_report() -> Generator[None]:
    """transformers warns with a table of every new parameter; `load` says the same in two lines."""

    def keep(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logger = logging.getLogger("transformers.modeling_utils")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def _some(names: Collection[str], limit: int = 3) -> str:
    return ", ".join(sorted(names)[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
