"""Prefetching: each thing is fetched once; runs from the folder equal those from the Hub; else, what is said."""

from __future__ import annotations

import errno
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from filelock import FileLock

from conftest import TINY_DEMO, TINY_MODEL, tiny_bert
from gifine import cli, evaluate, predict, prefetch
from gifine.compose import grid
from gifine.errors import ConfigError, DataError, ExitCode, PrefetchError
from gifine.inputs import demo, hub, needs, offline
from support.fake_hub import Hub, Repo

ROWS = {"train": 32, "validation": 24, "test": 8}
BERT = ["task=cola", "model=bert", "train.max_length=32"]
CHECKPOINTS = "model.checkpoint=tiny/bert,tiny/pickled"
RTE = "index\tsentence1\tsentence2\tlabel\n0\ta dog sleeps\ta dog\tentailment\n1\ta dog\ta cat\tnot_entailment\n"
OFFICIAL = ["task=rte", "data=glue_dir", *(word for word in TINY_DEMO if word.split("=")[0] not in ("task", "data"))]
OFFICIAL = [word for word in OFFICIAL if not word.startswith("data.demo")]


def cola() -> dict[str, bytes]:
    """A dataset in the layout of nyu-mll/glue, of our own sentences."""
    files = {}
    for split, number in ROWS.items():
        rows = demo.generate(split, number, seed=0)
        table = pa.table(
            {
                "sentence": [row["sentence"] for row in rows],
                "label": pa.array([row["label"] for row in rows], pa.int64()),
                "idx": pa.array(range(number), pa.int32()),
            }
        )
        content = io.BytesIO()
        pyarrow.parquet.write_table(table, content)
        files[f"cola/{split}-00000-of-00001.parquet"] = content.getvalue()
    names = {"class_label": {"names": {"0": "unacceptable", "1": "acceptable"}}}
    features = [
        {"name": "sentence", "dtype": "string"},
        {"name": "label", "dtype": names},
        {"name": "idx", "dtype": "int32"},
    ]
    card = {  # JSON is YAML
        "configs": [
            {"config_name": "cola", "data_files": [{"split": split, "path": f"cola/{split}-*"} for split in ROWS]}
        ],
        "dataset_info": [
            {
                "config_name": "cola",
                "features": features,
                "splits": [{"name": split, "num_bytes": 1, "num_examples": number} for split, number in ROWS.items()],
            }
        ],
    }
    return {"README.md": f"---\n{json.dumps(card)}\n---\n".encode(), **files}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("prefetch")


@pytest.fixture(scope="module")
def server(place):
    """A Hub with three checkpoints, of which one has its safetensors in a pull request only, as DeBERTa's have."""
    server = Hub()
    bert, late = tiny_bert(place / "bert", seed=0), tiny_bert(place / "late", seed=1)
    pickled = {name: content for name, content in late.items() if name != "model.safetensors"}
    pull = {"title": "Adding `safetensors` variant of this model", "num": 1, "status": "open", "isPullRequest": True}
    pull |= {"author": {"name": "SFconvertbot"}, "createdAt": "2024-01-01T00:00:00.000Z"}
    pull |= {"repo": {"name": "tiny/pickled", "type": "model"}}
    server.repos = {
        "models/tiny/bert": Repo({"main": bert | {"pytorch_model.bin": b"pickled", "flax_model.msgpack": b"flax"}}),
        "models/tiny/pickled": Repo({"main": pickled, "refs/pr/1": late}, [pull]),
        "models/tiny/late": Repo({"main": late}),
        "datasets/nyu-mll/glue": Repo({"main": cola()}),
    }
    with server.running():
        yield server


