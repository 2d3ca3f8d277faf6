"""Corpora from text to rows: what is held out, what is left out, what a corpus is known by, what is refused."""

from __future__ import annotations

import gc
import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import pytest

from gifine import cli, prefetch
from gifine.config import RunConfig
from gifine.errors import DataError, PrefetchError
from gifine.inputs import corpora, dataset, demo, hub, needs, sources
from gifine.inputs.corpora import documents, packing
from gifine.inputs.dataset import Reader
from gifine.objectives import classification
from gifine.runs import identity

TOKENIZER = demo.tokenizer()


@pytest.fixture
def config(tmp_path):
    """A config of task=mlm, as composed; its cache is the test's own."""

    def compose(*words: str) -> RunConfig:
        cache = f"data.cache_dir={tmp_path / 'cache'}"
        model = ["model=bert", "model.random_init=true", "model.tokenizer=demo"]
        return cli.config_from(cli.compose(["task=mlm", "train.max_length=32", cache, *model, *words]))

    return compose


def written(folder: Path, texts: list[str], name: str = "a.txt") -> Path:
    """A .txt of documents, a line each."""
    path = folder / name
    path.write_text("\n\n".join(texts), encoding="utf-8")
    return path


def as_read(text: str) -> str:
    """What the demo's tokenizer makes of it."""
    return str(TOKENIZER.decode(TOKENIZER(text)["input_ids"], skip_special_tokens=True))


def sentences(rows: datasets.Dataset) -> list[str]:
    return [str(TOKENIZER.decode(row, skip_special_tokens=True)) for row in rows["input_ids"][:]]


def tokens(texts: list[str]) -> str:
    """The ids of a document in words, to be looked for in `tokens_of`."""
    return "".join(f" {number}" for number in TOKENIZER(" ".join(texts), add_special_tokens=False)["input_ids"])


def tokens_of(rows: datasets.Dataset) -> str:
    return "".join(f" {number}" for row in rows["input_ids"][:] for number in row[1:-1])


TEXTS = [str(row["sentence"]) for row in demo.generate("train", 600, 3)]
READ = [as_read(text) for text in TEXTS]


def test_each_document_is_trained_on_or_held_out_by_its_own_words(tmp_path, config):
    path = written(tmp_path, TEXTS)
    splits = corpora.load(config(f"data.files=[{path}]", "data.held_out=0.1"), TOKENIZER)
    train, held_out = (sentences(splits[name].examples) for name in ("train", "validation"))
    assert sorted(train + held_out) == sorted(READ)
    assert 600 * 0.1 - 5 * 7.4 < len(held_out) < 600 * 0.1 + 5 * 7.4  # five standard deviations of a binomial
    told = [split.told for split in splits.values()]
    assert [each["documents"] for each in told] == [len(train), len(held_out)]
    tokens = sum(len(TOKENIZER(text, add_special_tokens=False)["input_ids"]) for text in TEXTS)
    assert sum(each["tokens"] for each in told) == tokens
    # Twice the documents, in another order: all stay where they were.
    path = written(tmp_path, [*reversed(TEXTS), *TEXTS], "b.txt")
    again = corpora.load(config(f"data.files=[{path}]", "data.held_out=0.1"), TOKENIZER)
    assert sorted(sentences(again["validation"].examples)) == sorted(held_out * 2)


def test_rows_are_made_once_and_a_part_of_them_can_be_taken(tmp_path, config, monkeypatch):
    words = [f"data.files=[{written(tmp_path, TEXTS)}]", "data.held_out=0.1"]
    whole = Reader(config(*words)).load(TOKENIZER, classification)
    monkeypatch.setattr(documents, "read", None)  # nothing is read again
    some = config(*words, "data.max_train_rows=7", "data.max_eval_rows=5")
    found = Reader(some).load(TOKENIZER, classification)
    assert sentences(found["train"].examples) == sentences(whole["train"].examples)[:7]
    assert found["train"].examples["idx"][:] == [*range(7)]
    (held_out,) = Reader(some).load_evaluation(TOKENIZER, classification).values()
    assert sentences(held_out.examples) == sentences(whole["validation"].examples)[:5]
    assert Reader(some).fingerprints(["validation"]) == {"validation": whole["validation"].fingerprint}


