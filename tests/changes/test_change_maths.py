"""The changes' formulas against numbers worked out by hand, their starts, sizes, gradients, and what they refuse."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from gifine import changes
from gifine.changes import added, gated_heads, gated_output
from gifine.changes.contract import Sizes
from gifine.inputs import change_files
from support import places
from support.places import HEADS, HIDDEN, INNER, at, change, place

CONF = Path(__file__).parents[2] / "conf" / "change"
LARGE = Sizes(depth=24, hidden=1024, heads=16, inner=4096)
ELEMENT, HEAD = gated_output.Gate.element, gated_output.Gate.head
IDENTITY, DRAWN = gated_heads.Start.identity, gated_heads.Start.normal
LOG3 = math.log(3)  # σ(LOG3) = 3/4

# Each change with a site, at settings whose start is the plain model.
STARTS: list[tuple[str, str, dict[str, Any]]] = [
    ("added", "key", {}),
    ("added", "query", {"side": added.Side.query}),
    ("clipped_softmax", "weights", {"gamma": 0.0}),
    ("gated_heads", "context", {"init": IDENTITY}),
    ("gated_output", "context", {}),
    ("gated_output", "context", {"gate": HEAD, "bias": True}),
    ("gated_output", "value", {"site": "value", "gate": HEAD}),
    ("gated_output", "output", {"site": "output"}),
    ("head_scale", "context", {}),
    ("ia3", "key", {}),
    ("ia3", "ffn", {}),
    ("ina", "value", {"dropout": 0.0}),
    ("ina", "query", {"level": 0.0, "dropout": 0.0}),
    ("lora", "query", {}),
    ("lora", "output", {"sites": ["output"]}),
    ("lora", "ffn_output", {"sites": ["ffn_output"], "rank": 3}),
    ("value_residual", "value", {}),
    ("wider", "ffn_output", {}),
]
# …and others whose formula is another.
ALL = [
    *STARTS,
    ("clipped_softmax", "weights", {"gamma": -0.1, "eta": 1.1}),
    ("clipped_softmax", "weights", {"gamma": None, "alpha": 0.2}),
    ("gated_heads", "context", {"pi_init": 0.25}),
    ("gated_heads", "context", {"fine_tuning": False}),
]


def tensor(*values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def applied(name: str, site: str, parameters: dict[str, Tensor], value: Tensor, /, **around: Any) -> Tensor:
    """The change's result; `keys` are its settings, the rest is what is around the value."""
    found, settings = change(name, **around.pop("keys", {}))
    around.setdefault("hidden", torch.zeros(1, 1, HIDDEN, dtype=value.dtype))
    return found.apply(settings, parameters, value, at(place(site), **around))


def drawn(name: str, site: str, keys: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """All that a change's apply takes, drawn: parameters as they start, value, what it is made of, what is beside."""
    generator = torch.Generator().manual_seed(1)
    found, settings = change(name, **keys)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=dtype)  # noqa: E731 - a name for one expression
    where = place(site)
    own = found.find_parameters(settings, where)
    value = draw(2, HEADS, 3, 3).softmax(-1) if site == "weights" else draw(2, 3, where.given)
    return {
        "parameters": {key: places.start(each, generator, dtype) for key, each in own.items()},
        "value": value,
        "taken": draw(2, 3, where.taken or HIDDEN),
        "hidden": draw(2, 3, HIDDEN),
        "kept": draw(2, 3, HIDDEN),
    }


def test_lora_adds_a_product_of_thin_matrices():
    parameters = {"A": tensor([1, 2, 0, 0]), "B": tensor([3], [-1], [0], [1])}
    hidden = tensor([[1, 1, 7, 7], [0, -1, 7, 7]])  # u = 3 and −2
    value = tensor([[0.5, 1, 2, 3], [0, 0, 0, 0]])
    result = applied("lora", "query", parameters, value, hidden=hidden, keys={"rank": 1, "alpha": 2.0})
    assert result.tolist() == [[[18.5, -5, 2, 9], [-12, 4, 0, -4]]]


