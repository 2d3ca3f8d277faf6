"""Generator and discriminator: what they share, where gradients go, what they start from, what is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gifine.choices import Attention, Objective, Part, Sharing
from gifine.errors import ModelError
from gifine.inputs import dataset, tokenizers
from gifine.models import build, from_pretrained, pairs
from gifine.models.change_config import is_change
from gifine.models.pretraining.pair import DELTA, draw, saved_state
from gifine.task_config import GeneratorConfig
from support import pretraining
from support.pretraining import MASKABLE, NARROW, make_drawn, run_config
from support.tiny_models import BOTH, DEPTH, LABELS, NONE, D, model_config

WORDS, PLACES = "embeddings.word_embeddings", "embeddings.position_embeddings"
KINDS = "embeddings.token_type_embeddings"


def pair(family: str, gi: Any = NONE, seed: int = 0, **given: Any) -> Any:
    return pretraining.build(run_config(family, Objective.rtd, gi, **given), seed)


def from_folder(family: str, folder: Path, **settings: Any) -> Any:
    return model_config(family, random_init=False, checkpoint=str(folder), **settings)


def perturb(model: Any) -> None:
    """Away from equal tables, and from gates that do nothing."""
    numbers = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=numbers)


def gates(model: Any) -> dict[str, Tensor]:
    return {name: each for name, each in model.named_parameters() if is_change(name)}


@pytest.mark.parametrize("family", MASKABLE)
def test_the_generators_embeddings_get_no_gradient_though_the_loss_moves_with_them(family: str) -> None:
    model, batch = pair(family, BOTH, generator={"sharing": Sharing.gdes}).double(), make_drawn(family)
    perturb(model)
    expected = {WORDS} | ({PLACES, KINDS} if family in ("bert", "roberta") else set())
    assert {name.partition(".")[2] for name in model.deltas()} == expected
    replaced = model(**batch, part="generator").replaced

    def loss() -> Tensor:
        return model(**batch, part="discriminator", replaced=replaced).bce.sum()

    loss().backward()
    assert all(parameter.grad is None for parameter in model.generator.parameters())
    for name, delta in model.deltas().items():
        table = model.generator.get_submodule(name).weight
        place = {WORDS: replaced[0, 1].item(), PLACES: 3, KINDS: 0}[name.partition(".")[2]], 5
        values = []
        # transformers computes the norms of DeBERTa v1 in float32, whose rounding asks for a larger step.
        size, near = (5e-4, 2e-2) if family == "deberta" else (1e-5, 1e-5)
        for step in (size, -2 * size, size):
            with torch.no_grad():
                table[place] += step
                values.append(loss())
        by_difference = (values[0] - values[1]) / (2 * size)
        assert by_difference.abs() > 1e-3
        torch.testing.assert_close(by_difference, delta.weight.grad[place], rtol=near, atol=1e-8)

    model.zero_grad()
    model(**batch, part="generator").nll.sum().backward()
    assert all(parameter.grad is None for parameter in model.discriminator.parameters())
    assert model.generator.get_input_embeddings().weight.grad.any()


@pytest.mark.parametrize(("family", "narrow"), [("bert", NARROW), ("deberta_v2", NARROW), ("roberta", {})])
def test_tables_that_are_shared_learn_from_both(family: str, narrow: dict[str, Any]) -> None:
    """As ELECTRA's, whose generator may be narrower than its embeddings."""
    model = pair(family, generator={"sharing": Sharing.shared, "config_overrides": narrow, "layers": 1}).double()
    mine, theirs = model.generator.base_model.embeddings, model.discriminator.base_model.embeddings
    assert model.generator.config.hidden_size == narrow.get("hidden_size", D)
    assert len(model.generator.base_model.encoder.layer) == 1
    assert mine.word_embeddings is theirs.word_embeddings
    assert (mine.LayerNorm is theirs.LayerNorm) == (family != "deberta_v2")
    parts = model.parts()
    assert {id(each) for part in parts.values() for each in part} == {id(each) for each in model.parameters()}
    assert len([each for part in parts.values() for each in part]) == len(list(model.parameters()))

    batch, table, grads = make_drawn(family), mine.word_embeddings.weight, []
    given = model(**batch, part="generator")
    asked, real = (batch["labels"] >= 0).sum(), batch["attention_mask"].sum()
    parted = (
        given.nll.sum() / asked,
        10 * model(**batch, part="discriminator", replaced=given.replaced).bce.sum() / real,
    )
    both = model(**batch)
    torch.testing.assert_close(both.loss, sum(parted))
    for loss in (*parted, both.loss):
        (grad,) = torch.autograd.grad(loss, table, retain_graph=True)
        assert grad.any()
        grads.append(grad)
    torch.testing.assert_close(grads[2], grads[0] + grads[1])


