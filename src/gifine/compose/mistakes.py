"""What is wrong with the overrides of a command line, all of it at once: Hydra stops at the first."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

from gifine.compose import renamed
from gifine.compose.composition import compose, config_from, spelled_out, unwrap
from gifine.compose.conf_dir import conf_dir
from gifine.compose.overrides import assignment
from gifine.compose.quoting import quoting
from gifine.compose.usage import COMMANDS, choices
from gifine.config import RunConfig
from gifine.errors import ConfigError, did_you_mean


def explain(overrides: list[str], config_dir: str | None, *, multirun: bool) -> list[str]:
    """The problems of each override, and of the run of their first values."""
    problems, accepted = [], []
    try:
        compose([values(override, config_dir)[0] for override in overrides], config_dir)
        is_composed = True  # their first values are fine
    except Exception:  # Hydra lets through whatever its parts raise
        is_composed = False
    for override in overrides:
        try:
            each = values(override, config_dir)
            if len(each) > 1 and not multirun:
                problems.append(f"{override}: several values need --multirun")
            for number, value in enumerate(each):
                is_known = is_composed if number == 0 else assignment(value) is not None  # there may be a thousand
                if not is_known:
                    compose([*accepted, value], config_dir)
            accepted.append(each[0])
        except Exception as error:  # Hydra lets through whatever its parts raise
            problems.append(_problem(override, error, config_dir))
    try:
        config_from(compose(accepted, config_dir), accepted, config_dir)
    except ConfigError as error:
        problems += error.problems
    except Exception as error:  # Hydra lets through whatever its parts raise
        problems.append(unwrap(error))
    return problems


def values(override: str, config_dir: str | None = None) -> list[str]:
    """The overrides that a sweep over one key stands for."""
    override = spelled_out(override, config_dir)
    (parsed,) = OverridesParser.create().parse_overrides([override])
    if not parsed.is_discrete_sweep():
        return [override]
    return [f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()]


def _problem(override: str, error: Exception, config_dir: str | None) -> str:
    key, _, value = override.lstrip("+~").partition("=")
    cause = error.__cause__
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, OverrideParseException):
        return f"{override}: {_command(override)}not of the form KEY=VALUE or GROUP=NAME{quoting(override)}"
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, name = (error.missing_cfg_file or "").rsplit("/", 1)
        meant = renamed.hint(group, name) or did_you_mean(name, error.options)
        valid = ", ".join(error.options)
        place = config_dir or "a folder that --config-dir names"
        own = "" if meant else f"; one's own would be {group}/{name}.yaml in {place}"
        return f"{group}={name}: no such choice{meant}; valid: {valid}{own}"
    if isinstance(error, MissingConfigException):
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        if f"{group}={name}" in ("=", override):
            return f"{override}: no config of that name"
        return f"{override}: its YAML names {group}={name}, which is not there{renamed.hint(group, name)}"
    if isinstance(cause, (ConfigAttributeError, ConfigKeyError)):
        parent, _, leaf = key.rpartition(".")
        valid = _keys_below(parent) or _public(cause.object_type)  # the latter: of Hydra's own, such as hydra.launcher
        if not parent:  # groups without a key of their name, too
            valid += sorted({group for group, _ in choices(conf_dir())} - set(valid))
        return f"{key}: no such key{did_you_mean(leaf, valid)}; valid: {', '.join(valid)}"
    if isinstance(cause, ValidationError):
        return f"{key}={value}: {unwrap(cause)}{quoting(override)}"
    return f"{override}: {unwrap(error)}"


def _command(word: str) -> str:
    """What to say of a word that is one of the commands; empty of others. A first word is one already (__main__.py)."""
    return f"a command stands first, as in `gifine {word} …`; here it is " if word in COMMANDS else ""


def _keys_below(dotted: str) -> list[str]:
    """The schema's keys below a dotted one (all top-level keys for an empty one)."""
    node: object = RunConfig()
    for part in filter(None, dotted.split(".")):
        node = getattr(node, part, None)
    return [f.name for f in fields(node)] if is_dataclass(node) else []


def _public(schema: object) -> list[str]:
    return [f.name for f in fields(schema) if not f.name.startswith("_")] if is_dataclass(schema) else []
