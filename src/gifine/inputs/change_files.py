"""The change that a config names, with its keys typed: one that comes with gifine, or a file of one's own. No torch.

A file of one's own is executed here, and nowhere else. Only a config or a command line makes that happen: of a
checkpoint, which may come from anywhere, nothing is executed.

Whatever is wrong is a ModelError; what a file of one's own raises has its name and line.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import math
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gifine import changes, schema
from gifine.changes.contract import SITES, Change, Parameter, Place, Settings, Sizes, from_module
from gifine.errors import ModelError, UserError, did_you_mean, first_line

NAME, FILE = "name", "file"  # entries of `change` that are no keys of its own
_FUNCTIONS = {  # what is called, and with how much
    "find_parameters": "(settings, place)",
    "apply": "(settings, parameters, value, at)",
    "find_sites": "(settings)",
    "find_layers": "(settings, depth)",
    "check": "(settings, sizes)",
    "measure": "(parameters, value, changed, at)",
}
_NEEDED = ("find_parameters", "apply")
_NEEDS = "a change has SITES or find_sites, find_parameters and apply"


def load(entries: Mapping[str, Any]) -> Change:
    """The change that a config's `change` names: by `file`, or by `name` one that comes with gifine.

    Raises:
        ModelError: for a name that is none, and for a file with an error in it.
    """
    name, file = entries[NAME], entries.get(FILE)
    if file is not None:
        return _own(str(name), str(file))
    known = changes.names()
    if name not in known:
        raise ModelError(f"change={name}: no such change{did_you_mean(str(name), known)}; valid: {', '.join(known)}")
    return changes.load(name)


def settings(change: Change, entries: Mapping[str, Any]) -> Settings:
    """The change's own entries of a config's `change`, as its dataclass; what is not given has its default.

    Raises:
        ModelError: with each key that it does not have, and each value of another type, on a line.
    """
    given = {key: value for key, value in entries.items() if key not in (NAME, FILE)}
    valid, problems = [field.name for field in fields(change.Settings)], []
    for key, value in given.items():
        try:
            if key not in valid:
                problems.append(
                    f"change.{key}: change={change.name} has no such key{did_you_mean(key, valid)}; "
                    f"valid: {', '.join(valid)}"
                )
            else:
                schema.from_entries(change.Settings, {key: value})
        except OmegaConfBaseException as error:
            problems.append(f"change.{key}={value}: {first_line(error)}")
    if problems:
        raise ModelError("\n".join(problems))
    with told(change):
        return schema.from_entries(change.Settings, given)


def unusual(entries: Mapping[str, Any]) -> dict[str, str]:
    """By key what a name shows of those entries that are not the defaults: `last6`, `rank8`.

    Raises:
        ModelError: as `load`.
    """
    usual = defaults(load(entries))
    found = {key: value for key, value in entries.items() if key in usual and value != usual[key]}
    return {key: f"last{value}" if key == "layers" else f"{key}{_shown(value)}" for key, value in found.items()}


def defaults(change: Change) -> dict[str, Any]:
    """The change's keys at their defaults, as JSON types."""
    with told(change):
        return schema.plain(asdict(change.Settings()))


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "-null", True: "-true", False: "-false"}[value]
    if isinstance(value, list):
        return "".join(f"-{entry}" for entry in value)
    return f"{value:g}" if isinstance(value, float) else f"-{value}" if isinstance(value, str) else str(value)


def problems(change: Change, chosen: Settings, sizes: Sizes) -> Iterator[str]:
    """What is wrong with values, alone or for a model of these sizes."""
    with told(change):
        found = [f"change.{problem}" for problem in change.check(chosen, sizes)]
    layers, depth = chosen.layers, sizes.depth
    if layers is not None and layers < 1:
        found.append(f"change.layers={layers}: number of last layers that are changed, at least 1; null for all")
    elif layers is not None and depth is not None and layers > depth:
        found.append(f"change.layers={layers}: the model has {depth} layers")
    if not found:  # else the values may make no sense to what is called here
        try:
            places(change, chosen, sizes)
            parameters(change, chosen, sizes)
        except ModelError as error:
            found = [str(error)]
    yield from found


def places(change: Change, chosen: Settings, sizes: Sizes) -> list[Place]:
    """Where the change sits in a model of these sizes; empty while one of them is not known.

    Raises:
        ModelError: for sites and layers that do not exist.
    """
    with told(change):
        sites = list(change.find_sites(chosen))
    for site in sites:
        if site not in SITES:
            raise ModelError(
                f"change={change.name}: '{site}': no such site{did_you_mean(str(site), SITES)}; "
                f"valid: {', '.join(SITES)}"
            )
    if not sites or len(set(sites)) < len(sites):
        raise ModelError(f"change={change.name}: its sites are {', '.join(sites) or 'none'}: at least one, each once")
    depth, hidden, heads, inner = sizes.depth, sizes.hidden, sizes.heads, sizes.inner
    if depth is None or hidden is None or heads is None or inner is None:
        return []
    with told(change):
        layers = list(change.find_layers(chosen, depth))
    if not layers or not set(layers) <= set(range(depth)):
        raise ModelError(f"change={change.name}: its layers are {layers}: the model has 0 … {depth - 1}")
    taken = {"weights": 0, "context": 0, "output": hidden, "ffn_output": inner}
    given = {"weights": 0, "ffn": inner}
    return [
        Place(site, layer, depth, hidden, heads, inner, taken.get(site, hidden), given.get(site, hidden))
        for layer in layers
        for site in sites
    ]


