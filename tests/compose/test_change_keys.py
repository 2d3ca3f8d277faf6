"""`change=NAME` on a command line: whose keys there are, one change at a time, and files of one's own."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from gifine import cli, train
from gifine.choices import GateSide
from gifine.compose import conf_dir, grid, mistakes
from gifine.config import RunConfig
from gifine.errors import ConfigError, ExitCode, ModelError
from gifine.inputs import own_changes, sources
from gifine.runs import identity
from gifine.sweep import attempt

BASE = ["task=rte", "model=bert"]
MINE = """\
from gifine.changes import Parameter

SITES = ("key",)


def find_parameters(settings, place):
    return {"scale": Parameter((place.given,))}


def apply(settings, parameters, value, at):
    return value * (1 + parameters["scale"])
"""


def composed(*words: str, config_dir: Path | None = None) -> RunConfig:
    folder = None if config_dir is None else str(config_dir)
    return cli.config_from(cli.compose([*BASE, *words], folder), [*BASE, *words], folder)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder for --config-dir with a change."""
    (tmp_path / "change").mkdir()
    (tmp_path / "change" / "mine.py").write_text(MINE)
    (tmp_path / "change" / "mine.yaml").write_text("name: mine\n")
    return tmp_path


def test_gi_and_none_leave_a_run_what_it_was() -> None:
    assert composed("change=gi") == composed()
    assert composed("change=none") == composed("gi.side=none")
    assert identity.run_id(composed("change=none")) == identity.run_id(composed("gi=none", "gi.level=0.1"))
    assert composed().change == {"name": "gi"}
    assert composed("change=none").is_plain
    assert not composed().is_plain


def test_another_change_has_all_of_its_keys_and_no_gates() -> None:
    config = composed("change=lora", "change.rank=4")
    keys = {"layers": None, "sites": ["query", "value"], "rank": 4, "alpha": 16.0, "dropout": 0.0, "positions": True}
    assert config.change == {"name": "lora", **keys}
    assert config.gi.side is GateSide.none
    assert not config.is_plain
    assert identity.slug(config) == "rte_bert-large_lora-rank4_s42"
    assert identity.title(config) == "BERT lora-rank4 rte s42"
    assert identity.from_dict(identity.to_dict(config)).change == config.change


def test_each_key_decides_and_a_type_does_not() -> None:
    words = [[], ["change.rank=4"], ["change.layers=6"], ["change.sites=[query]"], ["change.dropout=0.1"]]
    ids = {identity.run_id(composed("change=lora", *each)) for each in words}
    assert len({*ids, identity.run_id(composed("change=ia3")), identity.run_id(composed())}) == len(words) + 2
    assert identity.run_id(composed("change=lora", "change.alpha=16")) in ids
    drawn = [composed("change=lora", "seeds.change=3"), composed("change=none", "seeds.change=3")]
    assert identity.run_id(drawn[0]) not in ids
    assert identity.run_id(drawn[1]) == identity.run_id(composed("change=none"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["change.rank=4"], "change.rank: change=gi has no such key; its keys are gi.side, gi.level, "),
        (["change=none", "change.rank=4"], "change.rank: change=none has no such key; another change is named by"),
        (["++change.name=lroa"], "change=lroa: no such change (did you mean 'lora'?); valid: added, "),
        (["++change.name=null"], "change.name=None: the name of a change; valid: added, "),
        (["change=clipped_softmax", "change.gamma=0.1"], "change.gamma=0.1: must be at most 0, since more would give"),
    ],
)
def test_what_is_wrong_is_said(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        composed(*words)
    assert str(caught.value).startswith(said)


def test_all_that_is_wrong_with_keys_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        composed("change=lora", "change.rnak=4", "change.rank=x")
    assert caught.value.problems == (
        "change.rank=x: Value 'x' of type 'str' could not be converted to Integer",
        "change.rnak: change=lora has no such key (did you mean 'rank'?); valid: layers, sites, rank, alpha, dropout, "
        "positions",
    )
    with pytest.raises(ConfigError) as caught:
        composed("change=lora", "change.rank=2000", "change.sites=[keys]", "change.layers=25", "train.epochs=0")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "change.sites=[keys]",
        "change.rank=2000",
        "change.layers=25",
        "train.epochs=0",
    ]


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[ExitCode, list[RunConfig]]:
    """The exit code of a command line, and the configs that would have been trained."""
    configs: list[RunConfig] = []
    monkeypatch.setattr(train, "run", lambda config: configs.append(config) or ExitCode.DONE)
    monkeypatch.setattr(sys, "argv", ["gifine", *words])
    return ExitCode(cli.main()), configs


