"""The dashboard: specs that wandb's own library reads, with our tasks' metrics under the keys that tracking logs."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

from conftest import WANDB
from gifine import changes, cli
from gifine.changes import gi
from gifine.changes.autograd import gate
from gifine.changes.contract import SITES
from gifine.config import DEMO, GI
from gifine.dashboard import __main__ as dashboard
from gifine.dashboard import selection
from gifine.dashboard.selection import Selection
from gifine.errors import ExitCode
from gifine.models import build
from gifine.models.changed import at_work
from gifine.tracking import wandb_run
from support import fake_wandb_api, tiny_models

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Pydantic V1 style", DeprecationWarning)  # what wandb-workspaces is written in
    pytest.importorskip("wandb_workspaces.workspaces", reason="needs the extra `wandb`")

pytestmark = WANDB
KEY = "0123456789abcdef0123456789abcdef01234567"
TASKS = ["cola", "mlm", "mnli", "mrpc", "qnli", "qqp", "rtd", "rte", "squad", "squad_v2", "sst2", "stsb", "wnli"]
PARTLY = ["head-only", "biases-only"]
ODD = "lr=0.1, it's <3"  # a group as people may call it


@pytest.fixture
def command(capsys):
    """Call the command in this process; returns its exit code and what it said on stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        code = dashboard.main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def written(command, tmp_path):
    """Both specs as `--dry-run` writes them."""

    def write(*words: str) -> dict[str, Any]:
        path = tmp_path / "spec.json"
        code, out, _ = command("me/gi", *words, "--dry-run", str(path))
        assert code == ExitCode.DONE
        assert out == f"written to {path}; nothing was sent\n"
        return json.loads(path.read_text())

    return write


@pytest.fixture(scope="module")
def of_all_tasks(tmp_path_factory) -> dict[str, Any]:
    """Both specs of all tasks, which take a second to compose."""
    path = tmp_path_factory.mktemp("all") / "spec.json"
    assert dashboard.main(["me/gi", "--dry-run", str(path)]) == ExitCode.DONE
    return json.loads(path.read_text())


@pytest.fixture
def server(monkeypatch, tmp_path):
    """wandb's server on this machine, with the project `gi`, and nobody logged in."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))  # a developer's own login is elsewhere
    monkeypatch.setenv("NO_PROXY", "*")
    for name in [name for name in os.environ if name.startswith(("WANDB_", "NETRC"))]:
        monkeypatch.delenv(name)
    with fake_wandb_api.Server("me", KEY, {"gi": []}).running() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


def chosen(*names: str, **given: Any) -> Selection:
    return Selection(entity="me", project="gi", tasks=selection.tasks(names or None, None), **given)


def sections(spec: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The panels of each section of a workspace."""
    config = spec["workspace"]["spec"]["section"]["panelBankConfig"]
    return {section["name"]: section["panels"] for section in config["sections"]}


def grids(spec: dict[str, Any]) -> list[tuple[str, list[dict[str, Any]], list[dict[str, Any]]]]:
    """Of each grid of a report, the heading above it, its runsets and its panels."""
    found, heading = [], ""
    for block in spec["report"]["spec"]["blocks"]:
        if block["type"] == "heading":
            heading = block["children"][0]["text"]
        elif block["type"] == "panel-grid":
            metadata = block["metadata"]
            found.append((heading, metadata["runSets"], metadata["panelBankSectionConfig"]["panels"]))
    return found


def conditions(runset: dict[str, Any]) -> dict[str, list[str]]:
    """By key, of those that must not be with ` not`."""
    assert runset["filters"]["filterFormat"] == "filterV2"
    leaves = runset["filters"]["filters"]
    assert [leaf.get("connector") for leaf in leaves] == [None, *["AND"] * (len(leaves) - 1)]
    ops = {"IN": "", "NIN": " not"}
    return {f"{leaf['key']['section']}:{leaf['key']['name']}{ops[leaf['op']]}": leaf["value"] for leaf in leaves}


def shown(panels: list[dict[str, Any]], view_type: str) -> set[str]:
    return {metric for panel in panels if panel["viewType"] == view_type for metric in panel["config"]["metrics"]}


