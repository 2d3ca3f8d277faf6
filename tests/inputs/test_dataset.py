"""Data: sources, the cache of tokenised splits, and what is said when something is not there."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from gifine import cli
from gifine.choices import DataSource, Quoting
from gifine.config import DataConfig, TaskConfig
from gifine.errors import DataError, OutputError
from gifine.inputs import demo, own_files
from gifine.inputs.dataset import Reader, Split
from gifine.objectives import classification
from gifine.task_config import FilesConfig


def reader(task: TaskConfig, data: DataConfig, max_length: int = 32) -> Reader:
    config = cli.config_from(cli.compose([]))
    return Reader(replace(config, task=task, data=data, train=replace(config.train, max_length=max_length)))


def load(task: TaskConfig, data: DataConfig, tokenizer, max_length: int = 32) -> dict[str, Split]:
    return reader(task, data, max_length).load(tokenizer, classification)


@pytest.fixture(scope="module")
def tokenizer():
    return demo.tokenizer()


@pytest.fixture
def demo_task() -> TaskConfig:
    return cli.config_from(cli.compose(["task=demo", "data=demo"])).task


def test_a_file_that_changes_while_it_is_read_is_not_cached_under_its_earlier_contents(
    demo_task, tokenizer, tmp_path, monkeypatch
):
    path, original = tmp_path / "a.csv", own_files.read
    task = replace(demo_task, files=FilesConfig(train=str(path), validation=str(path)))
    source = DataConfig(source=DataSource.hub, cache_dir=str(tmp_path / "cache"))

    def write(label):
        path.write_text(f"sentence,label\nthe dog sleeps,{label}\n")

    def read(*args, **options):
        write(1)
        return original(*args, **options)

    write(0)
    monkeypatch.setattr(own_files, "read", read)
    with pytest.raises(DataError, match=r"a\.csv was changed while it was read: give the command again"):
        load(task, source, tokenizer)
    monkeypatch.setattr(own_files, "read", original)
    write(0)
    assert load(task, source, tokenizer)["train"].examples["labels"][:] == [0]


@pytest.fixture
def demo_data(tmp_path) -> DataConfig:
    return DataConfig(source=DataSource.demo, cache_dir=str(tmp_path), demo_train_rows=20, demo_eval_rows=10)


def test_examples_are_the_sentences(demo_task, demo_data, tokenizer):
    splits = load(demo_task, demo_data, tokenizer)
    assert list(splits) == ["train", "validation"]
    rows = demo.generate("train", 20, seed=0)
    examples = splits["train"].examples
    assert examples["idx"][:] == list(range(20))
    assert examples["labels"][:] == [row["label"] for row in rows]
    assert examples["input_ids"][:] == tokenizer([row["sentence"] for row in rows])["input_ids"]
    assert examples["length"][:] == [len(ids) for ids in examples["input_ids"]]


def test_long_inputs_are_cut(demo_task, demo_data, tokenizer):
    examples = load(demo_task, demo_data, tokenizer, max_length=5)["train"].examples
    assert set(examples["length"][:]) == {5}
    assert {ids[-1] for ids in examples["input_ids"]} == {tokenizer.sep_token_id}


def test_cached_data_is_not_tokenised_again(demo_task, demo_data, tokenizer, caplog):
    caplog.set_level("INFO")
    load(demo_task, demo_data, tokenizer)
    assert caplog.text.count("tokenising") == 2
    load(demo_task, demo_data, tokenizer)
    assert caplog.text.count("tokenising") == 2


def other_tokenizer(tokenizer):
    other = demo.tokenizer()
    other.backend_tokenizer.normalizer = None
    return other


@pytest.mark.parametrize(
    "changed",
    [
        lambda task, data, tokenizer: (task, data, tokenizer, 31),
        lambda task, data, tokenizer: (task, replace(data, demo_seed=1), tokenizer, 32),
        lambda task, data, tokenizer: (task, replace(data, max_train_rows=5, max_eval_rows=5), tokenizer, 32),
        lambda task, data, tokenizer: (task, data, other_tokenizer(tokenizer), 32),
    ],
    ids=["max_length", "data", "rows", "tokenizer"],
)
def test_cache_key_covers_what_changes_the_examples(demo_task, demo_data, tokenizer, caplog, changed):
    caplog.set_level("INFO")
    load(demo_task, demo_data, tokenizer)
    load(*changed(demo_task, demo_data, tokenizer))
    assert caplog.text.count("tokenising") == 4


def with_files(task: TaskConfig, folder: Path, text: str) -> TaskConfig:
    path = folder / "rows.jsonl"
    path.write_text(text)
    return replace(task, files=replace(task.files, train=str(path), validation=str(path)))


def test_an_edited_file_is_read_again(demo_task, demo_data, tokenizer, tmp_path):
    for label in (0, 1):
        task = with_files(demo_task, tmp_path, f'{{"sentence": "a dog sleeps", "label": {label}}}\n')
        examples = load(task, demo_data, tokenizer)["train"].examples
        assert examples["labels"][:] == [label]


def test_cache_that_cannot_be_written_is_said(demo_task, demo_data, tokenizer, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot cache tokenised data in .*; give another data\.cache_dir"):
        load(demo_task, replace(demo_data, cache_dir=str(tmp_path / "file")), tokenizer)


def test_hub_out_of_reach_is_one_line_with_a_way_out(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hub")
    task = cli.config_from(cli.compose(["task=cola"])).task
    with pytest.raises(DataError, match=r"nyu-mll/glue .*Hub not reachable.*data=glue_dir") as error:
        load(task, DataConfig(source=DataSource.hub, cache_dir=str(tmp_path)), tokenizer)
    assert "\n" not in str(error.value)


def hub_answers(monkeypatch, names=("entailment", "not_entailment"), labels=(1, 0), column="sentence1"):
    """The Hub's GLUE: columns and label classes as there, sentences our own."""
    features = datasets.Features(
        {
            column: datasets.Value("string"),
            "sentence2": datasets.Value("string"),
            "label": datasets.ClassLabel(names=list(names)),
            "idx": datasets.Value("int32"),
        }
    )
    rows = {column: ["a dog sleeps", "a dog"], "sentence2": ["a dog", "a cat"], "label": list(labels), "idx": [7, 8]}
    asked = []

    def load_dataset(path, name, split, cache_dir):
        asked.append((path, name, split))
        return datasets.Dataset.from_dict(rows, features=features)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_hub(tokenizer, tmp_path, monkeypatch):
    asked = hub_answers(monkeypatch)
    task = cli.config_from(cli.compose(["task=rte"])).task
    source = DataConfig(source=DataSource.hub, cache_dir=str(tmp_path))
    examples = load(task, source, tokenizer)["validation"].examples
    assert asked == [("nyu-mll/glue", "rte", "train"), ("nyu-mll/glue", "rte", "validation")]
    assert examples["labels"][:] == [1, 0]
    assert examples["idx"][:] == [0, 1]
    assert examples["input_ids"][0] == tokenizer("a dog sleeps", "a dog")["input_ids"]


