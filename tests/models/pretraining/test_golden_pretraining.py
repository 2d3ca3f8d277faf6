"""MLM and RTD against numbers from microsoft/DeBERTa's own code (the developers' shared folder)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers.models.deberta_v2 import modeling_deberta_v2

from gifine.choices import Attention, Objective, Sharing
from gifine.models import family_classes, layouts, with_attention
from gifine.models.attention import deberta
from gifine.models.pretraining.pair import Pair
from gifine.models.pretraining.parts import UNSCORED

pytestmark = pytest.mark.shared

EXACT = {"rtol": 0.0, "atol": 1e-10}
UNKNOWN = ("padding_idx", "padding_side", "pooling")  # of config.json: transformers has pad_token_id
NOT_HERE = "discriminator.deberta.embeddings.position_embeddings.weight"  # E_Δ of positions, which nothing reads


@pytest.fixture
def folder(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The numbers of golden/rtd; scores are divided in float64: transformers computes the root in float32."""

    def scale(queries: Tensor, terms: int) -> Tensor:
        return torch.tensor(queries.shape[-1] * terms, dtype=torch.float64).sqrt()

    monkeypatch.setattr(modeling_deberta_v2, "scaled_size_sqrt", scale)
    monkeypatch.setattr(deberta, "_scale", lambda features, terms: (features * terms) ** 0.5)
    return shared / "golden" / "rtd"


@pytest.fixture(params=Attention)
def attention(request: pytest.FixtureRequest) -> Attention:
    return request.param


def part(entries: dict[str, Any], objective: Objective, attention: Attention) -> Any:
    family = family_classes("deberta_v2")
    own = {name: value for name, value in entries.items() if name not in UNKNOWN}
    config = family.plain_config.from_dict(own | {"pad_token_id": entries["padding_idx"], "legacy": False})
    return with_attention(family.model(objective, plain=True)(config), attention).double()


def pair(folder: Path, attention: Attention) -> Pair:
    entries = json.loads((folder / "config.json").read_text())
    generator = part(entries["generator"], Objective.mlm, attention)
    discriminator = part(entries["discriminator"], Objective.rtd, attention)
    made = Pair(generator, discriminator, Sharing.gdes, entries["rtd_lambda"], start_from_sum=False).eval()
    state = {name.replace("._weight", ".weight"): each for name, each in read(folder / "state").items()}
    state.pop(NOT_HERE)
    made.load_state_dict(state)
    return made


def read(path: Path) -> dict[str, Tensor]:
    tensors = load_file(path.with_suffix(".safetensors"))
    return {name: each.double() if each.is_floating_point() else each.long() for name, each in tensors.items()}


def inputs(folder: Path) -> dict[str, Tensor]:
    read_in = read(folder / "inputs")
    labels = read_in["labels"].masked_fill(read_in["labels"] == 0, UNSCORED)
    return {"input_ids": read_in["input_ids"], "attention_mask": read_in["input_mask"], "labels": labels}


def norms(model: torch.nn.Module) -> dict[str, float]:
    """Of the gradients, by the original's names."""
    deltas = {f"discriminator.{name}.weight" for name in (model.deltas() if isinstance(model, Pair) else ())}
    return {
        name.replace(".weight", "._weight") if name in deltas else name: parameter.grad.norm().item()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }


def not_zero(expected: dict[str, float]) -> dict[str, float]:
    return {name: norm for name, norm in expected.items() if norm}


def test_generator(folder: Path, attention: Attention) -> None:
    model, batch, expected = pair(folder, attention), inputs(folder), read(folder / "exact" / "outputs")
    states: list[Tensor] = []
    layouts.layers(model.generator)[-1].get_submodule("output").register_forward_hook(
        lambda _module, _args, output: states.append(output)
    )

    scores = model.generator.scores(batch["labels"], batch["input_ids"], batch["attention_mask"], None)
    output = model.generator(**batch)
    output.loss.backward()

    torch.testing.assert_close(scores, expected["mlm_logits"], **EXACT)
    real = batch["attention_mask"].bool()
    for found, name in zip(states, ("generator.decoder_pass_1", "generator.decoder_pass_2"), strict=False):
        torch.testing.assert_close(found[real], expected[name][real], **EXACT)
    torch.testing.assert_close(output.nll[batch["labels"] != UNSCORED], expected["mlm_loss_each"], **EXACT)
    summary = json.loads((folder / "exact" / "summary.json").read_text())
    assert output.loss.item() == pytest.approx(summary["mlm_loss"], abs=1e-10)
    assert norms(model) == pytest.approx(not_zero(summary["grad_norm"]["mlm"]), abs=1e-10)


