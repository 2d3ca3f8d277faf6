"""Is gifine right on this device? `python -m benchmarks.gpu check`

The reference is transformers' own code in float64 on the same device, or the numbers of the authors' code. float32 runs
without TF32. A bound of what the fast attention may be off is a multiple of what transformers' own code is off in the
same number format, so that it follows from the sizes that are summed.

Shapes: B examples, T positions.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from benchmarks.gpu.golden import FAMILIES, INPUTS, VARIANTS, read
from benchmarks.gpu.steps import Row, Setting, Skipped, Step, Wrong
from gifine import models
from gifine.choices import Attention
from gifine.cli import compose, config_from
from gifine.models.attention import disentangled, disentangled_sdpa
from gifine.models.speedups import embedding_rows, last_layer
from gifine.runs import records

SMALL = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 520,  # 512 tokens, and where RoBERTa's positions begin
    "vocab_size": 200,
}
MODELS = ("bert", "roberta", "deberta", "debertav3")
GATES = (
    ("gi=none",),
    ("gi=both", "gi.level=0.3"),
    ("gi=key", "gi.level=0.1", "gi.threshold=sequence", "gi.mask_padding=true"),
    ("gi=query", "gi.level=0.9", "gi.threshold=token"),
    ("gi=both", "gi.level=0.3", "gi.mask_padding=true"),
    ("gi=both", "gi.level=0", "gi.layers=1"),
)
LENGTHS = (1, 2, 7, 16, 31, 64, 128, 129, 256, 512)
SLACK = 4.0  # of the fast attention's error over that of transformers' own code in the same format


def machine(setting: Setting) -> list[Row]:
    """What this is: later numbers mean nothing without it."""
    from importlib.metadata import version

    from benchmarks import harness

    found = harness.machine(setting.device)
    found |= {name: version(name) for name in ("accelerate", "datasets", "tokenizers", "numpy", "hydra-core")}
    if setting.device == "cuda":
        found["cuda"], found["cudnn"] = torch.version.cuda, torch.backends.cudnn.version()
        found["memory_gb"] = round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1)
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False)
        found["driver"] = said.stdout.strip() or None
    return [found]


def golden(setting: Setting) -> list[Row]:
    """Logits and loss of the authors' own code: in float64, and in float32."""
    folder, rows = setting.shared("golden"), []
    inputs = INPUTS[:1] if setting.tiny else INPUTS
    for family in FAMILIES:
        numbers = read(folder / family)
        for attention in (Attention.hf, Attention.fast) if family.startswith("deberta") else (Attention.hf,):
            for variant in VARIANTS:
                for name in inputs:
                    batch = {key: value.to(setting.device) for key, value in numbers.batch(name).items()}
                    expected = numbers.summary[variant][name]
                    wanted = numbers.outputs[f"{variant}.{name}.logits.f64"]
                    # DeBERTa computes its scale in float32, also in float64; float32's numbers are the tests' own.
                    bounds = ((torch.float64, 1e-6 if family == "deberta_v2" else 1e-10), (torch.float32, 5e-6))
                    for dtype, bound in bounds:
                        with _full_float32():
                            model = numbers.model(family, variant, dtype, attention).to(setting.device)
                            output = model(**batch)
                        off = (output.logits.cpu().double() - wanted).abs().max().item()
                        off = max(off, abs(output.loss.item() - expected["loss_f64"]))
                        what = f"{family} {attention} {variant} {name} {dtype}"
                        rows.append({"what": what, "off": off, "bound": bound})
    return _within(rows)


def families(setting: Setting) -> list[Row]:
    """Every family, gated and not, at every length: outputs and gradients against float64, in float32 and bf16.

    What is compared is the model as runs have it with transformers' own attention in the same format.
    """
    rows = []
    lengths = (1, 7) if setting.tiny else LENGTHS
    for name in MODELS:
        for gates in GATES[:2] if setting.tiny else GATES:
            for length in lengths if gates in GATES[:2] else LENGTHS[2:5]:
                batch = _batch(length, setting.device)
                exact = _results(nn.Module.double(_model(name, gates, "hf", setting.device)), batch, None)
                for dtype in (None, torch.bfloat16):
                    theirs = 2e-2
                    if (name, gates, dtype) != ("deberta", GATES[0], torch.bfloat16):  # where transformers' own raises
                        theirs = _distance(_results(_model(name, gates, "hf", setting.device), batch, dtype), exact)
                    ours = _distance(_results(_model(name, gates, "fast", setting.device), batch, dtype), exact)
                    floor = 1e-6 if dtype is None else 2e-2
                    what = f"{name} {' '.join(gates)} N={length} {dtype or torch.float32}"
                    rows.append({"what": what, "off": ours, "bound": SLACK * theirs + floor, "theirs": theirs})
    return _within(rows)