def test_other_labels_of_the_hub_are_read_anew(tokenizer, tmp_path, monkeypatch):
    rows = {"sentence1": ["a dog", "a cat"], "sentence2": ["a cat", "a dog"], "label": ["x", "y"], "other": ["y", "y"]}
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: datasets.Dataset.from_dict(rows))
    source = DataConfig(source=DataSource.hub, cache_dir=str(tmp_path))
    found = []
    for labels, label in (("[x,y]", "label"), ("[y,x]", "label"), ("[x,y]", "other")):
        words = ["task=rte", f"task.labels={labels}", f"task.label={label}"]
        task = cli.config_from(cli.compose(words)).task
        found.append(load(task, source, tokenizer)["validation"].examples["labels"][:])
    assert found == [[0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"names": ["not_entailment", "entailment"]}, "its labels are .* those of the task are"),
        ({"labels": [1, -1]}, "row 1: label -1 is none of 0 … 1"),
        ({"labels": [1, None]}, r"nyu-mll/glue/rte/train, row 1: no label \(null\)"),
        ({"column": "premise"}, "no column 'sentence1'.*; columns: premise, sentence2"),
    ],
)
def test_hub_data_of_another_form_is_refused(tokenizer, tmp_path, monkeypatch, answer, said):
    hub_answers(monkeypatch, **answer)
    task = cli.config_from(cli.compose(["task=rte"])).task
    with pytest.raises(DataError, match=said):
        load(task, DataConfig(source=DataSource.hub, cache_dir=str(tmp_path)), tokenizer)


