"""Pairs that were not computed alike are shown with what differs, and refused where that is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gifine.report import __main__ as report
from gifine.report import circumstances, contents
from gifine.report.analysis import pairing, twins
from gifine.report.reading import Reader
from gifine.runs.records import Status
from support.synthetic import BOTH, CIRCUMSTANCES, PLAIN, config, measures, read, record, write

GPU = {
    "device": "cuda:0",
    "gpus": ["NVIDIA H100"],
    "cuda": "12.8",
    "cudnn": 91002,
    "driver": "570.86",
    "precision": "bf16",
    "float32_products": "highest",
    "attention": "fast/fused",
}
OLD = {"data": {"validation": "rte"}, "device": "cpu", "processes": 1, "packages": {"torch": "2.13.0"}}


def provenance(**entries: Any) -> dict[str, Any]:
    return {"data": {"validation": "rte"}, **CIRCUMSTANCES, **entries}


def pairs(root: Path, ours: dict[str, Any], theirs: dict[str, Any], seeds: int = 1, **config_: Any) -> Path:
    """Baselines with the one provenance, gated runs with the other."""
    for seed in range(1, seeds + 1):
        for gate, found in ((PLAIN, ours), (BOTH, theirs)):
            made = config("task=rte", "model=debertav3", seed=seed, **gate)
            entries = record(made, [0.5 + seed / 100] * len(measures(made)), provenance=found)
            for key, value in config_.items():
                entries.config["model"][key] = value if found is theirs else None
            write(root, entries)
    return root


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        (provenance(), provenance(threads={"torch": 1}), {"threads": ("2", "1")}),
        (provenance(), provenance(cpu="Another"), {"CPU": ("A Processor", "Another")}),
        (provenance(), provenance(cpu_capability="AVX512"), {"vector units": ("AVX2", "AVX512")}),
        (provenance(), provenance(precision="bf16"), {"precision": ("fp32", "bf16")}),
        (provenance(), provenance(deterministic=False), {"deterministic": ("True", "False")}),
        (
            provenance(),
            provenance(attention="hf/eager"),
            {"attention": ("fast", "hf"), "attention kernel": ("fast/products", "hf/eager")},
        ),
        (provenance(), provenance(packages={"torch": "2.12.0"}), {"torch": ("2.13.0", "2.12.0")}),
        (provenance(**GPU), provenance(**GPU | {"gpus": ["NVIDIA A100"]}), {"GPUs": ("NVIDIA H100", "NVIDIA A100")}),
        (
            provenance(**GPU),
            provenance(**GPU | {"gpus": ["NVIDIA H100"] * 2}),
            {"GPUs": ("NVIDIA H100", "2 × NVIDIA H100")},
        ),
        (provenance(**GPU), provenance(**GPU | {"cuda": "13.0"}), {"CUDA": ("12.8", "13.0")}),
        (provenance(**GPU), provenance(**GPU | {"driver": "580.1"}), {"driver": ("570.86", "580.1")}),
        (provenance(**GPU), provenance(**GPU | {"device": "cuda:1"}), {}),
        (provenance(**GPU), provenance(**GPU | {"cpu": "Another", "threads": {"torch": 9}}), {}),
        (provenance(), provenance(host="other", gpus=[], cpus=64), {}),
    ],
)
def test_what_moves_results_is_found(tmp_path, ours, theirs, found):
    ((pair,), _) = pairing.pair(read(pairs(tmp_path, ours, theirs)))
    assert pair.differing == found


CHANGED = {"commit": "ab" * 20, "dirty": True, "diff": "d1ff" * 16}


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        # Only the documents differ between the commits.
        ({}, {"git": {"commit": "cd" * 20, "dirty": False, "diff": None}}, {}),
        (
            {},
            {"code": "beef" * 16, "git": CHANGED},
            {"code": ("abababababab", "abababababab and changes d1ffd1ffd1ff")},
        ),
        ({}, {"code": "beef" * 16}, {"code": ("c0dec0dec0de", "beefbeefbeef")}),
        # Older records have no hash of the code, nor of changes.
        ({"code": None}, {"code": None, "git": {"commit": "cd" * 20}}, {"commit": ("ab" * 6, "cd" * 6)}),
        (
            {"code": None},
            {"git": {"commit": "ab" * 20, "dirty": True}},
            {"commit": ("ab" * 6, "ab" * 6 + " and changes")},
        ),
        (
            {"git": None, "code": None, "gifine": "1"},
            {"git": None, "gifine": "2"},
            {"commit": ("gifine 1", "gifine 2")},
        ),
        ({"git": None, "code": None}, {"git": None}, {}),
    ],
)
def test_code_is_compared_by_its_contents_where_records_have_them(ours, theirs, found):
    one, other = (circumstances.collect({"model": {}}, CIRCUMSTANCES | each) for each in (ours, theirs))
    assert circumstances.differing(one, other) == found


def test_what_an_older_record_does_not_say_differs_from_nothing(tmp_path):
    ((pair,), _) = pairing.pair(read(pairs(tmp_path, OLD, provenance())))
    assert pair.differing == {}
    assert len(pairing.pair(read(tmp_path), strict=True)[0]) == 1
    found = contents.gather(Reader([tmp_path]).read())
    assert (found.twins, twins.unrecorded(found.comparisons)) == ([], 1)


def test_an_older_record_has_the_attention_that_was_asked_for(tmp_path):
    """In its config; before there was a choice transformers computed it."""
    root = pairs(tmp_path, OLD, OLD)
    for path in root.glob("*plain*/record.json"):
        entries = json.loads(path.read_text())
        del entries["config"]["model"]["attention"]
        path.write_text(json.dumps(entries))
    ((pair,), _) = pairing.pair(read(root))
    assert pair.differing == {"attention": ("hf", "fast")}


def test_a_run_that_has_not_come_so_far_is_not_an_old_one(tmp_path):
    early = {key: CIRCUMSTANCES[key] for key in ("code", "git", "packages", "cpu")}
    pairs(tmp_path, early, early)
    assert twins.unrecorded(contents.gather(Reader([tmp_path]).read()).comparisons) == 0


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"weights": {"model.safetensors": "b" * 64}}, "the fingerprint of the weights"),
        ({"tokenizer": "t2"}, "the fingerprint of the word pieces"),
    ],
)
def test_runs_of_other_weights_or_word_pieces_are_no_pair(tmp_path, entries, said):
    ours = provenance(weights={"model.safetensors": "a" * 64}, tokenizer="t1")
    found, unpaired = pairing.pair(read(pairs(tmp_path, ours, ours | entries)))
    assert found == []
    assert all(said in each.reason for each in unpaired)


def test_each_arm_may_start_from_weights_of_its_own(tmp_path):
    """Of another run, which `model.init_from` tells apart."""
    ours, theirs = (
        provenance(weights={"model.safetensors": name * 64}, init_from={"folder": "x", "run_id": None})
        for name in ("a", "b")
    )
    found, _ = pairing.pair(read(pairs(tmp_path, ours, theirs)))
    assert len(found) == 1


def test_differing_pairs_are_told_with_what_differs(tmp_path, capsys):
    pairs(tmp_path, provenance(), provenance(threads={"torch": 1}, cpu="Another"), seeds=3)
    assert report.main([str(tmp_path), "--format", "markdown"]) == 0
    told = capsys.readouterr().out
    assert "3 of 3 pairs differ in CPU, threads" in told or "3 of 3 pairs differ in threads, CPU" in told
    assert "Pairs that were not computed alike" in told
    assert "| threads | 2 | 1 |" in told
    assert "Not recorded" not in told
    assert report.main([str(tmp_path), "--format", "csv", "--show", "twins"]) == 0
    assert '"[1, 2, 3]",threads,2,1,' in capsys.readouterr().out


def test_strict_leaves_them_out_and_says_why(tmp_path, capsys):
    pairs(tmp_path, provenance(), provenance(threads={"torch": 1}), seeds=2)
    alike = config("task=rte", "model=debertav3", seed=9)
    for gate in (PLAIN, BOTH):
        made = config("task=rte", "model=debertav3", seed=9, **gate)
        write(tmp_path, record(made, [0.5] * len(measures(alike)), Status.DONE))
    assert report.main([str(tmp_path), "--strict", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["seeds"] for each in found["comparison"]] == [[9]]
    assert {each["reason"] for each in found["unpaired"]} == {"it differs in threads (1, 2)"}
    assert sorted(seed for each in found["unpaired"] for seed in each["seeds"]) == [1, 1, 2, 2]
    assert found["twins"] == []


def test_runs_that_were_computed_alike_share_the_memory_for_it(tmp_path):
    runs = read(pairs(tmp_path, provenance(), provenance(), seeds=3))
    assert len({id(run.circumstances) for run in runs}) == 1


@pytest.mark.parametrize("entries", [{"packages": []}, {"threads": 3}, {"gpus": 7}, {"attention": 1}, {"git": "x"}])
def test_foreign_entries_hide_no_other_record(tmp_path, entries):
    made = config("task=rte")
    write(tmp_path, record(made, [0.5] * len(measures(made))))
    write(tmp_path, record(config("task=rte", seed=2), [], provenance=provenance(**entries)))
    reading = Reader([tmp_path]).read()
    assert [run.seed for run in reading.runs] in ([1], [1, 2])
    assert len(reading.runs) + len(reading.problems) == 2