@pytest.fixture(scope="module")
def shell(server, place):
    """Call a command with the Hub at `server`, or without any."""

    def call(*words: str | Path, offline: bool = False) -> subprocess.CompletedProcess[str]:
        # Nothing listens at port 9 of this machine, so that "offline" is refused at once rather than in a minute.
        own = {"HF_ENDPOINT": "http://127.0.0.1:9" if offline else server.url, "HF_HUB_OFFLINE": "0"}
        homes = {"HF_HOME": str(place / ("nowhere" if offline else "home")), "XDG_CACHE_HOME": str(place / "cache")}
        return subprocess.run(
            [sys.executable, "-m", *map(str, words)],
            cwd=place,
            env={**os.environ, **own, **homes, "NO_PROXY": "*"},
            capture_output=True,
            text=True,
            check=False,
            timeout=250,
        )

    return call


@pytest.fixture
def command(monkeypatch, tmp_path, capsys):
    """Call the prefetch command in this process, without the Hub; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        return prefetch.main(words), *capsys.readouterr()

    return call


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its time of change and size."""
    paths = [folder, *folder.rglob("*")]
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in paths}


def records_below(folder: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(folder.glob("*/record.json"))}


@pytest.fixture(scope="module")
def filled(shell, server, place) -> tuple[Path, str]:
    """The folder that one command filled for two thousand runs, and what the command said."""
    server.requests.clear()
    done = shell("gifine.prefetch", f"prefetch={place / 'pre'}", *BERT, CHECKPOINTS, "seed=range(0,1000)")
    assert done.returncode == 0, done.stderr
    return place / "pre", done.stdout


@pytest.mark.integration
@pytest.mark.xdist_group("prefetch")
def test_two_thousand_runs_fetch_each_thing_once(filled, server):
    folder, said = filled
    assert said.startswith("runs: 2000; they share: repositories 2, splits of Hub datasets 3, ")
    assert f"  python -m gifine --multirun prefetch={folder} task=cola" in said
    fetched = [request for request in server.requests if request.startswith("GET") and "/resolve/" in request]
    assert len(set(fetched)) == len(fetched)
    names = [request.rpartition("/")[2] for request in fetched]
    assert names.count("model.safetensors") == 2
    assert not {"pytorch_model.bin", "flax_model.msgpack"} & set(names)
    manifest = offline.read(folder)
    assert {name: snapshot.weights for name, snapshot in manifest.models.items()} == {
        "tiny/bert@main": True,
        "tiny/pickled@main": True,
    }
    assert manifest.models["tiny/bert@main"].commit == server.repos["models/tiny/bert"].commit("main")
    assert sorted(manifest.datasets.values()) == sorted(ROWS.values())
    assert not (folder / prefetch.SCRATCH).exists()


