"""The demo data: what is promised about its rows, and its tokenizer."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from transformers import PreTrainedTokenizerFast

from gifine.errors import DataError
from gifine.inputs import demo

Rows = list[dict[str, int | str]]
SPLITS = ("train", "validation", "test")
ISLANDS = {"wh_island", "complex_np_island", "adjunct_island"}


def sentences(rows: Rows) -> list[str]:
    return [str(row["sentence"]) for row in rows]


def words(sentence: str) -> list[str]:
    return sentence.lower().removesuffix(".").split()


@pytest.fixture(scope="module")
def train() -> Rows:
    return demo.generate("train", 8000, seed=0)


@pytest.fixture(scope="module")
def validation() -> Rows:
    return demo.generate("validation", 2000, seed=0)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return demo.tokenizer()


@pytest.mark.parametrize(
    ("split", "digest"),
    [("train", "1a856825fcc962f0"), ("validation", "d1fe0dc0375be2c7"), ("test", "3f416c251f188ebe")],
)
def test_rows_are_the_same_on_every_machine(split: str, digest: str) -> None:
    # Python salts hash() anew in each process, so an order that comes from a set would show.
    rows = json.dumps(demo.generate(split, 280, seed=0)).encode()
    assert hashlib.sha256(rows).hexdigest()[:16] == digest


def test_rows_have_an_index_and_a_smaller_request_is_the_start_of_a_larger_one(train: Rows) -> None:
    assert [row["idx"] for row in train] == list(range(8000))
    assert demo.generate("train", 31, seed=0) == train[:31]
    assert demo.generate("train", 0, seed=0) == []


def test_another_seed_gives_other_rows(train: Rows) -> None:
    other = demo.generate("train", 1000, seed=1)
    assert len(set(sentences(other)) & set(sentences(train))) < 50


def test_splits_share_no_sentence_whatever_their_sizes_and_seeds(train: Rows, validation: Rows) -> None:
    splits = [
        set(sentences(train)) | set(sentences(demo.generate("train", 100, seed=1))),
        set(sentences(validation)) | set(sentences(demo.generate("validation", 100, seed=2))),
        set(sentences(demo.generate("test", 3000, seed=0))),
    ]
    assert len(set.union(*splits)) == sum(map(len, splits))


@pytest.mark.parametrize("split", SPLITS)
def test_each_split_yields_its_capacity_without_repeating_a_sentence(split: str) -> None:
    rows = demo.generate(split, demo.CAPACITY[split], seed=3)
    assert len(set(sentences(rows))) == len(rows) == demo.CAPACITY[split]


@pytest.mark.parametrize("split", SPLITS)
def test_more_rows_than_the_capacity_are_refused(split: str) -> None:
    with pytest.raises(DataError, match=f"'{split}' asked for, but its grammar gives {demo.CAPACITY[split]}"):
        demo.generate(split, demo.CAPACITY[split] + 1, seed=0)


def test_an_unknown_split_is_refused_with_the_valid_ones() -> None:
    with pytest.raises(DataError, match=r"did you mean 'validation'.*train, validation, test"):
        demo.generate("validatoin", 1, seed=0)


@pytest.mark.parametrize("split", SPLITS)
def test_phenomena_and_labels_are_balanced(split: str) -> None:
    rows = demo.generate(split, 28 * 10, seed=0)
    counts = Counter((row["phenomenon"], row["label"]) for row in rows)
    assert counts == {(phenomenon, label): 10 for phenomenon in demo.PHENOMENA for label in (0, 1)}


def test_sentences_are_written_like_sentences(train: Rows) -> None:
    for sentence in sentences(train):
        assert re.fullmatch(r"[A-Z][a-z]*( ([a-z]+|I))+\.", sentence)
        assert not re.search(r"\b(a [aeiou]|an [^aeiou])", sentence.lower())


def test_neighbours_are_minimal_pairs(train: Rows) -> None:
    for good, bad in zip(train[::2], train[1::2], strict=True):
        assert (good["label"], bad["label"]) == (1, 0)
        assert good["phenomenon"] == bad["phenomenon"]
        first, second = (words(str(row["sentence"])) for row in (good, bad))
        if good["phenomenon"] in ISLANDS:
            assert first[:2] == second[:2]
            assert len(set(first) & set(second)) >= 5
        elif sorted(first) != sorted(second):  # other words, not another order: one word differs, and a/an with it
            replaced = [pair for pair in zip(first, second, strict=True) if pair[0] != pair[1]]
            assert len(replaced) == 1


def test_no_sentence_has_both_labels(train: Rows, validation: Rows) -> None:
    labels = defaultdict(set)
    for row in [*train, *validation, *demo.generate("train", 8000, seed=1)]:
        labels[row["sentence"]].add(row["label"])
    assert {len(found) for found in labels.values()} == {1}


@pytest.mark.parametrize("classifier", [LogisticRegression(max_iter=1000), MultinomialNB()], ids=["logistic", "bayes"])
def test_words_alone_do_not_tell_the_label(train: Rows, validation: Rows, classifier: object) -> None:
    model = make_pipeline(CountVectorizer(analyzer=words), classifier)
    model.fit(sentences(train), [row["label"] for row in train])
    predicted = model.predict(sentences(validation))
    assert abs(matthews_corrcoef([row["label"] for row in validation], predicted)) < 0.15


def test_every_word_of_the_rows_is_one_token(train: Rows, validation: Rows, tokenizer: PreTrainedTokenizerFast) -> None:
    vocabulary = tokenizer.get_vocab()
    assert {word for sentence in sentences([*train, *validation]) for word in words(sentence)} <= set(vocabulary)
    assert tokenizer.tokenize("There was an aunt.") == ["there", "was", "an", "aunt", "."]


def test_a_word_outside_the_grammar_falls_into_characters(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("Zebra 7!") == ["z", "##e", "##b", "##r", "##a", "7", "!"]
    assert tokenizer.tokenize("λ") == ["[UNK]"]


def test_pairs_have_berts_layout(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = tokenizer(["The boy slept."], ["She smiled."], padding="max_length", max_length=12)
    assert list(encoded) == tokenizer.model_input_names == ["input_ids", "token_type_ids", "attention_mask"]
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])
    assert " ".join(tokens) == "[CLS] the boy slept . [SEP] she smiled . [SEP] [PAD] [PAD]"
    assert encoded["token_type_ids"] == [[0] * 6 + [1] * 4 + [0] * 2]
    assert encoded["attention_mask"] == [[1] * 10 + [0] * 2]
    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == [0, 1, 2, 3, 4]


def test_tokenizer_survives_saving(tmp_path: Path, train: Rows, tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.save_pretrained(tmp_path)
    reloaded = PreTrainedTokenizerFast.from_pretrained(tmp_path)
    first, second = sentences(train)[:100], sentences(train)[100:200]
    assert dict(reloaded(first, second)) == dict(tokenizer(first, second))
    assert reloaded.get_vocab() == tokenizer.get_vocab()
    assert reloaded.special_tokens_map == tokenizer.special_tokens_map
