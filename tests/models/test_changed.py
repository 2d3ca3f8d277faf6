"""A change at every site of every family: where it sits, how it starts, what it is handed, and that it is saved."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, set_seed

from gifine.changes.contract import SITES
from gifine.choices import Attention
from gifine.errors import ModelError
from gifine.models import attention_path, build, count_parameters, family_classes, from_pretrained, layouts, streams
from gifine.models.change_config import is_change
from gifine.models.changed import at_work
from gifine.models.speedups import last_layer
from support.tiny_models import (
    ARCHITECTURE,
    DEPTH,
    FAMILIES,
    HEADS,
    LABELS,
    NONE,
    ROUNDING,
    SCALE,
    D,
    make_batch,
    model_config,
)
from support.tiny_models import make as gated

FILE = Path(__file__).parent.parent / "support" / "scaling.py"
WAYS = [(family, way) for family in FAMILIES for way in Attention if way is Attention.hf or family_classes(family).fast]
KINDS = ["query", "weights", "ffn", "ffn_output"]  # one of each kind of module and of code
FACTOR = torch.linspace(-0.1, 0.1, D, dtype=torch.float64)


def scaling(**keys: Any) -> dict[str, Any]:
    return {"name": "scaling", "file": str(FILE), **keys}


def make(family: str, change: dict[str, Any] | None, attention: Attention = Attention.hf, **overrides: Any) -> Any:
    """In training mode, with dropout, float64."""
    set_seed(0)
    config = model_config(family, attention=attention, config_overrides=overrides)
    model = build(config, NONE, labels=LABELS) if change is None else build(config, NONE, change, labels=LABELS)
    return model.double().train()


def factors(model: Any) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if is_change(name)}


def move(model: Any, seed: int = 3) -> Any:
    """Away from the start, and from layer to layer by something else."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in factors(model).values():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
    return model


def outcome(model: Any, family: str, *, seed: int = 1) -> dict[str, Tensor]:
    """Logits, loss and gradients, with torch's random numbers for dropout from this seed."""
    model.zero_grad()
    torch.manual_seed(seed)
    found = model(**make_batch(family), labels=torch.tensor([0, 2, 1]))
    found.loss.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return {"logits": found.logits.detach(), "loss": found.loss.detach(), **gradients}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], atol: float = 0.0) -> None:
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0.0, atol=atol, msg=name)


# Where it sits

HOMES = {
    **dict.fromkeys(("query", "key", "value", "weights", "context"), "attention.self"),
    "output": "attention.output",
    "ffn": "intermediate",
    "ffn_output": "output",
}
XLNETS = {site: "ff" if site.startswith("ffn") else "rel_attn" for site in HOMES}
SUFFIX = {"query": "q", "key": "k", "value": "v"}
SIZES = {"weights": HEADS, "ffn": ARCHITECTURE["bert"]["intermediate_size"]}


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_beside_what_they_change(family: str, site: str) -> None:
    model = make(family, scaling(site=site, layers=2))
    layout = layouts.of_family(family)
    prefix = f"{model.base_model_prefix}.{layout.layers}"
    name = f"{XLNETS[site] if family == 'xlnet' else HOMES[site]}.change_{SUFFIX.get(site, site)}.factor"
    expected = {f"{prefix}.{layer}.{name}": (SIZES.get(site, D),) for layer in (1, 2)}
    assert {name: tuple(value.shape) for name, value in factors(model).items()} == expected
    plain = make(family, None).state_dict()
    assert model.state_dict().keys() - plain.keys() == expected.keys()
    assert count_parameters(model)["gates"] == 2 * SIZES.get(site, D)