def test_lora_drops_what_goes_to_its_matrices_alone():
    parameters = {"A": tensor([1, 2, 0, 0]), "B": tensor([3], [-1], [0], [1])}
    seen: list[float] = []

    def drop(x: Tensor, rate: float) -> Tensor:
        seen.append(rate)
        return x * tensor(2, 0, 2, 0)

    around = {"hidden": tensor([[1, 1, 7, 7]]), "dropout": drop, "keys": {"rank": 1, "alpha": 1.0, "dropout": 0.5}}
    assert applied("lora", "key", parameters, tensor([[0.5, 1, 2, 3]]), **around).tolist() == [[[6.5, -1, 2, 5]]]
    assert applied("ina", "key", parameters, tensor([[0.5, 1, 2, 3]]), **around).tolist() != [[[6.5, -1, 2, 5]]]
    assert seen == [0.5, 0.5]


def test_ina_subtracts_a_part_of_each_positions_own_maximum():
    parameters = {"A": torch.eye(4, dtype=torch.float64)[:2], "B": tensor([2, 0], [0, 4], [0, 0], [0, 0])}
    hidden = tensor([[1, -2, 9, 9], [-1, -3, 9, 9]])  # u − ½ max u: (0.5, −2.5) and (−0.5, −2.5)
    keys = {"rank": 2, "alpha": 4.0, "dropout": 0.0, "level": 0.5}
    result = applied("ina", "value", parameters, torch.ones(1, 2, 4, dtype=torch.float64), hidden=hidden, keys=keys)
    assert result.flatten().tolist() == pytest.approx([3, 0.8, 1, 1, 0.98, 0.8, 1, 1], abs=1e-15)


def test_ia3_scales_each_feature():
    result = applied("ia3", "key", {"scale": tensor(3, 0.5, 1, -1)}, tensor([[1, 2, 3, 4]]))
    assert result.tolist() == [[[3, 1, 3, -4]]]


def test_head_scale_scales_each_head():
    assert applied("head_scale", "context", {"gamma": tensor(10, 0.5)}, tensor([[1, 2, 3, 4]])).tolist() == [
        [[10, 20, 1.5, 2]]
    ]


def test_value_residual_adds_the_values_of_the_first_layer():
    found, settings = change("value_residual", layers=1)
    kept: dict[str, Tensor] = {}
    values = [tensor([[layer + 1.0, -1, 2, 3]]) for layer in range(3)]
    results = []
    for layer, value in enumerate(values):
        where = place("value", layer)
        parameters = dict.fromkeys(found.find_parameters(settings, where), tensor(0.5))
        results.append(found.apply(settings, parameters, value, at(where, value, kept=kept)))
    assert results[0] is values[0]
    assert results[1] is values[1]  # not among the last `layers`
    assert results[2].tolist() == [[[3.5, -1.5, 3, 4.5]]]
    found, settings = change("value_residual")
    assert [len(found.find_parameters(settings, place("value", layer))) for layer in range(3)] == [0, 1, 1]
    assert found.find_layers(change("value_residual", layers=1)[1], 3) == range(3)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"gamma": -0.25}, [0.625, 0.0, 0.0, 0.0]),
        ({"gamma": -0.25, "eta": 1.75}, [1.0, 0.15, 0.0, 0.0]),
        ({"gamma": None, "alpha": 0.5}, [0.625, 0.0, 0.0, 0.0]),  # gamma −0.25 for an example of two tokens
    ],
)
def test_clipped_softmax_stretches_and_clips(keys, expected):
    weights = tensor(0.7, 0.2, 0.1, 0).expand(1, 2, 4, 4)
    real_BT = torch.tensor([[True, True, False, False]])
    result = applied("clipped_softmax", "weights", {}, weights, real_BT=real_BT, keys=keys)
    assert result[0, 1, 2].tolist() == pytest.approx(expected, abs=1e-15)


