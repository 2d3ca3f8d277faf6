"""Which files a checkpoint's weights are read from: one that holds trained parameters alone lies over another one.

Such a checkpoint has its weights in `trained.safetensors`, where nothing takes them for a whole model, and in its
config.json `trained_over`: the place of the other one, its base, and the sha256 of that one's weights. A base may lie
over a base of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig
from transformers.utils import extract_commit_hash

from gifine.config import ModelConfig
from gifine.errors import ModelError, chain, first_line
from gifine.inputs import model_files, sources
from gifine.inputs.model_files import CONFIG, OVER, TRAINED


@dataclass(frozen=True)
class Pile:
    """A whole checkpoint, and the files of trained parameters that lie over it, the lowest first."""

    checkpoint: str
    revision: str | None
    trained: tuple[Path, ...] = ()
    expected: tuple[str, dict[str, str]] | None = None  # who says it, and the sha256 of the checkpoint's weights


def resolve(
    checkpoint: str, revision: str | None = None, base: str | None = None, entries: Mapping[str, Any] | None = None
) -> Pile:
    """What to read for `checkpoint`; `base` is where its base (of several, the lowest) lies, if not where it says.

    `entries` are those of its config.json, if they were read already.

    Raises:
        ModelError: for a checkpoint or base that is not there, and for another base than the one that was trained over.
    """
    over = (read_config(checkpoint, revision) if entries is None else entries).get(OVER)
    if over is None:
        return Pile(checkpoint, revision)
    try:
        named, expected = str(over["checkpoint"]), dict(over["sha256"])
        pinned = over.get("commit") or over.get("revision")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise ModelError(f"'{checkpoint}': config.json: {OVER} names no base with its sha256: {over!r}") from error
    with model_errors(checkpoint):
        folder = local_folder(checkpoint)
        trained = Path(hf_hub_download(checkpoint, TRAINED, revision=revision)) if folder is None else folder / TRAINED
    if not trained.is_file():
        raise ModelError(f"folder {checkpoint} has no {TRAINED}, which its config.json speaks of")
    is_inner = Path(named, TRAINED).is_file()  # with a base of its own, whose place `base` is
    place = named if base is None or is_inner else base
    try:
        below = resolve(place, pinned if place == named else None, base if is_inner else None)
    except ModelError as error:
        raise ModelError(
            f"{error}; '{checkpoint}' holds trained parameters alone, over '{place}': if that lies elsewhere now, name "
            "the place (model.base=FOLDER, or --base FOLDER of a command)"
        ) from error
    if below.trained:
        verify(checkpoint, expected, place, {TRAINED: sources.sha256(below.trained[-1])})
        return Pile(below.checkpoint, below.revision, (*below.trained, trained), below.expected)
    pile = Pile(below.checkpoint, below.revision, (trained,), (checkpoint, expected))
    check(pile)
    return pile


def check(pile: Pile) -> None:
    """ModelError if the base is another one; one on the Hub can be told once it is loaded."""
    if pile.expected is not None and (found := sources.weights(pile.checkpoint, pile.revision)):
        verify(*pile.expected, pile.checkpoint, found)


def verify(checkpoint: str, expected: dict[str, str], base: str, found: dict[str, str]) -> None:
    if found == expected:
        return
    told = [", ".join(f"{name} {sha256[:12]}" for name, sha256 in each.items()) for each in (expected, found)]
    raise ModelError(
        f"'{checkpoint}' was trained over other weights than those of '{base}': sha256 {told[0]}, there {told[1]}; "
        "name the place of the right ones (model.base=FOLDER, or --base FOLDER of a command)"
    )


def describe(named: ModelConfig, place: ModelConfig, frozen: Collection[str]) -> dict[str, Any]:
    """`trained_over` of a model that was loaded from `place`, which is where `named` lies on this machine.

    Of trained parameters which all train again it is their own base: what is `frozen` is of that.
    """
    if isinstance(own := model_files.locate(model_files.source(place)), Path) and (own / TRAINED).is_file():
        with safe_open(own / TRAINED, "pt") as tensors:
            if not {*tensors.keys()} & {*frozen}:
                return read_config(str(own))[OVER]
    source, folder = model_files.source(named), model_files.locate(model_files.source(named))
    if isinstance(folder, Path) and not source.startswith(model_files.PACKAGE):
        source = str(folder.absolute())
    weights = sources.weights(model_files.source(place), place.revision)
    on_hub = isinstance(folder, str)
    # Weights that the Hub has converted belong to no commit of the branch.
    known = commit(model_files.source(place), place.revision, next(iter(weights), CONFIG)) if on_hub else None
    return {"checkpoint": source, "revision": named.revision, "commit": known, "sha256": weights}


def read_config(checkpoint: str, revision: str | None = None, **hub: Any) -> dict[str, Any]:
    """The checkpoint's config.json; `hub` is as for transformers' `from_pretrained`.

    Raises:
        ModelError: for no such folder, no config.json in it, or no way to the Hub.
    """
    if (folder := local_folder(checkpoint)) and not (folder / hub.get("subfolder", "") / CONFIG).is_file():
        raise ModelError(f"folder {folder} has no config.json: not a checkpoint")
    with model_errors(checkpoint):
        config, _ = PreTrainedConfig.get_config_dict(str(folder or checkpoint), revision=revision or "main", **hub)
    return config


def commit(checkpoint: str, revision: str | None = None, name: str = CONFIG) -> str | None:
    """The Hub's commit of a checkpoint's file that was read, from there or a prefetched folder; None for others."""
    folder = local_folder(checkpoint)
    path = folder / name if folder else try_to_load_from_cache(checkpoint, name, revision=revision)
    return extract_commit_hash(str(path), None)


def local_folder(checkpoint: str) -> Path | None:
    """The local folder that `checkpoint` means, or None for a name on the Hub."""
    place = model_files.locate(checkpoint)
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