def without(value: Any, key: str) -> Any:
    if isinstance(value, dict):
        return {name: without(entry, key) for name, entry in value.items() if name != key}
    return [without(entry, key) for entry in value] if isinstance(value, list) else value


def test_the_library_reads_all_of_what_is_sent(written):
    """It takes what it does not know as it is, so what it has read is looked at as well."""
    from wandb_workspaces.reports.v2 import internal as reports
    from wandb_workspaces.workspaces import internal as workspaces

    spec = written("--group", ODD, "--tasks", "rte,mnli")
    for model, sent in (
        (workspaces.WorkspaceViewspec, spec["workspace"]["spec"]),
        (reports.Spec, spec["report"]["spec"]),
    ):
        read = model.model_validate(sent)
        again = json.loads(read.model_dump_json(by_alias=True, exclude_none=True))
        assert without(again, "inlineComments") == sent  # of headings, read as none instead of left out
        assert "Unknown" not in repr(read)


def test_the_interface_reads_its_own(written):
    """As when somebody changes the report in Python: every panel and filter is there, and nothing is a dictionary."""
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces.reports.v2 import internal

    spec = internal.Spec.model_validate(written("--group", ODD, "--tasks", "rte,mrpc")["report"]["spec"])
    project = internal.Project(name="gi", entity_name="me")
    report = wr.Report._from_model(internal.ReportViewspec(project=project, spec=spec))
    (baseline, _, changed) = [block for block in report.blocks if isinstance(block, wr.PanelGrid)][1].runsets
    assert "in ['gi-none']" in str(baseline.filters)
    assert f"not in {['gi-none', *PARTLY]}" in str(changed.filters)
    assert changed.groupby[0] == "config.task.value.name"


def test_every_task_has_a_section_with_its_official_metrics(of_all_tasks):
    spec = of_all_tasks
    found, heads = sections(spec), [heading for heading, _, _ in grids(spec)]
    tasks = [cli.config_from(cli.compose([f"task={name}"])).task for name in TASKS]
    titles = [task.title or task.name for task in tasks]
    assert list(found) == ["Overview", *titles, "Gates", "Other changes"]
    assert [head for head in heads if head in titles] == titles
    for name, title, task in zip(TASKS, titles, tasks, strict=True):
        official = {f"{name}/{split}/{metric}" for split in task.evaluation_splits for metric in task.metrics}
        (of_report,) = (panels for heading, _, panels in grids(spec) if heading == title)
        for panels in (found[title], of_report):
            assert shown(panels, "Bar Chart") == official
            assert shown(panels, "Run History Line Plot") - {"loss"} == official | {
                f"{name}/{split}/loss" for split in task.evaluation_splits
            }
        headline = f"{name}/{task.evaluation_splits[0]}/{task.select_by}"
        assert headline in shown(found["Overview"], "Bar Chart")
        axes = [panel["config"] for panel in found[title] if panel["viewType"] == "Scatter Plot"]
        assert (axes[0]["xAxis"], axes[0]["yAxis"]) == ("config:gi.value.level", "config:gi.value.layers")
        assert axes[0]["zAxis"] == axes[1]["yAxis"] == f"summary:{headline}"


def test_seeds_are_averaged_and_nothing_else(written):
    spec = written("--tasks", "rte")
    gi = ["gi.value.side", "gi.value.level", "gi.value.layers"]
    cell = ["model.value.name", "model.value.size", "arm.value", *gi]
    (runset,) = spec["workspace"]["spec"]["section"]["runSets"]
    assert [key["name"] for key in runset["grouping"]] == ["task.value.name", *cell]
    for panel in sections(spec)["RTE"]:
        if panel["viewType"] in ("Bar Chart", "Run History Line Plot"):
            assert (panel["config"]["groupAgg"], panel["config"]["groupArea"]) == ("mean", "stddev")
            assert "groupBy" not in panel["config"], "the table's grouping"
    (*plain, changed), _ = next((runsets, panels) for heading, runsets, panels in grids(spec) if heading == "RTE")
    for each in plain:
        assert [key["name"] for key in each["grouping"]] == cell[:4], "level and layers of a plain model mean nothing"
    assert [key["name"] for key in changed["grouping"]] == cell
    (alone,), bars = next((runsets, panels) for heading, runsets, panels in grids(spec) if "layers" in heading)
    assert alone["grouping"] == [], "each run is a dot"
    assert [panel["config"]["groupBy"] for panel in bars if panel["viewType"] == "Bar Chart"] == gi
    (alone,), (bars,) = next((runsets, panels) for heading, runsets, panels in grids(spec) if heading == "RTE: changes")
    assert (alone["grouping"], bars["config"]["groupBy"]) == ([], "change.value.name")


