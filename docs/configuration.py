"""Write the tables of docs/configuration.md anew, from the schema and conf/: `python docs/configuration.py`.

What a key means is the comment beside its field, or above it where it is long; what a choice of a group is, the first
sentence of its YAML. What stands between the tables is written by hand. `tests/test_configuration_page.py` fails when
the page is stale.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
import tokenize
import types
import typing
from collections.abc import Iterator
from enum import Enum
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from gifine import changes
from gifine.changes import contract
from gifine.config import GI, RunConfig
from hydra_plugins.gifine_launcher import LocalLauncher, SlurmLauncher

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "configuration.md"
BLOCK = re.compile(r"(?<=^<!-- generated: )([\w ./]+) -->\n.*?(?=^<!-- end -->$)", re.DOTALL | re.MULTILINE)

_INNER = ("hydra/job_logging", "recipe/published")  # nothing to choose from on a command line
_SLURM, _LOCAL = SlurmLauncher.schema, LocalLauncher.schema
_WORDS = {str: "text", int: "whole number", float: "number", bool: "`true`, `false`", dict: "mapping"}
_ANY = "text, list, `null`"  # what the schema leaves open, since OmegaConf has no type for either


def main() -> int:
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


def filled(page: str) -> str:
    """The page with its tables as they have to be."""
    return BLOCK.sub(lambda match: f"{match[1]} -->\n\n{_table(match[1])}\n\n", page)


def _table(name: str) -> str:
    if name == "groups":
        return _markdown(["choice", "what it is"], _groups())
    return _markdown(["key", "values", "default", "meaning"], rows(name))


def sections() -> list[str]:
    """The names of all tables of keys."""
    hints = typing.get_type_hints(RunConfig)
    inner = [name for name, hint in hints.items() if dataclasses.is_dataclass(hint) or name == "change"]
    return ["top level", *inner, "hydra.launcher", "hydra.launcher of slurm", "hydra.launcher of local"]


def rows(section: str) -> Iterator[list[str]]:
    """Of one table: key, values, default and meaning, as Markdown."""
    if section.startswith("hydra.launcher"):
        name = section.rpartition(" ")[2] if " " in section else "local"
        shared = {field.name for field in dataclasses.fields(_SLURM)} & {f.name for f in dataclasses.fields(_LOCAL)}
        for row in _rows(_LOCAL if name == "local" else _SLURM, "hydra.launcher.", _yaml(f"hydra/launcher/{name}")):
            is_shared = row[0].strip("`").rpartition(".")[2] in shared
            if is_shared == (section == "hydra.launcher"):
                yield row
    elif section == "top level":
        yield from (row for row in _rows(RunConfig, "", {}) if "." not in row[0])
    elif section == "change":
        yield from _rows(contract.Settings, "change.", {})
        for name in changes.names():
            if name != GI:
                yield from _own_rows(name)
    else:
        schema = typing.get_type_hints(RunConfig)[section]
        yield from _rows(schema, f"{section}.", _yaml(f"{section}/{_default_choices().get(section)}"))


def _own_rows(change: str) -> Iterator[list[str]]:
    """The keys that a change has beside those of all."""
    schema, shared = changes.load(change).Settings, {field.name for field in dataclasses.fields(contract.Settings)}
    for row in _rows(schema, "change.", _yaml(f"change/{change}")):
        if row[0].strip("`").removeprefix("change.") not in shared:
            yield [f"{row[0]} of `{change}`", *row[1:]]


def _rows(schema: Any, prefix: str, chosen: dict[str, Any]) -> Iterator[list[str]]:
    """A line for each field, and for those of the dataclasses in it. `chosen`: what a YAML says in their place."""
    hints, texts = typing.get_type_hints(schema), comments(schema)
    for field in dataclasses.fields(schema):
        if field.name.startswith("_"):
            continue
        key, hint = f"{prefix}{field.name}", hints[field.name]
        named = [each for each in typing.get_args(hint) if dataclasses.is_dataclass(each)]
        if dataclasses.is_dataclass(hint):
            yield from _rows(hint, f"{key}.", chosen.get(field.name) or {})
        elif named:  # a mapping from names of the user's choice
            yield from _rows(named[0], f"{key}.NAME.", {})
        else:
            value = _value(chosen.get(field.name, _default(field)))
            yield [f"`{key}`", _values(hint), value, _meaning(texts.get(field.name, ""), hint)]


def _values(hint: Any) -> str:
    """What a key may hold: a type in words, or the values of an Enum."""
    if hint is Any:
        return _ANY
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return ", ".join([*(_values(each) for each in typing.get_args(hint) if each is not type(None)), "`null`"])
    if typing.get_origin(hint) is list:
        (inner,) = typing.get_args(hint)
        return f"list of {'text' if inner is Any else _values(inner)}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{each.value}`" for each in hint)
    return _WORDS[typing.get_origin(hint) or hint]


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _value(value: Any) -> str:
    if value == "???":
        return ""
    if isinstance(value, dict | list) and any(isinstance(each, dict | list) for each in value):
        return "in its YAML"  # too long for a cell
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, float):
        value = f"{value:g}"
    written = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True, width=1000)
    return f"`{written.removesuffix('...' + chr(10)).strip()}`"


def _meaning(text: str, hint: Any) -> str:
    """With what each value of an Enum stands for."""
    enums = [each for each in (hint, *typing.get_args(hint)) if isinstance(each, type) and issubclass(each, Enum)]
    values = [f"`{name}`: {meaning}" for each in enums for name, meaning in comments(each).items() if meaning]
    return ". ".join(filter(None, [text, "; ".join(values)]))


def comments(schema: type) -> dict[str, str]:
    """The text of each field of a dataclass, or value of an Enum; inherited ones, too."""
    found: dict[str, str] = {}
    for each in reversed(schema.__mro__):
        if each.__module__.partition(".")[0] == schema.__module__.partition(".")[0]:
            found |= _comments(each)
    return found


@cache
def _comments(schema: type) -> dict[str, str]:
    source = Path(inspect.getfile(schema)).read_text(encoding="utf-8")
    lines = source.splitlines()
    words = {
        token.start[0]: token.string.partition("  # noqa")[0].lstrip("# ").rstrip()
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    found = {}
    for statement in classes[schema.__name__].body:
        if not isinstance(statement, ast.Assign | ast.AnnAssign):
            continue
        target = statement.target if isinstance(statement, ast.AnnAssign) else statement.targets[0]
        first = statement.lineno
        while lines[first - 2].strip().startswith("#"):
            first -= 1
        own = range(first, (statement.end_lineno or statement.lineno) + 1)
        found[ast.unparse(target)] = " ".join(words[line] for line in own if line in words)
    return found


def _groups() -> Iterator[list[str]]:
    defaults = _default_choices()
    for folder in sorted({path.parent for path in (ROOT / "conf").rglob("*.yaml")} - {ROOT / "conf"}):
        group = folder.relative_to(ROOT / "conf").as_posix()
        if group not in _INNER:
            for path in sorted(folder.glob("*.yaml"), key=lambda path: path.stem):
                note = " (default)" if defaults.get(group) == path.stem else ""
                yield [f"`{group}={path.stem}`{note}", _first_sentence(path)]


def _first_sentence(path: Path) -> str:
    """Of the comment at a YAML's head, behind the lines that are for Hydra or are a command."""
    head = re.match(r"(?:#.*\n)*", path.read_text(encoding="utf-8"))
    lines = [line.lstrip("# ") for line in (head[0] if head else "").splitlines()]
    text = " ".join(line for line in lines if not line.startswith(("@package", "python -m gifine", "gifine ")))
    return re.split(r"(?<!et al)[.] (?=\w)", text)[0].removesuffix(".")


def _default_choices() -> dict[str, str]:
    """Of each group, the choice that is made where none is given."""
    entries = _yaml("config")["defaults"]
    return {group: name for entry in entries if isinstance(entry, dict) for group, name in entry.items()}


def _yaml(name: str) -> dict[str, Any]:
    path = ROOT / "conf" / f"{name}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _markdown(head: list[str], lines: Iterator[list[str]]) -> str:
    cells = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *cells])


if __name__ == "__main__":
    sys.exit(main())
