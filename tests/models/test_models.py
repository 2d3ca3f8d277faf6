"""The gated models: plain ones with gates off, the same weights with gates on, and what is refused."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    DebertaV2Config,
    PreTrainedConfig,
    PreTrainedModel,
    set_seed,
)

from gifine.changes.autograd.gate import gated
from gifine.choices import Attention, GateInit, GateSide, GateThreshold
from gifine.config import GiConfig
from gifine.errors import ModelError
from gifine.models import LayerCountWarning, build, count_parameters, family_classes, from_pretrained, layouts
from gifine.models.configuration import check
from support.tiny_models import (
    ARCHITECTURE,
    BOTH,
    DEPTH,
    FAMILIES,
    HEADS,
    KERNELS,
    LABELS,
    NONE,
    ROUNDING,
    SCALE,
    VOCAB,
    D,
    logits_of,
    make,
    make_batch,
    model_config,
)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


# Without gates


@pytest.mark.parametrize(("family", "attention"), KERNELS)
@pytest.mark.parametrize("width", [9, 12])
def test_side_none_is_the_plain_model(family: str, attention: str, width: int) -> None:
    classes = family_classes(family)
    entries = ARCHITECTURE[family] | {"attn_implementation": attention}
    plain_config = classes.plain_config(**entries)
    config = classes.config(**entries, gi_side="none", gi_level=0.3)
    plain, gated = classes.plain_classifier(plain_config).eval(), classes.classifier(config).eval()
    gated.load_state_dict(plain.state_dict())
    batch = make_batch(family, width=width)
    assert torch.equal(logits_of(plain, batch), logits_of(gated, batch))


def test_build_without_gates_gives_transformers_own_class(family: str) -> None:
    model = make(family, NONE)
    assert type(model) is family_classes(family).plain_classifier
    assert type(model.config) is family_classes(family).plain_config
    assert not any(key.startswith("gi_") for key in model.config.to_dict())


@pytest.mark.parametrize(("family", "attention"), KERNELS)
@pytest.mark.parametrize("threshold", GateThreshold)
def test_identity_starts_as_the_plain_model(family: str, threshold: GateThreshold, attention: str) -> None:
    plain = make(family, NONE, attn_implementation=attention)
    gi = GiConfig(side=GateSide.both, level=0.3, threshold=threshold, mask_padding=True, init=GateInit.identity)
    gated = make(family, gi, attn_implementation=attention)
    for batch in (make_batch(family), make_batch(family, (9, 9, 9)), make_batch(family, width=12)):
        assert torch.equal(logits_of(plain, batch), logits_of(gated, batch))


def test_gated_config_keeps_the_plain_defaults(family: str) -> None:
    classes = family_classes(family)
    plain, gated = classes.plain_config().to_dict(), classes.config().to_dict()
    different = {key for key in plain if plain[key] != gated[key]}
    activation = "ff_activation" if family == "xlnet" else "hidden_act"
    kept = {"use_mems_eval"} if family == "xlnet" else set()  # a change is for whole texts
    assert different == {"model_type", activation} | kept
    assert gated[activation].startswith(plain[activation] + " "), "with the mark that other code must not know"


# The formula in a model


@pytest.mark.parametrize("shared_keys", [True, False])
def test_deberta_v2_gates_content_and_not_positions(shared_keys: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("deberta_v2", share_att_key=shared_keys).double()
    attention = model.base_model.encoder.layer[1].attention.self
    hidden = torch.randn(2, 6, D, dtype=torch.float64)
    relative = torch.randn(16, D, dtype=torch.float64)
    distance = torch.arange(6)[:, None] - torch.arange(6)
    mask = torch.ones(2, 1, 6, 6)
    context, _ = attention(hidden, mask, relative_pos=distance[None], rel_embeddings=relative)

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (HEADS, -1)).transpose(-3, -2)

    query = heads(gate_of(attention, "q", hidden) * attention.query_proj(hidden))
    key = heads(gate_of(attention, "k", hidden) * attention.key_proj(hidden))
    relative_query = heads((attention.query_proj if shared_keys else attention.pos_query_proj)(relative))
    relative_key = heads((attention.key_proj if shared_keys else attention.pos_key_proj)(relative))
    bucket = distance + 8  # |distance| < 8 needs no logarithm
    scores = query @ key.transpose(-1, -2)
    for i in range(6):
        for j in range(6):
            scores[:, :, i, j] += (query[:, :, i] * relative_key[:, bucket[i, j]]).sum(-1)
            scores[:, :, i, j] += (key[:, :, j] * relative_query[:, bucket[i, j]]).sum(-1)
    expected = (scores / math.sqrt(3 * D // HEADS)).softmax(-1) @ heads(attention.value_proj(hidden))
    torch.testing.assert_close(context, expected.transpose(1, 2).flatten(2), rtol=0.0, atol=SCALE)


def test_deberta_v1_gates_its_parts_of_the_fused_projection() -> None:
    model = make("deberta").double()
    attention = model.base_model.encoder.layer[1].attention.self
    with torch.no_grad():
        attention.q_bias.normal_()
        attention.v_bias.normal_()
    hidden = torch.randn(2, 6, D, dtype=torch.float64)
    relative = torch.randn(80, D, dtype=torch.float64)
    distance = torch.arange(6)[:, None] - torch.arange(6)
    context, _ = attention(hidden, torch.ones(2, 1, 6, 6), relative_pos=distance[None], rel_embeddings=relative)

    size = D // HEADS
    rows = attention.in_proj.weight.unflatten(0, (HEADS, 3, size))  # head by head: query, key, value
    query, key, value = (hidden @ rows[:, part].flatten(0, 1).T for part in range(3))
    query = gate_of(attention, "q", hidden) * (query + attention.q_bias)
    key = gate_of(attention, "k", hidden) * key
    value = value + attention.v_bias
    query, key, value = (x.unflatten(-1, (HEADS, size)).transpose(1, 2) for x in (query, key, value))
    relative_key = attention.pos_proj(relative).unflatten(-1, (HEADS, size)).transpose(0, 1)
    relative_query = attention.pos_q_proj(relative).unflatten(-1, (HEADS, size)).transpose(0, 1)
    scores = query @ key.transpose(-1, -2)
    for i in range(6):
        for j in range(6):
            scores[:, :, i, j] += (query[:, :, i] * relative_key[:, 40 + i - j]).sum(-1)
            scores[:, :, i, j] += (key[:, :, j] * relative_query[:, 40 + i - j]).sum(-1)
    expected = (scores / math.sqrt(3 * size)).softmax(-1) @ value
    torch.testing.assert_close(context, expected.transpose(1, 2).flatten(2), rtol=0.0, atol=SCALE)


def gate_of(attention: Any, side: str, hidden: Tensor) -> Tensor:
    inhibition, select = getattr(attention, f"inhibition_{side}"), getattr(attention, f"select_{side}")
    weights = (inhibition.weight, inhibition.bias, select.weight, select.bias)
    return gated(torch.ones_like(hidden), hidden, *weights, level=0.3)


@pytest.mark.parametrize("side", ["key", "query", "both"])
def test_only_the_last_layers_and_chosen_sides_have_gates(family: str, side: str) -> None:
    model = make(family, GiConfig(side=GateSide(side), level=0.3, layers=2))
    letters = {"key": "k", "query": "q", "both": "kq"}[side]
    layout = layouts.of_family(family)
    prefix = f"{model.base_model_prefix}.{layout.layers}"
    expected = {
        f"{prefix}.{layer}.{layout.attention}.{part}_{letter}.{kind}"
        for layer in (1, 2)
        for part in ("inhibition", "select")
        for letter in letters
        for kind in ("weight", "bias")
    }
    assert set(model.state_dict()) - set(make(family, NONE).state_dict()) == expected
    counts = count_parameters(model)
    assert counts["gates"] == 2 * len(letters) * 2 * (D * D + D)
    assert counts["total"] == count_parameters(make(family, NONE))["total"] + counts["gates"]
    assert counts["total"] == counts["trainable"] + (D if family == "xlnet" else 0)  # its `mask_emb` is pretraining's
    assert counts["embeddings"] >= VOCAB * D


@pytest.mark.parametrize("family", ["bert", "roberta"])
@pytest.mark.parametrize("lengths", [(9, 4, 6), (9, 9, 9)])
def test_attention_kernels_agree(family: str, lengths: tuple[int, ...]) -> None:
    gi = GiConfig(side=GateSide.both, level=0.3, mask_padding=True)
    eager, sdpa = (
        logits_of(make(family, gi, attn_implementation=kernel).double(), make_batch(family, lengths))
        for kernel in ("eager", "sdpa")
    )
    torch.testing.assert_close(eager, sdpa, rtol=0.0, atol=ROUNDING)


@pytest.mark.parametrize(("threshold", "coupled"), [("batch", True), ("sequence", False), ("token", False)])
def test_batch_mates(family: str, threshold: str, coupled: bool) -> None:
    model = make(family, GiConfig(side=GateSide.both, level=0.9, threshold=GateThreshold(threshold))).double()
    batch = make_batch(family, (9, 9, 9))
    together = logits_of(model, batch)
    alone = torch.cat(
        [logits_of(model, {key: value[row : row + 1] for key, value in batch.items()}) for row in range(3)]
    )
    distance = (together - alone).abs().max()
    assert distance > 1e-3 if coupled else distance < ROUNDING


@pytest.mark.parametrize("threshold", GateThreshold)
@pytest.mark.parametrize("mask_padding", [True, False])
def test_length_of_padding(family: str, threshold: GateThreshold, mask_padding: bool) -> None:
    gi = GiConfig(side=GateSide.both, level=0.9, threshold=threshold, mask_padding=mask_padding)
    model = make(family, gi).double()
    short, long = (logits_of(model, make_batch(family, (5, 4, 3), width)) for width in (5, 30))
    if mask_padding or threshold is GateThreshold.token:
        torch.testing.assert_close(short, long, rtol=0.0, atol=ROUNDING)
    elif family in ("bert", "roberta"):  # elsewhere padding may be alike, and its signal stay below the maximum
        assert (short - long).abs().max() > 1e-3


def test_fully_padded_rows_stay_finite(family: str) -> None:
    batch = make_batch(family)
    batch["attention_mask"][1] = 0
    for threshold in GateThreshold:
        gi = GiConfig(side=GateSide.both, level=0.3, threshold=threshold, mask_padding=True)
        assert logits_of(make(family, gi), batch).isfinite().all()


def test_mask_padding_wants_the_tokenisers_mask() -> None:
    model = make("bert", GiConfig(side=GateSide.key, level=0.3, mask_padding=True))
    with pytest.raises(ValueError, match="2 dimensions"):
        model(input_ids=torch.ones(1, 4, dtype=torch.long), attention_mask=torch.ones(1, 1, 4, 4))


# Training


def test_gradient_checkpointing_gives_the_same_gradients(family: str) -> None:
    gi = GiConfig(side=GateSide.both, level=0.3, mask_padding=True)
    batch = make_batch(family) | {"labels": torch.tensor([0, 2, 1])}
    gradients = []
    for checkpointing in (False, True):
        model = make(family, gi).double().train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        set_seed(1)  # for dropout
        model(**batch).loss.backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None})
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    assert any("select_q" in name for name in plain)
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=0.0, atol=ROUNDING, msg=name)


def test_output_attentions(family: str) -> None:
    model = make(family, attn_implementation="eager").double()
    attentions = model(**make_batch(family), output_attentions=True).attentions
    assert [tuple(weights.shape) for weights in attentions] == [(3, HEADS, 9, 9)] * DEPTH
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(3, HEADS, 9).double(), rtol=0.0, atol=ROUNDING)


def test_regression_head(family: str) -> None:
    set_seed(0)
    model = build(model_config(family), BOTH, labels=[], vocab_size=50, pad_token_id=2)
    assert (model.config.problem_type, model.config.num_labels) == ("regression", 1)
    assert (model.config.vocab_size, model.config.pad_token_id) == (50, 2)


# Random numbers


def test_gates_leave_base_weights_and_random_state_alone(family: str) -> None:
    plain = make(family, NONE)
    state = torch.get_rng_state()
    gated = make(family)
    assert torch.equal(torch.get_rng_state(), state)
    weights = gated.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in plain.state_dict().items())


def test_loading_leaves_base_weights_and_random_state_alone(family: str, tmp_path: Path) -> None:
    make(family, NONE).base_model.save_pretrained(tmp_path)
    base = load_file(tmp_path / "model.safetensors")
    models, states = [], []
    for gi in (NONE, BOTH):
        set_seed(5)
        models.append(build(model_config(family, checkpoint=str(tmp_path), random_init=False), gi, labels=LABELS))
        states.append(torch.get_rng_state())
    assert torch.equal(*states)
    plain, gated = (model.state_dict() for model in models)
    assert all(torch.equal(gated[name], value) for name, value in plain.items())
    prefix = models[1].base_model_prefix
    kept = [name for name in base if f"{prefix}.{name}" in gated]
    assert len(kept) >= len(base) - 2  # RoBERTa's classifier has no use for the pooler
    assert all(torch.equal(gated[f"{prefix}.{name}"], base[name]) for name in kept)


def test_gates_start_from_the_seed(family: str) -> None:
    first, again, other = (gates(make(family, seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    weights = [value for name, value in first.items() if name.endswith("weight")]
    assert all(not torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])
    assert all(not torch.equal(first[name], other[name]) for name in first if name.endswith("weight"))
    assert all(not value.any() for name, value in first.items() if name.endswith("bias"))
    assert torch.cat([weight.flatten() for weight in weights]).std().item() == pytest.approx(0.3, rel=0.05)


@pytest.mark.parametrize("init", GateInit)
def test_gates_start_alike_with_random_and_loaded_weights(family: str, init: GateInit, tmp_path: Path) -> None:
    make(family, NONE).save_pretrained(tmp_path)
    gi = GiConfig(side=GateSide.both, level=0.3, init=init)
    built = gates(make(family, gi, seed=7))
    set_seed(7)
    loaded = gates(from_pretrained(tmp_path, gi))
    assert all(torch.equal(built[name], loaded[name]) for name in built)
    assert all(built[name].any() == (init is GateInit.normal) for name in built if name.endswith("select_k.weight"))


def gates(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if "inhibition_" in name or "select_" in name}


# Saving and loading


def test_saved_and_loaded_again(family: str, tmp_path: Path) -> None:
    gi = GiConfig(GateSide.both, 0.3, 2, GateThreshold.sequence, True, GateInit.identity)
    model = build(model_config(family, attention=Attention.hf), gi, labels=LABELS).eval()  # as it is when it is loaded
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    expected = logits_of(model, make_batch(family))
    for loaded in (AutoModelForSequenceClassification.from_pretrained(tmp_path), from_pretrained(tmp_path)):
        assert type(loaded) is type(model)
        assert {key: getattr(loaded.config, key) for key in loaded.config.to_dict() if key.startswith("gi_")} == {
            "gi_side": "both",
            "gi_level": 0.3,
            "gi_layers": 2,
            "gi_threshold": "sequence",
            "gi_mask_padding": True,
            "gi_init": "identity",
        }
        assert torch.equal(logits_of(loaded, make_batch(family)), expected)
    backbone = AutoModel.from_pretrained(tmp_path)
    assert type(backbone) is family_classes(family).backbone
    assert AutoConfig.from_pretrained(tmp_path).changed_layers == range(1, 3)


def test_new_and_unused_parameters_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make("bert", NONE).base_model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    save_file(weights | {"cls.predictions.bias": torch.zeros(VOCAB)}, tmp_path / "model.safetensors", {"format": "pt"})
    with caplog.at_level(logging.INFO, logger="gifine"):
        from_pretrained(tmp_path, GiConfig(side=GateSide.key, level=0.3, layers=1))
    new, unused = caplog.messages
    assert new.endswith("new parameters: 4 of gates, classifier.bias, classifier.weight")  # two Linears with biases
    assert unused.endswith("not used: cls.predictions.bias")


def test_another_number_of_labels_is_a_new_head(family: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(family).save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, logger="gifine"):
        model = build(model_config(family, checkpoint=str(tmp_path), random_init=False), BOTH, labels=["no", "yes"])
    assert logits_of(model, make_batch(family)).shape == (3, 2)
    new, why = caplog.messages
    layers = {"roberta": ["classifier.dense", "classifier.out_proj"], "xlnet": ["logits_proj"]}.get(
        family, ["classifier"]
    )
    weights = ", ".join(f"{layer}.{kind}" for layer in layers for kind in ("bias", "weight"))
    assert new.endswith(f"new parameters: {weights}")
    assert why.endswith(f"{weights} left behind: its labels are no, maybe, yes, those of the task no, yes")


def original_form(folder: Path, **settings: Any) -> None:
    make("deberta_v2", NONE).save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def test_config_in_the_originals_form(tmp_path: Path) -> None:
    original_form(tmp_path, gi_key_side=True, gi_query_side=False, inhibition_level=0.3, gi_layer_num=2)
    with pytest.warns(LayerCountWarning, match="gi.layers=1"):
        model = from_pretrained(tmp_path)
    config = model.config
    assert (config.model_type, config.gi_side, config.gi_level, config.gi_layers) == ("gi_deberta_v2", "key", 0.3, 2)
    assert not {"gi_key_side", "inhibition_level"} & set(config.to_dict())


def test_settings_go_before_the_originals_form(tmp_path: Path) -> None:
    original_form(tmp_path, gi_key_side=True, gi_query_side=True, inhibition_level=0.3, gi_layer_num=2)
    assert from_pretrained(tmp_path, GiConfig(side=GateSide.query, level=0.1, layers=1)).config.gi_side == "query"


def test_originals_form_without_gates_is_plain(tmp_path: Path) -> None:
    original_form(tmp_path, gi_key_side=False, gi_query_side=False, inhibition_level=0.3, gi_layer_num=2)
    assert type(from_pretrained(tmp_path)) is family_classes("deberta_v2").plain_classifier


@pytest.mark.integration
def test_without_gifine_loading_fails_loudly(tmp_path: Path) -> None:
    for family in FAMILIES:
        make(family).save_pretrained(tmp_path / family)
    code = """
