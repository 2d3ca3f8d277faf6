"""Masked language models: transformers' own numbers and names, and DeBERTa's mask decoder written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it
from transformers import AutoModelForMaskedLM, set_seed

from gifine import changes
from gifine.choices import Attention, Objective
from gifine.errors import ModelError
from gifine.inputs.families import FAMILIES
from gifine.models import at_site, build, from_pretrained, layouts, with_attention
from gifine.models.at_site import AtSite
from gifine.models.pretraining.parts import UNSCORED
from support import pretraining
from support.pretraining import DEBERTAS, MASKABLE, make_masked, run_config
from support.tiny_models import BOTH, LABELS, NONE, ROUNDING, SCALE, TINY, model_config

# Each change, at all its sites.
CHANGES: dict[str, dict[str, Any]] = {
    "added": {},
    "gi": {},
    "clipped_softmax": {"gamma": -0.1},
    "gated_heads": {},
    "gated_output": {},
    "gated_output at key": {"site": "key"},
    "head_scale": {},
    "ina": {},
    "ia3": {"sites": ["query", "key", "value", "context", "output", "ffn", "ffn_output"]},
    "lora": {"sites": ["query", "key", "value", "output", "ffn_output"]},
    "value_residual": {},
    "wider": {},
}


def masked_lm(family: str, gi: Any = NONE, change: dict[str, Any] | None = None, **settings: Any) -> Any:
    model = model_config(family, tokenizer="demo", **settings)
    return pretraining.build(run_config(family, Objective.mlm, gi, change, model=model))


@pytest.mark.parametrize("family", MASKABLE)
def test_it_reads_and_writes_transformers_own(family: str, tmp_path: Path) -> None:
    biased = {} if family in ("bert", "roberta") else {"position_biased_input": True}  # its decoder is ours alone
    model = masked_lm(family, config_overrides=biased)
    with torch.no_grad():
        model.head.bias.normal_(generator=torch.Generator().manual_seed(0))
    model.save_pretrained(tmp_path)
    theirs = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    assert type(theirs).__module__.startswith("transformers.")
    batch = make_masked(family)
    asked = batch["labels"] != UNSCORED

    scores = model.scores(batch["labels"], batch["input_ids"], batch["attention_mask"], None)
    expected = theirs(batch["input_ids"], batch["attention_mask"]).logits[asked]
    torch.testing.assert_close(scores, expected, rtol=0.0, atol=1e-4)

    output = model(**batch)
    each = F.cross_entropy(expected, batch["labels"][asked], reduction="none")
    torch.testing.assert_close(output.nll[asked], each, rtol=0.0, atol=1e-4)
    assert not output.nll[~asked].any()
    torch.testing.assert_close(output.loss, each.mean(), rtol=0.0, atol=1e-4)
    assert output.hits[asked].tolist() == (expected.argmax(-1) == batch["labels"][asked]).tolist()

    theirs.save_pretrained(tmp_path / "theirs")
    again = from_pretrained(tmp_path / "theirs", objective=Objective.mlm)
    torch.testing.assert_close(again(**batch).loss, output.loss, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("family", MASKABLE)
def test_nothing_is_asked_for(family: str) -> None:
    batch = make_masked(family)
    batch["labels"].fill_(UNSCORED)
    output = masked_lm(family, BOTH)(**batch)
    output.loss.backward()
    assert output.loss.item() == 0


def test_xlnet_knows_no_masks() -> None:
    with pytest.raises(ModelError, match=r"task\.objective=mlm: is not defined for xlnet"):
        build(model_config("xlnet"), NONE, labels=(), objective=Objective.mlm)


def decoded(model: Any, batch: dict[str, Tensor], *, queries_of_hidden: bool = False) -> Tensor:
    """The decoder step by step, of a model with transformers' own attention."""
    backbone = model.base_model
    *lower, last = backbone.encoder.layer
    mask_B1TT = backbone.encoder.get_attention_mask(batch["attention_mask"])
    states = backbone.embeddings(batch["input_ids"], mask=batch["attention_mask"])
    distances, relative = backbone.encoder.get_rel_pos(states), backbone.encoder.get_rel_embedding()
    for layer in lower:
        states = layer(states, mask_B1TT, relative_pos=distances, rel_embeddings=relative)[0]
    plain = type(last).__mro__[2]  # past the class that decodes
    query = states + backbone.embeddings.position_embeddings.weight[: states.shape[1]]
    for _ in range(2):
        given = {"relative_pos": distances, "rel_embeddings": relative, "query_states": query}
        query = plain.forward(last, states, mask_B1TT, **given)[0]
    return query