# How it starts


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize(("family", "attention"), WAYS)
def test_the_start_is_the_plain_model_and_its_dropout(family: str, attention: Attention, site: str) -> None:
    kernel = {"attn_implementation": "eager"} if site == "weights" and not family.startswith("deberta") else {}
    plain, changed = make(family, None, attention, **kernel), make(family, scaling(site=site), attention)
    written_out = site == "weights" and attention is Attention.fast
    # Beside that, one sum has another order: the gradients of DeBERTa v1's two biases in attention.
    rounded = SCALE if written_out else 0.0
    for training in (True, False):
        expected = outcome(plain.train(training), family)
        found = outcome(changed.train(training), family)
        biases = {name: expected.pop(name) for name in [*expected] if name.endswith(("q_bias", "v_bias"))}
        assert_same(found, expected, rounded)
        assert_same(found, biases, max(rounded, 1e-12))


def test_weights_take_attention_that_is_written_out() -> None:
    cpu = torch.device("cpu")
    assert attention_path(make("bert", scaling(site="weights")), cpu, torch.float64) == "hf/eager"
    fast = make("deberta_v2", scaling(site="weights"), Attention.fast)
    assert attention_path(fast, cpu, torch.float64) == "fast/written-out"
    assert attention_path(make("bert", scaling(site="query")), cpu, torch.float64) == "hf/sdpa"


# What it does


