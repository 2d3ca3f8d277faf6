"""Windows of contexts: what they hold, what is learnt there, and what is noted of questions."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from gifine import cli
from gifine.choices import Padding
from gifine.config import TaskConfig
from gifine.errors import DataError
from gifine.inputs import tokenizers
from gifine.inputs.questions import Question, Trouble
from gifine.objectives import question_answering
from gifine.objectives.question_answering import examples as reading
from gifine.objectives.question_answering import windows
from gifine.objectives.question_answering.loss import SpanLoss

WORDS = [f"w{number}" for number in range(40)]
CONTEXT = " ".join(WORDS[:30])
TASK = TaskConfig(name="squad", inputs=["question", "context"], stride=8, max_question_tokens=4)
V2 = replace(TASK, unanswerable=True)
LAYOUTS = {
    "bert": ("[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", ["input_ids", "attention_mask", "token_type_ids"]),
    "roberta": ("[CLS] $A [SEP] [SEP] $B [SEP]", ["input_ids", "attention_mask"]),
    "xlnet": ("$A:0 [SEP]:0 $B:1 [SEP]:1 [CLS]:2", ["input_ids", "attention_mask", "token_type_ids"]),
}


def make_tokenizer(layout: str) -> PreTrainedTokenizerFast:
    """A word is a token; a special one stands where this family has it."""
    template, names = LAYOUTS[layout]
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]"]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="$A", pair=template, special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    )
    side = "left" if layout == "xlnet" else "right"
    named = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "cls", "sep", "unk")}
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=names, padding_side=side, **named)


def ask(span: tuple[int, int] | None, *, asked: str = "w0 w1", idx: int = 0, **entries) -> Question:
    answers = () if span is None else (CONTEXT[slice(*span)],)
    return Question((asked, CONTEXT), idx, None, f"q{idx}", answers, span, **entries)


def prepare(layout: str, *questions: Question, max_length: int = 18, task: TaskConfig = TASK) -> Any:
    tokenizer = make_tokenizer(layout)
    return windows.prepare(
        questions, task, tokenizer, max_length, labelled=True, fingerprint=f"{layout}{len(questions)}"
    )


def words(row, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    return list(tokenizer.convert_ids_to_tokens(row["input_ids"]))


def place(first: str, last: str) -> tuple[int, int]:
    return CONTEXT.index(f"{first} "), CONTEXT.index(f"{last} ") + len(last)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_windows_hold_all_of_a_context_in_the_layout_of_the_tokenizer(layout):
    tokenizer = make_tokenizer(layout)
    examples = prepare(layout, ask(place("w10", "w11")))
    room = 18 - 2 - {"bert": 3, "roberta": 4, "xlnet": 3}[layout]
    begins = list(range(0, 30 - room + 8, 8))
    assert examples["window"][:] == [*range(len(begins))]
    for row, begin in zip(examples, begins, strict=True):
        part = CONTEXT.split()[begin : begin + room]
        expected = tokenizer(" ".join(part), "w0 w1") if layout == "xlnet" else tokenizer("w0 w1", " ".join(part))
        assert {name: row[name] for name in tokenizer.model_input_names} == dict(expected)
        assert row["length"] == len(row["input_ids"])
        assert row["input_ids"][row["cls"]] == tokenizer.cls_token_id
        spans = [(start, end) for start, end in zip(row["starts"], row["ends"], strict=True) if start >= 0]
        assert [CONTEXT[start:end] for start, end in spans] == part
        read = [token for token, start in zip(words(row, tokenizer), row["starts"], strict=True) if start >= 0]
        assert read == part
        assert (row["id"], row["context"], row["answers"], row["idx"]) == ("q0", CONTEXT, ["w10 w11"], 0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_answer_is_learnt_where_all_of_it_is_and_cls_elsewhere(layout):
    tokenizer = make_tokenizer(layout)
    examples = prepare(layout, ask(place("w10", "w12")), ask(None, idx=1))
    for row in examples:
        learnt = words(row, tokenizer)[row["start_positions"] : row["end_positions"] + 1]
        whole = {"w10", "w11", "w12"} <= {*words(row, tokenizer)} and row["idx"] == 0
        assert learnt == (["w10", "w11", "w12"] if whole else ["[CLS]"])
    with_answer = [row["start_positions"] != row["cls"] for row in examples if row["idx"] == 0]
    assert 0 < sum(with_answer) < len(with_answer), "some windows have all of it, others a part or nothing"


def test_what_cannot_be_learnt_is_noted_and_left_out(caplog):
    notes = {
        "long": ask(place("w2", "w25")),  # longer than any window
        "lost": ask(None, idx=1, trouble=Trouble.nowhere),
        "moved": ask(place("w3", "w3"), idx=2, trouble=Trouble.moved),
        "cut": ask(place("w3", "w3"), idx=3, asked="w0 w1 w2 w3 w4"),
        "inside": ask((0, 1), idx=4),  # the w of w0
        "fine": ask(place("w3", "w3"), idx=5),
    }
    examples = prepare("bert", *notes.values())
    told = reading.describe(examples, "train")
    assert "train: 1 of 6 questions: answer that no window has whole: not learnt (q0)" in caplog.text
    assert (told.pop("questions"), told.pop("windows")) == (6, len(examples))
    assert told == {
        "nowhere": {"questions": 1, "ids": ["q1"]},
        "moved": {"questions": 1, "ids": ["q2"]},
        "cut": {"questions": 1, "ids": ["q3"]},
        "outside": {"questions": 1, "ids": ["q0"]},
        "inside": {"questions": 1, "ids": ["q4"]},
    }
    assert told.keys() <= windows.NOTES.keys()
    learnt = reading.learnable(examples)
    assert {*learnt["idx"]} == {2, 3, 4, 5}
    assert learnt["idx"][:] == [idx for idx in examples["idx"] if idx >= 2]
    row = next(row for row in examples if row["idx"] == 3)
    assert row["input_ids"][: 1 + 4 + 1] == [1, 4, 5, 6, 7, 2], "[CLS] w0 w1 w2 w3 [SEP]"


def test_halves_are_of_questions_and_share_no_window():
    answered = [ask(place("w3", "w3"), idx=idx) if idx % 3 else ask(None, idx=idx) for idx in range(12)]
    examples = prepare("bert", *answered)
    select, report = reading.halves_of(examples, V2)
    sides = [{*half["idx"]} for half in (select, report)]
    assert sides[0] | sides[1] == {*range(12)}
    assert not sides[0] & sides[1]
    assert len(select) + len(report) == len(examples)
    assert [sum(idx % 3 == 0 for idx in side) for side in sides] == [2, 2]


def test_too_few_questions_are_refused():
    with pytest.raises(DataError, match="one question to evaluate on, and two halves need two"):
        reading.halves_of(prepare("bert", ask(place("w3", "w3"))), TASK)
    few = prepare("bert", *(ask(place("w3", "w3") if idx else None, idx=idx) for idx in range(4)))
    with pytest.raises(DataError, match="of 4 questions to evaluate on 3 have an answer; each half needs one that has"):
        reading.halves_of(few, V2)
    assert reading.halves_of(few, TASK)
    lost = Question(("w0", CONTEXT), 0, None, "q0", ("cat",), None, Trouble.nowhere)
    with pytest.raises(DataError, match="no question can be trained on"):
        reading.learnable(prepare("bert", lost))


@pytest.mark.parametrize(("kind", "has"), [("HasAns", False), ("NoAns", True)])
def test_questions_of_one_kind_alone_are_told_and_choose_nothing_of_the_other(kind, has, caplog):
    splits: Any = {
        "train": SimpleNamespace(examples=prepare("bert", ask(place("w3", "w3")), ask(None, idx=1))),
        "validation": SimpleNamespace(examples=prepare("bert", ask(place("w3", "w3") if has else None))),
    }
    words = ["task=squad_v2", "data=squad_dir", "data.dir=.", "model=bert"]
    reading.arrange(splits, cli.config_from(cli.compose(words)))
    assert caplog.messages == [f"validation: {'each' if has else 'none'} of 1 questions has an answer"]
    for metric in ("exact", "f1"):
        chosen = cli.config_from(cli.compose([*words, f"task.select_by={kind}_{metric}"]))
        with pytest.raises(DataError, match=f"{kind}_{metric}: validation has no question with(out)? an answer"):
            reading.arrange(splits, chosen)


@pytest.mark.parametrize(
    ("layout", "text"), [("dropped", "Cafe\u0301"), ("held", "Cafe\u0301"), ("inside", "Cafe\u0301s")]
)
def test_combining_marks_are_of_the_token_before_them(layout, text):
    """Whether a tokenizer leaves them out, as some do at a word's end, or not."""
    ends = {"dropped": 4, "held": 5, "inside": 6}
    offsets = np.asarray([[0, ends[layout]], [len(text) + 1, len(text) + 3]], dtype=np.int32)
    found = windows._with_marks(f"{text} is", offsets)
    assert found.tolist() == [[0, len(text)], [len(text) + 1, len(text) + 3]]


