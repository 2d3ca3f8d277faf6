"""The documents: links lead somewhere, and the commands that they show compose, or have arguments that there are."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from gifine import check_change
from gifine.compose import grid, mistakes
from gifine.dashboard import __main__ as dashboard
from gifine.errors import ExitCode
from gifine.inputs import offline
from gifine.inputs.offline import Manifest
from gifine.runs import preregistration
from gifine.runs.preregistration import Hypothesis, Preregistration

PAGES = sorted(ROOT.glob("docs/*.md"))
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *PAGES, *sorted(ROOT.glob("launchers/*.md")), *ROOT.glob("benchmarks/**/*.md")]
IDS = [path.relative_to(ROOT).as_posix() for path in DOCUMENTS]

OVERRIDES = ("", "prefetch", "doctor", "memory", "sweep plan")  # the commands that take those of runs
OF_RUNS = ("evaluate", "predict", "export", "report", "sync", "sweep", "inspect")  # that take folders
COMMANDS = {*OVERRIDES, *OF_RUNS, "dashboard", "check-change"}
_STARTS = (["srun"], ["docker", "run"], ["apptainer", "run"])


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a page in this language, as they stand without their indentation."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def shown() -> Iterator[tuple[str, str]]:
    """Each command of gifine in a document or at the head of a config: its name, and the words after it."""
    lines = [line for path in DOCUMENTS for block in blocks(path.read_text(), "sh") for line in block.splitlines()]
    for path in [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "launchers").rglob("*.yaml")]:
        head = re.match(r"(?:#.*\n)*", path.read_text())
        assert head
        lines += [
            line[2:] for line in head.group().splitlines() if re.match(r"# (python -m gifine|gifine) \S*[=-]", line)
        ]
    for line in lines:
        if found := command(line):
            yield found


def command(line: str) -> tuple[str, str] | None:
    """`("sweep plan", "task=rte")` of a line of a shell that runs gifine, also in a container; None of others."""
    words = [word.removeprefix(".venv/bin/") for word in shlex.split(line, comments=True)]
    is_started = any(words[: len(start)] == start for start in _STARTS)
    for at in reversed(range(len(words))):  # before it may stand a container's image of the same name
        dotted = re.fullmatch(r"gifine((?:\.\w+)*)", words[at])
        is_module = words[at - 1 : at] == ["-m"] and (is_started or words[0] in ("python", "torchrun"))
        is_command = words[at] in ("gifine", "gifine.sif") and (at == 0 or is_started)
        if dotted is None or not (is_module or is_command):
            continue
        rest = [*(dotted.group(1).split(".")[1:] if is_module else []), *words[at + 1 :]]
        if rest[:2] == ["sweep", "plan"]:
            return "sweep plan", shlex.join(rest[2:])
        if rest[:1] and rest[0] in COMMANDS:
            return rest[0], shlex.join(rest[1:])
        return "", shlex.join(rest)
    return None


SHOWN = sorted(set(shown()))
COMPOSED = sorted(
    {words.removeprefix("--multirun ") for name, words in SHOWN if name in OVERRIDES and "--help" not in words}
)


def test_commands_of_every_kind_are_found():
    assert {name for name, _ in SHOWN} == COMMANDS
    assert ("", "model=debertav3 gi.level=0.3 task=cola") in SHOWN
    assert ("doctor", "'prefetch=$HOME/gifine-prefetched'") in SHOWN, "behind srun"
    assert ("sweep", "status runs") in SHOWN


def test_lines_of_a_shell_are_told_from_others():
    assert command("torchrun --nproc-per-node=4 -m gifine task=mnli  # four") == ("", "task=mnli")
    assert command(".venv/bin/python -m gifine.sweep plan task=rte") == ("sweep plan", "task=rte")
    assert command("gifine sweep status runs --json") == ("sweep", "status runs --json")
    assert command("srun --gres=gpu:1 apptainer run --nv gifine.sif task=rte") == ("", "task=rte")
    assert command("docker run --entrypoint torchrun gifine --nproc-per-node=4 -m gifine task=rte") == ("", "task=rte")
    assert command("docker build --tag gifine .") is None
    assert command("python -m benchmarks.gpu gifine") is None
    assert command("git clone URL gifine && cd gifine") is None


@pytest.mark.long
@pytest.mark.parametrize("words", COMPOSED)
def test_commands_compose(words, tmp_path, monkeypatch):
    """With folders and files of the reader's own put in the place of the examples'."""
    given = shlex.split(words)
    folder = own_folder(tmp_path, monkeypatch, config_dir(given))
    if config_dir(given):
        given = given[: given.index("--config-dir")] + given[given.index("--config-dir") + 2 :]
    for place, own in OWN.items():
        given = [f"{place}{tmp_path / own}" if word.startswith(place) else word for word in given]
    given = [word for word in given if not word.startswith("-") and word != "job"]
    assert grid.expand([*given, *first_cell(given)], folder)


def first_cell(words: list[str]) -> list[str]:
    """A value for each key of an experiment's grid that has none: test_experiments composes them whole."""
    found = []
    given = [word.removeprefix("experiment=") for word in words if word.startswith("experiment=")]
    for name in [name for word in given for name in word.strip("[]").split(",")]:
        config = yaml.safe_load((ROOT / "conf" / "experiment" / f"{name}.yaml").read_text())
        params = config.get("hydra", {}).get("sweeper", {}).get("params", {})
        found += [
            mistakes.values(f"{key}={values}")[0]
            for key, values in params.items()
            if not any(w.startswith(f"{key}=") for w in words)
        ]
    return found


