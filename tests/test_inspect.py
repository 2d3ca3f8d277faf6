"""`gifine inspect`: what it shows is what the model does, and its page holds whatever the rows hold."""

from __future__ import annotations

import base64
import json
import re
import shutil
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import set_seed

from conftest import TINY_DEMO
from gifine import cli, models
from gifine import train as training
from gifine.changes.gi import Settings
from gifine.choices import Attention, GateThreshold
from gifine.config import GiConfig
from gifine.errors import ExitCode
from gifine.inspect import __main__ as command_line
from gifine.inspect import ablation, looking, page, pictures, seen
from gifine.inspect.findings import Attention as Weights
from gifine.inspect.findings import Example, Findings, Track
from gifine.inspect.loading import Loaded
from gifine.inspect.meaning import Classes
from gifine.inspect.passes import Pass
from gifine.models.changed import ChangedModule
from gifine.models.speedups import last_layer
from gifine.runs import finished as reading
from gifine.runs import identity, records
from support import html
from support.synthetic import given
from support.tiny_models import BOTH, DEPTH, FAMILIES, HEADS, NONE, SCALE, VOCAB, make, model_config


def loaded(model: Any, lengths: tuple[int, ...] = (9, 4, 6), size: int = 2) -> Loaded:
    """A model with examples of these lengths, in batches of `size`; token 0 pads, 1 is special."""
    numbers = torch.Generator().manual_seed(0)
    features: list[dict[str, list[int]]] = []
    for length in lengths:
        ids = [1, *torch.randint(5, VOCAB, (length - 2,), generator=numbers).tolist(), 1]
        features.append({"input_ids": ids, "attention_mask": [1] * length})
    tokenizer: Any = SimpleNamespace(all_special_ids=[0, 1], decode=lambda ids: f"t{ids[0]}")

    def collate(rows: list[Any]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        return {key: torch.tensor([row[key] + [0] * (width - len(row[key])) for row in rows]) for key in rows[0]}

    batches = [[*range(start, min(start + size, len(lengths)))] for start in range(0, len(lengths), size)]
    meaning = Classes(["a", "b", "c"], np.arange(len(lengths)) % 3, "accuracy")
    return Loaded(model, tokenizer, collate, features, [f"row {n}" for n in range(len(lengths))], meaning, batches)


def looked(model: Any, **options: Any) -> tuple[Pass, np.ndarray]:
    subject = loaded(model, **options)
    one = Pass(subject, range(len(subject.features)))
    return one, one.run()


@pytest.mark.parametrize("threshold", list(GateThreshold))
@pytest.mark.parametrize("family", FAMILIES)
def test_gates_are_those_that_the_model_multiplies_with(family: str, threshold: GateThreshold) -> None:
    gi = GiConfig(side=BOTH.side, level=0.3, threshold=threshold, mask_padding=True)
    subject, compared = loaded(make(family, gi).double()), []
    for batch in subject.batches:
        real_BT = subject.padded(batch)["attention_mask"].bool()

        def see(each: seen.Seen, real_BT: torch.Tensor = real_BT) -> torch.Tensor:
            assert isinstance(each.site.settings, Settings)
            gate_BTK, _ = seen.gates(seen.signal(each), each.site.settings, real_BT)
            torch.testing.assert_close(gate_BTK * each.value, each.changed, atol=1e-10, rtol=0)
            compared.append(each.place.layer)
            return each.changed

        with seen.between(subject.model, see):
            subject.forward(batch)
    assert len(compared) == 2 * DEPTH * len(subject.batches)


@pytest.mark.parametrize("is_fast", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_looking_changes_nothing_and_leaves_nothing(family: str, is_fast: bool) -> None:
    set_seed(0)
    attention = Attention.fast if is_fast else Attention.hf
    model = models.build(model_config(family, attention=attention), BOTH, labels=["a", "b", "c"]).eval()
    kernel, before = model.config._attn_implementation, loaded(model).logits()
    one, logits = looked(model)
    assert (logits == before).all()
    assert model.config._attn_implementation == kernel
    assert not any(
        isinstance(site, seen._Between)
        for module in model.modules()
        if isinstance(module, ChangedModule)
        for site in module.sites.values()
    )
    assert [(track.kind, track.site, track.layers) for track in one.made_tracks()] == [
        ("gate", site, list(range(DEPTH))) for site in ("key", "query")
    ]
    for track in one.made_tracks():
        assert track.values_LHN.shape == (DEPTH, HEADS, 19)
        assert np.isfinite(track.values_LHN).all()
        assert (track.values_LHN >= 0.829).all()
        assert set(track.shares) == {"below 1", "within 1 % of 1"}
        assert (np.diff(track.quantiles_LQ, axis=1) >= 0).all()


@pytest.mark.parametrize("gi", [NONE, BOTH], ids=["plain", "gated"])
@pytest.mark.parametrize("family", FAMILIES)
def test_attention_weights(family: str, gi: GiConfig) -> None:
    model = make(family, gi)
    weights: dict[int, torch.Tensor] = {}
    subject = loaded(model)
    with seen.attention(model, lambda layer, found: weights.update({layer: found})) as arguments:
        subject.forward(subject.batches[0], **arguments)
    assert sorted(weights) == list(range(DEPTH))
    for found_BHTT in weights.values():
        assert found_BHTT.shape == (2, HEADS, 9, 9)
        assert float((found_BHTT.sum(dim=-1) - 1).abs().max()) < 1e-5
        assert float(found_BHTT[1, :, :4, 4:].abs().max()) == 0, "nothing to padding"
    one, _ = looked(model)
    found = one.made_attention()
    assert {place: each.shape for place, each in found.maps.items()} == {
        place: (DEPTH, HEADS, size, size) for place, size in enumerate((9, 4, 6))
    }
    assert (np.abs(found.maps[1].sum(axis=-1) / 255.0 - 1) < 4 * 0.5 / 255 + 1e-6).all()
    for name, values_LH in found.summary.items():
        assert ((values_LH >= 0) & (values_LH <= 1 + 1e-6)).all(), name


def test_what_is_said_of_attention() -> None:
    """Of one layer and head: a token that looks at itself, one at both neighbours, one at the first."""
    one = Pass(loaded(make("bert", NONE), lengths=(3,)), [])
    one.batch, one.real_BT, one.ids_BT = [0], torch.ones(1, 3, dtype=torch.bool), torch.tensor([[1, 7, 1]])
    one._attend(0, torch.tensor([[[[1.0, 0, 0], [0.5, 0, 0.5], [1, 0, 0]]]]).expand(1, HEADS, 3, 3))
    found = {name: values_LH[0, 0] for name, values_LH in one.made_attention().summary.items()}
    assert found == pytest.approx(
        {
            "evenness": np.log(2) / np.log(3) / 3,
            "to the first token": 2.5 / 3,
            "to other special tokens": 0.5 / 3,
            "to itself": 1 / 3,
            "to its neighbours": 1 / 3,
        }
    )


@pytest.mark.parametrize(("real", "last"), [([1, 1, 1, 0], 2), ([0, 1, 1, 1], 3)])
def test_the_last_token_is_found_beside_padding_on_either_side(real: list[int], last: int) -> None:
    """XLNet's head reads it; questions are padded behind it, and all else in front."""
    one = Pass(loaded(make("xlnet", NONE), lengths=(3,)), [])
    one.batch, one.real_BT, one.ids_BT = [0], torch.tensor([real]).bool(), torch.tensor([[1] * 4])
    weights_T = torch.zeros(4)
    weights_T[last] = 1
    one._attend(0, weights_T.expand(1, HEADS, 4, 4))
    found = one.made_attention().summary
    assert found["to the last token"][0, 0] == 1
    assert found["to other special tokens"][0, 0] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_all_switched_off_is_the_plain_model(family: str) -> None:
    subject, plain = loaded(make(family).double()), loaded(make(family, NONE).double())
    with seen.between(subject.model, ablation._off(None, None)):
        without = subject.logits()
    # A plain DeBERTa of transformers' lets padding look around, which nothing else sees.
    np.testing.assert_allclose(without, plain.logits(), atol=SCALE, rtol=0)
    assert np.abs(without - subject.logits()).max() > 1e-3


def test_ablations_say_what_each_part_costs() -> None:
    model = make("bert")
    one, logits = looked(model)
    found = ablation.run(one.loaded, logits, one.made_tracks(), seconds=1e9)
    assert found is not None
    assert [(each.layer, each.head) for each in found.found[: 1 + DEPTH]] == [
        (None, None),
        *((layer, None) for layer in range(DEPTH)),
    ]
    assert len(found.found) == 1 + DEPTH + DEPTH * HEADS
    assert found.left == 0
    of_head = next(each for each in found.found if (each.layer, each.head) == (1, 2))

    def by_hand(each: seen.Seen) -> torch.Tensor:
        assert each.told == {}, "statistics that nobody reads are not computed"
        if each.place.layer != 1:
            return each.changed
        features, width = each.changed.clone(), each.changed.shape[-1] // HEADS
        features[..., 2 * width : 3 * width] = each.value[..., 2 * width : 3 * width]
        return features

    with seen.between(model, by_hand):
        without = one.loaded.logits()
    assert of_head.logit == np.abs(without - logits).max() > 0
    assert isinstance(one.loaded.meaning, Classes)
    answers, labels = without.argmax(-1), one.loaded.meaning.references
    assert labels is not None
    assert of_head.score.value == (answers == labels).mean()
    loss = nn.functional.cross_entropy(torch.tensor(without), torch.tensor(labels))
    assert of_head.score.loss == pytest.approx(float(loss), abs=1e-6)
    assert of_head.flipped == (answers != logits.argmax(-1)).sum()


def test_when_the_time_is_up_the_rest_is_left_out() -> None:
    one, logits = looked(make("bert"))
    tracks = one.made_tracks()
    found = ablation.run(one.loaded, logits, tracks, seconds=1e-9)
    assert found is not None
    assert (len(found.found), found.left) == (1, DEPTH + DEPTH * HEADS)
    assert ablation.run(one.loaded, logits, tracks, seconds=0) is None


@pytest.mark.parametrize("masked", [True, False])
def test_the_token_of_the_maximum(masked: bool) -> None:
    """It sets the threshold that the model has, of its batch."""
    gi = GiConfig(side=BOTH.side, level=0.3, mask_padding=masked)
    subject, thresholds = loaded(make("bert", gi)), []
    one = Pass(subject, [])
    see = one._see

    def both(each: seen.Seen) -> torch.Tensor:
        thresholds.append(float(each.told["threshold"]))
        return see(each)

    one._see = both  # pyrefly: ignore[bad-assignment] - a spy, which has no self
    one.run()
    assert [peak.threshold for peak in one.peaks] == pytest.approx(thresholds, rel=1e-5)
    assert len(one.peaks) == 2 * DEPTH * len(subject.batches)
    if masked:
        assert None not in {peak.token for peak in one.peaks}
    for peak in one.peaks:
        assert peak.example in subject.batches[peak.batch]
        assert peak.token is None or peak.token < len(subject.features[peak.example]["input_ids"])


def test_each_example_has_a_maximum_of_its_own() -> None:
    gi = GiConfig(side=BOTH.side, level=0.3, threshold=GateThreshold.sequence, mask_padding=True)
    one, _ = looked(make("bert", gi))
    assert {peak.example for peak in one.peaks} == {0, 1, 2}
    assert len(one.peaks) == 2 * DEPTH * 3


CHANGES = {
    "lora": ["query", "value"],
    "ia3": ["key", "value", "ffn"],
    "clipped_softmax": ["weights"],
    "gated_output": ["context"],
    "value_residual": ["value"],
    "wider": ["ffn_output"],
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("family", ["bert", "deberta_v2"])
def test_any_change_is_looked_at(name: str, family: str) -> None:
    set_seed(0)
    model = models.build(model_config(family), NONE, {"name": name}, labels=["a", "b", "c"]).eval()
    with torch.no_grad():
        for each, parameter in model.named_parameters():
            if "change_" in each or "_change" in each or name in each:
                parameter += 0.3
    last_layer.one_token(model)
    one, logits = looked(model)
    tracks = {track.site: track for track in one.made_tracks()}
    assert set(tracks) == set(CHANGES[name])
    for site, track in tracks.items():
        heads = 1 if site in seen.HEADLESS else HEADS
        assert track.values_LHN.shape == (len(track.layers), heads, 19)
        missing_LN = np.isnan(track.values_LHN).any(axis=1)
        expected = np.zeros_like(missing_LN)
        if site in seen.HEADLESS:  # in the last layer only the first token of each example is computed
            expected[-1] = [place not in (0, 9, 13) for place in range(19)]
        assert (missing_LN == expected).all()
        assert np.nanmax(track.values_LHN) > 0, "it does something"
        assert all("moved" in each for each in track.told)
    assert ablation.run(one.loaded, logits, list(tracks.values()), seconds=1e9) is not None


def findings(depth: int, heads: int, lengths: list[int], token: str) -> Findings:
    numbers, first = np.random.default_rng(0), np.cumsum([0, *lengths])
    examples = [
        Example([token] * size, int(start), token, token, f"row {row}")
        for row, (size, start) in enumerate(zip(lengths, first, strict=False))
    ]
    layers = list(range(depth))
    values = numbers.normal(1, 0.1, (depth, heads, int(first[-1])))
    quantiles = np.sort(numbers.normal(1, 0.1, (depth, 5)))
    tracks = [Track("gate", site, layers, values, quantiles, {}) for site in ("key", "query")]
    maps = {0: numbers.integers(0, 255, (depth, heads, lengths[0], lengths[0]), dtype=np.uint8)}
    attention = Weights({"evenness": numbers.random((depth, heads))}, maps)
    shown = list(range(len(lengths)))
    return Findings(
        "run", "rows", "", [], depth, heads, examples, shown, [shown], tracks, [], False, attention, None, {}
    )


def embedded(text: str) -> dict[str, Any]:
    return json.loads(re.findall(r'id="data">(.*?)</script>', text, re.DOTALL)[0])


def test_what_rows_hold_is_text_on_the_page() -> None:
    words = "</script><img src=x onerror=alert(1)>'\"&"
    found = findings(2, 2, [3, 4], words)
    text = "".join(page.make(found, page.maps(found), []))
    assert "<img" not in text
    assert embedded(text)["examples"][0]["tokens"] == [words] * 3
    assert "http" not in re.sub(r"http-equiv|http://www\.w3\.org/2000/svg", "", text)


def test_pictures_of_an_example_have_its_values_layer_by_layer_and_head_by_head() -> None:
    found = findings(2, 3, [3, 4], "a")
    found.attention.maps[1] = np.random.default_rng(1).integers(0, 255, (2, 3, 4, 4), dtype=np.uint8)
    drawn = {
        plot.name: np.ma.filled(given(plot.figure.axes[0].images[0].get_array()), np.nan)
        for plot in pictures.beside_page(found, [])
    }
    assert set(drawn) == {
        f"row-{row}-{what}" for row in (0, 1) for what in ("gate-at-key", "gate-at-query", "attention")
    }
    for row, first in ((0, 0), (1, 3)):
        values_LHT = found.tracks[1].values_LHN[:, :, first : first + 3 + row]
        assert (np.reshape(drawn[f"row-{row}-gate-at-query"], values_LHT.shape) == values_LHT).all()
    whole = drawn["row-1-attention"]
    assert whole.shape == (2 * 5 - 1, 3 * 5 - 1)
    assert (whole[5:9, 10:14] == found.attention.maps[1][1, 2] / 255).all(), "layer 1, head 2"
    assert np.isnan(whole[4]).all(), "between the layers"


def test_values_of_tokens_come_back_from_their_bytes() -> None:
    found = findings(2, 2, [3, 4], "a")
    found.tracks[0].values_LHN[1, 0, 6] = np.nan
    (track, _) = embedded("".join(page.make(found, page.maps(found), [])))["tracks"]
    codes = np.frombuffer(base64.b64decode(track["bytes"][1]), np.uint8).reshape(2, 7)
    assert codes[0, 6] == 0
    back = track["low"] + (codes - 1.0) / 254 * (track["high"] - track["low"])
    expected = found.tracks[0].values_LHN[1]
    assert np.nanmax(np.abs(back - expected)[codes > 0]) <= (track["high"] - track["low"]) / 254 / 2 + 1e-12
    assert (np.isnan(expected) == (codes == 0)).all()


def test_a_large_model_has_a_page_of_less_than_10_mb() -> None:
    subject: Any = SimpleNamespace(
        features=[{"input_ids": [5] * 128}] * 128,
        model=SimpleNamespace(config=SimpleNamespace(num_attention_heads=16)),
    )
    shown = looking._shown(subject, sites=48)
    assert len(shown) > 10
    found = findings(24, 16, [128] * len(shown), "word")
    found.attention.maps = {0: found.attention.maps[0][:, :, :88, :88]}
    assert found.attention.maps[0].nbytes > 0.99 * 24 * 16 * 88**2
    size = sum(len(piece.encode()) for piece in page.make(found, page.maps(found), []))
    assert size < 10e6


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache) -> Path:
    """A gated run, finished, with its weights."""
    root = tmp_path_factory.mktemp("inspected")
    words = [*TINY_DEMO, f"output_root={root}", f"data.cache_dir={cache}", "train.save_model=true", "train.epochs=1"]
    config = cli.config_from(cli.compose(words))
    assert training.run(config) == ExitCode.DONE
    return identity.directory(config)


def arguments(**given: Any) -> Namespace:
    return Namespace(**{"text": [], "split": "validation", "rows": 128, "seconds": 0.0, "base": None} | given)


def test_a_run_is_looked_at_as_it_was_evaluated(run: Path, tmp_path: Path) -> None:
    (whole,) = reading.read([run])
    found = looking.look(run, whole, arguments(seconds=1e9), tmp_path)
    record = records.read(run)
    assert record is not None
    assert found.ablations is not None
    base = found.ablations.base
    assert base.value == record.metrics[f"demo/validation/{base.measure}"]
    assert found.coupled
    assert {len(batch) for batch in found.batches} == {16}
    assert found.settings.startswith("change=gi  gi.layers=null  gi.side=both  gi.level=0.3")
    assert found.training["gates/0/key/mean"].keys() == {1, 2, 3, 4}
    assert [example.name for example in found.examples] == [f"row {row}" for row in range(48)]
    first = found.examples[0]
    assert first.tokens[0] == "[CLS]"
    assert first.label in ("acceptable", "unacceptable")


def test_texts_instead_of_rows(run: Path, tmp_path: Path) -> None:
    (whole,) = reading.read([run], own_data=False)
    for subject, folder in ((whole, run), (None, run / "model")):
        found = looking.look(folder, subject, arguments(text=[["the king sleeps"], ["a king"]]), tmp_path)
        assert [example.tokens for example in found.examples] == [
            ["[CLS]", *words.split(), "[SEP]"] for words in ("the king sleeps", "a king")
        ]
        assert {example.label for example in found.examples} == {None}
        assert found.ablations is None


@pytest.mark.long
def test_files_of_an_inspection(run: Path, tmp_path: Path, capsys: Any) -> None:
    assert command_line.main([str(run), "--rows", "8", "--out", str(tmp_path / "out")]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert "inspect.html: 0." in out
    names = {path.name for path in (tmp_path / "out" / "figures").iterdir()}
    for name in (
        "heat-gate-at-key-mean",
        "heat-switched-off-loss",
        "distribution-gate-at-query",
        "training-key-mean",
        "row-7-gate-at-key",
        "row-7-attention",
    ):
        assert {f"{name}.svg", f"{name}.png"} <= names
    text = (tmp_path / "out" / "inspect.html").read_text()
    assert text.count("<figure") == sum(bool(re.match(r"(distribution|training)-.*svg", name)) for name in names)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--text", " "], "--text: an empty text"),
        (["--text", "a", "b", "c"], "--text takes one text or a pair, not 3"),
        (["--text", "a", "b"], "--text: task=demo takes 1 (sentence), not 2"),
        (["--split", "test"], "--split test: the run has validation, train"),
        (["--split", "validation", "--text", "a"], "--split is of rows; it does not go with --text"),
        (["--rows", "0"], "0 is no whole number above 0"),
        (["--seconds", "-1"], "--seconds -1: must be 0 or more"),
    ],
)
def test_bad_arguments(run: Path, words: list[str], said: str, capsys: Any) -> None:
    assert command_line.main([str(run), *words]) == ExitCode.BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_folders_that_cannot_be_looked_at(run: Path, tmp_path: Path, capsys: Any) -> None:
    without = shutil.copytree(run, tmp_path / "without", ignore=shutil.ignore_patterns("model"))
    for folder, said in (
        (without, "run it again with train.save_model=true overwrite=true"),
        (run / "model", "a saved model, which has no rows: give --text, or the folder of the run"),
        (tmp_path / "nowhere", "no such folder"),
    ):
        assert command_line.main([str(folder)]) == ExitCode.BAD_INPUT
        assert said in capsys.readouterr().err


_TRY = """
  const cell = (layer, head) => document.querySelector(`td[data-layer="${layer}"][data-head="${head}"]`);
  const said = (id) => document.getElementById(id).textContent;
  const found = {first: said("chosen"), cells: document.querySelectorAll("#grid td").length};
  cell(1, 0).click();
  found.clicked = said("chosen");
  found.line = document.querySelector("#lines p").textContent;
  cell(1, 0).focus();
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowUp", bubbles: true}));
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "Enter", bubbles: true}));
  found.typed = said("chosen");
  document.querySelectorAll("#weights button")[1].click();
  found.asks = document.querySelector("#weights [aria-pressed=true]").title.split(" → ")[0];
  found.shown = document.querySelectorAll("#lines .line").length;
  document.getElementById("more").click();
  found.more = document.querySelectorAll("#lines .line").length;
  const map = document.getElementById("map");
  map.value = String(map.options.length - 1);
  map.dispatchEvent(new Event("change"));
  found.last = document.getElementById("map-caption").textContent;
  found.wide = document.documentElement.scrollWidth <= innerWidth;
  told(found);
"""


@pytest.mark.machine
@pytest.mark.parametrize("width", [1300, 400])
def test_the_page_in_a_browser(width: int, tmp_path: Path) -> None:
    found = findings(24, 16, [5] * 6, "a-rather-long-word")
    found.examples[0].tokens[1] = "second"
    made = html.told("".join(page.make(found, page.maps(found), [])), _TRY, tmp_path, width)
    highest = found.tracks[0].values_LHN.mean(axis=-1)
    layer, head = divmod(int(highest.argmax()), 16)
    assert made == {
        "first": f"Chosen: layer {layer}, head {head}.",
        "cells": 24 * 16,
        "clicked": "Chosen: layer 1, head 0.",
        "line": "gate at key, layer 1, head 0",
        "typed": "Chosen: layer 0, head 1.",
        "asks": "second",
        "shown": 4,
        "more": 6,
        "last": "Colour: how evenly a token looks: entropy of its attention weights by the logarithm of the number of "
        "tokens; 0: at one token, 1: at all alike.",
        "wide": True,
    }
