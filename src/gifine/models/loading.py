"""Reads checkpoints: safetensors in a local folder or from the Hub. What goes wrong here says so in one line."""

from __future__ import annotations

import logging
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import extract_commit_hash

from gifine.errors import ModelError, chain, first_line
from gifine.inputs.model_files import CONFIG, locate, weight_files
from gifine.models.change_config import is_change, is_gate

log = logging.getLogger(__name__)

_HEAD = "classifier."


class Unused(Enum):
    """Which weights without a place in the model are refused, rather than logged."""

    changes = "changes"
    layers = "layers"  # anything in the layers that the model has
    all = "all"  # anything but deeper layers and a head that is left behind


def read_config(checkpoint: str, revision: str | None = None) -> dict[str, Any]:
    """The checkpoint's config.json. ModelError: no such folder, no config.json in it, or no way to the Hub."""
    if (folder := _folder(checkpoint)) and not (folder / CONFIG).is_file():
        raise ModelError(f"folder {folder} has no config.json: not a checkpoint")
    with model_errors(checkpoint):
        config, _ = PreTrainedConfig.get_config_dict(str(folder or checkpoint), revision=revision or "main")
    return config


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
    is_classifier: bool | None = None,
    new_head: bool = False,
    new_change: bool = True,
    refused: Unused = Unused.changes,
    **kwargs: Any,
) -> Loaded:
    """A model with the checkpoint's weights, in float32; the log says which parameters are new and which are unused.

    New may be what a change learns (with `new_change`), the head (with `new_head`, though the checkpoint may have one),
    and pooler and head where the weights are not a sequence classifier's (`is_classifier`; None: their names tell).

    Raises:
        ModelError: the encoder is incomplete or of other shapes, or there are weights without a place in the model of
            the kind that is `refused`.
    """
    folder = _folder(checkpoint)
    if folder:
        weight_files(folder)
    kwargs.setdefault("dtype", torch.float32)  # some checkpoints hold float16, which does not train
    with model_errors(checkpoint), _without_load_report():
        loaded: Any = model_class.from_pretrained(
            str(folder or checkpoint),
            config=config,
            revision=revision or "main",
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
    their_head = {name for name in (model.state_dict().keys() - missing) | unused if name.startswith(_HEAD)}
    if is_classifier is None and their_head and any(_is_on_top(name) for name in missing):
        is_classifier, new_head = False, True
    if new_head:
        missing |= {name for name in model.state_dict() if name.startswith(_HEAD)}
        unused -= their_head
        reshaped = {name: shapes for name, shapes in reshaped.items() if name not in their_head}
        if their_head:
            _draw_head(model)
    encoder = f"{model.base_model_prefix}."
    in_layers = {name for name in unused if name.startswith(f"{encoder}encoder.layer.")}
    ours = tuple(f"{encoder}encoder.layer.{index}." for index in range(config.num_hidden_layers))
    deeper = {name for name in in_layers if not name.startswith(ours)}
    misfits = [
        f"{name} {theirs}, not {ours}"
        for name, (theirs, ours) in reshaped.items()
        if is_classifier or not (name.startswith(_HEAD) and theirs[1:] == ours[1:])  # another number of labels
    ]
    may_be_new = {
        name for name in missing if (new_change if is_change(name) else _is_on_top(name) and not is_classifier)
    }
    if new_head:
        may_be_new |= {name for name in missing if name.startswith(_HEAD)}
    changes = {name for name in unused if is_change(name)}
    gates = {name for name in changes if is_gate(name)}
    misplaced = {Unused.changes: set[str](), Unused.layers: in_layers - deeper, Unused.all: unused - deeper}[refused]
    problems = [
        f"'{checkpoint}' does not fit {model_class.__name__}: {what}: {_some(names)}"
        for what, names in (
            ("weights of another shape", misfits),
            ("weights that it lacks", missing - may_be_new),
            ("gates that the gi settings leave no place for", gates),
            ("parameters of a change that the settings leave no place for", changes - gates),
            ("weights that the model has no place for", misplaced - changes),
        )
        if names
    ]
    if problems:
        raise ModelError("\n".join(problems))
    # So far they are pages of the file, at odd addresses, where a product of one row is rounded differently than in
    # torch's own memory: weights saved and loaded again would not give the very numbers that they were saved with.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
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


@torch.no_grad()
def _draw_head(model: PreTrainedModel) -> None:
    """As transformers draws what a checkpoint lacks; loaded, it would leave it alone."""
    for module in model.get_submodule(_HEAD.rstrip(".")).modules():
        for parameter in module.parameters(recurse=False):
            parameter._is_hf_initialized = False  # pyrefly: ignore[missing-attribute] - transformers' own mark
        model._init_weights(module)


def _is_on_top(name: str) -> bool:
    """Does this parameter lie between the encoder and the logits?"""
    return name.startswith((_HEAD, "pooler.")) or ".pooler." in name


def commit(checkpoint: str, revision: str | None = None) -> str | None:
    """The Hub's commit of a checkpoint that was read, directly or from a prefetched folder; None for others."""
    folder = _folder(checkpoint)
    path = folder / CONFIG if folder else try_to_load_from_cache(checkpoint, CONFIG, revision=revision)
    return extract_commit_hash(str(path), None)


def _folder(checkpoint: str) -> Path | None:
    """The local folder that `checkpoint` means, or None for a name on the Hub."""
    place = locate(checkpoint)
    return place if isinstance(place, Path) else None


@contextmanager
def model_errors(checkpoint: str) -> Generator[None]:
    """Turn what transformers raises of a checkpoint into a ModelError."""
    try:
        yield
    except SafetensorError as error:
        raise ModelError(f"'{checkpoint}': the weights cannot be read: {error}") from error
    except (ValueError, ImportError) as error:  # what transformers says of settings that it cannot follow
        raise ModelError(f"'{checkpoint}': {first_line(error)}") from error
    except OSError as error:  # what transformers raises for everything between us and the file
        if any(isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError) for cause in chain(error)):
            raise ModelError(f"'{checkpoint}': the Hub has no such model or revision, or it needs a login") from error
        if "connect" in str(error) or "offline" in str(error).lower():
            raise ModelError(
                f"'{checkpoint}': Hub not reachable and not in the cache: prefetch on a machine with internet, "
                "or give a local folder"
            ) from error
        raise ModelError(f"'{checkpoint}': {first_line(error)}") from error


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