def test_two_at_a_time_tokenise_once_and_map_what_is_there(tmp_path, config, monkeypatch):
    calls, original = [], corpora._write

    def write(*args):
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(corpora, "_write", write)
    wanted = config(f"data.files=[{written(tmp_path, TEXTS)}]", "data.held_out=0.1")
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: corpora.load(wanted, TOKENIZER)["train"].examples, range(2))
    assert len(calls) == 1
    assert sentences(one) == sentences(other)
    assert type(one.data).__name__ == "MemoryMappedTable"


def test_what_is_not_finished_leaves_no_rows_behind(tmp_path, config):
    """Neither a text that is refused in its middle nor a process that was killed."""
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS) + "\n{")
    refused = config(f"data.files=[{path}]", "data.held_out=0.1")
    with pytest.raises(DataError, match=r"a.jsonl, line 601: not JSON"):
        corpora.load(refused, TOKENIZER)
    place = tmp_path / "cache" / "tokenised"
    assert {each.suffix for each in place.iterdir()} == {".lock"}
    wanted = config(f"data.files=[{written(tmp_path, TEXTS)}]", "data.held_out=0.1")
    made = Path(corpora.load(wanted, TOKENIZER)["train"].examples.cache_files[0]["filename"]).parent
    made.rename(killed := made.with_name(f".{made.name}.1"))
    assert corpora.load(wanted, TOKENIZER)["train"].told["documents"] > 500
    assert made.is_dir()
    assert not killed.exists()


def test_one_document_is_refused_before_it_is_tokenised(tmp_path, config, monkeypatch):
    monkeypatch.setattr(corpora, "_tokenise", None)
    path = tmp_path / "a.txt"
    path.write_text("\n".join(TEXTS))
    with pytest.raises(DataError, match=r"of 1 documents either none is left .* in .txt an empty line between"):
        corpora.load(config(f"data.files=[{path}]"), TOKENIZER)


@pytest.mark.long
def test_memory_does_not_grow_with_the_text(tmp_path, config, monkeypatch):
    monkeypatch.setattr(corpora, "_CHARACTERS", 2**12)
    monkeypatch.setattr(packing, "_ROWS", 32)
    peaks = []
    for times in (2, 6):
        path = written(tmp_path, TEXTS * times, f"{times}.txt")
        gc.collect()
        gc.freeze()  # as in a process of its own: beside all that tests import, Python collects cycles far later
        tracemalloc.start()
        corpora.load(config(f"data.files=[{path}]", "data.held_out=0.1"), TOKENIZER)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert path.stat().st_size > 1.5e4 * times
    assert peaks[1] < 1.2 * peaks[0]


def test_a_long_document_is_on_one_side(tmp_path, config, monkeypatch):
    monkeypatch.setattr(documents, "_PIECE_CHARACTERS", 80)
    monkeypatch.setattr(corpora, "_CHARACTERS", 1000)
    path = tmp_path / "a.txt"
    path.write_text("\n\n".join("\n".join(TEXTS[at : at + 12]) for at in range(0, 600, 12)))
    splits = corpora.load(config(f"data.files=[{path}]", "data.held_out=0.2"), TOKENIZER)
    found = [tokens_of(split.examples) for split in splits.values()]
    for at in range(0, 600, 12):
        assert [tokens(TEXTS[at : at + 12]) in side for side in found].count(True) == 1
    assert splits["train"].told["documents"] + splits["validation"].told["documents"] == 50


def test_files_that_change_while_they_are_read_are_refused(tmp_path, config, monkeypatch):
    path, original = written(tmp_path, TEXTS), documents.read

    def read(*args):
        yield from original(*args)
        written(tmp_path, TEXTS[1:])

    monkeypatch.setattr(documents, "read", read)
    with pytest.raises(DataError, match="changed while they were read: give the command again"):
        corpora.load(config(f"data.files=[{path}]"), TOKENIZER)
    assert not [each for each in (tmp_path / "cache").rglob("*.arrow") if not each.parent.name.startswith(".")]