def test_runs_are_filtered(written):
    spec = written("--tasks", "rte,mrpc", "--group", ODD, "--group", "second", "--models", "bert")
    narrowed = {"run:group": [ODD, "second"], "config:model.value.name": ["bert"]}
    (runset,) = spec["workspace"]["spec"]["section"]["runSets"]
    assert conditions(runset) == {"config:task.value.name": ["rte", "mrpc"], **narrowed}
    for heading, runsets, _ in grids(spec):
        tasks = {"RTE": ["rte"], "MRPC": ["mrpc"]}.get(heading.partition(":")[0], ["rte", "mrpc"])
        for runset in runsets:
            arms: dict[str, dict[str, list[str]]] = {
                "Baseline": {"run:tags": ["gi-none"]},
                "Plain, trained in part": {"run:tags": PARTLY},
                "Gated": {"run:tags": ["gi-key", "gi-query", "gi-both"]},
                "Changed": {"run:tags not": ["gi-none", *PARTLY]},
            }
            assert conditions(runset) == {"config:task.value.name": tasks, **narrowed, **arms.get(runset["name"], {})}


@pytest.mark.parametrize(
    ("words", "runset"),
    [
        (["gi=none"], "Baseline"),
        (["gi=none", "train.parameters=change"], "Plain, trained in part"),
        (["gi=none", "train.parameters=bias"], "Plain, trained in part"),
        (["gi=key", "train.parameters=change"], "Changed"),
        (["change=lora", "train.parameters=bias"], "Changed"),
    ],
)
def test_each_run_is_in_one_of_the_sides(written, words, runset):
    """By the tags that tracking gives it: what trains makes an arm, as in the report."""
    tags = {*wandb_run._tags(cli.config_from(cli.compose(["task=rte", *words])))}
    runsets = next(runsets for heading, runsets, _ in grids(written("--tasks", "rte")) if heading == "RTE")
    of = {each["name"]: conditions(each) for each in runsets}
    found = [
        name
        for name, wanted in of.items()
        if tags & {*wanted.get("run:tags", tags)} and not tags & {*wanted.get("run:tags not", [])}
    ]
    assert found == [runset]


def test_one_change_is_shown_beside_plain_models(written):
    spec = written("--tasks", "rte", "--changes", "lora,ia3")
    (runset,) = spec["workspace"]["spec"]["section"]["runSets"]
    assert conditions(runset)["run:tags"] == ["gi-none", *PARTLY, "change-lora", "change-ia3"]
    assert list(sections(spec)) == ["Overview", "RTE", "Other changes"]
    assert {panel["viewType"] for panel in sections(spec)["RTE"]} == {"Run History Line Plot", "Bar Chart"}
    heads = [heading for heading, _, _ in grids(spec)]
    assert heads == ["How runs ended", "Baseline against changed runs", "RTE", "RTE: changes", "Other changes"]
    for heading, runsets, _ in grids(spec):
        for runset in runsets:
            of = {"Baseline": ["gi-none"], "Plain, trained in part": PARTLY, "Changed": ["change-lora", "change-ia3"]}
            wanted = of.get(runset["name"], ["gi-none", *PARTLY, "change-lora", "change-ia3"])
            assert conditions(runset)["run:tags"] == wanted, heading
    assert spec["report"]["title"] == "gifine: change lora, ia3; task rte"


def test_gi_alone_is_shown_as_before_there_were_others(written):
    spec = written("--tasks", "rte", "--changes", "gi")
    assert list(sections(spec)) == ["Overview", "RTE", "Gates"]
    assert [heading for heading, _, _ in grids(spec)][2:] == ["RTE", "RTE: level × layers", "Gates"]
    tags = [conditions(runset)["run:tags"] for _, runsets, _ in grids(spec) for runset in runsets]
    sides = ["gi-key", "gi-query", "gi-both"]
    assert [list(each) for each in dict.fromkeys(map(tuple, tags))] == [
        ["gi-none", *PARTLY, *sides],
        ["gi-none"],
        PARTLY,
        sides,
    ]