def dropout(setting: Setting) -> list[Row]:
    """The share of attention weights that dropout leaves out, other ones each time, the same ones for a seed."""
    rows, dropped = [], 0.1
    B, T, H, E = (2, 32, 2, 32) if setting.tiny else (8, 64, 8, 64)
    zero_BTHE = torch.zeros(B, T, H, E, device=setting.device)
    # All scores are alike, so a weight is 1/T; the values tell the weights apart.
    value_BTHE = torch.eye(T, E, device=setting.device)[None, :, None].expand(B, T, H, E).contiguous()
    for module in (disentangled, disentangled_sdpa):
        name = module.__name__.rpartition(".")[2]

        def weights(seed: int | None = None, attention: Any = module.attention) -> Tensor:
            if seed is not None:
                torch.manual_seed(seed)
            context_BTK = attention(
                zero_BTHE, zero_BTHE, value_BTHE, None, None, None, None, scale=1.0, dropout=dropped
            )
            return context_BTK.unflatten(-1, (H, E)) * T

        first, second = weights(1), weights()
        share = (first.abs() < 1e-6).double().mean().item()
        kept = first[first.abs() > 1e-6].mean().item() * (1 - dropped)
        rows += [
            # Five standard deviations of a binomial share.
            {"what": f"{name}: rate", "off": abs(share - dropped), "bound": 5 * math.sqrt(0.09 / first.numel())},
            {"what": f"{name}: what is left, rescaled", "off": abs(kept - 1), "bound": 1e-3},
            {"what": f"{name}: the same mask again", "off": float(torch.equal(first, second)), "bound": 0.5},
            {
                "what": f"{name}: another mask for a seed",
                "off": float(not torch.equal(first, weights(1))),
                "bound": 0.5,
            },
        ]
    return _within(rows)


def shortcuts(setting: Setting) -> list[Row]:
    """Occurring embedding rows and the last layer's first token: the weights after two steps are those without."""
    rows = []
    for name in MODELS:
        batch = _batch(24, setting.device)
        for what, change in (
            ("occurring rows", lambda model: embedding_rows.keep(model, range(200))),
            ("first token", last_layer.one_token),
        ):
            ends = []
            for changed in (False, True):
                model = _model(name, GATES[1], "fast", "cpu")
                if changed:
                    change(model)
                nn.Module.to(model, setting.device)
                optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
                with _full_float32():
                    for _ in range(2):
                        model(**batch).loss.backward()
                        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                        optimizer.step()
                        optimizer.zero_grad()
                    ends.append(model(**batch).logits.detach().double())
            off = (ends[1] - ends[0]).norm() / ends[0].norm()
            rows.append({"what": f"{name} {what}", "off": off.item(), "bound": 1e-3})
    return _within(rows)


def synchronisation(setting: Setting) -> list[Row]:
    """No step waits for the device: nothing in it asks for a number."""
    if setting.device != "cuda":
        raise Skipped("a CPU has nothing to wait for")
    rows = []
    for name in MODELS:
        for gates in GATES:
            model = _model(name, gates, "fast", "cpu")
            embedding_rows.keep(model, range(200))
            last_layer.one_token(model)
            nn.Module.to(model, "cuda").train()
            optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
            batch = _batch(24, "cuda")
            for turn in range(2):  # caches are filled in the first
                torch.cuda.synchronize()
                torch.cuda.set_sync_debug_mode("error" if turn else "default")
                try:
                    with torch.autocast("cuda", torch.bfloat16):
                        loss = model(**batch).loss
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    optimizer.step()
                    optimizer.zero_grad()
                    problem = None
                except RuntimeError as error:
                    problem = str(error).splitlines()[0]
                finally:
                    torch.cuda.set_sync_debug_mode("default")
            rows.append({"what": f"{name} {' '.join(gates)}", "off": float(problem is not None), "bound": 0.5})
            if problem:
                rows[-1]["error"] = problem
    return _within(rows)


def runs(setting: Setting) -> list[Row]:
    """Whole runs as users start them, side by side: resume, torchrun, FSDP, precision, the demo."""
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(job, setting) for job in (_resumed, _sharded, _demo)]
        rows = [row for job in jobs for row in job.result()]
    return _within(rows)