def parameters(change: Change, chosen: Settings, sizes: Sizes) -> int | None:
    """How many numbers the change learns in a model of these sizes; None while one of them is not known.

    Raises:
        ModelError: for parameters that are none.
    """
    found = places(change, chosen, sizes)
    counted = 0
    for place in found:
        with told(change):
            own = change.find_parameters(chosen, place)
        for name, parameter in own.items():
            if not isinstance(parameter, Parameter) or not all(
                isinstance(size, int) and size > 0 for size in parameter.shape
            ):
                raise ModelError(
                    f"change={change.name}: find_parameters: {name} is {parameter!r}: a Parameter, whose shape has "
                    "whole numbers above 0"
                )
            if not all(part.isidentifier() for part in name.split(".")) or name.count(".") > 1:
                raise ModelError(f"change={change.name}: find_parameters: '{name}' is no name: NAME or GROUP.NAME")
            counted += math.prod(parameter.shape)
    return counted if found else None


@contextmanager
def told(change: Change) -> Generator[None]:
    """In a `with` block that calls a change of one's own, whatever it raises is a ModelError with file and line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if change.file is None:
            raise
        raise ModelError(_raised(error, change.file)) from error


def _own(name: str, file: str) -> Change:
    path = Path(file)
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"change.file={file}: no such file") from None
    except OSError as error:
        raise ModelError(f"change.file={file}: cannot be read: {error.strerror}") from error
    return _made(name, str(path.absolute()), source)


@lru_cache(maxsize=32)
def _made(name: str, file: str, source: bytes) -> Change:
    module = _executed(name, file, source)
    _check(module, ast.parse(source), file)
    return from_module(name, module, file)


def _executed(name: str, file: str, source: bytes) -> ModuleType:
    # Not imported: that would leave its bytecode in a folder that is not ours.
    module = ModuleType(f"_change_{name}_{hashlib.sha256(source).hexdigest()[:12]}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    linecache.checkcache(file)
    try:
        exec(compile(source, file, "exec"), module.__dict__)  # noqa: S102 - whoever names the file wants that
    except (Exception, SystemExit) as error:
        del sys.modules[module.__name__]
        raise ModelError(_raised(error, file)) from error
    return module


def _raised(error: BaseException, file: str) -> str:
    """What was raised, after the file's name and the line where it happened there."""
    line, trace = None, error.__traceback__
    if isinstance(error, SyntaxError) and error.filename == file:
        line = error.lineno
    while trace is not None and not isinstance(error, SyntaxError):
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    said = error.msg if isinstance(error, SyntaxError) else first_line(error)
    return f"{file}{f', line {line}' if line is not None else ''}: {type(error).__name__}: {said}"


def _check(module: ModuleType, tree: ast.Module, file: str) -> None:
    """Raise a ModelError for the first thing that a change has to have and this file has not."""
    lines = {name: node.lineno for node in tree.body for name in _names(node)}

    def wrong(name: str, said: str) -> ModelError:
        return ModelError(f"{file}{f', line {lines[name]}' if name in lines else ''}: {said}")

    for name in _NEEDED:
        if not hasattr(module, name):
            raise wrong(name, f"has no {name}{_FUNCTIONS[name]}; {_NEEDS}")
    if not hasattr(module, "SITES") and not hasattr(module, "find_sites"):
        raise wrong("SITES", f"has neither SITES nor find_sites(settings); {_NEEDS}")
    for name, arguments in _FUNCTIONS.items():
        if hasattr(module, name) and not _takes(getattr(module, name), arguments.count(",") + 1):
            raise wrong(name, f"{name} is no function of {arguments}")
    sites = getattr(module, "SITES", ())
    if isinstance(sites, str) or not isinstance(sites, tuple | list):
        raise wrong("SITES", f"SITES is {sites!r}: a tuple of sites")
    for site in sites:
        if site not in SITES:
            raise wrong("SITES", f"'{site}': no such site{did_you_mean(str(site), SITES)}; valid: {', '.join(SITES)}")
    chosen = getattr(module, "Settings", Settings)
    if not (isinstance(chosen, type) and issubclass(chosen, Settings) and is_dataclass(chosen)):
        raise wrong("Settings", "Settings is no dataclass that inherits gifine.changes.Settings")
    if chosen is not Settings and "Settings" in lines and "__dataclass_fields__" not in vars(chosen):
        raise wrong("Settings", "Settings lacks @dataclass, so its keys are none")
    for field in fields(chosen):
        if field.name in (NAME, FILE):
            raise wrong("Settings", f"Settings.{field.name}: another name: change.{field.name} says which change it is")
        if field.default is MISSING and field.default_factory is MISSING:
            raise wrong("Settings", f"Settings.{field.name}: has no default")
    try:
        OmegaConf.structured(chosen)
    except Exception as error:  # OmegaConf raises several; all are about the types of the fields
        raise wrong("Settings", f"Settings: {first_line(error)}") from error


def _names(node: ast.stmt) -> list[str]:
    """What a statement at a file's top defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [each.id for each in targets if isinstance(each, ast.Name)]


def _takes(function: Any, count: int) -> bool:
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True