@pytest.mark.parametrize("attention", Attention)
def test_the_decoder_written_out(attention: Attention) -> None:
    """transformers' own attention of DeBERTa v2 takes queries from elsewhere; it is what ours is compared with."""
    batch, model = make_masked("deberta_v2"), masked_lm("deberta_v2", attention=Attention.hf).double()
    expected = decoded(model, batch)
    found = with_attention(model, attention).base_model(batch["input_ids"], batch["attention_mask"])[0]
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], rtol=0.0, atol=ROUNDING)


def rows_written_out(attention: Any, hidden: Tensor, queries: Tensor, mask: Tensor, **distances: Tensor) -> Tensor:
    """DeBERTa v1's context, head by head: transformers' own cannot be asked for it."""
    heads, size = attention.num_attention_heads, attention.attention_head_size
    rows = attention.in_proj.weight.split(size)
    q, k, v = (
        torch.stack([states @ rows[3 * head + part].T for head in range(heads)], dim=1)
        for part, states in enumerate((queries, hidden, hidden))
    )
    q, v = (each + bias.view(heads, 1, size) for each, bias in ((q, attention.q_bias), (v, attention.v_bias)))
    q = q / (size * 3) ** 0.5
    by_distance = attention.disentangled_att_bias(q, k, distances["relative_pos"], distances["rel_embeddings"], 3)
    scores = (q @ k.transpose(-1, -2) + by_distance).masked_fill(~mask.bool(), torch.finfo(q.dtype).min)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("attention", Attention)
def test_queries_from_elsewhere_in_deberta_v1(attention: Attention) -> None:
    model = masked_lm("deberta", attention=attention).double()
    encoder, module = model.base_model.encoder, model.base_model.encoder.layer[-1].attention.self
    numbers = torch.Generator().manual_seed(0)
    hidden, queries = torch.randn(2, 2, 7, TINY["hidden_size"], dtype=torch.float64, generator=numbers)
    mask = torch.ones(2, 1, 7, 7, dtype=torch.bool)
    given = {"relative_pos": encoder.get_rel_pos(hidden), "rel_embeddings": encoder.get_rel_embedding()}
    found = module(hidden, mask, query_states=queries, **given)[0]
    torch.testing.assert_close(found, rows_written_out(module, hidden, queries, mask, **given), rtol=0.0, atol=SCALE)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("family", DEBERTAS)