def test_a_change_of_ones_own(written, tmp_path):
    (tmp_path / "change").mkdir()
    (tmp_path / "change" / "mine.py").write_text("")
    spec = written("--tasks", "rte", "--config-dir", str(tmp_path), "--changes", "mine")
    *_, last = sections(spec)["Other changes"]
    assert re.search(last["config"]["metricRegex"], "change/3/value/a name of its own")


def test_keys_are_those_that_tracking_logs():
    from gifine.dashboard import panels

    config = wandb_run._settings(cli.config_from(cli.compose([])))
    for key in (*panels.KEYS, "task.name"):
        entry = config
        for part in key.split("."):
            entry = entry[part]
    assert list(panels.STATISTICS) == [*(field.name for field in dataclasses.fields(gate.Statistics)), "moved"]
    assert sorted(panels.GATES) == sorted(gi.SIDES["both"])


def test_a_gate_panel_takes_all_layers_of_any_model(of_all_tasks):
    panels = sections(of_all_tasks)["Gates"]
    logged = [
        f"gates/{layer}/{side}/{name}"
        for layer in (0, 11, 47)
        for side in gi.SIDES["both"]
        for name in (*(field.name for field in dataclasses.fields(gate.Statistics)), "moved")
    ]
    taken = [name for panel in panels for name in logged if re.search(panel["config"]["metricRegex"], name)]
    assert sorted(taken) == sorted(logged)
    assert all(panel["config"]["useMetricRegex"] for panel in panels)


def test_each_statistic_of_a_change_has_its_panel(of_all_tasks):
    """What a tiny model of each change tells, and no panel is of nothing."""
    found = sections(of_all_tasks)["Other changes"]
    patterns = [panel["config"]["metricRegex"] for panel in found]
    told = set()
    for name in changes.names():
        if name != GI:
            made = build(tiny_models.model_config("bert"), tiny_models.NONE, labels=["a", "b"], change={"name": name})
            for site in (sites := list(at_work(made))):
                site.watched = {}
            made.eval()(**tiny_models.make_batch("bert"))
            told |= {
                f"change/{site.place.layer}/{site.place.site}/{each}" for site in sites for each in site.watched or ()
            }
    assert len(told) > 40
    for metric in told:
        assert sum(re.search(pattern, metric) is not None for pattern in patterns) == 1, metric
    sites = [pattern for pattern in patterns if pattern.endswith("/moved$")]
    assert len(sites) == len(SITES)
    for pattern in {*patterns} - {*sites}:
        assert any(re.search(pattern, metric) for metric in told), pattern


def test_panels_do_not_overlap_and_have_ids_of_their_own(of_all_tasks):
    spec = of_all_tasks
    ids = [panel["__id__"] for panels in sections(spec).values() for panel in panels]
    for _, runsets, panels in grids(spec):
        places = [(panel["layout"]["x"], panel["layout"]["y"]) for panel in panels]
        assert len(set(places)) == len(places)
        assert {x for x, _ in places} <= {0, 8, 16}
        ids += [panel["__id__"] for panel in panels] + [runset["id"] for runset in runsets]
    assert len(set(ids)) == len(ids)


def test_halves_of_dev(written):
    spec = written("--tasks", "mnli", "--split-dev")
    assert shown(sections(spec)["MNLI"], "Bar Chart") == {
        "mnli/validation_matched_report/accuracy",
        "mnli/validation_mismatched/accuracy",
    }
    assert spec["report"]["title"] == "gifine: task mnli; half of dev"


def test_tasks_and_models_of_ones_own(written, command, tmp_path):
    for group in ("task", "model"):
        (tmp_path / group).mkdir()
    own = (cli.conf_dir() / "task" / "rte.yaml").read_text()
    (tmp_path / "task" / "mine.yaml").write_text(own.replace("name: rte", "name: mine").replace("title: RTE\n", ""))
    (tmp_path / "model" / "tiny.yaml").write_text("name: tiny\n")
    spec = written("--config-dir", str(tmp_path), "--tasks", "mine", "--models", "tiny")
    assert shown(sections(spec)["mine"], "Bar Chart") == {"mine/validation/accuracy"}
    (tmp_path / "task" / "mine.yaml").write_text("defaults: [nowhere]\n")
    code, _, err = command("me/gi", "--config-dir", str(tmp_path), "--tasks", "mine")
    assert (code, err.count("\n")) == (ExitCode.BAD_INPUT, 1)


