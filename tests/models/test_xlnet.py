"""XLNet: the numbers of the developers' shared folder, and what is particular to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gifine.choices import Attention, GateSide, GateThreshold, Objective
from gifine.config import GiConfig
from gifine.errors import ModelError
from gifine.models import build, family_classes, from_pretrained, with_attention
from support.tiny_models import (
    ARCHITECTURE,
    BOTH,
    LABELS,
    NONE,
    ROUNDING,
    logits_of,
    make,
    make_batch,
    model_config,
    trained_names,
)

VARIANTS = ["plain", *(f"{side}-l{level}-last{n}" for side in ("key", "query", "both") for level in ("0", "0.1", "0.3") for n in (1, 2))]  # fmt: skip  # noqa: E501
CLASSES = family_classes("xlnet")


class Golden:
    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.summary = json.loads((folder / "summary.json").read_text())
        self.state, self.inputs, self.outputs = (
            load_file(folder / f"{name}.safetensors") for name in ("state", "inputs", "outputs")
        )

    def model(
        self, variant: str, attention: Attention = Attention.fast, objective: Objective = Objective.classification
    ) -> Any:
        entries = {key: value for key, value in self.config.items() if key != "model_type"}
        made = CLASSES.model(objective, plain=variant == "plain")
        if variant == "plain":
            model: Any = made(CLASSES.plain_config.from_dict(entries))
        else:
            side, level, last = variant.split("-")
            gate = {"gi_side": side, "gi_level": float(level[1:]), "gi_layers": int(last[4:])}
            model = made(CLASSES.config.from_dict(entries | gate))
        model.load_state_dict({name: self.state[name] for name in model.state_dict()})
        return with_attention(model.double().eval(), attention)

    def batch(self, kind: str) -> dict[str, Tensor]:
        return {name.split(".")[1]: value for name, value in self.inputs.items() if name.startswith(f"{kind}.")}


@pytest.mark.shared
@pytest.mark.parametrize("kind", ["padded", "full", "short"])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("attention", Attention)
def test_golden_logits_losses_and_gradients(shared: Path, attention: Attention, variant: str, kind: str) -> None:
    golden = Golden(shared / "golden" / "xlnet")
    model, expected = golden.model(variant, attention), golden.summary[variant][kind]
    output = model(**golden.batch(kind))
    output.loss.backward()
    wanted = golden.outputs[f"{variant}.{kind}.logits.f64"]
    torch.testing.assert_close(output.logits, wanted, rtol=0.0, atol=ROUNDING)
    assert output.loss.item() == pytest.approx(expected["loss_f64"], abs=ROUNDING)
    norms = {name: weight.grad.norm().item() for name, weight in model.named_parameters() if weight.grad is not None}
    assert norms == pytest.approx(expected["grad_norm_f64"], abs=ROUNDING)


@pytest.mark.shared
@pytest.mark.parametrize("variant", VARIANTS)
def test_golden_rows_padded_left_and_alone(shared: Path, variant: str) -> None:
    golden = Golden(shared / "golden" / "xlnet_right")
    model = golden.model(variant)
    for kind in ("left", "alone0", "alone1", "alone2"):
        wanted = golden.outputs[f"{variant}.{kind}.logits.f64"]
        torch.testing.assert_close(model(**golden.batch(kind)).logits, wanted, rtol=0.0, atol=ROUNDING)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "kinds", "last"), [("xlnet_qa", ("padded", "full", "short"), 3), ("xlnet_qa_right", ("left", "right"), 2)]
)
@pytest.mark.parametrize("variant", ["plain", "key-l0.1-last1", "query-l0.1", "both-l0.3"])
@pytest.mark.parametrize("attention", Attention)
def test_golden_ends_of_answers(
    shared: Path, attention: Attention, name: str, kinds: tuple[str, ...], last: int, variant: str
) -> None:
    variant = f"{variant}-last{last}" if variant.count("-") == 1 else variant
    golden = Golden(shared / "golden" / name)
    for kind in kinds:
        model, expected = golden.model(variant, attention, Objective.questions), golden.summary[variant][kind]
        output = model(**golden.batch(kind))
        output.loss.backward()
        for end in ("start_logits", "end_logits"):
            wanted = golden.outputs[f"{variant}.{kind}.{end}.f64"]
            torch.testing.assert_close(output[end], wanted, rtol=0.0, atol=ROUNDING)
        assert output.loss.item() == pytest.approx(expected["loss_f64"], abs=ROUNDING)
        norms = {
            path: weight.grad.norm().item() for path, weight in model.named_parameters() if weight.grad is not None
        }
        assert norms == pytest.approx(expected["grad_norm_f64"], abs=ROUNDING)


def test_without_a_change_it_is_transformers_to_the_bit() -> None:
    model = build(model_config("xlnet", attention=Attention.hf), NONE, labels=LABELS)
    entries: dict[str, Any] = ARCHITECTURE["xlnet"] | {"num_labels": len(LABELS)}
    theirs = CLASSES.plain_classifier(CLASSES.plain_config(**entries))
    theirs.load_state_dict(model.state_dict())
    assert type(model) is CLASSES.plain_classifier
    batch = make_batch("xlnet")
    found = []
    for each in (model, theirs):
        torch.manual_seed(3)
        output = each.train()(**batch, labels=torch.tensor([0, 2, 1]))
        output.loss.backward()
        gradients = {name: weight.grad for name, weight in each.named_parameters() if weight.grad is not None}
        found.append({"logits": output.logits, **gradients})
    assert found[0].keys() == found[1].keys()
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


@pytest.mark.parametrize("threshold", GateThreshold)
@pytest.mark.parametrize("mask_padding", [True, False])
def test_the_gates_maximum_is_of_examples_and_not_of_positions(threshold: GateThreshold, mask_padding: bool) -> None:
    """Inside the model positions come first: a row alone is what it is beside others where nothing couples them."""
    gi = GiConfig(side=GateSide.both, level=0.9, threshold=threshold, mask_padding=mask_padding)
    model, batch = make("xlnet", gi).double(), make_batch("xlnet")
    alone = {name: value[1:2, -4:] for name, value in batch.items()}
    apart = (logits_of(model, alone)[0] - logits_of(model, batch)[1]).abs().max()
    same = threshold is GateThreshold.token or (threshold is GateThreshold.sequence and mask_padding)
    if same:
        assert apart < ROUNDING
    elif threshold is GateThreshold.batch:
        assert apart > 1e-6


@pytest.mark.parametrize("gi", [NONE, BOTH], ids=["plain", "gated"])
def test_gradient_checkpointing_computes_the_same(gi: GiConfig) -> None:
    found = []
    for checkpointing in (False, True):
        model = make("xlnet", gi, **{"dropout": 0.1}).double().train()
        counted: list[int] = []
        model.transformer.layer[0].ff.register_forward_pre_hook(lambda *_, counted=counted: counted.append(1))
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(5)
        model(**make_batch("xlnet"), labels=torch.tensor([0, 2, 1])).loss.backward()
        assert len(counted) == 1 + checkpointing, "its forward pass is computed again"
        found.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=0.0, atol=ROUNDING, msg=name)


def test_nothing_trains_that_no_loss_reaches() -> None:
    """DDP waits for each gradient."""
    for gi in (NONE, BOTH):
        model = make("xlnet", gi)
        model(**make_batch("xlnet"), labels=torch.tensor([0, 2, 1])).loss.backward()
        got = {name for name, weight in model.named_parameters() if weight.grad is not None}
        assert trained_names(model) == got
        assert {name for name, _ in model.named_parameters()} - got == {"transformer.mask_emb"}


@pytest.mark.parametrize("what", ["mems", "perm_mask", "target_mapping", "input_mask"])
def test_what_only_pretraining_has_is_refused(what: str) -> None:
    with pytest.raises(ValueError, match=what):
        make("xlnet")(**make_batch("xlnet"), **{what: torch.zeros(3, 9)})


@pytest.mark.parametrize("gi", [NONE, BOTH], ids=["plain", "gated"])
def test_no_memories_are_kept(gi: GiConfig, tmp_path: Path) -> None:
    make("xlnet", gi).save_pretrained(tmp_path)
    entries = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(entries | {"use_mems_eval": True, "mem_len": 4}))
    assert from_pretrained(tmp_path)(**make_batch("xlnet")).get("mems") is None


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"attn_type": "uni"}, "attn_type must be bi"),
        ({"bi_data": True}, "bi_data false"),
        ({"summary_type": "first"}, "summary_type is 'first': must be last"),
        ({"d_inner": 0}, "d_inner is 0"),
        ({"ff_activation": "gellu"}, "ff_activation is 'gellu': no such activation"),
    ],
)
@pytest.mark.parametrize("gi", [NONE, BOTH], ids=["plain", "gated"])
def test_other_xlnets_are_refused(gi: GiConfig, entries: dict[str, Any], said: str, tmp_path: Path) -> None:
    make("xlnet", gi).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    with pytest.raises(ModelError, match=said):
        from_pretrained(tmp_path)


def test_sizes_have_its_names_or_berts() -> None:
    names: dict[str, Any]
    for names in ({"n_layer": 1, "d_inner": 20}, {"num_hidden_layers": 1, "intermediate_size": 20}):
        config = make("xlnet", **names).config
        assert (config.n_layer, config.d_inner) == (1, 20)
    for key, said in (("use_mems_eval", "texts are read whole"), ("n_layers", "did you mean 'n_layer'")):
        with pytest.raises(ModelError, match=said):
            build(model_config("xlnet", config_overrides={key: 1}), NONE, labels=LABELS)