def test_what_is_read_back_goes_by_the_row_in_the_file():
    examples = prepare("roberta", *(ask(place("w3", "w3"), idx=idx) for idx in (3, 0, 7)))
    backwards = examples.select(range(len(examples) - 1, -1, -1))
    questions, read = reading.read(backwards)
    assert questions.idx.tolist() == [0, 3, 7]
    assert list(questions.ids) == ["q0", "q3", "q7"]
    assert (questions.idx[read.question] == np.asarray(backwards["idx"])).all()
    assert (read.starts[0][: backwards[0]["length"]] == backwards[0]["starts"]).all()


@pytest.mark.parametrize("padding", list(Padding))
def test_padding_follows_the_tokens_on_either_side(padding):
    from gifine import cli

    config = cli.config_from(cli.compose(["train.max_length=32"]))
    config = replace(config, train=replace(config.train, padding=padding))
    tokenizer = make_tokenizer("xlnet")
    examples = prepare("xlnet", ask(place("w10", "w11")), max_length=22)
    rows = [{name: row[name] for name in ("input_ids", "attention_mask", "start_positions")} for row in examples]
    batch = question_answering.make_collator(tokenizer, config)(rows)
    assert batch["input_ids"].shape[1] == (32 if padding is Padding.max_length else 22)
    for row, ids, start in zip(examples, batch["input_ids"].tolist(), batch["start_positions"].tolist(), strict=True):
        assert ids[: row["length"]] == row["input_ids"]
        assert start == row["start_positions"]