@pytest.mark.parametrize(
    ("chosen", "words"), [("change=lora", ["gi.level=0.1", "gi.side=both"]), ("change=none", ["gi=key"])]
)
def test_two_changes_at_once(chosen: str, words: list[str], monkeypatch, capsys) -> None:
    code, started = call(monkeypatch, *BASE, chosen, *words)
    said = f"error: {', '.join(words)}: two changes at once, change=gi and {chosen}: leave one of them out\n"
    assert (code, started, capsys.readouterr().err) == (ExitCode.BAD_INPUT, [], said)


def test_a_sweep_of_names_that_are_none_is_one_message() -> None:
    with pytest.raises(ConfigError, match=r"change.name=\['a', 'b'\]: the name of a change; valid: added, "):
        grid.configs([[*BASE, "++change.name=[a,b]", f"seed={seed}"] for seed in (1, 2)])


def test_no_gates_are_no_second_change(monkeypatch) -> None:
    code, [config] = call(monkeypatch, *BASE, "change=head_scale", "gi=none")
    assert (code, config.change["name"]) == (ExitCode.DONE, "head_scale")


def test_in_a_sweep_keys_of_gi_are_for_its_runs() -> None:
    words = [*BASE, "change=gi,lora,none", "gi.level=0.1,0.3", "gi.side=key,none"]
    found = {run_id: identity.slug(cell.config) for run_id, cell in grid.distinct(grid.expand(words)).items()}
    assert sorted(found.values()) == [
        "rte_bert-large_key-0.1_s42",
        "rte_bert-large_key-0.3_s42",
        "rte_bert-large_lora_s42",
        "rte_bert-large_plain_s42",
    ]
    with pytest.raises(
        ConfigError, match=r"^gi.level=0.1, gi.level=0.3: two changes at once, change=gi and change=ia3"
    ):
        grid.expand([*BASE, "change=ia3,lora", "gi.level=0.1,0.3"])


@pytest.mark.long
def test_each_run_of_such_a_sweep_starts_after_another_task(monkeypatch) -> None:
    code, started = call(monkeypatch, "--multirun", *BASE, "change=gi,none", "gi.level=0.1", "first.task=mnli")
    assert code == ExitCode.DONE
    assert [(each.task.name, each.is_plain) for each in started] == [
        ("mnli", False),
        ("rte", False),
        ("mnli", True),
        ("rte", True),
    ]


def test_a_sweep_over_keys_is_as_each_of_its_runs() -> None:
    cells = grid.expand([*BASE, "change=lora", "change.rank=4,8", "change.sites=[query],[query,value]"])
    assert [cell.config for cell in cells] == [composed(*cell.overrides[2:]) for cell in cells]
    with pytest.raises(ConfigError, match=r"^change.rank=0: must be a whole number of at least 1$"):
        grid.expand([*BASE, "change=lora", "change.rank=4,0"])


def test_a_change_of_ones_own_is_found_beside_its_yaml(own: Path, monkeypatch) -> None:
    config = composed("change=mine", config_dir=own)
    assert config.change == {"name": "mine", "file": str(own / "change" / "mine.py"), "layers": None}
    monkeypatch.chdir(own)
    assert composed("change=mine", config_dir=Path()).change["file"] == config.change["file"]
    code, [started] = call(monkeypatch, *BASE, "--config-dir", str(own), "change=mine")
    assert (code, started.change) == (ExitCode.DONE, config.change)
    assert identity.slug(config) == "rte_bert-large_mine_s42"


