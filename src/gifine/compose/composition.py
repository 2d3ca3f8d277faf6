"""One run's config: Hydra composes conf/ over the schema, and what comes out is held against it. No torch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from gifine.compose import change_keys, checks, recipes, search
from gifine.compose.conf_dir import conf_dir
from gifine.config import RunConfig, TaskConfig
from gifine.errors import ConfigError
from gifine.inputs.change_files import NAME
from gifine.inputs.model_files import is_run
from gifine.schema import from_entries

_SCHEMA = OmegaConf.structured(RunConfig)
_SCHEMA.change[NAME] = "???"  # a YAML of `change` says it: without, one's own would be GI and nobody told
ConfigStore.instance().store(name="schema", node=_SCHEMA)
_QUOTE_IT = (
    'no text; quote it, as "no" or "1.0": YAML takes yes, no, on and off for truth values, and digits for numbers'
)

_OPEN = ("change.", "model.config_overrides", "task.generator.config_overrides", "first.train", "first.data")
_OPEN += ("search.space", "hydra.launcher.additional_parameters")

recipes.register(conf_dir())


def compose(overrides: list[str], config_dir: str | None = None, *, with_hydra: bool = False) -> DictConfig:
    """Compose one run's config in this process, as the command line does; `with_hydra` keeps Hydra's own settings."""
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        words = [*map(opened, overrides), *_searchpath(config_dir)]
        return hydra.compose("config", overrides=words, return_hydra_config=with_hydra)


def spelled_out(word: str, config_dir: str | None = None) -> str:
    """`gi=glob(k*)` as the list of names that it stands for; other words as they are.

    Raises:
        ConfigError: if there is nothing that it stands for.
    """
    if "glob(" not in word:
        return word
    override = OverridesParser.create().parse_overrides([word])[0]
    pattern = override.value()
    if not isinstance(pattern, Glob):
        return word
    names, key = _options(override.key_or_group, config_dir), override.get_key_element()
    if not names:
        raise ConfigError(f"{word}: glob stands for names of a config group, and {key} is none; give the values")
    found = pattern.filter(names)
    if not found:
        raise ConfigError(f"{word}: fits none of {', '.join(names)}")
    return f"{key}={','.join(found)}"


def _options(group: str, config_dir: str | None) -> list[str]:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        return loader.get_group_options(group, config_name="config", overrides=_searchpath(config_dir))


def _searchpath(config_dir: str | None) -> list[str]:
    return [f"hydra.searchpath=[file://{Path(config_dir).resolve()}]"] if config_dir else []


def config_from(cfg: DictConfig, words: Iterable[str] = (), config_dir: str | None = None) -> RunConfig:
    """The composed config as dataclasses, with all keys of its change and what a search draws, checked.

    `words`: as in `search.apply`.

    Raises:
        ConfigError: with every problem found.
    """
    config = search.apply(settled(typed(cfg), config_dir), words)
    checks.check(config)
    return config


def settled(config: RunConfig, config_dir: str | None = None) -> RunConfig:
    """The config with all keys of its change, and with a run that model.checkpoint names in model.init_from instead.

    Raises:
        ConfigError: as `change_keys.settle`.
    """
    model = config.model
    if model.checkpoint is not None and model.init_from is None and is_run(model.checkpoint):
        # So that it is one run, by whatever key, whose record says what its weights have seen.
        config = replace(config, model=replace(model, init_from=model.checkpoint, checkpoint=None))
    return change_keys.settle(config, config_dir)


def check_chdir(chdir: bool | None) -> None:
    """Raise a ConfigError if Hydra is to let runs start in another folder than the command's."""
    if chdir:
        raise ConfigError(
            "hydra.job.chdir=true: relative paths, such as output_root, would be from another folder than the "
            "command's own; leave it out, output_root says where runs go"
        )


def typed(cfg: DictConfig) -> RunConfig:
    """The composed config as dataclasses, which `checks` has not seen yet.

    Raises:
        ConfigError: for keys that the schema does not have, values that are missing or of another type, and
            interpolations that cannot be resolved.
    """
    try:
        problems = [f"{key}: no such key" for key in _foreign_keys(cfg)]
        problems += [f"{key}: has no value; {_choices_or_give(key)}" for key in sorted(OmegaConf.missing_keys(cfg))]
        if problems:
            raise ConfigError(*problems)
        # Anew over the schema: what an interpolation gives has not been held against the types.
        plain = OmegaConf.to_container(cfg, resolve=True)
        assert isinstance(plain, dict)
        config = from_entries(RunConfig, plain)
    except OmegaConfBaseException as error:
        raise ConfigError(unwrap(error)) from error
    problems = list(_no_texts(config.task))
    if problems:
        raise ConfigError(*problems)
    return config


def _no_texts(task: TaskConfig) -> Iterator[str]:
    """Entries of a task's lists that YAML or Hydra takes for something other than text: `[no, yes]` for truth values.

    Of the columns, which may be positions, numbers become the text that they are known as.
    """
    for name in (f.name for f in fields(task) if f.type == "list[Text]"):
        other = [_as_yaml(entry) for entry in getattr(task, name) if not isinstance(entry, str)]
        if other:
            yield f"task.{name}: {', '.join(other)}: {_QUOTE_IT}"
    for split, place in task.splits.items():
        for ours, theirs in place.columns.items():
            if isinstance(theirs, int) and not isinstance(theirs, bool):
                place.columns[ours] = str(theirs)
            elif not isinstance(theirs, str):
                yield f"task.splits.{split}.columns.{ours}={_as_yaml(theirs)}: {_QUOTE_IT}"


def _as_yaml(value: object) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def opened(word: str) -> str:
    """Keys below which any key may be given: Hydra asks for a leading `++` there."""
    return f"++{word}" if word.startswith(_OPEN) else word


def unwrap(error: BaseException) -> str:
    """The first line of a message of Hydra's or OmegaConf's, without the words that they put around it.

    Of what is no YAML: the file, and the line in it.
    """
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: {error.problem or error.context}"
    text = re.sub(r"^In '[^']*': ", "", str(error).strip())
    text = re.sub(
        r"^(\w+ raised while composing config:\n|ConfigError raised while resolving interpolation: )", "", text
    )
    return text.split("\n")[0]


def _choices_or_give(key: str) -> str:
    folder = conf_dir() / key
    group = folder if folder.is_dir() else conf_dir() / key.split(".")[0]
    if group.is_dir():
        own = ", or write name: NAME into a YAML of your own" if key == f"{group.name}.name" else ""
        names = "|".join(sorted(path.stem for path in group.glob("*.yaml")))
        return f"choose {group.name}={names} or give {key}=…{own}"
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
