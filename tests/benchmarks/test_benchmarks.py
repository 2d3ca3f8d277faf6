"""The benchmarks run: tiny sizes, once, no numbers."""

from __future__ import annotations

import csv
import importlib
import itertools
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as bench
from benchmarks import epoch, harness, memory, step, workloads

QUICK = [claim for claim in bench.CLAIMS if claim not in ("peak", "memory", "startup")]
STAND_IN = """
import csv, json, sys
from pathlib import Path
from types import SimpleNamespace
words = sys.argv[1:]
values = dict(zip(words, words[1:]))
rows = list(csv.DictReader(open(values["--train_file"], encoding="utf-8")))
config = json.loads(Path(values["--model_name_or_path"], "config.json").read_text())
Path(sys.argv[0]).with_name("seen.json").write_text(json.dumps([words, rows, config]))
sum(range(3_000_000))
"""


@pytest.mark.long
@pytest.mark.parametrize("claim", QUICK)
def test_each_claim_is_measured(claim):
    module = importlib.import_module(f"benchmarks.{claim}")
    rows = module.measure(**bench._quick(module))
    assert rows
    for row in rows:
        assert {"name", "peer", "ours", "ratio", "low", "high", "note"} <= row.keys()
        assert row["ours"] > 0
        if row["peer"] is not None:
            assert row["low"] <= row["ratio"] <= row["high"]
    json.dumps(rows)
    assert harness.table(rows).count("\n") == len(rows) + 1


def test_memory_counts_what_backward_needs_and_no_parameters():
    shape = step.TINY | {"vocab_size": 50_000}  # an embedding that would be seen
    short, long = (memory.one(step.PEER_GATED, 1, length, shape)["saved"] for length in (4, 40))
    assert 0 < short < long < 50_000 * 32 * 4 / 1e6


def test_a_contestant_of_a_real_step_is_measured_alone():
    found = step.one(step.OURS_GATED, 2, [4, 12], 2, step.TINY, "cpu")
    assert [len(seconds) for seconds in found["seconds"].values()] == [2, 2]
    assert found["flops"][12] > 2 * found["flops"][4] > 0


def test_a_real_step_is_left_out_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(step.psutil, "virtual_memory", lambda: SimpleNamespace(available=5e9))
    (row,) = step._real(24, [16], 1, None, "cpu", peak=1.0)
    assert row["note"] == "not measured: 5 GB of memory are free, it takes about 11"
    assert "| – | – | – |" in harness.table([row])


@pytest.mark.long
def test_one_that_fails_is_a_row_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench, "CLAIMS", ("peak", "nothing_of_this_name"))  # here, and not in the claim's process
    path = tmp_path / "results.json"
    assert bench.main(["nothing_of_this_name", "peak", "--quick", "--json", str(path)]) == 1
    found = json.loads(path.read_text(encoding="utf-8"))
    assert "no claim" in found["rows"][0]["error"]
    assert [row["claim"] for row in found["rows"]] == ["nothing_of_this_name", "peak", "peak"]
    assert found["machine"]["torch"]
    out = capsys.readouterr()
    assert "| failed |" in out.out
    assert "failed: nothing_of_this_name" in out.err


def test_unknown_claims_are_refused(capsys):
    with pytest.raises(SystemExit):
        bench.main(["stpe"])
    assert "no claim stpe; valid are peak" in capsys.readouterr().err


def test_ratios_are_of_pairs_and_of_unequal_counts_of_all():
    row = harness.row("x", [2.0, 9.0, 4.0], [1.0, 3.0, 4.0])
    assert (row["peer"], row["ours"], row["ratio"], row["low"], row["high"]) == (4.0, 3.0, 2.0, 1.0, 3.0)
    assert harness.row("x", [2.0, 4.0], [1.0])["high"] == 4.0


def test_contestants_take_turns_and_the_warm_up_is_not_counted():
    calls: list[str] = []
    times = iter(range(100))
    found = harness.in_turn(
        {name: lambda name=name: calls.append(name) for name in "ab"}, 2, lambda: float(next(times)), warm_up=1
    )
    assert calls == ["a", "b"] * 3
    assert found == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


def test_a_childs_seconds_are_its_own_and_its_errors_are_told():
    busy = harness.child([sys.executable, "-c", "sum(range(20_000_000))"])
    assert harness.child([sys.executable, "-c", ""]) < busy < 60
    with pytest.raises(RuntimeError, match="NameError"):
        harness.child([sys.executable, "-c", "nothing"])


def test_a_real_run_glue_gets_the_same_job(tmp_path):
    """With a script in its place that notes what it is called with."""
    folder = tmp_path / "glue" / "CoLA"
    folder.mkdir(parents=True)
    sentences = ['He said, "no".', "A cat the sat."]
    for split in ("train", "dev"):
        lines = [f"gj04\t{label}\t\t{text}" for label, text in zip((1, 0), sentences, strict=True)]
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = [*epoch.QUICK["words"], "model.tokenizer=demo"]
    size = epoch.QUICK["size"].strip("{}")
    ours = workloads.config("MiniLM", "cola", tmp_path / "runs", folder.parent, size, words)
    script = tmp_path / "run_glue.py"
    script.write_text(STAND_IN, encoding="utf-8")
    seconds = epoch.run_glue_seconds(script, ours, tmp_path)
    assert 0 < seconds < 60
    words, rows, config = json.loads((tmp_path / "seen.json").read_text(encoding="utf-8"))
    assert rows == [{"sentence": text, "label": label} for text, label in zip(sentences, "10", strict=True)]
    values = dict(itertools.pairwise(words))
    assert {"--do_train", "--do_eval", "--use_cpu"} <= set(words)
    assert values["--max_seq_length"] == "128"
    assert values["--per_device_train_batch_size"] == values["--per_device_eval_batch_size"] == "8"
    assert math.isclose(float(values["--learning_rate"]), ours.train.learning_rate)
    assert values["--num_train_epochs"] == "1"
    assert config["gi_key_side"] is config["gi_query_side"] is True
    assert config["gi_layer_num"] == config["num_hidden_layers"] + 1
    with Path(values["--validation_file"]).open(encoding="utf-8", newline="") as file:
        assert [row["sentence"] for row in csv.DictReader(file)] == sentences