def test_its_contents_decide_and_its_place_does_not(own: Path, tmp_path_factory) -> None:
    before = composed("change=mine", config_dir=own)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (own / "change").rename(elsewhere / "change")
    moved = composed("change=mine", config_dir=elsewhere)
    assert moved.change["file"] != before.change["file"]
    known = identity.run_id(moved)
    assert sources.files(moved) == {moved.change["file"]: sources.contents(moved)["change.file"]}
    (elsewhere / "change" / "mine.py").write_text(MINE.replace("1 +", "1 -"))
    assert identity.run_id(moved) != known
    (elsewhere / "change" / "mine.py").write_text(MINE)
    assert identity.run_id(moved) == known


def test_a_file_that_was_edited_since_its_run_was_submitted_is_refused(own: Path, capsys) -> None:
    config = composed("change=mine", config_dir=own)
    path = own / f"{identity.run_id(config)}.json"
    path.write_text(json.dumps(identity.to_dict(config)))
    (own / "change" / "mine.py").write_text(MINE.replace("1 +", "1 -"))
    assert attempt.main([str(path)]) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err == (
        f"error: {path} is the run {identity.run_id(config)} by this code and what its files hold now: "
        "one of them has changed since it was submitted; submit the sweep again\n"
    )


def test_while_a_run_is_under_way_its_file_may_be_edited(own: Path) -> None:
    file = own / "change" / "mine.py"
    with own_changes.held():
        before = own_changes.load("mine", str(file))
        file.write_text("def broken(:")
        assert own_changes.load("mine", str(file)) is before
    with pytest.raises(ModelError, match="line 1: SyntaxError"):
        own_changes.load("mine", str(file))


def test_an_error_in_it_is_told_before_time_is_spent(own: Path, monkeypatch, capsys) -> None:
    file = own / "change" / "mine.py"
    file.write_text(MINE.replace('"key"', '"keys"'))
    code, started = call(monkeypatch, *BASE, "--config-dir", str(own), "change=mine")
    said = f"error: {file}, line 3: 'keys': no such site (did you mean 'key'?); valid: query, key, "
    assert (code, started) == (ExitCode.BAD_INPUT, [])
    assert capsys.readouterr().err.startswith(said)
    with pytest.raises(ConfigError, match="line 3: 'keys': no such site") as caught:
        grid.expand([*BASE, "change=mine,none", "seed=1,2"], str(own))
    assert len(caught.value.problems) == 1


def test_a_yaml_without_a_file_and_a_name_that_is_taken(own: Path) -> None:
    (own / "change" / "other.yaml").write_text("name: others\n")
    with pytest.raises(ConfigError) as caught:
        composed("change=other", config_dir=own)
    said = str(caught.value)
    assert said.startswith("change=others: no such change; valid: added, ")
    assert said.endswith(f"wider; one's own would be others.py in {own / 'change'}")
    assert ", mine, " in said
    for name in ("lora", "gi", "none"):
        (own / "change" / f"{name}.py").write_text(MINE)
        with pytest.raises(ConfigError, match=rf"{name}.py: change={name} comes with gifine; give yours another name"):
            composed(f"change={name}", config_dir=own)


def test_a_yaml_that_would_not_be_read_is_refused(own: Path) -> None:
    grid.check_config_dir(str(own))
    mine, known = own / "change" / "lora.yaml", conf_dir.conf_dir() / "change" / "lora.yaml"
    mine.write_bytes(known.read_bytes())
    grid.check_config_dir(str(own))
    mine.write_text("name: lora\nrank: 3\n")
    with pytest.raises(ConfigError, match=r"lora\.yaml: gifine comes with one of this name, which is read instead"):
        grid.check_config_dir(str(own))


def test_a_packages_yaml_that_would_not_be_read_is_refused(own: Path, monkeypatch) -> None:
    (own / "change" / "lora.yaml").write_text("name: lora\nrank: 3\n")
    monkeypatch.setattr(conf_dir, "package_dirs", lambda: [own])
    with pytest.raises(ConfigError, match=r"lora\.yaml: gifine comes with one of this name, which is read instead"):
        grid.check_config_dir(None)


