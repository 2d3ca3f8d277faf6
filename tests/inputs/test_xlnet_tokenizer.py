"""XLNet's tokenizer against the ids of its authors' code (the developers' shared folder), and on a tiny vocabulary."""

from __future__ import annotations

import copy
import io
import json
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from transformers import AutoTokenizer, DataCollatorWithPadding

from gifine.config import DEMO, ModelConfig, SizeConfig
from gifine.errors import ModelError
from gifine.inputs import tokenizers, xlnet_tokenizer
from gifine.inputs.xlnet_tokenizer import PAD_SEGMENT, XLNetTokenizer

CORPUS = [
    "The cat sat on the mat and looked at the moon.",
    "Is the moon made of cheese, or is it a stone?",
    "A stone was found near the old mill at 10:45, 12, 1,200 and 1,205, of 25, 125, 1253, and 12,",
    'He said: "it isn\'t mine", and shut the door.',
]


def train(folder: Path) -> Path:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 3),
        model_writer=model,
        vocab_size=110,
        character_coverage=1.0,
        hard_vocab_limit=False,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        control_symbols=["<cls>", "<sep>", "<pad>", "<mask>"],
        user_defined_symbols=["5,"],  # a digit before a comma, which its authors cut again
        minloglevel=2,
    )
    folder.mkdir(exist_ok=True)
    (folder / "spiece.model").write_bytes(model.getvalue())
    (folder / "config.json").write_text(json.dumps({"model_type": "xlnet"}))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("xlnet") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> Any:
    return tokenizers.load(str(folder))


def words(tokenizer: Any, *texts: str, **options: Any) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(*texts, **options)["input_ids"])


@pytest.mark.shared
@pytest.mark.parametrize("size", ["base", "large"])
def test_ids_segments_and_masks_are_those_of_its_authors(shared, tmp_path, size):
    loaded = tokenizers.load(str(shared / "tokenizers" / f"xlnet-{size}-cased"))
    loaded.save_pretrained(tmp_path)
    read = [json.loads((shared / "golden" / f"xlnet_tokenizer{more}.json").read_text()) for more in ("", "_more")]
    cases = [case for file in read for case in file["cases"]]
    assert len(cases) == 403
    for tokenizer in (loaded, tokenizers.load(str(tmp_path))):
        for case in cases:
            texts = [text for text in (case["a"], case["b"]) if text is not None]
            padding = {"padding": "max_length"} if case.get("pad") else {}
            found = tokenizer(*texts, truncation=True, max_length=case["max_length"], **padding)
            keys = found.keys() & case.keys()
            assert {"input_ids", "token_type_ids"} <= keys
            assert {key: found[key] for key in keys} == {key: case[key] for key in keys}


@pytest.mark.shared
def test_what_is_saved_serves_transformers_but_for_rare_texts(shared, tmp_path):
    tokenizers.load(str(shared / "tokenizers" / "xlnet-large-cased")).save_pretrained(tmp_path)
    theirs: Any = AutoTokenizer.from_pretrained(tmp_path)
    cases = json.loads((shared / "golden" / "xlnet_tokenizer.json").read_text())["cases"]
    whole = [case for case in cases if case["b"] is None and len(case["input_ids"]) < case["max_length"]]
    found = [theirs(case["a"]) for case in whole]
    same = [each["input_ids"] == case["input_ids"] for each, case in zip(found, whole, strict=True)]
    assert sum(same) == 94, "of 96"
    assert found[0]["token_type_ids"] == whole[0]["token_type_ids"]


def test_cls_is_last_and_padding_on_the_left_with_a_segment_of_its_own(tiny):
    batch = DataCollatorWithPadding(tiny)([tiny("The cat", "a mat"), tiny("moon")])
    ids, segments = batch["input_ids"].tolist(), batch["token_type_ids"].tolist()
    assert [row[-1] for row in ids] == [tiny.cls_token_id] * 2
    a, b = (len(tiny(text, add_special_tokens=False)["input_ids"]) for text in ("The cat", "a mat"))
    assert segments[0] == [0] * (a + 1) + [1] * (b + 1) + [2]
    padding = segments[1].count(PAD_SEGMENT)
    assert padding > 0
    assert segments[1] == [PAD_SEGMENT] * padding + [0] * (len(segments[1]) - padding - 1) + [2]
    assert ids[1][:padding] == [tiny.pad_token_id] * padding
    assert batch["attention_mask"].tolist()[1] == [0] * padding + [1] * (len(ids[1]) - padding)


@pytest.mark.parametrize("second", ["", "  \t", "\u0301"])
def test_a_second_text_without_pieces_is_none(tiny, second):
    """The last one is a combining mark, which is dropped."""
    assert tiny(["The cat"], [second])["input_ids"] == tiny(["The cat"])["input_ids"]