def test_a_change_in_the_decoder(family: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fast and transformers' attention agree; what a change has beside its value is what the contract says."""
    change = {"name": name.split()[0]} | CHANGES[name]
    model = masked_lm(family, BOTH if name == "gi" else NONE, change, attention=Attention.hf).double()
    with torch.no_grad():  # away from a start as the plain model
        for site in (site for module in model.modules() for site in getattr(module, "sites", {}).values()):
            for parameter in site.learned(
                next(m for m in model.modules() if site in getattr(m, "sites", {}).values())
            ).values():
                parameter.normal_(0.0, 0.3, generator=torch.Generator().manual_seed(parameter.numel()))
    batch, seen = make_masked(family), []
    apply = AtSite.apply

    def watched(self: AtSite, module: Any, value: Tensor, taken: Tensor, hidden: Tensor, positions: bool) -> Tensor:
        if self.place.layer == self.place.depth - 1 and not positions:
            seen.append((self.place.site, at_site.now().again, hidden))
        return apply(self, module, value, taken, hidden, positions)

    monkeypatch.setattr(AtSite, "apply", watched)
    inputs: list[Tensor] = []
    layer = layouts.layers(model)[-1]
    layer.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    by_hf = model(**batch).loss
    (below,) = inputs
    first = below + model.base_model.embeddings.position_embeddings.weight[: below.shape[1]]
    assert {again for _, again, _ in seen} == {0, 1}
    for site, again, hidden in seen:
        if site in ("key", "value"):
            assert torch.equal(hidden, below)
        elif site in ("query", "weights", "context", "output"):
            assert torch.equal(hidden, first) == (again == 0)
            assert not torch.equal(hidden, below)

    by_fast = with_attention(model, Attention.fast)(**batch).loss
    torch.testing.assert_close(by_fast, by_hf, rtol=0.0, atol=ROUNDING)


@pytest.mark.parametrize("family", DEBERTAS)
def test_dropout_in_a_change_draws_anew_when_the_layer_runs_again(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = masked_lm(family, change={"name": "lora", "dropout": 0.5}).train()
    streams: list[str] = []
    drawn = at_site._Dropout.__call__

    def watched(self: Any, x: Tensor, dropout: float) -> Tensor:
        streams.append(self.stream)
        return drawn(self, x, dropout)

    monkeypatch.setattr(at_site._Dropout, "__call__", watched)
    model(**make_masked(family))
    assert len({*streams}) == len(streams) > 0


@pytest.mark.parametrize("family", MASKABLE)
def test_it_is_fine_tuned(family: str, tmp_path: Path) -> None:
    """With its gates, and without."""
    masked_lm(family, BOTH).save_pretrained(tmp_path)
    saved = from_pretrained(tmp_path, objective=Objective.mlm, whole=True)
    for gi, dropped in ((BOTH, False), (NONE, True)):
        set_seed(1)
        provenance: dict[str, Any] = {}
        model = model_config(family, random_init=False, checkpoint=str(tmp_path), drop_change=dropped)
        tuned = build(model, gi, labels=LABELS, provenance=provenance)
        theirs = dict(saved.base_model.named_parameters())
        kept = [
            name
            for name, each in tuned.base_model.named_parameters()
            if name in theirs and torch.equal(each, theirs[name])
        ]
        gates = [name for name in theirs if "gi_" in name or "inhibition" in name or "select" in name]
        assert gates
        expected = {*theirs} - {"embeddings.position_embeddings.weight"} - ({*gates} if dropped else set())
        assert expected <= {*kept}
        assert provenance["head"] == "new"
    with pytest.raises(ModelError, match="gates that the gi settings leave no place for"):
        build(model_config(family, random_init=False, checkpoint=str(tmp_path)), NONE, labels=LABELS)


def test_what_is_continued_may_be_a_classifier(tmp_path: Path) -> None:
    """The head and the decoder's positions are new, and nothing else is."""
    family = "deberta_v2"
    set_seed(0)
    classifier = build(model_config(family), NONE, labels=LABELS)
    classifier.save_pretrained(tmp_path)
    rows = classifier.config.vocab_size
    model = model_config(family, random_init=False, checkpoint=str(tmp_path))
    made: Any = build(model, NONE, labels=(), objective=Objective.mlm, vocab_size=rows)
    theirs = dict(classifier.base_model.named_parameters())
    new = {name for name, each in made.base_model.named_parameters() if name not in theirs}
    assert new == {"embeddings.position_embeddings.weight"}
    assert all(torch.equal(dict(made.base_model.named_parameters())[name], each) for name, each in theirs.items())
    assert made(**make_masked(family)).loss.isfinite()


def test_a_token_more_than_the_checkpoint_knows(tmp_path: Path) -> None:
    model = masked_lm("bert")
    model.save_pretrained(tmp_path)
    rows = model.config.vocab_size
    again = model_config("bert", random_init=False, checkpoint=str(tmp_path), resize_embeddings=True)
    made: Any = build(again, NONE, labels=(), objective=Objective.mlm, vocab_size=rows + 2)
    batch = make_masked("bert")
    scores = made.scores(batch["labels"], batch["input_ids"], batch["attention_mask"], None)
    assert scores.shape == (5, rows + 2)


def test_no_change_is_left_out() -> None:
    assert {name.split()[0] for name in CHANGES} == {*changes.names()}


def test_families_without_masks_are_the_others() -> None:
    assert {*MASKABLE} == {*FAMILIES} - {"xlnet"}
