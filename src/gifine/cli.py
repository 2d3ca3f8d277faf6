"""The command line: `python -m gifine [--multirun] GROUP=NAME KEY=VALUE …`.

Hydra composes conf/ over the schema; this module turns the result into a `RunConfig`, reports everything that is wrong
with it in one message, and calls `train.run`. Nothing here imports torch before the config is known to be good.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException, ValidationError

from gifine import checks, execution, recipes
from gifine.config import RunConfig
from gifine.errors import ConfigError, ExitCode, UserError, did_you_mean, tell

ConfigStore.instance().store(name="schema", node=RunConfig)


def conf_dir() -> Path:
    """The configs: inside an installed wheel, or at the top of a checkout."""
    package = Path(__file__).parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


recipes.register(conf_dir())


def main() -> int:
    """Run the command line and return its exit code (`errors.ExitCode`)."""
    args = get_args_parser().parse_args()
    sys.argv[1:] = [_open(word) for word in sys.argv[1:]]
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    codes: list[ExitCode] = []

    def job(cfg: DictConfig) -> None:
        if ExitCode.INTERRUPTED not in codes:  # a signal to one run of a sweep is meant for all of them
            codes.append(_run(cfg, wants_traceback))

    run = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises; else it prints at length and exits with 1
    try:
        _check_config_dir(args.config_dir)
        if args.multirun:
            configs(combinations(args.overrides, args.config_dir), args.config_dir)  # all, before the first one runs
        run()
    except UserError as error:
        if wants_traceback:
            raise
        return tell(error)
    except Exception as error:  # Hydra lets through whatever its parts raise
        if wants_traceback:
            raise
        problems = _explain(args.overrides, args.config_dir, multirun=args.multirun)
        return tell(ConfigError(*(problems or [_one_line(error)])))
    except KeyboardInterrupt as error:
        print(f"interrupted by {str(error) or 'Ctrl-C'}; the same command goes on", file=sys.stderr)
        return ExitCode.INTERRUPTED
    finally:
        os.environ["HYDRA_FULL_ERROR"] = "1" if wants_traceback else "0"
    return max(codes, default=ExitCode.DONE)


def config_from(cfg: DictConfig) -> RunConfig:
    """The composed config as dataclasses, checked.

    Raises:
        ConfigError: with every problem found.
    """
    try:
        problems = [f"{key}: no such key" for key in _foreign_keys(cfg)]
        problems += [f"{key}: has no value; {_choices_or_give(key)}" for key in sorted(OmegaConf.missing_keys(cfg))]
        if problems:
            raise ConfigError(*problems)
        # Anew over the schema: what an interpolation gives has not been held against the types.
        plain = OmegaConf.to_container(cfg, resolve=True)
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RunConfig), plain))
    except OmegaConfBaseException as error:
        raise ConfigError(_one_line(error)) from error
    assert isinstance(config, RunConfig)
    checks.check(config)
    return config


def compose(overrides: list[str], config_dir: str | None = None, *, with_hydra: bool = False) -> DictConfig:
    """Compose one run's config in this process, as the command line does; `with_hydra` keeps Hydra's own settings."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        searchpath = [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"] if config_dir else []
        words = [*map(_open, overrides), *searchpath]
        return hydra.compose("config", overrides=words, return_hydra_config=with_hydra)


def combinations(
    overrides: list[str], config_dir: str | None = None, *, same: re.Pattern[str] | None = None
) -> list[list[str]]:
    """The overrides of each run of a sweep: of all values of KEY=A,B, and of an experiment's `hydra.sweeper.params`.

    Of the axes that `same` matches, one value is checked for all: composing each of a thousand takes a minute.

    Raises:
        ConfigError: with everything that is wrong with single overrides.
    """
    _check_config_dir(config_dir)
    # What Hydra's own sweeper expands, in its order.
    words = [*_sweeper_params(overrides, config_dir), *overrides]
    problems = dict.fromkeys(_explain(words, config_dir, multirun=True, same=same))
    if problems:
        raise ConfigError(*problems)
    return BasicSweeper.split_arguments(OverridesParser.create().parse_overrides(words), None)[0]


def configs(runs: Iterable[list[str]], config_dir: str | None = None) -> list[RunConfig]:
    """The checked config of each of these runs, which are lists of overrides.

    Raises:
        ConfigError: with every problem of any of them.
    """
    composed, problems = [], {}
    for overrides in runs:
        try:
            composed.append(config_from(compose(overrides, config_dir)))
        except ConfigError as error:
            problems.update(dict.fromkeys(error.problems))
        except Exception as error:  # Hydra lets through whatever its parts raise
            problems[_one_line(error)] = None
    if problems:
        raise ConfigError(*problems)
    return composed


def _run(cfg: DictConfig, wants_traceback: bool) -> ExitCode:
    try:
        config = config_from(cfg)
    except UserError as error:
        if wants_traceback:
            raise
        return tell(error)
    return execution.execute(config, wants_traceback=wants_traceback)