@pytest.mark.parametrize(
    ("room", "kept"), [(9, (5, 4)), (8, (4, 4)), (20, (9, 11)), (3, (2, 1)), (1, (1, 0)), (0, (0, 0))]
)
def test_the_longer_text_loses_its_last_piece_and_the_second_if_equal(tiny, room, kept):
    first, second = "a " * 9, "a " * 16
    one = len(words(tiny, "a", add_special_tokens=False))
    assert one == 1
    found = tiny(first, second, truncation=True, max_length=room + 3)["token_type_ids"]
    expected = [0] * (kept[0] + 1) + ([1] * (kept[1] + 1) if kept[1] else []) + [2]
    assert found == expected


def test_a_piece_of_a_digit_and_a_comma_is_cut_again(tiny):
    assert "5," in tiny.get_vocab()
    found = words(tiny, "at 25, and", add_special_tokens=False)
    assert "5," not in found
    assert "".join(found) == "▁at▁25,▁and"
    text = "Ｉt ｉs 25, or 5, :"
    offsets = tiny(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert "".join(text[begin:end] for begin, end in offsets) == text
    assert text[slice(*offsets[words(tiny, text, add_special_tokens=False).index(",")])] == ","


def test_windows_have_segments(tiny):
    found = tiny("The moon", "a cat sat on the mat " * 4, truncation="only_second", max_length=24, stride=3,
                 return_overflowing_tokens=True)  # fmt: skip
    first = len(tiny("The moon", add_special_tokens=False)["input_ids"])
    assert len(found["input_ids"]) > 2
    for ids, segments in zip(found["input_ids"], found["token_type_ids"], strict=True):
        assert segments == [0] * (first + 1) + [1] * (len(ids) - first - 2) + [2]


def test_special_tokens_in_a_text_are_text(tiny):
    ids = tiny("a <cls> <pad>", add_special_tokens=False)["input_ids"]
    assert not {tiny.cls_token_id, tiny.pad_token_id} & {*ids}


def test_copies_and_what_is_saved_are_the_same(tiny, tmp_path):
    tiny.save_pretrained(tmp_path)
    expected = tiny(CORPUS)["input_ids"]
    for other in (copy.deepcopy(tiny), pickle.loads(pickle.dumps(tiny)), tokenizers.load(str(tmp_path))):  # noqa: S301
        assert type(other) is XLNetTokenizer
        assert other(CORPUS)["input_ids"] == expected


def test_threads_do_not_encode_with_each_others_settings(tiny, monkeypatch):
    """While one is encoding, with a length, another one comes that wants texts whole."""
    tokenizer, others = copy.deepcopy(tiny), []
    encode = xlnet_tokenizer._Backend.encode_batch

    def encode_batch(*args: Any, **kwargs: Any) -> Any:
        if not others:
            others.append(threading.Thread(target=lambda: others.append(tokenizer(CORPUS[0])["input_ids"])))
            others[0].start()
            others[0].join(timeout=0.1)
        return encode(*args, **kwargs)

    monkeypatch.setattr(xlnet_tokenizer._Backend, "encode_batch", encode_batch)
    found = tokenizer(CORPUS[0], truncation=True, max_length=6)["input_ids"]
    others[0].join()
    assert len(found) == 6
    assert others[1] == tiny(CORPUS[0])["input_ids"]
    assert not isinstance(tokenizer.backend_tokenizer, xlnet_tokenizer._Backend)


def test_without_its_model_there_is_none(tiny, tmp_path):
    tiny.save_pretrained(tmp_path)
    (tmp_path / "spiece.model").unlink()
    with pytest.raises(ModelError, match=r"no spiece\.model there"):
        tokenizers.load(str(tmp_path))
    (tmp_path / "spiece.model").write_bytes(b"\xff\xff")
    with pytest.raises(ModelError, match="cannot be read"):
        tokenizers.load(str(tmp_path))


def load_for(family: str, tokenizer: str | Path) -> Any:
    sizes = {"tiny": SizeConfig(checkpoint="no-one/tiny", config={})}
    model = ModelConfig(name="t", family=family, size="tiny", sizes=sizes, random_init=True, tokenizer=str(tokenizer))
    return tokenizers.load_for(model)


def test_a_tokenizer_of_another_layout_is_refused(tiny, tmp_path):
    tiny.save_pretrained(tmp_path / "xlnet")
    with pytest.raises(ModelError, match="wants its <cls> first, and padding on the right"):
        load_for("bert", tmp_path / "xlnet")
    load_for("bert", DEMO).save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelError, match=r"wants its \[CLS\] last, and padding on the left"):
        load_for("xlnet", tmp_path / "bert")


def test_the_demo_has_xlnets_layout(tmp_path):
    tokenizer = load_for("xlnet", DEMO)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gi_xlnet"}))  # beside it in a run's folder
    for each in (tokenizer, tokenizers.load(str(tmp_path))):
        batch = each.pad([each("the cat", "a dog"), each("the cat")])
        assert [row[-1] for row in batch["token_type_ids"]] == [2, 2]
        assert batch["token_type_ids"][1][0] == PAD_SEGMENT