def test_a_file_without_its_yaml_is_named(own: Path) -> None:
    (own / "change" / "mine.yaml").unlink()
    file = own / "change" / "mine.py"
    said = f"change=mine: no such choice ({file} has no mine.yaml beside it, with a line `name: mine`)"
    (problem,) = mistakes.explain([*BASE, "change=mine"], str(own), multirun=False)
    assert problem.startswith(said)


def test_who_waits_for_a_file_is_told_which(own: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(own_changes, "_LONG", 0.01)
    file = own / "change" / "mine.py"
    file.write_text(f"import time\ntime.sleep(0.2)\n{MINE}")
    composed("change=mine", config_dir=own)
    assert [each.getMessage().split(":")[0] for each in caplog.records] == [str(file)]


def test_two_folders_with_a_change_of_one_name(own: Path, tmp_path_factory, monkeypatch) -> None:
    package = tmp_path_factory.mktemp("package")
    shutil.copytree(own / "change", package / "change")
    monkeypatch.setattr(conf_dir, "package_dirs", lambda: [package])
    assert composed("change=mine", config_dir=own).change["file"] == str(own / "change" / "mine.py")
    (package / "change" / "mine.py").write_text(MINE.replace("1 +", "1 -"))
    files = f"{own / 'change' / 'mine.py'} and {package / 'change' / 'mine.py'}"
    with pytest.raises(ConfigError, match=f"^change=mine: {files} differ; give one of them another name$"):
        composed("change=mine", config_dir=own)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("lora", "change.file={file}: change=lora comes with gifine; give yours another name"),
        ("../x", "change.name=../x: a name has letters, digits, _ and -, and no others"),
    ],
)
def test_a_file_cannot_go_by_any_name(own: Path, name: str, said: str) -> None:
    file = own / "change" / "mine.py"
    with pytest.raises(ConfigError) as caught:
        composed(f"++change.name={name}", f"++change.file={file}")
    assert str(caught.value) == said.format(file=file)


def test_a_yaml_without_a_name_is_not_gi(own: Path) -> None:
    (own / "change" / "mine.yaml").write_text("layers: 1\n")
    with pytest.raises(
        ConfigError, match=r"^change.name: has no value; choose change=added.*or write name: NAME into a"
    ):
        composed("change=mine", config_dir=own)


def test_an_unknown_choice_says_where_ones_own_would_be(own: Path) -> None:
    for folder, place in ((None, "a folder that --config-dir names"), (str(own), str(own))):
        problems = mistakes.explain(["change=focus"], folder, multirun=False)
        assert problems[0].endswith(f"; one's own would be change/focus.yaml in {place}")


def test_a_yaml_of_ones_own_may_be_for_a_change_that_comes_with_gifine(own: Path) -> None:
    (own / "change" / "thin.yaml").write_text("name: lora\nrank: 2\n")
    assert composed("change=thin", config_dir=own).change == composed("change=lora", "change.rank=2").change


def test_an_installed_package_may_bring_changes(own: Path, tmp_path_factory, monkeypatch) -> None:
    site = tmp_path_factory.mktemp("site")
    (site / "a_package_of_changes").mkdir()
    (site / "a_package_of_changes" / "__init__.py").write_text("raise RuntimeError('nothing needs it')\n")
    own.rename(site / "a_package_of_changes" / "conf")
    monkeypatch.syspath_prepend(site)
    installed = site / "a_package_of_changes-1.0.dist-info"  # as pip leaves it
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: a-package-of-changes\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[gifine.conf]\nmine = a_package_of_changes.conf\n")
    conf_dir.package_dirs.cache_clear()
    try:
        file = site / "a_package_of_changes" / "conf" / "change" / "mine.py"
        assert composed("change=mine").change["file"] == str(file)
        code, [started] = call(monkeypatch, *BASE, "change=mine")
        assert (code, started.change["file"]) == (ExitCode.DONE, str(file))
    finally:
        conf_dir.package_dirs.cache_clear()
