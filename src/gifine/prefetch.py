"""Fetch all that runs need into one folder, on a machine with internet, for those without.

    gifine prefetch prefetch=FOLDER model=debertav3,bert task=cola,rte

takes the overrides of `gifine`; lists are a sweep. Weights (safetensors), tokenizers, data and the tokenised
splits go into FOLDER, each once however many runs share it, and what is there already is left alone. inputs/offline.py
says what lies where.
"""

from __future__ import annotations

import filecmp
import shlex
import shutil
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from tqdm import tqdm

from gifine import objectives
from gifine.commands import Parser, call
from gifine.compose import grid
from gifine.config import RunConfig
from gifine.errors import ConfigError, ExitCode, OutputError
from gifine.inputs import model_files, needs, offline
from gifine.inputs.needs import HubSplit, Needs, Repository
from gifine.inputs.offline import DATA, GLUE, HUB, TOKENISED, Folder, Manifest
from gifine.machine import disk

SCRATCH = ".partial"  # below the folder: what is on the way; a rename takes it to its place
LOCK = ".lock"


def main(words: Sequence[str] | None = None) -> ExitCode:
    """Run the command line (null: the process's own) and return its exit code."""
    parser = Parser(
        prog="gifine prefetch",
        description="Fetch all that runs need into one folder, for machines without internet.",
        epilog="Then, there: gifine prefetch=FOLDER OVERRIDE …",
    )
    parser.add_argument("overrides", nargs="+", metavar="OVERRIDE", help="prefetch=FOLDER, and those of your runs")
    parser.add_argument("--config-dir", metavar="FOLDER", help="a folder of configs of your own")
    return call(_run, parser, words)


def _run(args: Namespace) -> ExitCode:
    folder, overrides = split_off_folder(args.overrides)
    if folder is None:
        raise ConfigError("give prefetch=FOLDER, the folder to fill")
    runs = grid.expand(overrides, args.config_dir)
    wanted = needs.collect(run.config for run in runs)
    fill(folder, wanted, runs=len(runs))
    sweep = ["--multirun"] if len(runs) > 1 else []
    own = ["--config-dir", args.config_dir] if args.config_dir else []
    print("next, on the machine without internet:")
    print("  " + shlex.join(["python", "-m", "gifine", *own, *sweep, f"prefetch={folder}", *overrides]))
    return ExitCode.DONE


def split_off_folder(overrides: list[str]) -> tuple[Path | None, list[str]]:
    """The folder that prefetch=FOLDER names, and the other overrides."""
    own = [word for word in overrides if word.partition("=")[0].lstrip("+") == "prefetch"]
    if not own:
        return None, overrides
    value = OverridesParser.create().parse_override(own[-1]).value()
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{own[-1]}: give one folder")
    return Path(value).expanduser(), [word for word in overrides if word not in own]