@pytest.mark.integration
@pytest.mark.xdist_group("prefetch")
def test_what_is_there_is_not_fetched_again(filled, shell, server):
    folder, _ = filled
    server.requests.clear()
    done = shell("gifine.prefetch", f"prefetch={folder}", *BERT, CHECKPOINTS)
    assert done.returncode == 0, done.stderr
    assert server.requests == []


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.xdist_group("prefetch")
def test_xlnets_tokenizer_is_cut_by_its_model_there_too(shared, shell, server, train, place, tmp_path):
    own = shared / "tokenizers" / "xlnet-base-cased"
    files = {path.name: path.read_bytes() for path in own.iterdir() if path.is_file()}
    server.repos["models/tiny/xlnet"] = Repo({"main": files})
    words = ["task=cola", "model=xlnet", *TINY_MODEL, "train.max_length=32", "train.epochs=1"]
    words += ["data=glue_dir", f"data.dir={shared / 'glue'}", "data.allow_partial=true"]
    words += ["data.max_train_rows=16", "data.max_eval_rows=16", "model.tokenizer=tiny/xlnet", f"prefetch={tmp_path}"]
    done = shell("gifine.prefetch", *words)
    assert done.returncode == 0, done.stderr
    away = shell("gifine", *words, f"output_dir={place / 'xlnet'}", offline=True)
    assert away.returncode == 0, away.stderr
    record = json.loads((place / "xlnet" / "record.json").read_text())
    beside = train(*words[:-2], f"model.tokenizer={own}")
    assert record["metrics"] == beside.record.metrics
    assert record["provenance"]["tokenizer"] == beside.record.provenance["tokenizer"]


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.xdist_group("prefetch")
def test_a_run_from_the_folder_is_the_run_from_the_hub(filled, shell, place, server):
    folder, _ = filled
    small = [*BERT, CHECKPOINTS, "train.device=cpu", "train.epochs=1", "train.learning_rate=1e-2"]
    direct = shell("gifine", "--multirun", *small, "output_root=direct")
    assert direct.returncode == 0, direct.stderr
    before = tree(folder)
    away = shell("gifine", "--multirun", *small, "output_root=away", f"prefetch={folder}", offline=True)
    assert away.returncode == 0, away.stderr
    assert tree(folder) == before, "the folder may be mounted read-only"
    assert not (place / "nowhere").exists(), "nothing may look for the Hub's cache"

    ours, theirs = records_below(place / "away"), records_below(place / "direct")
    assert list(ours) == list(theirs)  # slug and run_id
    assert len(ours) == 2
    for name, record in ours.items():
        assert record["metrics"] == theirs[name]["metrics"]
        for key in ("data", "checkpoint_commit", "weights", "tokenizer"):
            assert record["provenance"][key] == theirs[name]["provenance"][key]
            assert record["provenance"][key]
        tables = [
            pyarrow.parquet.read_table(place / root / name / "predictions-validation.parquet")
            for root in ("away", "direct")
        ]
        assert tables[0].equals(tables[1])

    server.requests.clear()
    again = shell("gifine", "--multirun", *small, "output_root=direct")
    assert (again.returncode, again.stderr.count(" already (overwrite=true runs it again)")) == (0, 2), again.stderr
    assert "not compared" not in again.stderr
    assert server.requests == [], "data are compared with those in the Hub's local cache"


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.xdist_group("prefetch")
def test_what_is_trained_over_prefetched_weights_finds_them_again(filled, shell, place):
    """Without a Hub: evaluated, and started from by a run that is given the prefetched folder, too."""
    folder, _ = filled
    small = [*BERT, "train.device=cpu", "train.max_steps=2", "train.save_model=true", f"prefetch={folder}"]
    first = ["model.checkpoint=tiny/bert", "train.parameters=change", "output_root=frozen"]
    done = shell("gifine", *small, *first, offline=True)
    assert done.returncode == 0, done.stderr
    (run,) = (place / "frozen").iterdir()
    over = json.loads((run / "model" / "config.json").read_text())["trained_over"]
    assert over["checkpoint"] == "tiny/bert", "and not where it was prefetched to"
    assert over["commit"] == offline.read(folder).models["tiny/bert@main"].commit
    evaluated = shell("gifine.evaluate", run, offline=True)
    assert evaluated.returncode == 0, evaluated.stderr
    then = shell("gifine", *small, f"model.init_from={run}", "output_root=then", "seed=1", offline=True)
    assert then.returncode == 0, then.stderr
    elsewhere = shell("gifine", "export", run, "--out", place / "whole", "--full", offline=True)
    assert elsewhere.returncode == 0, elsewhere.stderr
    (run / "model" / "config.json").write_text(
        (run / "model" / "config.json").read_text().replace(next(iter(over["sha256"].values())), "0" * 64)
    )
    other = shell("gifine.evaluate", run, offline=True)
    assert other.returncode == ExitCode.BAD_INPUT
    assert "was trained over other weights" in other.stderr


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.xdist_group("prefetch")
@pytest.mark.usefixtures("filled")
def test_a_model_on_the_hub_is_loaded_over_its_base_there(shell, server, place):
    run = ["train.device=cpu", "train.max_steps=1", "train.save_model=true", "train.parameters=change"]
    done = shell("gifine", *BERT, *run, "model.checkpoint=tiny/bert", "output_root=shared")
    assert done.returncode == 0, done.stderr
    (made,) = (place / "shared").iterdir()
    files = {path.name: path.read_bytes() for path in (made / "model").iterdir() if path.name != "training_args.bin"}
    server.repos["models/tiny/gates"] = Repo({"main": files})
    load = "import gifine.models; from transformers import AutoModelForSequenceClassification as A"
    code = f"{load}; print(type(A.from_pretrained('tiny/gates')).__name__)"
    own = {"HF_ENDPOINT": server.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(place / "another"), "NO_PROXY": "*"}
    loaded = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **own}, capture_output=True, text=True, check=False
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.strip() == "GiBertForSequenceClassification"


