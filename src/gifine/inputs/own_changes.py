"""A file of one's own with a change: executed here and nowhere else, and held against what a change has.

Only a config or a command line makes that happen: of a checkpoint, which may come from anywhere, nothing is executed.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import linecache
import logging
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import OmegaConf

from gifine.changes.contract import SITES, Change, Settings, from_module
from gifine.errors import ModelError, UserError, did_you_mean, first_line

log = logging.getLogger(__name__)

_LONG = 10.0  # seconds
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
        raise ModelError(raised(error, change.file)) from error


_HELD: ContextVar[dict[tuple[str, str], Change] | None] = ContextVar("_HELD", default=None)


@contextmanager
def held() -> Generator[None]:
    """Within it a file is read once: who edits it while a run is under way neither stops nor changes the run."""
    token = _HELD.set({})
    try:
        yield
    finally:
        _HELD.reset(token)


def load(name: str, file: str) -> Change:
    """The change in a file, as it is now; in `held`, as it was first.

    Raises:
        ModelError: if it cannot be read, raises an error, or is no change.
    """
    known, path = _HELD.get(), Path(file)
    if known is not None and (name, file) in known:
        return known[name, file]
    try:
        source = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"change.file={file}: no such file") from None
    except OSError as error:
        raise ModelError(f"change.file={file}: cannot be read: {error.strerror}") from error
    made = _made(name, str(path.absolute()), source)
    if known is not None:
        known[name, file] = made
    return made


@lru_cache(maxsize=32)
def _made(name: str, file: str, source: bytes) -> Change:
    module = ModuleType(f"_change_{name}_{hashlib.sha256(source).hexdigest()[:12]}")
    sys.modules[module.__name__] = module  # dataclasses look their module up there
    try:
        _execute(module, file, source)
        _check(module, ast.parse(source), file)
    except ModelError:
        del sys.modules[module.__name__]
        raise
    return from_module(name, module, file)


def _execute(module: ModuleType, file: str, source: bytes) -> None:
    # Not imported: that would leave its bytecode in a folder that is not ours.
    module.__file__ = file
    linecache.checkcache(file)
    said = "%s: not executed yet after %g s: what a file does when it is read, each run waits for; Ctrl-C ends it"
    notice = threading.Timer(_LONG, log.warning, [said, file, _LONG])
    notice.daemon = True
    notice.start()
    try:
        exec(compile(source, file, "exec"), module.__dict__)  # noqa: S102 - whoever names the file wants that
    except (Exception, SystemExit) as error:
        raise ModelError(raised(error, file)) from error
    finally:
        notice.cancel()


def raised(error: BaseException, file: str) -> str:
    """What was raised, after the file's name and the line where it happened there."""
    line, trace = None, error.__traceback__
    if isinstance(error, SyntaxError) and error.filename == file:
        line = error.lineno
    while trace is not None and not isinstance(error, SyntaxError):
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    said = error.msg if isinstance(error, SyntaxError) else first_line(error)
    if isinstance(error, AttributeError) and is_dataclass(error.obj):  # of what a change is handed: place, at, settings
        valid = [field.name for field in fields(error.obj)]
        said += f"{did_you_mean(str(error.name), valid)}; it has {', '.join(valid)}"
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