@pytest.mark.parametrize("changed", Part)
def test_the_change_is_where_it_is_asked_for(changed: Part) -> None:
    """A generator of fewer layers than are changed has it in all of them."""
    model = pair("deberta_v2", replace(BOTH, layers=DEPTH), changed=changed)
    ours, theirs = gates(model.generator), gates(model.discriminator)
    assert len(model.generator.base_model.encoder.layer) == 2
    each = len(gates(pair("deberta_v2", BOTH).discriminator)) // DEPTH
    assert len(ours) == (0 if changed is Part.discriminator else 2 * each)
    assert len(theirs) == (0 if changed is Part.generator else DEPTH * each)
    for name in [name for name in {*ours} & {*theirs} if ours[name].any()]:
        assert not torch.equal(ours[name], theirs[name]), "drawn from streams of their own"


def test_attention_is_fast_in_both_and_says_the_same() -> None:
    batch = make_drawn("deberta_v2")
    slow, fast = (
        pair("deberta_v2", BOTH, model=model_config("deberta_v2", attention=attention)).double()
        for attention in (Attention.hf, Attention.fast)
    )
    for ours, theirs in zip(fast(**batch).values(), slow(**batch).values(), strict=True):
        real = batch["attention_mask"].bool() if ours.dim() == 2 else ...
        torch.testing.assert_close(ours[real], theirs[real], rtol=0, atol=1e-6)


SAVED = [
    ("deberta_v2", BOTH, {}, {}),
    ("bert", BOTH, {"config_overrides": NARROW}, {"changed": Part.discriminator}),
    ("deberta", NONE, {"sharing": Sharing.none}, {}),
    ("roberta", BOTH, {"sharing": Sharing.gdes}, {"changed": Part.generator}),
]