@pytest.mark.long
@pytest.mark.integration
@pytest.mark.xdist_group("prefetch")
def test_an_interrupted_download_is_not_taken_for_whole(shell, server, place):
    """First the tokenizer alone, then a broken download of the weights, then whole ones, of the tokenizer's commit."""
    folder = place / "late-prefetch"
    words = [*BERT, "model.checkpoint=tiny/late"]
    assert shell("gifine.prefetch", f"prefetch={folder}", *words, "model.random_init=true").returncode == 0
    assert not offline.read(folder).models["tiny/late@main"].weights
    repo = server.repos["models/tiny/late"]
    first = repo.commit("main")
    repo.branches = {"main": repo.branches["main"] | {"config.json": b"{}"}, "old": repo.branches["main"]}

    server.broken.add("model.safetensors")
    broken = shell("gifine.prefetch", f"prefetch={folder}", *words)
    assert broken.returncode == ExitCode.BAD_INPUT
    assert broken.stderr.splitlines()[-1].startswith("error: tiny/late@main: Hub not reachable")
    assert "Traceback" not in broken.stderr
    config = cli.config_from(cli.compose([*words, f"prefetch={folder}"]))
    store = offline.open_folder(config)
    assert store is not None
    with pytest.raises(PrefetchError, match="lacks the weights of tiny/late@main"):
        store.redirect(config)

    server.broken.clear()
    assert shell("gifine.prefetch", f"prefetch={folder}", *words).returncode == 0
    snapshot = offline.read(folder).models["tiny/late@main"]
    assert (snapshot.weights, snapshot.commit) == (True, first)

    weights = folder / snapshot.folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])  # a copy that broke off
    assert shell("gifine.prefetch", f"prefetch={folder}", *words).returncode == 0
    assert weights.read_bytes() == whole


@pytest.mark.integration
@pytest.mark.xdist_group("prefetch")
@pytest.mark.parametrize(
    ("words", "without_hub", "said"),
    [
        (["model.checkpoint=tiny/bert"], True, "error: tiny/bert@main: Hub not reachable: "),
        (
            ["model.random_init=true", "model.tokenizer=demo"],
            True,
            "error: nyu-mll/glue/cola/train: Hub not reachable: ",
        ),
        (["model.checkpoint=tiny/none"], False, "error: tiny/none@main: the Hub has no such repository or revision"),
    ],
)
def test_a_hub_without_answer_is_one_message(shell, place, words, without_hub, said):
    done = shell("gifine.prefetch", f"prefetch={place / 'empty'}", *BERT, *words, offline=without_hub)
    assert done.returncode == ExitCode.BAD_INPUT
    assert done.stderr.splitlines()[-1].startswith(said)
    assert "Traceback" not in done.stderr
    assert not (place / "empty" / offline.MANIFEST).exists()


