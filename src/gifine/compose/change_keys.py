"""`change=NAME` and `change.*`: which change a run makes, where a file of one's own is, with every key filled in.

GI has its keys under `gi`, and `change=none` is gi.side=none: both leave the run what it was before there were others.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from gifine import changes, schema
from gifine.choices import GateSide
from gifine.compose.conf_dir import own_folders
from gifine.compose.overrides import parsed
from gifine.config import GI, GiConfig, RunConfig
from gifine.errors import ConfigError, ModelError, did_you_mean
from gifine.inputs import change_files
from gifine.inputs.change_files import FILE, NAME

NONE = "none"
GROUP = "change"


def settle(config: RunConfig, config_dir: str | None = None) -> RunConfig:
    """The config with all keys of its change. With another one than GI there are no gates.

    Raises:
        ConfigError: for a change that is none, with an error in its file, or with keys that it does not have.
    """
    entries = config.change
    name = entries.get(NAME)
    if not isinstance(name, str) or not name:
        raise ConfigError(f"change.name={name}: the name of a change; valid: {', '.join(names(config_dir))}")
    file = _file(name, entries.get(FILE), config_dir)
    plain = replace(config.gi, side=GateSide.none)
    if name in (GI, NONE):
        if foreign := [key for key in entries if key != NAME]:
            own = ", ".join(f"gi.{field.name}" for field in fields(GiConfig))
            raise ConfigError(
                f"change.{foreign[0]}: change={name} has no such key"
                f"{f'; its keys are {own}' * (name == GI)}; another change is named by change=NAME, or by name: NAME "
                "in its YAML"
            )
        return config if name == GI else replace(config, gi=plain, change={NAME: GI})
    try:
        named: dict[str, Any] = {NAME: name}
        if file is not None:
            named[FILE] = str(file)
        change = change_files.load(named)
        keys = schema.plain(asdict(change_files.settings(change, entries)))
    except ModelError as error:
        raise ConfigError(*str(error).splitlines()) from error
    return replace(config, gi=plain, change={**named, **keys})


def check_one(names: Collection[object], words: Iterable[str]) -> None:
    """Raise a ConfigError for words that set keys of GI where all runs, with changes of these `names`, make another.

    In a sweep with GI they are for that one; then runs of the others that differ in them are the same run.
    """
    if not names or GI in names:
        return
    given = [word for word in dict.fromkeys(words) if _is_of_gi(word)]
    if given:
        others = " and ".join(sorted(f"change={name}" for name in names))
        raise ConfigError(f"{', '.join(given)}: two changes at once, change=gi and {others}: leave one of them out")


def _is_of_gi(word: str) -> bool:
    override = parsed(word)
    key, value = override.key_or_group, override.value()
    return (key == GI or key.startswith(f"{GI}.")) and not (key in (GI, f"{GI}.side") and value == NONE)


def _file(name: str, given: object, config_dir: str | None) -> Path | None:
    """The file of a change of one's own; None for one that comes with gifine."""
    if not re.fullmatch(r"[\w-]+", name):
        raise ConfigError(f"change.name={name}: a name has letters, digits, _ and -, and no others")
    is_ours = name in (NONE, *changes.names())
    if given is not None and is_ours:
        raise ConfigError(f"change.file={given}: change={name} comes with gifine; give yours another name")
    if given is not None:
        return Path(str(given)).expanduser().absolute()
    found = _own_files(name, config_dir)
    if found and is_ours:
        raise ConfigError(f"{found[0]}: change={name} comes with gifine; give yours another name")
    if len({path.read_bytes() for path in found}) > 1:
        raise ConfigError(f"change={name}: {' and '.join(map(str, found))} differ; give one of them another name")
    if not found and not is_ours:
        places = " or ".join(map(str, _folders(config_dir))) or f"{GROUP} of a folder that --config-dir names"
        known = names(config_dir)
        raise ConfigError(
            f"change={name}: no such change{did_you_mean(name, known)}; valid: {', '.join(known)}; one's own would be "
            f"{name}.py in {places}"
        )
    return found[0] if found else None


def hint(group: str, name: str, config_dir: str | None) -> str:
    """What to say of a file that is there without its YAML; empty of others."""
    found = _own_files(name, config_dir) if group == GROUP else []
    if not found:
        return ""
    return f" ({found[0]} has no {name}.yaml beside it, with a line `name: {name}`)"


def _own_files(name: str, config_dir: str | None) -> list[Path]:
    return [path for folder in _folders(config_dir) if (path := folder / f"{name}.py").is_file()]


def _folders(config_dir: str | None) -> list[Path]:
    """Where files of changes may be, beside their YAML."""
    return [folder / GROUP for folder in own_folders(config_dir)]


def names(config_dir: str | None) -> list[str]:
    """What `change=` may be: changes that come with gifine, those of one's own, and none."""
    own = [path.stem for folder in _folders(config_dir) for path in folder.glob("*.py") if path.is_file()]
    return sorted({NONE, *changes.names(), *own})