@pytest.mark.parametrize(("family", "gi", "generator", "task"), SAVED, ids=[each[0] for each in SAVED])
def test_what_is_saved_is_read_back_to_the_bit(
    family: str, gi: Any, generator: dict[str, Any], task: dict[str, Any], tmp_path: Path
) -> None:
    config = run_config(family, Objective.rtd, gi, generator=generator, **task)
    model, batch = pretraining.build(config), make_drawn(family)
    perturb(model)
    model.save_pretrained(tmp_path)
    expected, state = model(**batch), model.state_dict()
    another = pretraining.build(config, seed=1)
    another.load_state_dict(saved_state(tmp_path, another))
    for again in (another, pairs.reload(config, tmp_path)):
        assert again.state_dict().keys() == state.keys()
        assert all(torch.equal(each, state[name]) for name, each in again.state_dict().items())
        assert torch.equal(again(**batch).logits, expected.logits)
    if model.deltas():
        (tmp_path / DELTA).rename(tmp_path / "elsewhere")
        with pytest.raises(ModelError, match=DELTA):
            pairs.reload(config, tmp_path)
    alone: Any = from_pretrained(tmp_path, objective=Objective.rtd, whole=True)
    logits = alone(expected.replaced, batch["attention_mask"])
    torch.testing.assert_close(logits, expected.logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", MASKABLE)
def test_a_pair_begins_as_its_checkpoint(family: str, tmp_path: Path) -> None:
    """The discriminator is it; the generator has its first layers; E_Δ is what makes the difference."""
    rows = tokenizers.size(tokenizers.load_for(model_config(family, tokenizer="demo")))
    masked: Any = pretraining.build(run_config(family, Objective.mlm))
    masked.save_pretrained(tmp_path)
    assert masked.config.vocab_size == rows
    provenance: dict[str, Any] = {}
    config = run_config(family, Objective.rtd, model=from_folder(family, tmp_path), generator={"layers": 1})
    config.task.generator.sharing = Sharing.gdes
    model = pretraining.build(config, provenance=provenance)
    assert provenance["generator"]["from"] == str(tmp_path)
    assert provenance["generator"]["weights"].keys() == {"model.safetensors", "config.json"}
    theirs = dict(masked.named_parameters())
    for name, each in model.generator.named_parameters():
        assert torch.equal(each, theirs[name]), name
    for name, each in model.discriminator.base_model.named_parameters():
        known = theirs[f"{masked.base_model_prefix}.{name}"]
        delta = f"{masked.base_model_prefix}.{name.removesuffix('.weight')}" in model.deltas()
        assert torch.equal(each, torch.zeros_like(known) if delta else known), name

    # Another generator: the sum is the checkpoint's still.
    other = pretraining.build(run_config(family, Objective.mlm), seed=5)
    other.save_pretrained(tmp_path / "other")
    config.task.generator = GeneratorConfig(sharing=Sharing.gdes, checkpoint=str(tmp_path / "other"))
    mixed = pretraining.build(config)
    for name, delta in mixed.deltas().items():
        table = mixed.generator.get_submodule(name).weight
        assert torch.equal(table, dict(other.named_parameters())[f"{name}.weight"])
        torch.testing.assert_close(table + delta.weight, theirs[f"{name}.weight"], rtol=0, atol=1e-6)
        assert delta.weight.any()


def test_a_pair_goes_on_from_a_pair(tmp_path: Path) -> None:
    """Its own generator, and E_Δ as it was but for rounding."""
    model = pair("deberta_v2", BOTH)
    perturb(model)
    model.save_pretrained(tmp_path)
    again = pair("deberta_v2", BOTH, model=from_folder("deberta_v2", tmp_path))
    state = again.state_dict()
    for name, each in model.state_dict().items():
        torch.testing.assert_close(state[name], each, rtol=0, atol=1e-6)
    (delta,) = again.deltas().values()
    assert delta.weight.any()


@pytest.mark.parametrize("family", ["bert", "deberta_v2"])
def test_the_discriminator_is_fine_tuned(family: str, tmp_path: Path) -> None:
    """With its gates, and without; its embeddings are the sum."""
    model = pair(family, BOTH)
    perturb(model)
    model.save_pretrained(tmp_path)
    theirs = dict(model.discriminator.base_model.named_parameters())
    for name, delta in model.deltas().items():
        below = f"{name.partition('.')[2]}.weight"
        theirs[below] = model.generator.get_submodule(name).weight + delta.weight
    for gi, dropped in ((BOTH, False), (NONE, True)):
        tuned = build(from_folder(family, tmp_path, drop_change=dropped), gi, labels=LABELS)
        found = dict(tuned.base_model.named_parameters())
        expected = {name for name in theirs if not (dropped and is_change(name))}
        assert expected <= {*found}
        assert all(torch.equal(found[name], theirs[name]) for name in expected)
        assert bool(gates(tuned)) != dropped
    with pytest.raises(ModelError, match="gates that the gi settings leave no place for"):
        build(from_folder(family, tmp_path), NONE, labels=LABELS)


def test_a_generator_of_other_tokens_is_refused_before_data_are_read(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small: Any = build(model_config("deberta_v2"), NONE, labels=(), objective=Objective.mlm, vocab_size=4000)
    small.save_pretrained(tmp_path)
    config = run_config("deberta_v2", Objective.rtd, generator={"checkpoint": str(tmp_path)})
    tokenizer = tokenizers.load_for(config.model)
    told = (
        rf"the generator, '{tmp_path}', knows 4000 tokens, the discriminator {tokenizers.size(tokenizer)}: they must be"
    )
    with pytest.raises(ModelError, match=told):
        pairs.check(config, tokenizer)

    def never(*_args: Any) -> None:
        raise AssertionError("data are read")

    monkeypatch.setattr(dataset.Reader, "load", never)
    words = ["task=rtd", "data=demo", "model=debertav3", "model.random_init=true", "model.tokenizer=demo"]
    with pytest.raises(ModelError, match="knows 4000 tokens"):
        train(*words, f"task.generator.checkpoint={tmp_path}")


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    numbers = torch.Generator().manual_seed(0)
    probabilities = torch.tensor([0.5, 0.0, 0.2, 0.3], dtype=torch.float64)
    scores_NV = probabilities.log().repeat(4000, 1)
    uniforms_N = torch.rand(4000, dtype=torch.float64, generator=numbers)
    drawn_N = draw(scores_NV, uniforms_N)
    for token, probability in enumerate(probabilities.tolist()):
        deviation = (4000 * probability * (1 - probability)) ** 0.5
        assert abs((drawn_N == token).sum().item() - 4000 * probability) <= 4 * deviation
    edges = torch.tensor([0.0, 0.4999, 0.5001, 0.6999, 0.7001, 1.0 - 1e-12], dtype=torch.float64)
    assert draw(scores_NV[:6], edges).tolist() == [0, 0, 2, 2, 3, 3]
    assert draw(scores_NV[7:8], uniforms_N[7:8]).item() == drawn_N[7].item(), "whatever the batch"