@pytest.mark.parametrize("part", ["workspace", "report"])
def test_one_of_the_two(written, part):
    assert list(written("--only", part, "--tasks", "rte")) == [part]


def test_titles():
    assert chosen("rte").title == "gifine"
    assert chosen("rte", narrowed=True, groups=("a", "b")).title == "gifine: group a, b; task rte"
    assert chosen("rte", groups=(ODD,)).title == "gifine: group lr-0.1, it-s -3", "wandb takes = for an emoji"
    assert len(chosen("rte", groups=("long " * 40,)).title) == 128
    assert DEMO not in [task.name for task in chosen().tasks]
    assert [task.name for task in chosen(DEMO, "rte").tasks] == [DEMO, "rte"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["me/gi", "--tasks", "rte,colla"], "--tasks colla: no such name (did you mean 'cola'?); valid: cola, demo, "),
        (
            ["me/gi", "--tasks", "rte", "--models", "gpt"],
            "--models gpt: no such name; valid: bert, deberta, debertav2, debertav3, ",
        ),
        (
            ["gi", "--changes", "lara"],
            "--changes lara: no such name (did you mean 'lora'?); valid: added, clipped_softmax",
        ),
        (["gi", "--changes", "none"], "--changes none: no such name; valid: added, clipped_softmax"),
        (["me/team/gi"], "me/team/gi: give PROJECT or ENTITY/PROJECT"),
        (["me/"], "me/: give PROJECT or ENTITY/PROJECT"),
        (["/gi"], "/gi: give PROJECT or ENTITY/PROJECT"),
        ([], "the following arguments are required: PROJECT|ENTITY/PROJECT"),
        (["gi", "--only", "page"], "--only: invalid choice: 'page'"),
        (["gi", "--tasks", ","], "--tasks: ,: no names"),
        (["gi", "--config-dir", "/no/such"], "--config-dir /no/such: no such folder"),
        (
            ["gi", "--tasks", "rte", "--dry-run", "/no/such/spec.json"],
            "cannot write /no/such/spec.json: No such file or directory",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, words, said):
    code, _, err = command(*words)
    assert code == ExitCode.BAD_INPUT
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("package", ["wandb", "wandb_workspaces"])
def test_without_the_extra(command, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    code, _, err = command("me/gi", "--tasks", "rte", "--dry-run", "spec.json")
    assert code == ExitCode.BAD_INPUT
    assert err == f"error: {package} is not installed: pip install 'gifine[wandb]'\n"


def test_help_is_light():
    program = (
        "import sys\n"
        "from gifine.dashboard.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'wandb', 'wandb_workspaces', 'pydantic'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--dry-run FILE" in done.stdout


def test_a_dry_run_uses_no_network_and_no_login(tmp_path):
    """As a user starts it, where every connection fails; twice, for the same bytes."""
    program = (
        "import runpy, socket, sys\n"
        "def connect(*_):\n    raise AssertionError('a connection')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = connect\n"
        "runpy.run_module('gifine.dashboard', run_name='__main__', alter_sys=True)\n"
    )
    for number in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program, "gi", "--tasks", "rte,mrpc", "--dry-run", f"{number}.json"],
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path), "WANDB_API_KEY": KEY, "PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, f"written to {number}.json; nothing was sent\n", "")
    first, second = ((tmp_path / f"{number}.json").read_bytes() for number in "12")
    assert first == second
    assert json.loads(first)["workspace"]["entity"] == "", "the login's, which is not known"
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), f"{path} has the key"