def fill(folder: Path, wanted: Needs, *, runs: int) -> None:
    """Bring what is not in `folder` yet, and say so.

    Raises:
        UserError: for a Hub out of reach, and a folder that cannot be written or is being filled by another process.
    """
    scratch = folder / SCRATCH
    with disk.locked(folder / LOCK, busy=f"{folder}: another process is filling it; wait for it to end"):
        try:
            store = Folder(folder, _manifest(folder), filling=True)
            print(
                f"runs: {runs}; they share: repositories {len(wanted.repositories)}, splits of Hub datasets "
                f"{len(wanted.splits)}, official files {len(wanted.files)}, datasets as tokens {len(wanted.configs)}"
            )
            _bring(store, wanted, scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    _summarise(store)


def _manifest(folder: Path) -> Manifest:
    if (folder / offline.MANIFEST).exists():
        return offline.read(folder)
    foreign = [path.name for path in folder.iterdir() if path.name not in (LOCK, SCRATCH, HUB, DATA, GLUE, TOKENISED)]
    if foreign:
        raise OutputError(f"{folder} holds other things ({sorted(foreign)[0]}): give an empty folder, or a new one")
    return Manifest()


def _bring(store: Folder, wanted: Needs, scratch: Path) -> None:
    from gifine.inputs import (  # datasets and transformers: --help and wrong input go without them
        dataset,
        hub,
        tokenizers,
    )

    shutil.rmtree(scratch, ignore_errors=True)
    for left in (store.path / TOKENISED).glob(".*"):  # of a process that was killed while it tokenised
        shutil.rmtree(left, ignore_errors=True)
    manifest = store.manifest

    def repository(source: Repository, weights: bool) -> None:
        for path in store.damaged(source):  # the Hub's client would take them for what they should be
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        earlier = manifest.models.get(str(source))
        commit, weights = (earlier.commit, weights or earlier.weights) if earlier else (None, weights)
        manifest.models[str(source)] = hub.save_repository(source, store.path, weights=weights, commit=commit)

    def split(source: HubSplit) -> None:
        manifest.datasets[str(source)] = hub.save_split(source, store.dataset(source), scratch)

    def file(name: str, source: Path) -> None:
        manifest.glue[name] = _copy(source, store.path / GLUE / name, scratch)

    def tokens(config: RunConfig) -> None:
        sources = store.redirect(config)
        model = sources.model
        key = (model.tokenizer, model.family) if model.tokenizer else (model_files.source(model), None)
        if key not in opened:
            opened[key] = tokenizers.load_for(model)
        reader, objective = dataset.Reader(sources, store), objectives.choose(sources.task)
        loaded = reader.load(opened[key], objective)
        tests = [split for split in config.task.test_splits if store.has_split(sources.task, sources.data, split)]
        loaded |= reader.load_tests(tests, opened[key], objective)  # for gifine.predict
        for examples in (part.examples for part in loaded.values()):
            manifest.tokenised[Path(examples.cache_files[0]["filename"]).parent.name] = len(examples)

    opened = {}
    steps: list[tuple[str, Callable[[], None]]] = [
        (f"{'weights' if weights else 'tokenizer'} of {source}", partial(repository, source, weights))
        for source, weights in wanted.repositories.items()
        if not store.has(source, weights=weights)
    ]
    steps += [(f"data {source}", partial(split, source)) for source in wanted.splits if not store.has_dataset(source)]
    steps += [
        (f"file {name}", partial(file, name, source))
        for name, source in wanted.files.items()
        if not (store.has_file(name) and filecmp.cmp(source, store.path / GLUE / name, shallow=False))
    ]
    steps += [
        (f"tokens of {config.task.name} for {config.model.tokenizer or model_files.source(config.model)}", step)
        for config in wanted.configs
        for step in [partial(tokens, config)]
    ]
    for step in _shown(steps):
        step()
        offline.write(store.path, manifest)  # after each: what is interrupted goes on from there


def _shown(steps: list[tuple[str, Callable[[], None]]]) -> Iterator[Callable[[], None]]:
    """The steps with a bar on a terminal, and a line each elsewhere."""
    import datasets
    from huggingface_hub.utils import disable_progress_bars

    terminal = sys.stderr.isatty()
    if not terminal:  # the libraries' own bars, of bytes and rows
        disable_progress_bars()
        datasets.disable_progress_bars()
    with tqdm(total=len(steps), disable=not terminal, unit="step") as bar:
        for number, (label, step) in enumerate(steps, 1):
            bar.set_description(label)
            if not terminal:
                print(f"[{number}/{len(steps)}] {label}", file=sys.stderr, flush=True)
            yield step
            bar.update()


def _copy(source: Path, target: Path, scratch: Path) -> int:
    """Copy a file so that `target` is whole or not there; its bytes."""
    try:
        scratch.mkdir(exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, scratch / "file")
        (scratch / "file").replace(target)
    except OSError as error:
        raise OutputError(f"cannot copy {source} to {target}: {error.strerror}") from error
    return target.stat().st_size


def _summarise(store: Folder) -> None:
    manifest = store.manifest
    lines = [
        (f"{name} ({'weights' if snapshot.weights else 'tokenizer'}, {snapshot.commit[:8]})", snapshot.files.values())
        for name, snapshot in manifest.models.items()
    ]
    print(f"{store.path} holds {_readable(_bytes(store.path))}:")
    for label, sizes in lines:
        print(f"  {label:<70} {_readable(sum(sizes)):>9}")
    for label, place, count in (
        ("splits of Hub datasets", DATA, len(manifest.datasets)),
        ("official files", GLUE, len(manifest.glue)),
        ("tokenised splits", TOKENISED, len(manifest.tokenised)),
    ):
        if count:
            print(f"  {f'{count} {label}':<70} {_readable(_bytes(store.path / place)):>9}")


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _readable(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


if __name__ == "__main__":
    sys.exit(main())
