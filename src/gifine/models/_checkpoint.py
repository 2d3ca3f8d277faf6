"""Reads checkpoints: safetensors in a local folder or from the Hub. What goes wrong here says so in one line."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import extract_commit_hash

from gifine.checkpoints import locate
from gifine.errors import ModelError, first_line

log = logging.getLogger(__name__)

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
GATE_NAMES = ("inhibition_k", "select_k", "inhibition_q", "select_q")


def read_config(checkpoint: str, revision: str | None = None) -> dict[str, Any]:
    """The checkpoint's config.json. ModelError: no such folder, no config.json in it, or no way to the Hub."""
    if (folder := _folder(checkpoint)) and not (folder / "config.json").is_file():
        raise ModelError(f"folder {folder} has no config.json: not a checkpoint")
    with _one_line_errors(checkpoint):
        config, _ = PreTrainedConfig.get_config_dict(str(folder or checkpoint), revision=revision or "main")
    return config


def load(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    checkpoint: str,
    revision: str | None = None,
    *,
    without_head: bool = False,
    **kwargs: Any,
) -> PreTrainedModel:
    """A model with the checkpoint's weights, in float32; the log says which parameters are new and which are unused.

    New may be gates, pooler and head (also where the checkpoint's head has another number of labels; with
    `without_head`, in any case). ModelError: the encoder is incomplete or of other shapes, or gates in the checkpoint
    have no place in the model.
    """
    folder = _folder(checkpoint)
    if folder and not any((folder / name).is_file() for name in WEIGHTS):
        pickled = (folder / "pytorch_model.bin").is_file()
        raise ModelError(
            f"folder {folder} has no model.safetensors"
            + (": pytorch_model.bin is not read, save it again with save_pretrained" if pickled else "")
        )
    kwargs.setdefault("dtype", torch.float32)  # some checkpoints hold float16, which does not train
    with _one_line_errors(checkpoint), _without_load_report():
        if without_head:
            assert folder, "only weights in a folder have a head to leave behind"
            kwargs["state_dict"] = _without_head(folder)
        loaded: Any = model_class.from_pretrained(
            None if without_head else str(folder or checkpoint),
            config=config,
            revision=revision or "main",
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # a head is drawn anew; anything else is refused below
            **kwargs,
        )
    model, report = loaded
    encoder = f"{model.base_model_prefix}."
    reshaped = [
        f"{name} {tuple(theirs)}, not {tuple(ours)}"
        for name, theirs, ours in report["mismatched_keys"]
        if not (name.startswith("classifier.") and theirs[1:] == ours[1:])  # another number of labels
    ]
    lost = [
        name
        for name in report["missing_keys"]
        if name.startswith(encoder) and not name.startswith(f"{encoder}pooler.") and not is_gate(name)
    ]
    homeless = [name for name in report["unexpected_keys"] if is_gate(name)]
    problems = [
        f"'{checkpoint}' does not fit {model_class.__name__}: {what}: {_some(names)}"
        for what, names in (
            ("weights of another shape", reshaped),
            ("weights that it lacks", lost),
            ("gates that the gi settings leave no place for", homeless),
        )
        if names
    ]
    if problems:
        raise ModelError("\n".join(problems))
    # So far they are pages of the file, at odd addresses, where a product of one row is rounded differently than in
    # torch's own memory: weights saved and loaded again would not give the very numbers that they were saved with.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    if new := sorted({*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}):
        gates, others = [name for name in new if is_gate(name)], [name for name in new if not is_gate(name)]
        told = [f"{len(gates)} of gates"] * bool(gates) + others
        log.info("%s: new parameters: %s", checkpoint, ", ".join(told))
    if unused := sorted(report["unexpected_keys"]):
        layers_too = any(name.startswith(f"{encoder}encoder.") for name in unused)
        log.log(logging.WARNING if layers_too else logging.INFO, "%s: not used: %s", checkpoint, ", ".join(unused))
    return model


def _without_head(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = {}
    for path in folder.glob("*.safetensors"):
        weights |= load_file(path)
    return {name: tensor for name, tensor in weights.items() if not name.startswith("classifier.")}


def commit(checkpoint: str, revision: str | None = None) -> str | None:
    """The Hub's commit of a checkpoint that was read, directly or from a prefetched folder; None for others."""
    folder = _folder(checkpoint)
    path = folder / "config.json" if folder else try_to_load_from_cache(checkpoint, "config.json", revision=revision)
    return extract_commit_hash(str(path), None)


def is_gate(name: str) -> bool:
    """Is this parameter one of a gate's?"""
    return name.rpartition(".")[0].rpartition(".")[2] in GATE_NAMES


def _folder(checkpoint: str) -> Path | None:
    """The local folder that `checkpoint` means, or None for a name on the Hub."""
    place = locate(checkpoint)
    return place if isinstance(place, Path) else None


@contextmanager
def _one_line_errors(checkpoint: str) -> Generator[None]:
    try:
        yield
    except SafetensorError as error:
        raise ModelError(f"'{checkpoint}': the weights cannot be read: {error}") from error
    except OSError as error:  # what transformers raises for everything between us and the file
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, RepositoryNotFoundError | RevisionNotFoundError):
                raise ModelError(
                    f"'{checkpoint}': the Hub has no such model or revision, or it needs a login"
                ) from error
            cause = cause.__cause__
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


def _some(names: list[str], limit: int = 3) -> str:
    return ", ".join(sorted(names)[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
