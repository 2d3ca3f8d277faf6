"""The gated models against numbers from the authors' own code (the developers' shared folder)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.gpu.golden import FAMILIES, INPUTS, VARIANTS, read
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from gifine.changes.autograd import gate as gi
from gifine.choices import Attention
from support.rounding import tolerances

pytestmark = pytest.mark.shared

KERNELS = [("bert", Attention.hf), ("deberta_v2", Attention.hf), ("deberta_v2", Attention.fast)]
F64 = {"bert": 1e-10, "deberta_v2": 1e-6}  # DeBERTa computes its scale in float32


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("family", "attention"), KERNELS)
def test_outputs_and_gradients(shared: Path, family: str, attention: Attention, variant: str, name: str) -> None:
    golden = read(shared / "golden" / family)
    expected = golden.summary[variant][name]
    batch = golden.batch(name)
    model = golden.model(family, variant, torch.float64, attention)
    states: list[Tensor] = []
    model.base_model.register_forward_hook(lambda _module, _args, output: states.append(output[0]))

    output = model(**batch)
    output.loss.backward()

    hidden, wanted = states[0], golden.outputs[f"{variant}.{name}.last_hidden_state.f64"]
    if variant.startswith("none"):  # transformers' own attention: padding is not what it was in the original
        real_BT = batch["attention_mask"].bool()
        hidden, wanted = hidden[real_BT], wanted[real_BT]
    torch.testing.assert_close(
        output.logits, golden.outputs[f"{variant}.{name}.logits.f64"], rtol=0.0, atol=F64[family]
    )
    torch.testing.assert_close(hidden, wanted, rtol=0.0, atol=F64[family])
    assert output.loss.item() == pytest.approx(expected["loss_f64"], abs=F64[family])
    norms = {path: weight.grad.norm().item() for path, weight in model.named_parameters() if weight.grad is not None}
    assert norms == pytest.approx(expected["grad_norm_f64"], abs=F64[family])


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_gates(shared: Path, family: str, variant: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = read(shared / "golden" / family)
    model = golden.model(family, variant, torch.float64)
    paths = {id(weight): path.removesuffix(".weight") for path, weight in model.named_parameters()}
    seen: dict[str, dict[str, float]] = {}
    gated = gi.gated

    def watched(projected: Tensor, hidden: Tensor, *weights: Tensor, **settings: Any) -> Tensor:
        inhibition, select = weights[:2], weights[2:]
        signal = F.linear(F.gelu(F.linear(hidden, *inhibition)), *select)
        output = gated(torch.ones_like(projected), hidden, *weights, **settings)
        peak = signal.max().item()
        seen[paths[id(select[0])]] = {
            "select_max": peak,
            "threshold": settings["level"] * peak,
            "gate_mean": output.mean().item(),
            "gate_min": output.min().item(),
            "gate_max": output.max().item(),
        }
        return gated(projected, hidden, *weights, **settings)

    monkeypatch.setattr(gi, "gated", watched)
    model(**golden.batch(name))

    expected = golden.summary[variant][name]["gates_f64"]
    assert set(seen) == set(expected)
    for path, statistics in seen.items():
        wanted = {key: expected[path][key] for key in statistics}
        assert statistics == pytest.approx(wanted, abs=F64[family]), path


@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("family", "attention"), KERNELS)
def test_float32(shared: Path, family: str, attention: Attention, variant: str, name: str) -> None:
    golden = read(shared / "golden" / family)
    batch = golden.batch(name)
    output = golden.model(family, variant, torch.float32, attention)(**batch)
    reference = golden.model(family, variant, torch.float64)

    def in_float64() -> dict[str, Tensor]:
        with torch.no_grad():
            logits = reference(**batch).logits
            return {"logits": logits, "loss": F.cross_entropy(logits, batch["labels"])}  # DeBERTa's own is in float32

    allowed = {key: value + F64[family] for key, value in tolerances(in_float64, torch.float32).items()}
    expected = golden.summary[variant][name]
    torch.testing.assert_close(output.logits, torch.tensor(expected["logits_f64"]), rtol=0.0, atol=allowed["logits"])
    assert output.loss.item() == pytest.approx(expected["loss_f32"], abs=allowed["loss"])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_rows_alone_without_padding(shared: Path, family: str, variant: str) -> None:
    golden = read(shared / "golden" / family)
    model = golden.model(family, variant, torch.float64)
    batch = golden.batch("padded")
    lengths = batch["attention_mask"].sum(1).tolist()
    logits = torch.cat(
        [
            model(**{key: value[row : row + 1, :length] for key, value in batch.items() if key != "labels"}).logits
            for row, length in enumerate(lengths)
        ]
    )
    expected = torch.tensor(golden.summary[variant]["logits_each_row_alone_unpadded_f64"], dtype=torch.float64)
    torch.testing.assert_close(logits, expected, rtol=0.0, atol=F64[family])