def fold(model: Any, family: str, site: str) -> None:
    """Scale the plain model's weights so that it computes what the change does with `FACTOR`."""
    layers: Any = layouts.layers(model)
    for layer in layers:
        scale = 1 + 3 * FACTOR
        if family == "xlnet":
            fold_xlnet(layer, site, scale)
            continue
        attention = layer.attention.self
        if site in ("query", "key", "value"):
            if family == "deberta":
                rows = attention.in_proj.weight.data.view(HEADS, 3, D // HEADS, D)
                rows[:, ("query", "key", "value").index(site)] *= scale.view(HEADS, -1, 1)
                if site != "key":
                    getattr(attention, f"{site[0]}_bias").data *= scale
                continue
            linear = attention.get_submodule(f"{site}_proj" if family == "deberta_v2" else site)
        elif site == "ffn_output":
            linear = layer.output.dense
        elif site == "output":
            linear = layer.attention.output.dense
        else:  # what takes it
            columns = layer.output.dense if site == "ffn" else layer.attention.output.dense
            columns.weight.data *= 1.3 if site == "ffn" else scale
            continue
        linear.weight.data *= scale[:, None]
        linear.bias.data *= scale


def fold_xlnet(layer: Any, site: str, scale: Tensor) -> None:
    if site in ("query", "key", "value"):
        getattr(layer.rel_attn, site[0]).data *= scale.view(HEADS, -1)
    elif site == "context":
        layer.rel_attn.o.data *= scale.view(HEADS, -1)
    elif site == "output":
        layer.rel_attn.o.data *= scale[:, None, None]
    elif site == "ffn":
        layer.ff.layer_2.weight.data *= 1.3
    else:
        layer.ff.layer_2.weight.data *= scale[:, None]
        layer.ff.layer_2.bias.data *= scale


@pytest.mark.parametrize("site", [site for site in SITES if site != "weights"])
@pytest.mark.parametrize(("family", "attention"), WAYS)
def test_the_value_at_a_site_is_what_the_change_makes_of_it(family: str, attention: Attention, site: str) -> None:
    plain, changed = make(family, None, attention).eval(), make(family, scaling(site=site, positions=True), attention)
    fold(plain, family, site)
    for factor in factors(changed).values():
        factor.data = torch.full_like(factor, 0.1) if site == "ffn" else FACTOR.clone()
    assert_same(
        {"logits": outcome(changed.eval(), family)["logits"]}, {"logits": outcome(plain, family)["logits"]}, ROUNDING
    )


@pytest.mark.parametrize(("family", "attention"), WAYS)
def test_weights_of_a_head_scale_its_context(family: str, attention: Attention) -> None:
    of_weights, of_context = (make(family, scaling(site=site), attention).eval() for site in ("weights", "context"))
    heads = torch.linspace(-0.1, 0.1, HEADS, dtype=torch.float64)
    for factor in factors(of_weights).values():
        factor.data = heads.clone()
    for factor in factors(of_context).values():
        factor.data = heads.repeat_interleave(D // HEADS)
    found, expected = outcome(of_weights, family), outcome(of_context, family)
    assert_same({"logits": found["logits"]}, {"logits": expected["logits"]}, SCALE)


@pytest.mark.parametrize("site", ["query", "key"])
def test_both_readings_of_shared_projections(site: str) -> None:
    """The reading differs, and hf and fast attention take the same."""
    logits = {}
    for positions in (False, True):
        for attention in Attention:
            model = move(make("deberta_v2", scaling(site=site, positions=positions), attention).eval())
            logits[positions, attention] = outcome(model, "deberta_v2")["logits"]
    for positions in (False, True):
        torch.testing.assert_close(
            logits[positions, Attention.fast], logits[positions, Attention.hf], rtol=0.0, atol=SCALE
        )
    assert (logits[True, Attention.hf] - logits[False, Attention.hf]).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta"])
def test_without_shared_projections_there_is_one_reading(family: str) -> None:
    content, positions = (move(make(family, scaling(positions=positions))) for positions in (False, True))
    assert_same(outcome(content, family), outcome(positions, family))


@pytest.mark.parametrize(("family", "attention"), WAYS)
def test_layers_share_what_is_kept_in_one_pass(family: str, attention: Attention) -> None:
    """Each layer adds what those before it have moved: with factors in the first alone, the others add it as well."""
    changed = make(family, scaling(site="value", share=True), attention).eval()
    first = next(iter(factors(changed).values()))
    first.data = FACTOR.clone()
    seen: list[Tensor] = []
    for site in at_work(changed):
        site.watched = {}
    outcome(changed, family)
    seen = [site.watched["moved"] for site in at_work(changed) if site.watched]
    assert len(seen) == DEPTH
    assert all(moved > 0.01 for moved in seen)


def test_what_is_told_of_a_pass() -> None:
    model = move(make("bert", scaling(site="ffn", layers=1)))
    (site,) = at_work(model)
    outcome(model, "bert")
    assert site.watched is None
    site.watched = {}
    outcome(model.eval(), "bert")
    (factor,) = factors(model).values()
    assert site.watched["factor"] == factor.mean()
    assert 3 * factor.abs().min() < site.watched["moved"] < 3 * factor.abs().max()


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (lambda *given: {"x": given[1]}, r"told x of shape \[\d+, \d+, \d+\] to be logged: a single number"),
        (lambda *given: {"x": "much"}, "told x of str to be logged: a single number"),
        (lambda *given: [1], r"told \[1\] to be logged: a number by each name"),
        (lambda *given: 1 / 0, "mine.py: ZeroDivisionError: division by zero"),
    ],
)
def test_what_cannot_be_logged_is_an_error_of_the_change(measure: Any, said: str) -> None:
    model = make("bert", scaling(site="ffn", layers=1)).eval()
    (site,) = at_work(model)
    site.watched = {}
    site.change = replace(site.change, measure=measure, file="mine.py")
    with pytest.raises(ModelError, match=said):
        outcome(model, "bert")
    number: Any = 0.5
    site.change = replace(site.change, measure=lambda *given: {"x": number})
    outcome(model, "bert")
    assert site.watched["x"] == 0.5


# Training


@pytest.mark.parametrize("keys", [{"dropout": 0.5}, {"site": "value", "share": True}, {"site": "ffn_output"}])
@pytest.mark.parametrize(("family", "attention"), WAYS)
def test_gradient_checkpointing_changes_nothing(family: str, attention: Attention, keys: dict[str, Any]) -> None:
    plain, checkpointed = (move(make(family, scaling(**keys), attention)) for _ in range(2))
    checkpointed.activation_checkpointing_enable({"use_reentrant": False})
    assert_same(outcome(checkpointed, family), outcome(plain, family), ROUNDING)