@pytest.mark.parametrize(
    ("content", "name", "split", "said"),
    [
        ("sentence,label\n1,0\n", None, "train", "/default/train, row 0: column 'sentence' holds 1, not text"),
        ("sentence,label\na,0.5\n", None, "train", "/default/train, row 0: label 0.5 is none of unacceptable, accept"),
        ("sentence,label\na,\n", None, "train", r"/default/train, row 0: no label \(null\)"),
        ("text,label\na,0\n", None, "train", "/default/train: no column 'sentence'; columns: text, label"),
        ("sentence,label\na,0\n", "nope", "train", r" \(nope, train\): BuilderConfig 'nope' not found"),
        ("sentence,label\na,0\n", None, "dev", r" \(None, dev\): Unknown split \"dev\""),
        ("", None, "train", r" \(None, train\): "),
        ('sentence,label\na,b,c\n"', None, "train", r" \(None, train\): .*(tokeniz|pars|columns|EOF)"),
    ],
)
def test_data_set_folders_are_held_against_the_same_rules(tokenizer, tmp_path, content, name, split, said, monkeypatch):
    """The real library reads them, and guesses the types."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hub")
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "train.csv").write_text(content)
    task = cli.config_from(cli.compose(["task=cola"])).task
    task = replace(task, hub=replace(task.hub, path=str(folder), name=name), train_split=split)
    task.splits[split] = replace(task.splits["train"], hub=split)
    with pytest.raises(DataError, match=f"^{folder}{said}") as error:
        load(task, DataConfig(source=DataSource.hub, cache_dir=str(tmp_path)), tokenizer)
    assert "\n" not in str(error.value)


def test_inputs_may_have_the_names_of_our_own_columns(tokenizer, tmp_path, monkeypatch):
    for name in ("label", "labels", "idx", "length", "input_ids"):
        answer = datasets.Dataset.from_dict({name: ["a dog", "a cat"], "gold": [1, 0]})
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, answer=answer, **__: answer)
        task = replace(cli.config_from(cli.compose(["task=cola"])).task, name=name, inputs=[name], label="gold")
        source = DataConfig(source=DataSource.hub, cache_dir=str(tmp_path))
        examples = load(task, source, tokenizer)["train"].examples
        assert examples["labels"][:] == [1, 0]
        assert examples["input_ids"][:] == tokenizer(["a dog", "a cat"])["input_ids"]


def test_empty_texts_are_counted(demo_task, demo_data, tokenizer, tmp_path, caplog):
    rows = "".join(f'{{"sentence": "{text}", "label": 0}}\n' for text in ("a dog", " ", ""))
    load(with_files(demo_task, tmp_path, rows), demo_data, tokenizer)
    assert caplog.text.count(": 2 rows have an empty text; the first is row 1, from 0") == 2


def test_tokens_do_not_outlive_how_quotes_were_read(demo_task, demo_data, tokenizer, tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text('sentence\tlabel\n"a dog ""sleeps"""\t1\n')
    found = []
    for quoting in (Quoting.none, Quoting.standard):
        task = replace(demo_task, files=FilesConfig(str(path), str(path), quoting=quoting))
        found.append(load(task, demo_data, tokenizer)["train"].examples["input_ids"][0])
    assert found[0] != found[1]


def test_hubs_test_sets_come_without_their_labels(tokenizer, tmp_path, monkeypatch):
    asked = hub_answers(monkeypatch, labels=(-1, -1))
    task = cli.config_from(cli.compose(["task=rte"])).task
    splits = {**task.splits, "ax": replace(task.splits["test"], hub_name="ax")}
    source = DataConfig(source=DataSource.hub, cache_dir=str(tmp_path), max_eval_rows=1)
    tests = reader(replace(task, splits=splits), source).load_tests(["test", "ax"], tokenizer, classification)
    assert asked == [("nyu-mll/glue", "rte", "test"), ("nyu-mll/glue", "ax", "test")]
    assert tests["ax"].fingerprint != tests["test"].fingerprint
    for test in tests.values():
        assert test.examples["idx"][:] == [0, 1], "max_eval_rows is for evaluation"
        assert "labels" not in test.examples.column_names
        assert test.examples["input_ids"][0] == tokenizer("a dog sleeps", "a dog")["input_ids"]


