"""MLM and RTD against numbers from microsoft/DeBERTa's own code (the developers' shared folder)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers.models.deberta_v2 import modeling_deberta_v2

from gifine.choices import Attention, GateInit, GateSide, Objective, Sharing
from gifine.config import GI, GiConfig
from gifine.errors import ModelError
from gifine.models import change_config, family_classes, layouts, with_attention
from gifine.models.attention import deberta
from gifine.models.change_config import is_change
from gifine.models.families import deberta_v2
from gifine.models.pretraining.pair import Pair
from gifine.models.pretraining.parts import UNSCORED
from support import pretraining
from support.tiny_models import model_config

pytestmark = pytest.mark.shared

IDENTITY = GiConfig(side=GateSide.both, level=0.3, init=GateInit.identity)
EXACT = {"rtol": 0.0, "atol": 1e-10}
UNKNOWN = ("padding_idx", "padding_side", "pooling")  # of config.json: transformers has pad_token_id
NOT_HERE = "discriminator.deberta.embeddings.position_embeddings.weight"  # E_Δ of positions, which nothing reads


@pytest.fixture
def folder(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The numbers of golden/rtd; scores are divided in float64: transformers computes the root in float32."""

    def scale(queries: Tensor, terms: int) -> Tensor:
        return torch.tensor(queries.shape[-1] * terms, dtype=torch.float64).sqrt()

    for module in (modeling_deberta_v2, deberta_v2):
        monkeypatch.setattr(module, "scaled_size_sqrt", scale)
    monkeypatch.setattr(deberta, "_scale", lambda features, terms: (features * terms) ** 0.5)
    return shared / "golden" / "rtd"


@pytest.fixture(params=Attention)
def attention(request: pytest.FixtureRequest) -> Attention:
    return request.param


def part(entries: dict[str, Any], objective: Objective, attention: Attention, *, gated: bool = False) -> Any:
    """With gates that are 1 at the start, if `gated`: they compute what the plain model does."""
    family = family_classes("deberta_v2")
    own = {name: value for name, value in entries.items() if name not in UNKNOWN}
    own |= {"pad_token_id": entries["padding_idx"], "legacy": False}
    kind = family.config if gated else family.plain_config
    own |= change_config.write(IDENTITY, {"name": GI}) if gated else {}
    model = family.model(objective, plain=not gated)(kind.from_dict(own))
    return with_attention(model, attention).double()


def pair(folder: Path, attention: Attention, *, gated: bool = False) -> Pair:
    entries = json.loads((folder / "config.json").read_text())
    generator = part(entries["generator"], Objective.mlm, attention, gated=gated)
    discriminator = part(entries["discriminator"], Objective.rtd, attention, gated=gated)
    made = Pair(generator, discriminator, Sharing.gdes, entries["rtd_lambda"], start_from_sum=False).eval()
    state = {name.replace("._weight", ".weight"): each for name, each in read(folder / "state").items()}
    state.pop(NOT_HERE)
    absent = made.load_state_dict(state, strict=False)
    assert not absent.unexpected_keys
    assert all(is_change(name) for name in absent.missing_keys)
    assert bool(absent.missing_keys) == gated
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
        if parameter.grad is not None and parameter.grad.any() and not is_change(name)
    }


def not_zero(expected: dict[str, float]) -> dict[str, float]:
    return {name: norm for name, norm in expected.items() if norm}


@pytest.mark.parametrize("gated", [False, True])
def test_generator(folder: Path, attention: Attention, *, gated: bool) -> None:
    model, batch, expected = pair(folder, attention, gated=gated), inputs(folder), read(folder / "exact" / "outputs")
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


@pytest.mark.parametrize("gated", [False, True])
def test_discriminator(folder: Path, attention: Attention, *, gated: bool) -> None:
    model, batch, expected = pair(folder, attention, gated=gated), inputs(folder), read(folder / "exact" / "outputs")
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


WHOLE, DELTA = (f"deberta.embeddings.word_embeddings.{name}" for name in ("weight", "_weight"))


def original(folder: Path, place: Path, leave_out: str) -> None:
    """As the original saves a discriminator and its generator: both tables, E_G + E_Δ and E_Δ."""
    entries = json.loads((folder / "config.json").read_text())
    state = load_file(folder / "state.safetensors")
    for name in ("generator", "discriminator"):
        (place / name).mkdir(parents=True)
        own = {key.removeprefix(f"{name}."): each for key, each in state.items() if key.startswith(f"{name}.")}
        if name == "discriminator":
            own[WHOLE] = state[f"generator.{WHOLE}"] + own[DELTA]
            own.pop(leave_out, None)
        save_file(
            {key: each.float() for key, each in own.items()}, place / name / "model.safetensors", {"format": "pt"}
        )
        config = entries[name] | {"model_type": "deberta-v2"}
        (place / name / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("leave_out", ["", DELTA, WHOLE])
def test_a_checkpoint_in_the_originals_names(folder: Path, tmp_path: Path, leave_out: str) -> None:
    """E_Δ is E_D − E_G, whether the file has it or not; without E_D there is nothing to start from."""
    original(folder, tmp_path, leave_out)
    model = model_config("deberta_v2", random_init=False, checkpoint=str(tmp_path / "discriminator"))
    model.resize_embeddings, rows = True, 200  # the tokenizer of tests has more
    generator = {"checkpoint": str(tmp_path / "generator")}
    config = pretraining.run_config("deberta_v2", Objective.rtd, model=model, generator=generator)
    if leave_out == WHOLE:
        with pytest.raises(ModelError, match=r"weights that it lacks: deberta\.embeddings\.word_embeddings\.weight"):
            pretraining.build(config)
        return
    made = pretraining.build(config)
    batch, expected, state = inputs(folder), read(folder / "exact" / "outputs"), read(folder / "state")
    (delta,) = made.deltas().values()
    torch.testing.assert_close(delta.weight[:rows].double(), state[f"discriminator.{DELTA}"], rtol=0.0, atol=1e-6)
    scores = made.generator.scores(batch["labels"], batch["input_ids"], batch["attention_mask"], None)
    torch.testing.assert_close(scores[:, :rows].double(), expected["mlm_logits"], rtol=0.0, atol=1e-4)
    logits = made(**batch, part="discriminator", replaced=expected["new_input_ids"]).logits.double()
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(logits[real], expected["rtd_logits"][real], rtol=0.0, atol=1e-4)
