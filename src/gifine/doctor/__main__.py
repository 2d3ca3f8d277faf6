"""`gifine doctor`: a line for each finding, and what to do about it."""

from __future__ import annotations

import json
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from gifine import prefetch
from gifine.commands import Parser, call
from gifine.compose import grid
from gifine.config import RunConfig
from gifine.doctor import cluster, contents, machine, network, software, storage
from gifine.doctor.finding import Finding, Level, one_line, problem
from gifine.errors import ExitCode, PrefetchError
from gifine.inputs import needs, offline

_WIDTH = max(map(len, Level)) + 2


def main(words: Sequence[str] | None = None) -> ExitCode:
    """Run the command line (null: the process's own); 0: no problem, 1: problems, 2: arguments that cannot be."""
    parser = Parser(
        prog="gifine doctor",
        description="Will runs work on this machine? Looks at software, hardware, folders, SLURM and servers.",
        epilog="Exit code: 0 no problem, 1 problems, 2 wrong arguments.",
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="prefetch=FOLDER, and those of your runs")
    parser.add_argument("--config-dir", metavar="FOLDER", help="a folder of configs of your own")
    parser.add_argument("--json", action="store_true", help="a list of findings, for programs")
    return call(_run, parser, words)


def _run(args: Namespace) -> ExitCode:
    is_offline = network.is_offline(os.environ)
    logging.disable(logging.WARNING)  # the libraries' words, between ours
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when they are imported; network.py opens the only connections
    try:
        found = list(_findings(args.overrides, args.config_dir, is_offline=is_offline))
    finally:
        logging.disable(logging.NOTSET)
    problems = sum(finding.level is Level.PROBLEM for finding in found)
    if args.json:
        print(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        _show(found)
    return ExitCode.FAILED if problems else ExitCode.DONE


def _findings(overrides: list[str], config_dir: str | None, *, is_offline: bool) -> Iterator[Finding]:
    folder, others = prefetch.split_off_folder(overrides)
    manifest, absent = None, None
    try:
        manifest = offline.read(folder) if folder is not None else None
    except PrefetchError as error:
        absent = problem("prefetch", one_line(error), "name the folder that python -m gifine.prefetch filled")
    words = overrides if manifest else others  # with a folder that is none, no config would be right
    configs = [run.config for run in grid.expand(words, config_dir)]

    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "software": software.check,
        "machine": machine.check,
        "SLURM": cluster.check,
        "storage": partial(_storage, configs[0]),
    }
    if folder is not None and manifest is not None:
        checks["prefetch"] = partial(contents.check, folder, manifest)
        if others:  # the config without overrides need not be what was prefetched
            checks["prefetch coverage"] = partial(contents.coverage, configs)
    checks["network"] = partial(network.check, None if folder else len(needs.from_hub(configs)), is_offline=is_offline)
    if absent:
        yield absent
    for name, check in checks.items():
        try:
            yield from check()
        except Exception as error:  # one check that fails must not hide what the others find
            yield problem(name, f"the check itself failed: {type(error).__name__}: {one_line(error)}", "")


def _storage(config: RunConfig) -> Iterator[Finding]:
    from gifine.inputs.dataset import cache_dir  # datasets

    output = Path(config.output_dir or config.output_root).expanduser()
    return storage.check(output, None if config.prefetch else cache_dir(config.data))


def _show(found: list[Finding]) -> None:
    column = max(len(finding.subject) for finding in found) + 2
    for finding in found:
        print(f"{finding.level:<{_WIDTH}}{finding.subject:<{column}}{finding.found}")
        if finding.mend:
            print(f"{'':<{_WIDTH + column}}→ {finding.mend}")
    counts = [sum(finding.level is level for finding in found) for level in Level]
    print(", ".join(f"{level}: {number}" for level, number in zip(Level, counts)))


if __name__ == "__main__":
    sys.exit(main())