def test_alpha_counts_all_tokens_where_no_padding_is_known():
    weights = tensor(0.7, 0.2, 0.1, 0).expand(1, 2, 4, 4)
    result = applied("clipped_softmax", "weights", {}, weights, keys={"gamma": None, "alpha": 1.0})
    assert result[0, 0, 0].tolist() == pytest.approx([0.625, 0, 0, 0], abs=1e-15)


def test_gated_output_gates_heads_or_features_by_the_hidden_state():
    hidden, value = tensor([[1, 0, 0, 0], [0, 1, 0, 0]]), tensor([[1, 2, 3, 4], [1, 2, 3, 4]])
    heads = {"weight": tensor([LOG3, 0, 0, 0], [0, -LOG3, 0, 0])}  # 2σ: (1.5, 1) and (1, 0.5)
    result = applied("gated_output", "context", heads, value, hidden=hidden, keys={"gate": HEAD})
    assert result.flatten().tolist() == pytest.approx([1.5, 3, 3, 4, 1, 2, 1.5, 2], abs=1e-14)
    elements = {"weight": torch.zeros(4, 4, dtype=torch.float64), "bias": tensor(0, LOG3, -LOG3, 0)}
    result = applied("gated_output", "context", elements, value, hidden=hidden, keys={"bias": True})
    assert result[0, 0].tolist() == pytest.approx([1, 3, 1.5, 4], abs=1e-14)


def test_a_gate_of_a_projection_reads_what_it_is_made_of():
    """Which of relative positions are their embeddings."""
    taken, value = tensor([1, 0, 0, 0], [0, 1, 0, 0]), tensor([1, 2, 3, 4], [1, 2, 3, 4])
    parameters = {"weight": tensor([LOG3, 0, 0, 0], [0, -LOG3, 0, 0])}
    around = {"taken": taken, "positions": True, "keys": {"site": "key", "gate": HEAD}}
    result = applied("gated_output", "key", parameters, value, **around)
    assert result.flatten().tolist() == pytest.approx([1.5, 3, 3, 4, 1, 2, 1.5, 2], abs=1e-14)


@pytest.mark.parametrize(
    ("keys", "factor"), [({}, 2), ({"pi_init": 0.25}, 4), ({"pi_init": 0.25, "fine_tuning": False}, 1)]
)
def test_gated_heads_gate_each_head_by_its_own_slice(keys, factor):
    hidden, value = tensor([[1, 0, 0, 2]]), tensor([[1, 2, 3, 4]])
    parameters = {"weight": tensor([LOG3, 5], [7, -LOG3]), "bias": tensor(0, LOG3)}  # σ: 0.75, σ(−LOG3) = 0.25
    result = applied("gated_heads", "context", parameters, value, hidden=hidden, keys=keys)
    assert result.flatten().tolist() == pytest.approx([factor * each for each in (0.75, 1.5, 0.75, 1)], abs=1e-14)


def test_added_adds_what_gi_multiplies():
    eye = torch.eye(4, dtype=torch.float64)
    parameters = {"inhibition.weight": eye[[1, 0, 2, 3]], "inhibition.bias": tensor(0, 0, 1, 0)}
    parameters |= {"select.weight": 2 * eye, "select.bias": tensor(0, 0, 0, 1)}
    result = applied("added", "query", parameters, tensor([[10, 20, 30, 40]]), hidden=tensor([[1, -1, 0, 0]]))
    gelu = {x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in (1, -1)}
    expected = [10 + 2 * gelu[-1], 20 + 2 * gelu[1], 30 + 2 * gelu[1], 41]
    assert result.flatten().tolist() == pytest.approx(expected, abs=1e-14)