def test_a_layer_computed_again_has_the_pass_that_it_was_in() -> None:
    """Two passes, then their gradients: the second has another mask, and the first gets its own again."""
    gradients: list[dict[str, Tensor]] = []
    for checkpointing in (False, True):
        model = move(make("bert", scaling(dropout=0.5), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        first, second = (model(**make_batch("bert"), labels=torch.tensor([0, 2, 1])).loss for _ in range(2))
        assert first != second
        (first + second).backward()
        gradients.append({name: weight.grad for name, weight in factors(model).items() if weight.grad is not None})
    assert len(gradients[0]) == DEPTH
    assert_same(gradients[1], gradients[0], ROUNDING)


@pytest.mark.long
@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize(  # transformers' own DeBERTa v1 knows no autocast
    ("family", "attention"), [way for way in WAYS if way != ("deberta", Attention.hf)]
)
def test_bfloat16_where_the_change_learns_in_float32(family: str, attention: Attention, site: str) -> None:
    """Logits as near to float32 as the plain model's, three times at most, and gradients that are numbers."""
    models = (
        make(family, None, attention),
        make(family, scaling(site=site), attention),
        move(make(family, scaling(site=site), attention)),
    )
    errors = []
    for model in models:
        exact = outcome(model.float().eval(), family)["logits"]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = outcome(model, family)
        errors.append(float((found["logits"] - exact).norm()))
        assert all(value.isfinite().all() for value in found.values())
    plain, *changed = errors
    assert 0 < max(changed) < 3 * plain, errors


@pytest.mark.parametrize("site", ["context", "output", "ffn", "ffn_output"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_layer_for_the_first_token(family: str, site: str) -> None:
    model = move(make(family, scaling(site=site)).eval())
    expected = outcome(copy.deepcopy(model), family)
    last_layer.one_token(model)
    assert_same(outcome(model, family), expected, 1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_dropout_inside_a_change_leaves_torchs_numbers_alone(family: str) -> None:
    """Of what starts at zero, dropout leaves zero: all else is as without."""
    still, dropping = (make(family, scaling(dropout=dropout)) for dropout in (0.0, 0.5))
    assert_same(outcome(dropping, family), {"loss": outcome(still, family)["loss"]})
    after = torch.get_rng_state()
    outcome(dropping, family)
    assert torch.equal(torch.get_rng_state(), after)


def test_dropout_is_another_in_each_pass_and_goes_on_where_it_was() -> None:
    still = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = move(make("bert", scaling(dropout=0.5), **still))
    losses = [outcome(model, "bert")["loss"] for _ in range(2)]
    state = copy.deepcopy(model.state_dict())
    losses += [outcome(model, "bert")["loss"] for _ in range(2)]
    assert len({loss.item() for loss in losses}) == 4
    again = make("bert", scaling(dropout=0.5), **still)
    again.load_state_dict(state)
    assert [outcome(again, "bert")["loss"] for _ in range(2)] == losses[2:]
    assert outcome(again.eval(), "bert")["loss"] == outcome(again, "bert")["loss"]
    assert state["bert.change_passes.count"] == 2
    model.load_state_dict(state)
    assert [outcome(each.train(), "bert")["loss"] for each in (copy.deepcopy(model), model)] == [losses[2]] * 2


def test_passes_are_counted_without_asking_the_device_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Tensor] = []
    whole = Tensor.__int__

    def look(tensor: Tensor) -> int:
        asked.append(tensor)
        return whole(tensor)

    model = make("bert", scaling(dropout=0.5))
    monkeypatch.setattr(Tensor, "__int__", look)
    for _ in range(3):
        model(**make_batch("bert"))
    (count,) = (each for name, each in model.named_buffers() if is_change(name))
    assert sum(each is count for each in asked) == 1
    assert count == 3


def test_dropout_without_its_key_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        FILE.read_text().replace("dropout: float = 0.0", "drop: float = 0.5").replace("s.dropout", "s.drop")
    )
    model = make("bert", {"name": "mine", "file": str(file)})
    with pytest.raises(
        ModelError,
        match=r"mine.py, line 30: RuntimeError: change=mine: its dropout has no seed: it takes a key `dropout`",
    ):
        outcome(model, "bert")


# Copies


@pytest.mark.parametrize("site", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_saved_and_loaded_again(family: str, site: str, tmp_path: Path) -> None:
    keys = {"site": site, "layers": 2, "dropout": 0.1}
    model = move(make(family, scaling(**keys)).float()).eval()
    model.save_pretrained(tmp_path)
    loaded = from_pretrained(tmp_path, change_file=FILE)
    assert type(loaded) is type(model) is family_classes(family).classifier
    assert loaded.config.to_dict()["change"] == {"name": "scaling", **keys}
    assert not [key for key in loaded.config.to_dict() if key.startswith("gi_")]
    assert model.state_dict().keys() == loaded.state_dict().keys()
    assert_same(outcome(loaded, family), outcome(model, family))


def test_a_file_that_a_checkpoint_names_is_not_executed(tmp_path: Path) -> None:
    make("bert", scaling()).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    assert "scaling.py" not in config.read_text()
    for load in (from_pretrained, AutoModelForSequenceClassification.from_pretrained):
        with pytest.raises(ModelError, match=r"change=scaling: no change of gifine's: give its file"):
            load(tmp_path)
    trap = tmp_path / "trap.py"
    trap.write_text("raise SystemExit('executed')")
    config.write_text(config.read_text().replace('"name": "scaling"', f'"name": "scaling", "file": "{trap}"'))
    for load in (from_pretrained, AutoModelForSequenceClassification.from_pretrained):
        with pytest.raises(ModelError, match="not executed"):
            load(tmp_path)


@pytest.mark.parametrize("site", KINDS)
@pytest.mark.parametrize(("family", "attention"), WAYS)
def test_a_copy_is_a_model_of_its_own(family: str, attention: Attention, site: str) -> None:
    model = move(make(family, scaling(site=site), attention).eval())
    expected = outcome(model, family)
    other = copy.deepcopy(model)
    assert_same(outcome(other, family), expected)
    move(other, seed=4)
    assert not torch.equal(outcome(other, family)["logits"], expected["logits"])
    assert_same(outcome(model, family), expected)
    assert not {id(site) for site in at_work(model)} & {id(site) for site in at_work(other)}


# What is refused


@pytest.mark.parametrize("family", FAMILIES)
def test_refused_configs(family: str) -> None:
    classes: Any = family_classes(family)
    entries = ARCHITECTURE[family] | {"change": scaling() | {"file": FILE}}
    for wrong, message in (
        ({"is_decoder": True}, "changes are for encoders"),
        ({"change": entries["change"] | {"layers": DEPTH + 1}}, r"change\.layers=4: the model has 3 layers"),
        ({"change": entries["change"] | {"sight": "query"}}, r"change\.sight: .*did you mean 'site'"),
        ({"change": {"name": "girl"}}, "no change of gifine's"),
    ):
        with pytest.raises(ModelError, match=message):
            classes.config(**entries | wrong)


def test_a_change_that_has_no_place(tmp_path: Path) -> None:
    make("bert", scaling()).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="parameters of a change that the settings leave no place for"):
        build(model_config("bert", checkpoint=str(tmp_path), random_init=False), NONE, labels=LABELS)
    gated("bert").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r"gates that the gi settings leave no place for.*model\.drop_change=true$"):
        build(model_config("bert", checkpoint=str(tmp_path), random_init=False), NONE, scaling(), labels=LABELS)
    added = {"name": "added"}
    for dropped in (False, True):  # its parameters have the names of GI's
        source = model_config("bert", checkpoint=str(tmp_path), random_init=False, drop_change=dropped)
        with pytest.raises(ModelError, match="has change=gi, whose parameters have the names of change=added's"):
            build(source, NONE, added, labels=LABELS)


def test_processes_have_masks_of_their_own_those_of_one_that_accumulates(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    counts = []
    for rank in (0, 1):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        counts.append([streams.of_all_processes(step) for step in range(3)])
    assert counts == [[0, 2, 4], [1, 3, 5]]
    monkeypatch.undo()
    assert streams.of_all_processes(3) == 3