def out_of_memory(setting: Setting) -> list[Row]:
    """Where the device's memory is taken, a run ends with one message that says what to lower, exit code 2."""
    if setting.device != "cuda":
        raise Skipped("takes a GPU's memory; tests/ have the CPU's")
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(max(0, free - 2_000_000_000), dtype=torch.uint8, device="cuda")
    words = [*_run_words(setting, "memory"), "train.batch_size=512", "train.max_length=512", "train.padding=max_length"]
    words += ["model.config_overrides={hidden_size: 512, num_hidden_layers: 8, num_attention_heads: 8}"]
    code, said = _gifine(words, setting)
    del taken
    torch.cuda.empty_cache()
    message = said.strip().splitlines()[-1] if said.strip() else ""
    wrong = code != 2 or "Traceback" in said or "batch_size" not in said
    row = {"what": "out of memory", "off": float(wrong), "bound": 0.5, "code": code, "said": message}
    return _within([row])


def _resumed(setting: Setting) -> list[Row]:
    """A run that a signal has stopped in the middle ends as an undisturbed one, bit for bit."""
    words = [*_run_words(setting, "undisturbed"), "deterministic=true", "train.epochs=4", "train.save_model=true"]
    _must(_gifine(words, setting))
    stopped = [*_run_words(setting, "stopped"), *words[len(_run_words(setting, "undisturbed")) :]]
    folder = setting.scratch / "stopped"
    process = subprocess.Popen(
        [sys.executable, "-m", "gifine", *stopped], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    while process.poll() is None and _logged(folder) < 8:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    middle = records.read(folder)
    _must(_gifine(stopped, setting))
    whole, again = (records.read(setting.scratch / name) for name in ("undisturbed", "stopped"))
    assert whole is not None
    assert again is not None
    assert middle is not None
    one, two = (setting.scratch / name / "model" / "model.safetensors" for name in ("undisturbed", "stopped"))
    was_stopped = middle.status is records.Status.INTERRUPTED and again.resumed_at > 0
    return [
        {"what": "stopped in the middle", "off": float(not was_stopped), "bound": 0.5, "at": again.resumed_at},
        {"what": "metrics after the resume", "off": float(whole.metrics != again.metrics), "bound": 0.5},
        {"what": "weights after the resume", "off": float(one.read_bytes() != two.read_bytes()), "bound": 0.5},
    ]


def _sharded(setting: Setting) -> list[Row]:
    """torchrun with one process is the run without it; so is FSDP, to rounding. bf16 is taken where it is there."""
    if setting.device != "cuda":
        return []  # one process on a CPU; tests/ have several
    rows, scores = [], {}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", "-m", "gifine"]
    for name, command, more in (
        ("alone", [sys.executable, "-m", "gifine"], []),
        ("torchrun", torchrun, []),
        ("fsdp", torchrun, ["train.fsdp=true"]),
    ):
        words = [*_run_words(setting, name), "train.precision=fp32", "deterministic=true", *more]
        _must(_gifine(words, setting, command))
        record = records.read(setting.scratch / name)
        assert record is not None
        scores[name] = record.metrics
        rows.append({"what": f"{name}: device", "off": float("cuda" not in record.provenance["device"]), "bound": 0.5})
    for name in ("torchrun", "fsdp"):
        off = max(abs((scores[name][key] or 0) - (value or 0)) for key, value in scores["alone"].items())
        rows.append({"what": f"{name}: scores as alone", "off": off, "bound": 0.05})
    from gifine.training import numerics

    taken = numerics.uses_bf16(config_from(compose(["task=demo", "data=demo"])).train)
    rows.append({"what": "precision=auto takes bf16", "off": float(not taken), "bound": 0.5})
    return rows


def _demo(setting: Setting) -> list[Row]:
    words = ["experiment=demo", f"output_dir={setting.scratch / 'demo'}"]
    words += ["train.epochs=1", "data.demo_train_rows=64", "data.demo_eval_rows=32"] if setting.tiny else []
    _must(_gifine(words, setting))
    record = records.read(setting.scratch / "demo")
    assert record is not None
    score = next(value for key, value in record.metrics.items() if "matthews" in key) or 0.0
    return [{"what": "demo", "off": 0.0 if setting.tiny else max(0.0, 0.8 - score), "bound": 1e-9, "score": score}]


def _run_words(setting: Setting, name: str) -> list[str]:
    size = "hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 128"
    words = ["task=demo", "data=demo", "model=debertav3", "model.random_init=true", "model.tokenizer=demo", "gi=both"]
    words += [f"model.config_overrides={{{size}}}", "data.demo_train_rows=256", "data.demo_eval_rows=64"]
    words += ["train.epochs=1", "train.batch_size=16", "train.learning_rate=1e-3", "train.log_steps=1"]
    words += [f"output_dir={setting.scratch / name}", f"data.cache_dir={setting.scratch / 'cache'}"]
    return [*words, "train.device=cpu"] if setting.device == "cpu" else words


def _gifine(words: Sequence[str], setting: Setting, command: Sequence[str] = ()) -> tuple[int, str]:
    done = subprocess.run(
        [*(command or (sys.executable, "-m", "gifine")), *words],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"},
        timeout=max(1.0, setting.seconds_left),
    )
    return done.returncode, done.stdout + done.stderr


def _must(ended: tuple[int, str]) -> None:
    code, said = ended
    if code:
        raise Wrong(f"gifine ended with {code}: {said[-2000:]}")


def _logged(folder: Path) -> int:
    """The last step in the curve."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return int(json.loads(lines[-1])["step"])
    except (OSError, IndexError, ValueError, KeyError):
        return 0


def _model(name: str, gates: Sequence[str], attention: str, device: str) -> PreTrainedModel:
    """The same weights for the same name and gates; without dropout, so that numbers can be compared."""
    size = ", ".join(f"{key}: {value}" for key, value in SMALL.items() if key != "vocab_size")
    none = "hidden_dropout_prob: 0.0, attention_probs_dropout_prob: 0.0"
    words = [f"model={name}", "model.random_init=true", *gates, f"model.attention={attention}"]
    config = config_from(compose([*words, f"model.config_overrides={{{size}, initializer_range: 0.2, {none}}}"]))
    torch.manual_seed(0)
    built = models.build(config.model, config.gi, labels=["no", "yes"], vocab_size=200, pad_token_id=0)
    nn.Module.to(built, device)
    return built.train()


def _batch(length: int, device: str) -> dict[str, Tensor]:
    """Four examples, of which one is as long as `length`; padding behind the others."""
    generator = torch.Generator().manual_seed(length)
    ids_BT = torch.randint(5, 200, (4, length), generator=generator)
    lengths_B = torch.tensor([length, max(1, length // 2), max(1, length - 1), 1])
    mask_BT = (torch.arange(length)[None] < lengths_B[:, None]).long()
    batch = {"input_ids": ids_BT * mask_BT, "attention_mask": mask_BT, "labels": torch.tensor([0, 1, 1, 0])}
    return {key: value.to(device) for key, value in batch.items()}


def _results(model: nn.Module, batch: dict[str, Tensor], dtype: torch.dtype | None) -> list[Tensor]:
    """Logits, and the gradients of all weights, of a forward and a backward pass, in autocast to `dtype`."""
    device = batch["input_ids"].device.type
    with _full_float32(), torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None):
        output = model(**batch)
    output.loss.backward()
    grads = [torch.zeros_like(w) if w.grad is None else w.grad for w in model.parameters()]
    return [output.logits.detach().double(), *(grad.double() for grad in grads)]


def _distance(found: Sequence[Tensor], exact: Sequence[Tensor]) -> float:
    """‖found − exact‖ / ‖exact‖ of the logits, or of all gradients together: the larger."""
    logits = ((found[0] - exact[0]).norm() / exact[0].norm()).item()
    of_grads = torch.stack([(f - e).norm() for f, e in zip(found[1:], exact[1:], strict=True)]).norm()
    return max(logits, (of_grads / torch.stack([e.norm() for e in exact[1:]]).norm()).item())


@contextmanager
def _full_float32() -> Generator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _within(rows: list[Row]) -> list[Row]:
    """The rows, if all are within their bounds; what is no number is not."""
    off = [row for row in rows if not row["off"] <= row["bound"]]
    if off:
        raise Wrong(f"{len(off)} of {len(rows)} are off, first: {json.dumps(off[0])}", rows)
    return rows


STEPS = (
    Step(machine, 15),
    Step(golden, 40),
    Step(families, 60),
    Step(dropout, 15),
    Step(shortcuts, 25),
    Step(synchronisation, 30),
    Step(runs, 110),
    Step(out_of_memory, 40),
)
