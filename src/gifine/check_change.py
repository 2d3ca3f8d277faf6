"""Is a change to attention sound, and what does it cost? `gifine check-change FILE|NAME [change.KEY=VALUE …]`.

Builds tiny models of all families with it, in half a minute, without network or GPU: how far it starts from the plain
model, gradients by finite differences and whether there are any, save and load, resume, random numbers, gradient
checkpointing, dependence on the batch and on padding; then parameters, operations and time beside the plain model.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import yaml
from omegaconf import DictConfig

from gifine.commands import Parser, call
from gifine.compose import change_keys, checks, composition, mistakes
from gifine.config import RunConfig
from gifine.errors import ArgumentError, ConfigError, ExitCode, first_line
from gifine.inputs.change_files import FILE, NAME


def parser() -> Parser:
    made = Parser(
        prog="gifine check-change",
        description=f"{__doc__}\nExit code {ExitCode.DONE:d}: all that must hold does; {ExitCode.FAILED:d}: something "
        f"does not; {ExitCode.BAD_INPUT:d}: the file cannot be used.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    made.add_argument("change", metavar="FILE|NAME", help="a file of your own, or a change that change=NAME chooses")
    made.add_argument(
        "overrides", nargs="*", default=[], metavar="OVERRIDE", help="its keys; model=… for what it costs there"
    )
    made.add_argument("--config-dir", metavar="FOLDER", help="a folder of configs of your own")
    made.add_argument("--json", action="store_true", help="print findings and costs as JSON")
    return made


def main(words: Sequence[str] | None = None) -> ExitCode:
    """Run the command line (null: the process's own) and return its exit code."""
    return call(_check, parser(), words)


def choose(change: str, overrides: Sequence[str], config_dir: str | None = None) -> RunConfig:
    """The config of a run with the change: `change=NAME`, or a file with the YAML of its name beside it, if any.

    Raises:
        ConfigError: for what a run would refuse, too.
    """
    path = Path(change)
    if path.suffix != ".py":
        if path.name != change or path.suffix:
            raise ArgumentError(f"{change}: neither a change's name nor a file of one's own, which ends with .py")
        words = [f"change={change}", *overrides]
        config = composition.config_from(_composed(words, config_dir), words, config_dir)
        change_keys.check_one({config.change[NAME]}, overrides)
    else:
        if not path.is_file():
            raise ArgumentError(f"{change}: no such file")
        typed = composition.typed(_composed(overrides, config_dir))
        given = {key: value for key, value in typed.change.items() if key != NAME}
        own = _beside(path) | {NAME: path.stem, FILE: str(path.absolute())}
        config = composition.settled(replace(typed, change=own | given), config_dir)
        change_keys.check_one({path.stem}, overrides)
        checks.check(config)
    if config.is_plain:
        raise ConfigError(f"change={change}: changes nothing, so there is nothing to check")
    return config


def _composed(words: Sequence[str], config_dir: str | None) -> DictConfig:
    try:
        return composition.compose([*words], config_dir)
    except Exception as error:  # Hydra lets through whatever its parts raise
        if problems := mistakes.explain([*words], config_dir, multirun=False):
            raise ConfigError(*problems) from error
        raise


def _beside(path: Path) -> dict[str, object]:
    """The keys of the YAML beside a file, if there is one."""
    beside = path.with_suffix(".yaml")
    try:
        with beside.open(encoding="utf-8") as file:
            found = yaml.safe_load(file)
    except FileNotFoundError:
        return {}
    except yaml.MarkedYAMLError as error:
        raise ConfigError(composition.unwrap(error)) from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{beside}: cannot be read: {first_line(error)}") from error
    if not isinstance(found, dict) or found.get(NAME) != path.stem:
        raise ConfigError(f"{beside}: has no line `name: {path.stem}`, which makes it the YAML of {path.name}")
    return found


def _check(args: Namespace) -> ExitCode:
    config = choose(args.change, args.overrides, args.config_dir)
    from gifine import proof  # torch and transformers: seconds that wrong words should not cost
    from gifine.proof import cost, findings, subjects

    with subjects.undisturbed():
        tiny = subjects.subjects(config.gi, config.change)
        made = [check(subject) for check in proof.CHECKS for subject in tiny]
        found = [each for each in made if each is not None]
        costs = [cost.of_model(config), *cost.of_families(tiny)]
    failed = [each for each in found if each.status is findings.Status.fails]
    if args.json:
        told = [asdict(each) | {"status": each.status.value} for each in found]
        print(json.dumps({"change": config.change, "findings": told, "costs": [asdict(each) for each in costs]}))
        return ExitCode.FAILED if failed else ExitCode.DONE
    keys = {key: value for key, value in config.change.items() if key not in (NAME, FILE)}
    print(" ".join([f"change={config.change[NAME]}", *(f"change.{key}={json.dumps(keys[key])}" for key in keys)]))
    print(f"\n{findings.table(found)}\n\n{cost.table(costs)}\n")
    print("Time: a step on this machine, as it is now, beside a plain one; operations: matrix products of one example.")
    verdict = f"{len(failed)} of {len(found)} checks failed" if failed else "all that must hold holds"
    to_know = " and ".join(dict.fromkeys(each.check for each in found if each.status is findings.Status.told))
    print(f"{config.change[NAME]}: {verdict}{f'; see {to_know} above' if to_know else ''}")
    return ExitCode.FAILED if failed else ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