def test_an_evaluation_split_may_be_a_test_set(tokenizer, tmp_path):
    """Under a name of its own in the cache: the one has labels, the other not."""
    task = cli.config_from(cli.compose(["task=rte"])).task
    files = official(tmp_path, **{"train.tsv": RTE, "dev.tsv": RTE})
    for _ in range(2):
        test = reader(task, files).load_tests(["validation"], tokenizer, classification)["validation"]
        assert "labels" not in test.examples.column_names
        assert load(task, files, tokenizer)["validation"].examples["labels"][:] == [0, 1]


def test_every_row_of_a_test_set_is_wanted(tokenizer, tmp_path):
    """Partial files and short rows are for training."""
    task = replace(cli.config_from(cli.compose(["task=rte"])).task, skip_short_rows=True)
    texts = {"test.part.tsv": "index\tsentence1\tsentence2\n0\ta dog sleeps\n"}
    files = replace(official(tmp_path, **texts), allow_partial=True)
    with pytest.raises(DataError, match=r"only the partial test\.part\.tsv"):
        reader(task, files).load_tests(["test"], tokenizer, classification)
    (tmp_path / "RTE" / "test.part.tsv").rename(tmp_path / "RTE" / "test.tsv")
    with pytest.raises(DataError, match=r"test\.tsv, line 2: 2 columns where 3 are expected"):
        reader(task, files).load_tests(["test"], tokenizer, classification)


def test_fingerprints_are_those_of_the_splits(demo_task, demo_data, tokenizer):
    splits = load(demo_task, demo_data, tokenizer)
    assert reader(demo_task, demo_data).fingerprints(splits) == {name: s.fingerprint for name, s in splits.items()}


def official(tmp_path: Path, **files: str) -> DataConfig:
    for name, text in files.items():
        path = tmp_path / "RTE" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return DataConfig(source=DataSource.glue_dir, dir=str(tmp_path), cache_dir=str(tmp_path / "cache"))


RTE = "index\tsentence1\tsentence2\tlabel\n0\ta dog sleeps\ta dog\tentailment\n1\ta dog\ta cat\tnot_entailment\n"


def test_official_files(tokenizer, tmp_path):
    task = cli.config_from(cli.compose(["task=rte"])).task
    files = official(tmp_path, **{"train.tsv": RTE, "dev.tsv": RTE})
    examples = load(task, files, tokenizer)["validation"].examples
    assert examples["labels"][:] == [0, 1]
    assert examples["input_ids"][1] == tokenizer("a dog", "a cat")["input_ids"]


def test_partial_train_file_is_taken_on_request_only(tokenizer, tmp_path):
    task = cli.config_from(cli.compose(["task=rte"])).task
    files = official(tmp_path, **{"train.part.tsv": RTE, "dev.tsv": RTE})
    with pytest.raises(DataError, match=r"data\.allow_partial=true"):
        load(task, files, tokenizer)
    examples = load(task, replace(files, allow_partial=True), tokenizer)["train"].examples
    assert len(examples) == 2


def test_truncated_file_is_named_with_its_line(tokenizer, tmp_path):
    task = cli.config_from(cli.compose(["task=rte"])).task
    files = official(tmp_path, **{"train.tsv": RTE[:-25], "dev.tsv": RTE})
    with pytest.raises(DataError, match=r"RTE/train\.tsv, line 3"):
        load(task, files, tokenizer)
    assert list((tmp_path / "cache").rglob("rte-train*/*")) == [], "nothing half-made may stay in the cache"


@pytest.mark.integration
@pytest.mark.long
def test_two_processes_may_prepare_the_same_data_at_once(tmp_path):
    program = f"""
import logging, sys
logging.basicConfig(level="INFO")
from gifine import cli
from gifine.inputs import dataset, demo
from gifine.objectives import classification
config = cli.config_from(cli.compose(["task=demo", "data=demo", "data.cache_dir={tmp_path}", "train.max_length=32"]))
tokenizer = demo.tokenizer()
print("ready", flush=True)
sys.stdin.readline()
splits = dataset.Reader(config).load(tokenizer, classification)
print(len(splits["train"].examples), sum(splits["train"].examples["length"][:]))
"""
    both = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    answers = [process.communicate("go\n", timeout=120) for process in both]
    assert answers[0][0] == answers[1][0] != ""
    assert sum(err.count("tokenising") for _, err in answers) == 2, "each split once, by one of the two"