def test_official_files_are_copied_and_the_run_is_the_same(command, train, tmp_path):
    source = tmp_path / "glue" / "RTE"
    source.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (source / name).write_text(RTE)
    direct = train(*OFFICIAL, f"data.dir={tmp_path / 'glue'}", "output_root=direct")
    code, out, err = command("prefetch=pre", *OFFICIAL, "data.dir=glue", "gi.side=none,both")
    assert (code, err.count("file RTE/")) == (0, 2)
    assert "2 official files" in out
    shutil.rmtree(tmp_path / "glue")

    before = tree(tmp_path / "pre")
    away = train(*OFFICIAL, f"prefetch={tmp_path / 'pre'}", "output_root=away", "data.cache_dir=/no/such/place")
    assert tree(tmp_path / "pre") == before
    assert away.record.run_id == direct.record.run_id
    assert away.record.metrics == direct.record.metrics
    assert away.record.provenance["data"] == direct.record.provenance["data"]

    again = [*OFFICIAL, f"prefetch={tmp_path / 'pre'}", "output_root=away"]
    assert train(*again).record == away.record
    dev = tmp_path / "pre" / "glue" / "RTE" / "dev.tsv"
    dev.write_text(RTE.replace("a cat", "a cow"))
    with pytest.raises(DataError, match=rf"validation \({dev}: fingerprint \w+, now \w+\)"):
        train(*again)


def test_the_test_set_is_predicted_from_the_folder(command, train, tmp_path, capsys):
    source = tmp_path / "glue" / "RTE"
    source.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (source / name).write_text(RTE)
    unlabelled = [line.rpartition("\t")[0] for line in RTE.splitlines()]
    (source / "test.tsv").write_text("\n".join(unlabelled) + "\n")
    assert command(f"prefetch={tmp_path / 'pre'}", *OFFICIAL, "data.dir=glue")[0] == 0
    shutil.rmtree(tmp_path / "glue")
    run = train(*OFFICIAL, f"prefetch={tmp_path / 'pre'}", "train.save_model=true")
    before = tree(tmp_path / "pre")
    assert evaluate.main([str(run.folder)]) == 0
    assert "same as the record" in capsys.readouterr().out
    assert predict.main([str(run.folder)]) == 0
    assert tree(tmp_path / "pre") == before
    lines = (run.folder / "submission" / "RTE.tsv").read_text().splitlines()
    assert len(lines) == len(unlabelled)


def test_an_edited_official_file_is_copied_again(command, tmp_path):
    source = tmp_path / "glue" / "RTE"
    source.mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (source / name).write_text(RTE)
    words = ["prefetch=pre", *OFFICIAL, "data.dir=glue"]
    assert command(*words)[0] == 0
    edited = RTE.replace("a cat", "a cow")
    (source / "dev.tsv").write_text(edited)
    code, _, err = command(*words)
    assert (code, err.count("file RTE/")) == (0, 1)
    assert (tmp_path / "pre" / "glue" / "RTE" / "dev.tsv").read_text() == edited


def test_what_is_missing_is_said_with_the_command_that_brings_it(command, train, tmp_path):
    small = ["train.epochs=1"]
    assert command(f"prefetch={tmp_path / 'pre'}", *TINY_DEMO)[0] == 0
    with pytest.raises(PrefetchError, match="lacks the tokens of task=demo, train") as error:
        train(*TINY_DEMO, *small, f"prefetch={tmp_path / 'pre'}", "train.max_length=24")
    message = str(error.value)
    assert "\n" not in message
    said = shlex.split(message.partition("on a machine with internet: ")[2])
    assert said[:3] == ["python", "-m", "gifine.prefetch"]
    assert command(*said[3:])[0] == 0
    train(*TINY_DEMO, *small, f"prefetch={tmp_path / 'pre'}", "train.max_length=24")


def test_the_command_says_how_quotes_are_read(tmp_path):
    """It is part of what the tokens are known by."""
    offline.write(tmp_path, offline.Manifest())
    (tmp_path / "rows.tsv").touch()
    files = [f"task.files.{split}={tmp_path}/rows.tsv" for split in ("train", "validation")]
    words = ["task=cola", f"prefetch={tmp_path}", *files, "task.files.quoting=none"]
    folder = offline.open_folder(cli.config_from(cli.compose(words)))
    assert folder is not None
    assert "task.files.quoting=none" in str(folder.lacks("tokens"))