@pytest.mark.parametrize(("texts", "documents_read"), [(["The dog sleeps."], 1), (TEXTS[:20], 20)])
def test_too_little_text_is_refused(tmp_path, config, texts, documents_read):
    with pytest.raises(DataError, match=f"data.held_out=0.001: of {documents_read} documents either none is left"):
        corpora.load(config(f"data.files=[{written(tmp_path, texts)}]", "data.held_out=0.001"), TOKENIZER)


def test_contents_and_not_names_of_files_decide_a_run(tmp_path, config):
    def known(*files: Path) -> str:
        return identity.run_id(config(f"data.files=[{','.join(map(str, files))}]"))

    one, same, other = (written(tmp_path, [text], f"{name}.txt") for name, text in zip("abc", "xxy", strict=True))
    assert known(one) == known(same)
    assert len({known(one), known(other), known(one, other), known(other, one)}) == 4
    found = sources.files(config(f"data.files=[{one},{other}]"))
    assert {str(one), str(other)} <= found.keys()


@pytest.fixture
def glue(tmp_path) -> Path:
    """Some of GLUE's files. A sentence of RTE's dev set and one of CoLA's test set are in CoLA's training set."""
    cola = [f"x\t1\t\t{text}" for text in [*TEXTS[:300], TEXTS[0]]]
    rte = "index\tsentence1\tsentence2\tlabel"
    files = {
        "CoLA/train.tsv": cola,
        "CoLA/dev.tsv": ["x\t1\t\tWho knows?"],
        "CoLA/test.tsv": ["index\tsentence", f"0\t{TEXTS[5].upper()}"],
        "RTE/train.tsv": [rte, "0\tIt rains.\tIt snows.\tentailment"],
        "RTE/dev.tsv": [rte, f"0\t {TEXTS[7]}\tNobody sleeps.\tentailment"],
    }
    for name, lines in files.items():
        path = tmp_path / "glue" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "glue"


def test_sentences_of_tasks_without_those_of_any_dev_or_test_set(glue, config):
    words = ["data=glue_dir", f"data.dir={glue}", "data.held_out=0.1"]
    splits = corpora.load(config(*words, "data.sentences_of=[cola]"), TOKENIZER)
    found = [text for split in splits.values() for text in sentences(split.examples)]
    assert sorted(found) == sorted(READ[number] for number in range(300) if number not in (5, 7))
    told = splits["train"].told
    assert (told["distinct_texts"], told["repeated_texts"], told["texts_of_dev_or_test"]) == (298, 1, 2)
    both = corpora.load(config(*words, "data.sentences_of=[cola,rte]"), TOKENIZER)
    assert both["train"].told["distinct_texts"] == 300
    read = sources.files(config(*words, "data.sentences_of=[cola]"))
    names = {Path(name).relative_to(glue).as_posix() for name in read}
    assert names == {"CoLA/train.tsv", "CoLA/dev.tsv", "CoLA/test.tsv", "RTE/dev.tsv"}


def test_what_a_prefetch_has_to_bring(glue, config):
    there = config("data=glue_dir", f"data.dir={glue}", "data.sentences_of=[cola]")
    assert set(needs.collect([there]).files) == {"CoLA/train.tsv", "CoLA/dev.tsv", "CoLA/test.tsv", "RTE/dev.tsv"}
    named = {str(split) for split in needs.collect([config("data=hub", "data.sentences_of=[cola]")]).splits}
    assert {"nyu-mll/glue/cola/train", "nyu-mll/glue/qqp/test", "nyu-mll/glue/mnli/validation_matched"} <= named
    assert "nyu-mll/glue/rte/train" not in named


def test_a_data_set_of_the_hub(config, monkeypatch):
    """A row is a document, and may be long or empty."""
    rows = datasets.Dataset.from_dict({"text": [*TEXTS[:40], "", "\n".join(TEXTS[40:60])], "more": [0] * 42})
    monkeypatch.setattr(hub, "load_split", lambda split: rows)
    words = ["data=hub", "task.hub.path=own/text", "data.held_out=0.2"]
    splits = corpora.load(config(*words), TOKENIZER)
    assert sum(split.told["documents"] for split in splits.values()) == 41
    assert any(tokens(TEXTS[40:60]) in tokens_of(split.examples) for split in splits.values())
    with pytest.raises(DataError, match=r"own/text/default/train: no column 'txt' \(did you mean 'text'\?\)"):
        corpora.load(config(*words, "task.inputs=[txt]"), TOKENIZER)