def test_the_loss_is_transformers_own_without_padding_and_knows_no_padding():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, generator=generator)
    batch = {
        "attention_mask": torch.ones(3, 6, dtype=torch.long),
        "start_positions": torch.tensor([0, 4, 2]),
        "end_positions": torch.tensor([0, 5, 3]),
    }
    outputs = {"start_logits": logits[0], "end_logits": logits[1]}
    ends = [
        torch.nn.functional.cross_entropy(logits[at], batch[f"{end}_positions"])
        for at, end in enumerate(("start", "end"))
    ]
    assert SpanLoss().of(outputs, batch, None).item() == pytest.approx((ends[0] + ends[1]).item() / 2, rel=1e-6)
    wider = {
        f"{end}_logits": torch.cat([logits[at], torch.full((3, 2), 9.0)], 1) for at, end in enumerate(("start", "end"))
    }
    masked = batch | {"attention_mask": torch.nn.functional.pad(batch["attention_mask"], (0, 2))}
    assert torch.equal(SpanLoss().of(wider, masked, None), SpanLoss().of(outputs, batch, None))
    unknown = batch | {"start_positions": torch.tensor([0, 4, -1]), "end_positions": torch.tensor([0, 5, -1])}
    assert SpanLoss().weight_of(unknown) == 2
    first = {name: each[:2] for name, each in (outputs | batch).items()}
    assert SpanLoss().of(outputs, unknown, None).item() == pytest.approx(SpanLoss().of(first, first, None).item())


@pytest.mark.shared
@pytest.mark.parametrize(
    "name", ["bert-base-uncased", "roberta-base", "deberta-base", "deberta-v3-base", "xlnet-base-cased"]
)
def test_a_window_of_all_is_what_the_published_tokenizer_makes_of_the_pair(shared, name):
    tokenizer = tokenizers.load(str(shared / "tokenizers" / name))
    asked, context = "Who  sleeps ½ of it?", "The café's dog (10, 000) sleeps.  It 😀 sleeps."
    question = Question((asked, context), 0, None, "a", ("dog",), (11, 14))
    task = replace(TASK, max_question_tokens=32)
    found: Any = windows.prepare([question], task, tokenizer, 96, labelled=True, fingerprint=name)
    (row,) = found
    context_first = name.startswith("xlnet")
    pair = (context, asked) if context_first else (asked, context)
    whole = tokenizer(*pair, return_offsets_mapping=True)
    sides, offsets = whole.sequence_ids(0), whole.pop("offset_mapping")
    assert {key: row[key] for key in whole} == dict(whole)
    expected = [
        offset if side == (not context_first) else (-1, -1) for side, offset in zip(sides, offsets, strict=True)
    ]
    assert [*zip(row["starts"], row["ends"], strict=True)] == [tuple(each) for each in expected]
    learnt = context[row["starts"][row["start_positions"]] : row["ends"][row["end_positions"]]]
    assert learnt.strip() == "dog"