def test_everything_missing_is_said_at_once(command, tmp_path):
    assert command("prefetch=pre", *TINY_DEMO)[0] == 0
    config = cli.config_from(cli.compose(["prefetch=pre", "task=mnli", "model=debertav3"]))
    store = offline.open_folder(config)
    assert store is not None
    with pytest.raises(PrefetchError) as error:
        store.redirect(config)
    for part in ("the weights of microsoft/deberta-v3-large@main", "nyu-mll/glue/mnli/validation_mismatched"):
        assert part in str(error.value)
    said = shlex.split(str(error.value).partition("on a machine with internet: ")[2])[3:]
    (again,) = cli.configs([[word for word in said if not word.startswith("prefetch=")]])
    assert needs.collect([again]).repositories == needs.collect([config]).repositories
    assert needs.collect([again]).splits[:3] == needs.collect([config]).splits[:3]


def test_a_file_of_another_size_does_not_count(tmp_path):
    repository = needs.Repository("tiny/bert")
    (tmp_path / "hub" / "model.safetensors").parent.mkdir()
    (tmp_path / "hub" / "model.safetensors").write_bytes(b"1234")
    snapshot = offline.Snapshot("c0ffee", "hub", {"model.safetensors": 4}, weights=True)
    store = offline.Folder(tmp_path, offline.Manifest(models={str(repository): snapshot}))
    assert store.has(repository, weights=True)
    (tmp_path / "hub" / "model.safetensors").write_bytes(b"123")
    assert not store.has(repository, weights=True)


def test_tokens_left_by_a_killed_process_are_cleared(command, tmp_path):
    left = tmp_path / "pre" / "tokenised" / ".demo-train-0.4711"
    left.mkdir(parents=True)
    assert command("prefetch=pre", *TINY_DEMO)[0] == 0
    assert not left.exists()


def test_a_full_disk_is_one_message(command, monkeypatch):
    def snapshot_download(*_: object, **__: object) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "blob")

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    code, _, err = command("prefetch=pre", *BERT, "model.checkpoint=tiny/bert")
    assert code == ExitCode.BAD_INPUT
    assert err.splitlines()[-1] == "error: tiny/bert@main: cannot be written: No space left on device (blob)"


def test_ctrl_c_leaves_nothing_that_looks_whole(command, monkeypatch, tmp_path):
    def snapshot_download(*_: object, **__: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    code, _, err = command("prefetch=pre", *BERT, "model.checkpoint=tiny/bert")
    assert (code, err.splitlines()[-1]) == (ExitCode.INTERRUPTED, "interrupted")
    assert [path.name for path in (tmp_path / "pre").iterdir()] == [prefetch.LOCK]


def test_official_files_of_two_folders_are_not_mixed(command, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder / "RTE").mkdir(parents=True)
        for name in ("train.tsv", "dev.tsv"):
            (tmp_path / folder / "RTE" / name).write_text(RTE)
    code, _, err = command("prefetch=pre", *OFFICIAL, "data.dir=one,two")
    assert (code, "one/RTE/train.tsv and two/RTE/train.tsv: one prefetched folder" in err) == (ExitCode.BAD_INPUT, True)


def test_folders_that_cannot_be_filled_are_refused(command, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    (tmp_path / "busy").mkdir()
    with FileLock(tmp_path / "busy" / prefetch.LOCK):
        answers = [command(f"prefetch={name}", *TINY_DEMO) for name in ("file/below", "thesis", "busy")]
    assert [code for code, _, _ in answers] == [ExitCode.BAD_INPUT] * 3
    for (_, _, err), said in zip(
        answers,
        (
            "cannot write to file/below: Not a directory",
            "thesis holds other things (chapter.tex)",
            "another process",
        ),
        strict=True,
    ):
        assert said in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["task=cola"], "error: give prefetch=FOLDER, the folder to fill"),
        (["prefetch=a,b"], "error: prefetch=a,b: give one folder"),
        (["prefetch="], "error: prefetch=: give one folder"),
        (["prefetch=pre", "seed=interval(0,1)"], "seed=interval(0,1): "),
        (["prefetch=pre", "task=colla", "gi.level=30"], "task=colla: no such choice (did you mean 'cola'?)"),
        (["prefetch=pre", "model=bert,bret"], "model=bret: no such choice"),
        (["prefetch=pre", "task=rte", "data=glue_dir", "data.dir=."], "no file RTE/train.tsv"),
        (["prefetch=pre", "--config-dir", "/no/such"], "--config-dir /no/such: no such folder"),
    ],
)
def test_wrong_input_is_one_message(command, tmp_path, words, said):
    code, _, err = command(*words)
    assert code == ExitCode.BAD_INPUT
    assert said in err
    assert not (tmp_path / "pre").exists()


