"""Models that answer questions: transformers' own, plain and changed, and what becomes of another task's head."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import AutoModelForQuestionAnswering, set_seed

from gifine import models
from gifine.choices import Attention, GateInit, Objective
from gifine.config import GiConfig
from gifine.models import layouts, merging
from gifine.models.change_config import is_change
from support.tiny_models import BOTH, FAMILIES, LABELS, NONE, make, make_batch, model_config

QUESTIONS = Objective.questions


def reader(family: str, gi: GiConfig = BOTH, **settings) -> Any:  # for its submodules
    set_seed(0)
    return models.build(model_config(family, **settings), gi, labels=(), objective=QUESTIONS).eval()


@torch.no_grad()
def ends_of(model, family: str) -> torch.Tensor:
    """Of real tokens: what stands at padding is no answer, and enters no loss."""
    batch = make_batch(family)
    found = model(**batch)
    return torch.stack([found.start_logits, found.end_logits])[:, batch["attention_mask"].bool()]


@pytest.mark.parametrize("family", FAMILIES)
def test_without_gates_it_is_transformers_own(family):
    assert type(reader(family, NONE, attention=Attention.hf)) is models.family_classes(family).plain_reader


@pytest.mark.parametrize("family", FAMILIES)
def test_gates_that_start_as_the_identity_change_no_bit(family):
    plain, gated = reader(family, NONE), reader(family, replace(BOTH, init=GateInit.identity))
    assert any(".select_" in name or "inhibition" in name for name, _ in gated.named_parameters())
    assert torch.equal(ends_of(plain, family), ends_of(gated, family))
    assert not torch.equal(ends_of(plain, family), ends_of(reader(family), family))


@pytest.mark.parametrize("family", FAMILIES)
def test_saved_it_is_found_again_by_every_way(family, tmp_path):
    model = reader(family)
    model.save_pretrained(tmp_path)
    expected = ends_of(model, family)
    ours = models.with_attention(models.from_pretrained(tmp_path, whole=True), Attention.fast)
    assert type(ours) is models.family_classes(family).reader
    assert torch.equal(ends_of(ours, family), expected)
    theirs = AutoModelForQuestionAnswering.from_pretrained(tmp_path).eval()
    assert type(theirs) is type(ours)
    assert torch.allclose(ends_of(theirs, family), expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_of_the_other_kind_is_drawn_anew(family, tmp_path):
    """Classifier to reader, reader to reader and back: the encoder stays what it is."""
    first = make(family)
    first.save_pretrained(tmp_path / "classifier")
    told: dict[str, str] = {}
    place = {"random_init": False, "checkpoint": str(tmp_path / "classifier")}
    second: Any = models.build(model_config(family, **place), BOTH, labels=(), objective=QUESTIONS, provenance=told)
    assert told["head"].startswith(f"new; {layouts.of(first).classifier}."), told
    assert "SequenceClassification" in told["head"]
    second.save_pretrained(tmp_path / "reader")
    place = {"random_init": False, "checkpoint": str(tmp_path / "reader")}
    again: Any = models.build(model_config(family, **place), BOTH, labels=(), objective=QUESTIONS, provenance=told)
    assert told["head"] == "kept, of questions, too"
    assert torch.equal(again.qa_outputs.weight, second.qa_outputs.weight)
    back = models.build(model_config(family, **place), BOTH, labels=LABELS, provenance=told)
    assert told["head"].startswith("new; qa_outputs.bias, qa_outputs.weight left behind"), told
    ours = dict(back.base_model.named_parameters())
    for name, parameter in first.base_model.named_parameters():
        assert ".pooler." in f".{name}" or torch.equal(ours[name], parameter), name


@pytest.mark.parametrize("family", ["deberta", "deberta_v2"])
@pytest.mark.parametrize("gi", [NONE, BOTH])
def test_fast_attention_gives_what_transformers_gives(family, gi):
    fast, theirs = (reader(family, gi, attention=each) for each in Attention)
    assert torch.allclose(ends_of(fast, family), ends_of(theirs, family), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_change_is_merged_into_it(family):
    set_seed(0)
    change = {"name": "lora", "sites": ["query", "output"], "rank": 2, "alpha": 4}
    model = models.build(model_config(family), NONE, change, labels=(), objective=QUESTIONS).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_change(name):
                parameter.add_(0.2 * torch.randn_like(parameter))
    plain = merging.merge(model)
    assert type(plain) is models.family_classes(family).plain_reader
    assert torch.allclose(ends_of(plain, family), ends_of(model, family), atol=1e-4)
    assert not torch.allclose(ends_of(merging.fill_in(reader(family, NONE)), family), ends_of(model, family), atol=1e-2)