def test_a_prefetched_folder_has_all_that_is_read(tmp_path, glue, config, monkeypatch, capsys):
    """A data set of the Hub and the texts of tasks: the same rows and fingerprints where nothing else is."""
    rows = datasets.Dataset.from_dict({"text": TEXTS[:60]})

    def save(split: needs.HubSplit, folder: Path, scratch: Path) -> int:
        rows.save_to_disk(str(folder))
        return len(rows)

    model = ["task=mlm", "model=bert", "model.random_init=true", "model.tokenizer=demo", "train.max_length=32"]
    sources_of_text = [
        ["data=hub", "task.hub.path=own/text", "data.held_out=0.2"],
        ["data=glue_dir", f"data.dir={glue}", "data.sentences_of=[cola]", "data.held_out=0.1"],
    ]
    for number, words in enumerate(sources_of_text):
        folder = tmp_path / f"folder{number}"
        with monkeypatch.context() as online:
            online.setattr(hub, "load_split", lambda split: rows)
            online.setattr(hub, "save_split", save)
            direct = Reader(config(*words)).load(TOKENIZER, classification)
            assert prefetch.main([f"prefetch={folder}", *model, *words]) == 0, capsys.readouterr().err
            there = ["data.dir=/no/such/place" if word.startswith("data.dir") else word for word in words]
        with monkeypatch.context() as offline:
            offline.setattr(corpora, "_write", None)  # nothing is tokenised
            found = dataset.open_reader(config(*there, f"prefetch={folder}")).load(TOKENIZER, classification)
        for name, split in direct.items():
            assert sentences(found[name].examples) == sentences(split.examples)
            assert (found[name].fingerprint, found[name].told) == (split.fingerprint, split.told)
        lacks = config(*there, f"prefetch={folder}", "train.max_length=31")
        with pytest.raises(PrefetchError, match=r"lacks the rows of task=mlm .* train.max_length=31"):
            dataset.open_reader(lacks).load(TOKENIZER, classification)


def test_the_demo_grammars_text_is_what_is_acceptable(config):
    splits = corpora.load(config("data=demo", "data.demo_text_rows=200", "data.held_out=0.1"), TOKENIZER)
    found = [text for split in splits.values() for text in sentences(split.examples)]
    rows = demo.generate("train", 200, 0)
    assert len(found) == 100
    good = {str(row["sentence"]) for row in rows if row["label"] == 1}
    assert sorted(found) == sorted(as_read(text) for text in good)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=glue_dir", "data.dir=glue", "data.sentences_of=[colla]"], "colla: no such task (did you mean 'cola'?)"),
        (["data=demo", "data.sentences_of=[cola]"], "data.sentences_of: needs data=glue_dir, squad_dir or hub"),
        (["data.files=[a.txt]", "data.sentences_of=[cola]"], "data.files, data.sentences_of: one of them"),
        (["data.files=[nowhere.txt]"], "no file nowhere.txt"),
        (["data=hub"], "task=mlm: no text; give files (data.files=[FILE.txt])"),
        (
            ["data.files=[a.txt]", "task.evaluation_splits=[validation,test]"],
            "train and [validation], by data.held_out",
        ),
        (["task=cola", "data.sentences_of=[rte]"], "data.sentences_of=['rte']: is for pre-training"),
    ],
)
def test_corpora_that_cannot_be_are_refused_on_the_command_line(tmp_path, command, words, said):
    (tmp_path / "a.txt").write_text("The dog sleeps.\n")
    code, err = command("task=mlm", "model=bert", "model.random_init=true", "model.tokenizer=demo", *words)
    assert (code, said in err) == (2, True), err
    assert "Traceback" not in err


def test_what_is_kept_is_json_for_the_record(tmp_path, config):
    splits = corpora.load(config(f"data.files=[{written(tmp_path, [*TEXTS, 'Ω'])}]", "data.held_out=0.1"), TOKENIZER)
    assert json.loads(json.dumps(splits["train"].told))["unknown"] == 1