def test_wider_adds_inner_features_to_the_network():
    parameters = {"weight_in": tensor([1, 0, 0, 0], [0, -1, 0, 0]), "bias_in": tensor(0.5, 0)}
    parameters["weight_out"] = tensor([1, 1], [2, 0], [0, 3], [0, 0])
    taken = torch.full((1, 1, INNER), 9.0, dtype=torch.float64)
    around = {"hidden": tensor([[1, 1, 8, 8]]), "taken": taken}  # relu: (1.5, 0)
    assert applied("wider", "ffn_output", parameters, tensor([[1, 1, 1, 1]]), **around).tolist() == [[[2.5, 4, 1, 1]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("name", "site", "keys"), STARTS)
def test_starts_as_the_plain_model_to_the_bit(name, site, keys, dtype):
    has = drawn(name, site, keys, torch.float32)
    value, kept = has["value"].to(dtype), has["kept"].to(dtype)
    around = {"hidden": has["hidden"], "taken": has["taken"], "kept": {"value": kept}, "keys": keys}
    # Autocast computes linear layers in bfloat16 and leaves parameters and hidden states in float32.
    with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
        result = applied(name, site, has["parameters"], value, **around)
    assert result.dtype == dtype
    assert torch.equal(result, value)


def test_every_change_is_tried():
    assert {name for name, *_ in ALL} == set(changes.names()) - {"gi"}


@pytest.mark.parametrize(("name", "site", "keys"), ALL)
def test_gradients_by_finite_differences(name, site, keys):
    has = drawn(name, site, keys, torch.float64)
    generator = torch.Generator().manual_seed(2)
    names = list(has["parameters"])
    parameters = [torch.randn(each.shape, generator=generator, dtype=each.dtype) for each in has["parameters"].values()]
    inputs = [has["value"], has["taken"], has["hidden"], has["kept"], *parameters]
    before = [each.clone() for each in inputs]

    def compute(value: Tensor, taken: Tensor, hidden: Tensor, kept: Tensor, *own: Tensor) -> Tensor:
        around = {"taken": taken, "hidden": hidden, "kept": {"value": kept}, "activation": torch.tanh, "keys": keys}
        return applied(name, site, dict(zip(names, own, strict=True)), value, **around)

    assert torch.autograd.gradcheck(compute, [each.requires_grad_() for each in inputs])
    assert all(torch.equal(each, old) for each, old in zip(inputs, before, strict=True))  # nothing is written into


@pytest.mark.parametrize(
    ("name", "keys", "count"),
    [
        ("lora", {"rank": 4}, 393_216),
        ("lora", {"rank": 4, "sites": ["query", "key", "value"]}, 589_824),
        ("ia3", {}, 147_456),
        ("ia3", {"sites": ["key", "value", "context", "ffn"]}, 172_032),
        ("gated_heads", {}, 24_960),
        ("clipped_softmax", {}, 0),
        ("gated_output", {"gate": HEAD}, 393_216),
        ("gated_output", {}, 25_165_824),
        ("gated_output", {"bias": True}, 25_190_400),
        ("head_scale", {}, 384),
        ("value_residual", {}, 23),
        ("value_residual", {"layers": 6}, 6),
        ("ina", {"rank": 4}, 589_824),
        ("added", {"side": added.Side.key}, 50_380_800),
        ("added", {}, 100_761_600),
        ("wider", {}, 100_761_600 + 24),
        ("wider", {"width": 1024}, 24 * (2 * 1024**2 + 1024)),
    ],
)
def test_parameters_of_a_large_model(name, keys, count):
    found, settings = change(name, **keys)
    assert change_files.parameters(found, settings, LARGE) == count


@pytest.mark.parametrize(
    ("name", "keys", "problem"),
    [
        ("lora", {"rank": 0}, "rank=0: must be a whole number of at least 1"),
        ("lora", {"rank": 2000}, "rank=2000: the model's hidden states have 1024 features"),
        ("lora", {"alpha": 0.0}, "alpha=0: must be above 0"),
        ("lora", {"dropout": 1.0}, "dropout=1: must be in 0 … 1, below 1"),
        (
            "lora",
            {"sites": ["query", "weights"]},
            "sites=[query, weights]: must be one or more of query, key, value, output, ffn_output, each once",
        ),
        ("lora", {"sites": []}, "sites=[]: must be one or more of query, key, value, output, ffn_output, each once"),
        ("ina", {"sites": ["output"]}, "sites=[output]: must be one or more of query, key, value, each once"),
        ("ina", {"level": 30.0}, "level=30: a fraction of the maximum, 0 … 1"),
        ("ina", {"rank": -1}, "rank=-1: must be a whole number of at least 1"),
        (
            "ia3",
            {"sites": ["key", "key"]},
            "sites=[key, key]: must be one or more of query, key, value, context, output, ffn, ffn_output, each once",
        ),
        ("gated_output", {"site": "ffn"}, "site=ffn: must be one of context, value, key, query, output"),
        (
            "gated_output",
            {"site": "output", "gate": HEAD},
            "gate=head: after the output projection there are no heads; site=output takes gate=element",
        ),
        ("gated_heads", {"pi_init": 1.0}, "pi_init=1: must be above 0 and below 1"),
        (
            "gated_heads",
            {"init": IDENTITY, "fine_tuning": False},
            "init=identity: takes fine_tuning=true, since gates that are not divided by pi_init never are 1",
        ),
        ("clipped_softmax", {"gamma": 0.1}, "gamma=0.1: must be at most 0, since more would give weight to padding"),
        ("clipped_softmax", {"eta": 0.9}, "eta=0.9: must be at least 1"),
        ("clipped_softmax", {"gamma": None}, "gamma=null: give gamma, or alpha with gamma=null, and not both"),
        ("clipped_softmax", {"alpha": 3.2}, "gamma=-0.025: give gamma, or alpha with gamma=null, and not both"),
        ("clipped_softmax", {"gamma": None, "alpha": -1.0}, "alpha=-1: must be at least 0"),
        ("wider", {"width": 0}, "width=0: must be a whole number of at least 1; null for as many parameters as GI has"),
    ],
)
def test_what_is_wrong_with_values_is_said(name, keys, problem):
    found, settings = change(name, **keys)
    assert list(found.check(settings, LARGE)) == [problem]


def test_one_layer_has_no_later_one():
    found, settings = change("value_residual")
    assert list(found.check(settings, Sizes(depth=1))) == [
        "name=value_residual: the model has one layer, and none after it to change"
    ]


NAMES = sorted({name for name, *_ in ALL})


@pytest.mark.parametrize("name", NAMES)
def test_yaml_and_defaults_agree(name):
    entries = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    found, settings = change(name)
    assert entries["name"] == name
    assert change_files.settings(found, entries) == settings


@pytest.mark.parametrize("name", NAMES)
def test_published_values_are_valid_for_any_model(name):
    found, settings = change(name)
    assert list(found.check(settings, Sizes())) == []
    assert list(found.check(settings, LARGE)) == []


def test_sigmoid_gates_tell_of_themselves():
    seen: list[dict[str, Tensor]] = []
    parameters = {"weight": tensor([LOG3, 0, 0, 0], [-9, 0, 0, 0])}  # 2σ: 1.5 and 0.0002
    around = {"hidden": tensor([[1, 0, 0, 0]]), "watch": seen.append, "keys": {"gate": HEAD}}
    applied("gated_output", "context", parameters, tensor([[1, 2, 3, 4]]), **around)
    (told,) = seen
    assert told["mean"].item() == pytest.approx((1.5 + 2 / (1 + math.exp(9))) / 2)
    assert (told["below_one"].item(), told["saturated"].item()) == (0.5, 0.5)


def test_clipped_weights_are_counted():
    measure = changes.load("clipped_softmax").measure
    assert measure is not None
    weights = tensor(0.7, 0.2, 0.1, 0).expand(1, 2, 4, 4)
    clipped = applied("clipped_softmax", "weights", {}, weights, keys={"gamma": -0.25, "eta": 1.75})
    around = at(place("weights"), weights)
    found = {key: value.item() for key, value in measure({}, weights, clipped, around).items()}
    assert found == pytest.approx({"zero": 1 / 3, "one": 1 / 3})