OWN = {
    "data.dir=": "",
    "first.data.dir=": "",
    "prefetch=": "",
    "model.init_from=": "model",
    "plan=": "PLAN.yaml",
    "task.files.train=": "rows.csv",
    "task.files.validation=": "rows.csv",
}


def config_dir(words: list[str]) -> str | None:
    return words[words.index("--config-dir") + 1] if "--config-dir" in words else None


def own_folder(place: Path, monkeypatch: pytest.MonkeyPatch, name: str | None) -> str | None:
    """Make what a reader has; the folder that `--config-dir` names is the one that the pages tell to make."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    offline.write(place, Manifest())
    (place / "rows.csv").touch()
    held = Hypothesis("bert", "rte", {"gi.side": "both"}, {}, is_primary=False)
    plan = Preregistration(datetime.now(UTC), "", [], 0.5, 0.05, [], [1], {}, [held], {"0" * 12: "rte"}, [])
    preregistration.write(plan, place / "PLAN.yaml")
    (place / "MNLI").mkdir()  # first.task looks whether it is there
    for file in ("train.tsv", "dev_matched.tsv", "dev_mismatched.tsv"):
        (place / "MNLI" / file).touch()
    (place / "model").mkdir()
    for file in ("config.json", "model.safetensors"):
        (place / "model" / file).write_text("{}")
    if name is None:
        return None
    (place / "own" / "site").mkdir(parents=True)
    (place / "own" / "task").mkdir()
    shutil.copytree(ROOT / "docs" / "examples" / "change", place / "own" / "change")
    site = (
        (ROOT / "launchers" / "site" / "example.yaml")
        .read_text()
        .replace("${oc.env:HOME}/gifine-prefetched", str(place))
    )
    for preset in ("example", "mine"):
        (place / "own" / "site" / f"{preset}.yaml").write_text(site)
    for text in TASKS.values():
        for files in re.findall(r"^ +(?:train|validation|test): ([\w/]+\.\w+)", text, re.MULTILINE):
            (place / files).parent.mkdir(exist_ok=True)
            (place / files).touch()
    for task, text in TASKS.items():
        (place / "own" / "task" / f"{task}.yaml").write_text(text)
    return str(place / "own")


TASKS = {
    match.group(1): block
    for path in PAGES
    if path.name != "changes.md"  # whose block is of the group `change`
    for block in blocks(path.read_text(), "yaml")
    if (match := re.search(r"^name: (\w+)", block, re.MULTILINE))
}


@pytest.mark.long
@pytest.mark.parametrize("task", TASKS)
def test_tasks_on_the_pages_compose(task, tmp_path, monkeypatch):
    folder = own_folder(tmp_path, monkeypatch, "mine")
    words = ["data=glue_dir", f"data.dir={tmp_path}"] if "tsv:" in TASKS[task] else []
    (run,) = grid.expand([f"task={task}", *words], folder)
    assert run.config.task.name == task


@pytest.mark.long
@pytest.mark.parametrize(("name", "words"), [each for each in SHOWN if each[0] in OF_RUNS and "--help" not in each[1]])
def test_commands_on_runs_have_arguments_that_there_are(name, words, tmp_path, monkeypatch, capsys):
    """Where there are no such folders: that is all that is wrong."""
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"gifine.{name}")
    module = importlib.import_module(f"gifine.{name}.__main__") if hasattr(module, "__path__") else module
    assert module.main(shlex.split(words)) == ExitCode.BAD_INPUT
    assert re.search(r"no such (file or )?folder", capsys.readouterr().err)


@pytest.mark.parametrize("words", [words for name, words in SHOWN if name == "dashboard"])
def test_commands_on_dashboards_have_arguments_that_there_are(words):
    assert dashboard.parser().parse_args(shlex.split(words)).project == "gi"


@pytest.mark.parametrize("words", [words for name, words in SHOWN if name == "check-change"])
def test_changes_that_are_checked_can_be(words, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    args = check_change.parser().parse_args(shlex.split(words))
    assert check_change.choose(args.change, args.overrides, args.config_dir).change["name"] == "temperature"


@pytest.mark.parametrize("path", DOCUMENTS, ids=IDS)
def test_links_lead_somewhere(path):
    """To a file, and to a heading of it whose anchor is the same on the site and where the repository is read."""
    wrong = []
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", without_code(path.read_text())):
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    assert wrong == []


def without_code(text: str) -> str:
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text()), re.MULTILINE)
    return {anchor for heading in headings if (anchor := as_hosts(heading)) == as_mkdocs(heading)}


def as_hosts(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def as_mkdocs(heading: str) -> str:
    text = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())


def test_every_page_is_in_the_navigation():
    entries = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    sections = [value for entry in entries for value in entry.values()]
    named = [page for section in sections for page in ([section] if isinstance(section, str) else section)]
    assert sorted(named) == [path.name for path in PAGES]


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