def test_saving_sends_the_specs_and_says_where_they_are(server, command, written, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    code, out, err = command("gi", "--tasks", "rte")
    assert (code, err) == (ExitCode.DONE, "")
    (workspace,) = server.views("gi", fake_wandb_api.WORKSPACE)
    (report,) = server.views("gi", fake_wandb_api.REPORT)
    slug = workspace.name.removeprefix("nw-").removesuffix("-v")
    assert out.splitlines() == [
        f"workspace saved: {server.url}/me/gi?nw={slug}",
        f"report saved: {server.url}/me/gi/reports/gifine-task-rte--{report.id.rstrip('=')}",
    ]
    dry = written("--tasks", "rte")
    for view, name in ((workspace, "workspace"), (report, "report")):
        assert (view.title, view.spec) == ("gifine: task rte", dry[name]["spec"])
    assert workspace.name == dry["workspace"]["name"]


def test_saving_again_replaces_and_another_choice_adds(server, command, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    command("gi", "--tasks", "rte")
    before = [view.id for view in server.projects["gi"]]
    for view in server.projects["gi"]:
        view.spec["version"] = 99  # as the app of another day might leave it
    code, out, _ = command("me/gi", "--tasks", "rte")
    assert code == ExitCode.DONE
    assert [line.split(":")[0] for line in out.splitlines()] == ["workspace replaced", "report replaced"]
    assert [view.id for view in server.projects["gi"]] == before
    assert all(view.spec.get("version") != 99 for view in server.projects["gi"])
    command("gi", "--tasks", "mrpc")
    assert len(server.projects["gi"]) == 4


def test_a_login_without_an_entity_must_be_told_one(server, command, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(server, "entity", "")
    code, _, err = command("gi", "--tasks", "rte")
    assert (code, err) == (
        ExitCode.BAD_INPUT,
        "error: gi: the login has no default entity; give ENTITY/PROJECT\n",
    )


@pytest.mark.parametrize(
    ("words", "key", "said"),
    [
        (["gi"], None, "run `wandb login`, or set WANDB_API_KEY; --dry-run FILE needs neither server nor login"),
        (["gi"], "f" * 40, "run `wandb login`, or set WANDB_API_KEY; --dry-run FILE needs neither server nor login"),
        (["gi"], "short", "WANDB_API_KEY invalid"),
        (["nothing"], KEY, "me/nothing: no such project at http://127.0.0.1:"),
        (["nothing", "--only", "report"], KEY, "me/nothing: no such project at http://127.0.0.1:"),
        (["they/gi"], KEY, "they/gi: no such project at http://127.0.0.1:"),
    ],
)
def test_what_hinders_saving_is_one_line(server, command, monkeypatch, words, key, said):
    if key is not None:
        monkeypatch.setenv("WANDB_API_KEY", key)
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    code, out, err = command(*words, "--tasks", "rte")
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert key is None or key not in err
    assert server.projects == {"gi": []}


class Terminal:
    """Where wandb would ask for a key."""

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        raise AssertionError("nobody may be asked")


@pytest.mark.parametrize("operation", ["UpsertView2", "upsertView"])
def test_a_server_that_refuses_is_one_line(server, command, monkeypatch, operation):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    server.refused = operation
    code, _, err = command("gi", "--tasks", "rte")
    assert code == ExitCode.BAD_INPUT
    assert err.startswith("error: wandb did not take it (")
    assert "permission denied" in err
    assert err.count("\n") == 1


def test_a_server_out_of_reach_is_one_line_within_seconds(server, command, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("WANDB_BASE_URL", f"http://{place}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        clock = time.monotonic()
        code, _, err = command("gi", "--tasks", "rte")
    assert code == ExitCode.BAD_INPUT
    assert err.startswith(f"error: {place}: Connection refused; do this on a machine with internet; --dry-run FILE")
    assert err.count("\n") == 1
    assert time.monotonic() - clock < 20


@pytest.mark.integration
def test_saving_as_a_user_starts_it(server, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "gifine.dashboard", "gi", "--tasks", "rte"],
        cwd=tmp_path,
        env={**os.environ, "WANDB_API_KEY": KEY},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["workspace saved", "report saved"]
    assert len(server.projects["gi"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), f"{path} has the key"


def test_the_file_is_replaced_as_a_whole(written, tmp_path):
    (tmp_path / "spec.json").write_text("an older one")
    written("--tasks", "rte")
    assert [path.name for path in Path(tmp_path).iterdir()] == ["spec.json"]