def test_a_run_says_that_the_folder_is_none(tmp_path):
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / offline.MANIFEST).write_text('{"schema_version": 99, "gifine": "9.0"}')
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / offline.MANIFEST).write_text("{")
    for folder, said in (
        (tmp_path / "none", "no such folder; python -m gifine.prefetch makes and fills it"),
        (tmp_path, "no prefetched folder, it has no manifest.json"),
        (tmp_path / "newer", "made by gifine 9.0, newer than this"),
        (tmp_path / "damaged", "its manifest.json cannot be read"),
    ):
        with pytest.raises(ConfigError) as error:
            cli.config_from(cli.compose([f"prefetch={folder}"]))
        assert f"prefetch={folder}: {said}" in str(error.value)


def test_the_sweep_of_an_experiment_is_expanded(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "grid.yaml").write_text(
        "# @package _global_\nhydra:\n  sweeper:\n    params:\n      task: cola,rte\n      model: bert,roberta\n"
        "      seed: range(0,500)\n"
    )
    runs = grid.expand(["experiment=grid"], str(tmp_path))
    assert len(runs) == 2000
    wanted = needs.collect(run.config for run in runs)
    assert set(wanted.repositories) == {
        needs.Repository("google-bert/bert-large-uncased"),
        needs.Repository("FacebookAI/roberta-large"),
    }
    assert len(wanted.splits) == 6  # the test splits, too
    assert len(wanted.configs) == 4
    assert len(grid.expand(["experiment=grid", "task=mrpc", "seed=1"], str(tmp_path))) == 2  # as Hydra does it


@pytest.mark.parametrize(
    ("word", "same"),
    [
        ("seed=7", True),
        ("gi=none", True),
        ("gi.level=0.9", True),
        ("gi.layers=2", True),
        ("evaluate.invariance=true", True),
        ("train.epochs=1", True),
        ("train=original", False),  # another max_length
        ("model.size=base", False),
        ("task=cola", False),
    ],
)
def test_runs_share_what_is_fetched_unless_it_differs(word, same):
    wanted = needs.collect(cli.configs([["task=rte", "model=bert"], ["task=rte", "model=bert", word]]))
    assert (len(wanted.configs) == 1) == same


def test_folders_and_packages_stay_where_they_are(tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "model.safetensors").touch()
    words = ["model=bert", f"model.checkpoint={tmp_path / 'own'}", f"model.tokenizer={tmp_path / 'own'}", "task=cola"]
    assert needs.collect(cli.configs([words])).repositories == {}


def test_help_is_light():
    program = (
        "import sys\n"
        "from gifine import prefetch\n"
        "try:\n    prefetch.main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'datasets', 'huggingface_hub'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "prefetch=FOLDER" in done.stdout