def test_discriminator(folder: Path, attention: Attention) -> None:
    model, batch, expected = pair(folder, attention), inputs(folder), read(folder / "exact" / "outputs")
    real = batch["attention_mask"].bool()

    output = model(**batch, part="discriminator", replaced=expected["new_input_ids"])
    (output.bce.sum() / real.sum()).backward()

    torch.testing.assert_close(output.logits[real], expected["rtd_logits"][real], **EXACT)
    torch.testing.assert_close(output.bce[real], expected["rtd_loss_each"], **EXACT)
    (delta,) = model.deltas().values()
    torch.testing.assert_close(delta.weight.grad, expected["grad.word_delta_by_rtd"], **EXACT)
    summary = json.loads((folder / "exact" / "summary.json").read_text())
    assert norms(model) == pytest.approx(not_zero(summary["grad_norm"]["rtd"]), abs=1e-10)


def test_a_discriminator_that_has_learned_no_embeddings_yet(folder: Path) -> None:
    model, batch, expected = pair(folder, Attention.fast), inputs(folder), read(folder / "exact" / "outputs")
    for delta in model.deltas().values():
        torch.nn.init.zeros_(delta.weight)
    output = model(**batch, part="discriminator", replaced=expected["new_input_ids"])
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(output.logits[real], expected["delta0.rtd_logits"][real], **EXACT)


@pytest.mark.parametrize("apart", [True, False])
def test_three_steps(folder: Path, *, apart: bool) -> None:
    """The generator's step, then the discriminator's on the new embeddings; or one step of both."""
    model, batch = pair(folder, Attention.fast), inputs(folder)
    kind, summary = "decoupled" if apart else "joint", json.loads((folder / "decoupled" / "summary.json").read_text())
    given = read(folder / "decoupled" / "outputs")
    steps = {name: torch.optim.SGD(parameters, summary["lr"]) for name, parameters in model.parts().items()}
    for number, expected in enumerate(summary[kind]):
        drawn = given[f"{kind}.{number}.new_input_ids"]
        mlm = model.generator(**batch).loss
        if apart:
            mlm.backward()
            steps["generator"].step()
        output = model(**batch, part="discriminator", replaced=drawn)
        rtd = output.bce.sum() / batch["attention_mask"].sum()
        (model.weight * rtd + (0.0 if apart else mlm)).backward()
        if not apart:
            steps["generator"].step()
        steps["discriminator"].step()
        model.zero_grad()
        assert (mlm.item(), rtd.item()) == pytest.approx((expected["mlm_loss"], expected["rtd_loss"]), abs=1e-9)
    (delta,) = model.deltas().values()
    embeddings = model.generator.get_input_embeddings().weight
    torch.testing.assert_close(embeddings, given[f"{kind}.after.E_G"], rtol=0.0, atol=1e-9)
    torch.testing.assert_close(delta.weight, given[f"{kind}.after.E_delta"], rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("positions", ["mlm", "mlm_biased"])
def test_masked_lm(folder: Path, attention: Attention, positions: str) -> None:
    """Positions that come in at the decoder, and at the input."""
    place = folder / positions
    model = part(json.loads((place / "config.json").read_text()), Objective.mlm, attention).eval()
    state = read(place / "state")
    model.load_state_dict(state)
    batch, expected = inputs(place), read(place / "outputs")

    scores = model.scores(batch["labels"], batch["input_ids"], batch["attention_mask"], None)
    output = model(**batch)
    output.loss.backward()

    torch.testing.assert_close(scores, expected["exact.logits"], **EXACT)
    summary = json.loads((place / "summary.json").read_text())["exact"]
    assert output.loss.item() == pytest.approx(summary["loss"], abs=1e-10)
    assert norms(model) == pytest.approx(not_zero(summary["grad_norm"]), abs=1e-10)
