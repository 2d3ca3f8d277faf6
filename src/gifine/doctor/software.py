"""Python and the packages, against the bounds in gifine's own installed metadata."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, version

from packaging.requirements import Requirement  # hydra-core and transformers depend on it
from packaging.specifiers import SpecifierSet

from gifine.doctor.finding import Finding, ok, problem, warning

_SHOWN = ("torch", "transformers", "datasets", "huggingface-hub")


def check() -> Iterator[Finding]:
    try:
        own = metadata("gifine")
    except PackageNotFoundError:
        yield warning("packages", "gifine is not installed, so its bounds are not known", "pip install it")
        return
    yield python(own["Requires-Python"], platform.python_version())
    yield from packages(own.get_all("Requires-Dist") or [])


def python(bounds: str, running: str) -> Finding:
    if SpecifierSet(bounds).contains(running, prereleases=True):
        return ok("Python", running)
    return problem("Python", f"{running}, not {bounds}", "make the environment with another interpreter")


def packages(requirements: list[str]) -> Iterator[Finding]:
    installed = {}
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue  # of an extra, or for another platform
        try:
            installed[requirement.name] = found = version(requirement.name)
        except PackageNotFoundError:
            yield problem("packages", f"{requirement.name} is not installed", f"pip install '{requirement}'")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong = f"{requirement.name} {found}, not {requirement.specifier}"
            yield problem("packages", wrong, f"pip install '{requirement}'")
    named = ", ".join(f"{name} {installed[name]}" for name in _SHOWN if name in installed)
    yield ok("packages", f"{len(installed)} of gifine's are there: {named}")