def _open(word: str) -> str:
    """Keys below which any key may be given: Hydra asks for a leading `++` there."""
    return f"++{word}" if word.startswith(("model.config_overrides", "hydra.launcher.additional_parameters")) else word


def _check_config_dir(config_dir: str | None) -> None:
    if config_dir and not Path(config_dir).is_dir():
        raise ConfigError(f"--config-dir {config_dir}: no such folder")


def _sweeper_params(overrides: list[str], config_dir: str | None) -> list[str]:
    """The sweep in the YAML of experiment=NAME, without what the command line overrules.

    An experiment that is swept itself has none, as in Hydra.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
        fixed = [word for word, override in zip(overrides, parsed) if not override.is_sweep_override()]
        params = compose(fixed, config_dir, with_hydra=True).hydra.sweeper.params
    except Exception:  # Hydra lets through whatever its parts raise, and `_explain` says it
        return []
    given = {override.get_key_element() for override in parsed}
    return [f"{key}={value}" for key, value in (params or {}).items() if key not in given]


def _explain(
    overrides: list[str], config_dir: str | None, *, multirun: bool, same: re.Pattern[str] | None = None
) -> list[str]:
    """What is wrong with each override: Hydra stops at the first, a user wants them all."""
    problems, accepted = [], []
    try:
        compose([_values(override)[0] for override in overrides], config_dir)
        checked = 1  # of each override's values
    except Exception:  # Hydra lets through whatever its parts raise
        checked = 0
    for override in overrides:
        try:
            values = _values(override)
            if len(values) > 1 and not multirun:
                problems.append(f"{override}: several values need --multirun")
            for value in values[checked : 1 if same and same.match(override) else None]:
                compose([*accepted, value], config_dir)
            accepted.append(values[0])
        except Exception as error:  # Hydra lets through whatever its parts raise
            problems.append(_problem(override, error))
    try:
        config_from(compose(accepted, config_dir))
    except ConfigError as error:
        problems += error.problems
    except Exception as error:  # Hydra lets through whatever its parts raise
        problems.append(_one_line(error))
    return problems


def _values(override: str) -> list[str]:
    """The overrides that a sweep over one key stands for."""
    (parsed,) = OverridesParser.create().parse_overrides([override])
    if not parsed.is_discrete_sweep():
        return [override]
    return [f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()]


def _problem(override: str, error: Exception) -> str:
    key, _, value = override.lstrip("+~").partition("=")
    cause = error.__cause__
    if isinstance(error, OverrideParseException):
        return f"{override}: not of the form KEY=VALUE or GROUP=NAME"
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, name = (error.missing_cfg_file or "").rsplit("/", 1)
        return f"{group}={name}: no such choice{did_you_mean(name, error.options)}; valid: {', '.join(error.options)}"
    if isinstance(error, MissingConfigException):
        return f"{override}: no config of that name"
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        parent, _, leaf = key.rpartition(".")
        valid = _keys_below(parent) or _public(cause.object_type)  # the latter: of Hydra's own, such as hydra.launcher
        return f"{key}: no such key{did_you_mean(leaf, valid)}; valid: {', '.join(valid)}"
    if isinstance(cause, ValidationError):
        return f"{key}={value}: {_one_line(cause)}"
    return f"{override}: {_one_line(error)}"


def _one_line(error: BaseException) -> str:
    wrapped = r"^(In '[^']*': |ConfigError raised while resolving interpolation: )"  # by OmegaConf, around the message
    return re.sub(wrapped, "", str(error).strip().split("\n")[0])


def _keys_below(dotted: str) -> list[str]:
    """The schema's keys below a dotted one (all top-level keys for an empty one)."""
    node: object = RunConfig()
    for part in filter(None, dotted.split(".")):
        node = getattr(node, part, None)
    return [f.name for f in fields(node)] if is_dataclass(node) else []


def _public(schema: object) -> list[str]:
    return [f.name for f in fields(schema) if not f.name.startswith("_")] if is_dataclass(schema) else []


def _choices_or_give(key: str) -> str:
    folder = conf_dir() / key
    group = folder if folder.is_dir() else conf_dir() / key.split(".")[0]
    if group.is_dir():
        return f"choose {group.name}={'|'.join(sorted(path.stem for path in group.glob('*.yaml')))} or give {key}=…"
    return f"give {key}=…"


def _foreign_keys(cfg: DictConfig, prefix: str = "") -> Iterator[str]:
    """Keys that the schema does not have: Hydra lets `+key=value` and `++key=value` add them."""
    schema = OmegaConf.get_type(cfg)
    known = {f.name for f in fields(schema)} if is_dataclass(schema) else None
    for key in cfg:
        if known is not None and key not in known:
            yield f"{prefix}{key}"
        elif not OmegaConf.is_missing(cfg, key) and isinstance(cfg[key], DictConfig):
            yield from _foreign_keys(cfg[key], f"{prefix}{key}.")