import sys
import transformers
for folder, name in zip(sys.argv[1::2], sys.argv[2::2]):
    for loader in (transformers.AutoModelForSequenceClassification, getattr(transformers, name)):
        try:
            loader.from_pretrained(folder)
        except Exception as error:
            print(error)
        else:
            sys.exit(f"{loader.__name__} loaded {folder}")
"""
    arguments = [x for f in FAMILIES for x in (str(tmp_path / f), family_classes(f).plain_classifier.__name__)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("gelu (in a gated model: import gifine.models)") >= len(FAMILIES)


def test_a_gated_config_is_still_one_to_transformers(tmp_path: Path, family: str) -> None:
    """Trainer reads it so when it resumes."""
    model = make(family)
    model.save_pretrained(tmp_path)
    assert PreTrainedConfig.from_json_file(str(tmp_path / "config.json")).transformers_version
    assert AutoConfig.from_pretrained(tmp_path).hidden_act == model.config.hidden_act == "gelu"


# Refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gi_side": "value"}, "none, key, query, both"),
        ({"gi_threshold": "head"}, "batch, sequence, token"),
        ({"gi_init": "zeros"}, "normal, identity"),
        ({"gi_level": 1.5}, "from 0 to 1"),
        ({"gi_level": -0.1}, "from 0 to 1"),
        ({"gi_level": "0.3"}, "from 0 to 1"),
        ({"gi_mask_padding": "no"}, "true or false"),
        ({"gi_layers": 0}, "from 1 to 3"),
        ({"gi_layers": 4}, "from 1 to 3"),
        ({"is_decoder": True}, "future tokens"),
        ({"is_decoder": True, "add_cross_attention": True}, "future tokens"),
    ],
)
def test_refused_configs(family: str, settings: dict[str, Any], message: str) -> None:
    classes = family_classes(family)
    with pytest.raises(ModelError, match=message):
        classes.config(**ARCHITECTURE[family], **settings)
    config = classes.config(**ARCHITECTURE[family])
    for key, value in settings.items():
        setattr(config, key, value)
    with pytest.raises(ModelError, match=message):
        classes.classifier(config)


def test_heads_that_do_not_fill_the_width_are_refused() -> None:
    config = DebertaV2Config.from_dict({"hidden_size": 32, "num_attention_heads": 4, "attention_head_size": 64})
    with pytest.raises(ModelError, match="attention_head_size 64 times num_attention_heads 4 is not hidden_size 32"):
        check(config, "this model")


def test_talking_heads_are_refused() -> None:
    with pytest.raises(ModelError, match="talking_head"):
        make("deberta", talking_head=True)


def test_refused_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path / "nowhere"), "./nowhere", "~nobody/nowhere"):
        with pytest.raises(ModelError, match=r"^folder .*nowhere does not exist$"):
            from_pretrained(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        from_pretrained("empty")
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match=r"has no model\.safetensors$"):
        from_pretrained("empty")
    (tmp_path / "empty" / "pytorch_model.bin").touch()
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is not read"):
        from_pretrained("empty")
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ModelError, match=r"'gpt2': valid are bert, deberta, deberta_v2, roberta"):
        from_pretrained("empty")


def test_hub_out_of_reach() -> None:
    with pytest.raises(ModelError, match="Hub not reachable and not in the cache"):
        from_pretrained("no-one/no-such-model")
    with pytest.raises(ModelError, match="Hub not reachable and not in the cache"):
        build(model_config("bert", random_init=False), BOTH, labels=LABELS)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    make("bert").save_pretrained(tmp_path)
    loaded = model_config("bert", checkpoint=str(tmp_path), random_init=False)
    with pytest.raises(ModelError, match=r"leave no place for: .* and 21 more"):
        build(loaded, NONE, labels=LABELS)
    with pytest.raises(ModelError, match="has 200"):
        build(loaded, BOTH, labels=LABELS, vocab_size=200)
    with pytest.raises(ModelError, match="pads with token 0, its tokenizer with 1"):
        build(loaded, BOTH, labels=LABELS, pad_token_id=1)
    loaded.config_overrides = {"intermediate_size": 40}
    with pytest.raises(ModelError, match=r"another shape: .*\(48,\), not \(40,\)"):
        build(loaded, BOTH, labels=LABELS)
    loaded.config_overrides = {"hidden_size": "wide"}
    with pytest.raises(ModelError, match="hidden_size"):
        build(loaded, BOTH, labels=LABELS)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["bert.encoder.layer.0.attention.self.key.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks: bert\.encoder\.layer\.0\.attention\.self\.key\.weight"):
        from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(ModelError, match="weights cannot be read"):
        from_pretrained(tmp_path)


def test_unused_layers_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make("bert", NONE).save_pretrained(tmp_path)
    build(
        model_config("bert", checkpoint=str(tmp_path), random_init=False, config_overrides={"num_hidden_layers": 2}),
        NONE,
        labels=LABELS,
    )
    (warning,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert "not used: bert.encoder.layer.2.attention" in warning


def test_architecture_from_a_folder_with_random_weights(tmp_path: Path) -> None:
    make("roberta", NONE).config.save_pretrained(tmp_path)
    model = build(model_config("bert", checkpoint=str(tmp_path)), BOTH, labels=LABELS)
    assert type(model) is family_classes("roberta").classifier


@pytest.mark.parametrize("settings", [NONE, BOTH])
def test_unknown_config_override_is_refused_with_a_near_miss(settings: GiConfig) -> None:
    model = model_config("deberta_v2", config_overrides={"hidden_sise": 32})
    with pytest.raises(ModelError, match=r"config_overrides\.hidden_sise: no such entry \(did you mean 'hidden_size'"):
        build(model, settings, labels=LABELS)


@pytest.mark.parametrize(
    ("key", "value"), [("position_buckets", 4), ("conv_kernel_size", 3), ("hidden_dropout_prob", 0.2)]
)
def test_entries_that_the_model_reads_may_be_overridden(key: str, value: float) -> None:
    model = build(model_config("deberta_v2", config_overrides={key: value}), BOTH, labels=LABELS)
    assert getattr(model.config, key) == value


def test_another_number_of_labels(tmp_path: Path) -> None:
    build(model_config("bert"), BOTH, labels=LABELS).save_pretrained(tmp_path)
    assert from_pretrained(tmp_path, num_labels=5).config.num_labels == 5


@pytest.mark.parametrize("gi", [NONE, BOTH])
def test_what_a_config_json_wants_returned_is_left_out(family: str, gi: GiConfig, tmp_path: Path) -> None:
    """Evaluation would gather it, or not find the logits."""
    make(family, gi).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    wishes = {"output_hidden_states": True, "output_attentions": True, "return_dict": False, "use_cache": True}
    wishes |= {"torchscript": True, "problem_type": "multi_label_classification", "num_labels": 7, "_num_labels": 7}
    path.write_text(json.dumps(json.loads(path.read_text()) | wishes | {"gradient_checkpointing": True}))
    model = build(model_config(family, checkpoint=str(tmp_path), random_init=False), gi, labels=LABELS)
    batch = make_batch(family)
    output = model(**batch, labels=torch.tensor([0, 1, 2]))
    assert [*output] == ["loss", "logits"]
    expected = torch.nn.functional.cross_entropy(output.logits, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(output.loss, expected)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"is_decoder": True}, "is_decoder is True: "),
        ({"add_cross_attention": True}, "add_cross_attention is True: "),
        ({"quantization_config": {"load_in_8bit": True}}, "quantised weights are not trained"),
        ({"position_embedding_type": "relative_key"}, "transformers 5 has absolute only"),
        ({"hidden_act": "gelou"}, "gelou"),
        ({"dtype": "float99"}, "float99"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_attention_heads": 5}, "num_attention_heads|attention heads"),
        ({"num_hidden_layers": -1}, "num_hidden_layers"),
        ({"vocab_size": "many"}, "vocab_size"),
    ],
)
@pytest.mark.parametrize("gi", [NONE, BOTH])
def test_config_json_that_cannot_be_used_is_one_message(
    gi: GiConfig, entries: dict[str, Any], said: str, tmp_path: Path
) -> None:
    make("bert", NONE).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))
    with pytest.raises(ModelError, match=said) as caught:
        build(model_config("bert", checkpoint=str(tmp_path), random_init=False), gi, labels=LABELS)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("family", ["deberta", "deberta_v2"])
@pytest.mark.parametrize("gi", [NONE, BOTH])
def test_inputs_longer_than_the_positions_that_a_deberta_tells_apart(family: str, gi: GiConfig) -> None:
    """All farther ones are alike to it: nothing ends at max_position_embeddings."""
    batch = make_batch(family, (130, 100), width=130)
    fast = make(family, gi)
    slow = build(model_config(family, attention=Attention.hf), gi, labels=LABELS).eval()
    slow.load_state_dict(fast.state_dict())
    torch.testing.assert_close(logits_of(fast, batch), logits_of(slow, batch), atol=1e-5, rtol=1e-5)
    moved = batch | {"input_ids": batch["input_ids"].roll(1, 1)}
    assert not torch.allclose(logits_of(fast, batch), logits_of(fast, moved), atol=1e-4)


def test_more_token_types_than_the_model_has_are_refused() -> None:
    for family, types in (("roberta", 1), ("bert", 1)):
        model = model_config(family, config_overrides={"type_vocab_size": types})
        with pytest.raises(ModelError, match=r"has 1 token type\(s\), its tokenizer gives 2"):
            build(model, NONE, labels=LABELS, token_types=2)
        assert build(model, NONE, labels=LABELS, token_types=1)
    assert build(model_config("deberta", config_overrides={"type_vocab_size": 0}), NONE, labels=LABELS, token_types=2)


def test_weights_in_several_files(family: str, tmp_path: Path) -> None:
    whole = make(family)
    whole.save_pretrained(tmp_path, max_shard_size="20KB")
    assert not (tmp_path / "model.safetensors").exists()
    model = build(model_config(family, checkpoint=str(tmp_path), random_init=False), BOTH, labels=LABELS)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in model.state_dict().items())
    next(tmp_path.glob("model-*.safetensors")).unlink()
    with pytest.raises(ModelError, match="lacks 1 of the"):
        build(model_config(family, checkpoint=str(tmp_path), random_init=False), BOTH, labels=LABELS)
