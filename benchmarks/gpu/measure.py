"""How fast is gifine on this GPU, beside its peers? `python -m benchmarks.gpu measure`

Seconds are CUDA events' around whole training steps (forward, backward, clipping, fused AdamW), bf16 autocast, dropout
as published, after warm-up; contestants take turns, in rounds. Random weights and word pieces. Peers: transformers'
eager attention (stock.py), plain and with GI as its authors published it, and flashdeberta and disentangled-flash where
they are installed. On a CPU the shapes are tiny: that shows whether the script works, and no speed.

Shapes: B examples, T positions.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from benchmarks import epoch, harness
from benchmarks import step as whole_step
from benchmarks.gpu.steps import Row, Setting, Skipped, Step
from gifine.models.attention import disentangled, disentangled_sdpa
from gifine.models.attention.positions import positions

LENGTHS = (16, 32, 64, 128, 256, 512)
BATCH = 32
PEAK = 8192  # the side of the matrices that say what the GPU can do
OURS, OURS_GATED, PEER, PEER_GATED = whole_step.OURS, whole_step.OURS_GATED, whole_step.PEER, whole_step.PEER_GATED
OTHERS = {"flashdeberta": "flashdeberta", "disentangled-flash": "disentangled_flash"}
Call = Callable[[], object]


def peak(setting: Setting) -> list[Row]:
    """What the GPU can do: a matrix product in bf16 and in float32, a copy of memory."""
    side, rows = (256 if setting.tiny else PEAK), []
    for dtype in (torch.bfloat16, torch.float32):
        left, right = (torch.randn(side, side, device=setting.device, dtype=dtype) for _ in range(2))
        seconds = min(_timed({"": lambda a=left, b=right: a @ b}, setting, rounds=2, each=5)[""])
        rows.append({"what": f"product of {side}², {dtype}", "tflops": 2 * side**3 / seconds / 1e12})
    data = torch.empty(side * side, device=setting.device)
    seconds = min(_timed({"": data.clone}, setting, rounds=2, each=5)[""])
    rows.append({"what": "copy", "gb_per_s": 2 * data.numel() * 4 / seconds / 1e9})
    return rows


def attention_paths(setting: Setting) -> list[Row]:
    """DeBERTa-v3-large's attention alone, forward and backward: the sliced products, SDPA with a bias, transformers'.

    This is what the choice of `model.attention=fast` on CUDA is to follow. flex_attention has no dropout of weights, so
    that it is not exact in training.
    """
    H, E = (4, 16) if setting.tiny else (16, 64)
    rows: list[Row] = []
    for dtype in (torch.bfloat16, torch.float32):
        for length in _lengths(setting):
            batch = 2 if setting.tiny else BATCH
            occurring = positions(length, 256, 256, 512, torch.device(setting.device))
            query, key, value = (_leaf(batch, length, H, E, setting=setting, dtype=dtype) for _ in range(3))
            pos_key, pos_query = (
                _leaf(occurring.last - occurring.first, H * E, setting=setting, dtype=dtype) for _ in range(2)
            )
            mask_BTT = torch.ones(batch, length, length, dtype=torch.bool, device=setting.device)
            grad_BTK = torch.randn(batch, length, H * E, device=setting.device, dtype=dtype)
            tensors = (query, key, value, pos_key, pos_query)
            more = {"row_L": occurring.row_L, "mask_BTT": mask_BTT, "scale": (3 * E) ** 0.5, "dropout": 0.1}
            calls: dict[str, Call] = {
                module.__name__.rpartition("_")[2]: partial(_module, module.attention, tensors, grad_BTK, more)
                for module in (disentangled, disentangled_sdpa)
            }
            found = {name: statistics.median(values) for name, values in _timed(calls, setting).items()}
            memory = {name: _memory(call, setting) for name, call in calls.items()}
            rows.append({"what": f"{dtype} N={length}", "ms": _ms(found), "peak_mb": memory})
            if setting.seconds_left < 5:
                return [*rows, {"what": "no time for more"}]
    return rows


def steps(setting: Setting) -> list[Row]:
    """Whole steps of DeBERTa-v3-large, batch 32, by length: time, tokens a second, memory, share of the peak."""
    depth, size, batch = (2, whole_step.TINY, 2) if setting.tiny else (24, None, BATCH)
    rows: list[Row] = []
    fastest = None if setting.tiny else peak(setting)[0]["tflops"]
    built = _contestants(depth, size, setting)
    for length in _lengths(setting):
        inputs = _inputs(batch, length, setting.device)
        calls = {name: partial(contestant, *inputs) for name, contestant in built.items()}
        crowded = length > (8 if setting.tiny else 128)  # some hold tens of GB of activations there
        found, memory, errors = _alone(built, inputs, setting) if crowded else _together(calls, setting)
        seconds = {name: statistics.median(values) for name, values in found.items()}
        row: Row = {"what": f"DeBERTa-v3-large, {depth} layers, N={length}, batch {batch}", "ms": _ms(seconds)}
        row["tokens_per_s"] = {name: round(batch * length / value) for name, value in seconds.items()}
        row["peak_mb"] = memory
        row["spread"] = {name: [round(1e3 * min(v), 3), round(1e3 * max(v), 3)] for name, v in found.items()}
        if fastest:
            flops = _flops(calls[OURS_GATED])
            row["share_of_bf16_peak"] = round(flops / seconds[OURS_GATED] / 1e12 / fastest, 3)
        if errors:
            row["not_measured"] = errors
        rows.append(row)
        if setting.seconds_left < 15:
            return [*rows, {"what": "no time for longer ones"}]
    return rows


def other_families(setting: Setting) -> list[Row]:
    """BERT-large and RoBERTa-large with SDPA: what GI costs there."""
    depth, size, batch = (2, whole_step.TINY, 2) if setting.tiny else (24, None, BATCH)
    rows = []
    for model in ("bert-large", "roberta-large"):
        built = {
            who: Contestant(whole_step.build(who, depth, size, setting.device, model), setting)
            for who in (OURS, OURS_GATED)
        }
        for length in _lengths(setting)[1:4:2]:
            calls = {name: partial(call, *_inputs(batch, length, setting.device)) for name, call in built.items()}
            found, memory, _ = _together(calls, setting)
            seconds = {name: statistics.median(values) for name, values in found.items()}
            rows.append({"what": f"{model}, N={length}, batch {batch}", "ms": _ms(seconds), "peak_mb": memory})
        built.clear()
        _free()
    return rows


def trials(setting: Setting) -> list[Row]:
    """Would a CUDA graph of a step, or torch.compile, gain something? Ours, GI on both sides, N=32."""
    if setting.device != "cuda":
        raise Skipped("graphs and compilation are tried on a GPU")
    model = whole_step.build(OURS_GATED, 6, None, "cuda")
    ids_BT, labels_B = _inputs(BATCH, 32, "cuda")
    rows: list[Row] = []
    eager = partial(Contestant(model, setting), ids_BT, labels_B)
    before = statistics.median(_timed({"": eager}, setting)[""])
    rows.append({"what": "6 layers, eager", "ms": 1e3 * before})
    compiled = partial(Contestant(torch.compile(model), setting), ids_BT, labels_B)
    for name, make in (("CUDA graph", partial(_graph, model, ids_BT, labels_B)), ("torch.compile", lambda: compiled)):
        try:
            seconds = statistics.median(_timed({"": make()}, setting)[""])
            rows.append({"what": f"6 layers, {name}", "ms": 1e3 * seconds, "ratio": before / seconds})
        except Exception as error:
            rows.append({"what": f"6 layers, {name}", "error": str(error).splitlines()[0]})
    return rows


def epochs(setting: Setting) -> list[Row]:
    """An epoch of CoLA as the command line trains it, against stock settings, as benchmarks/epoch.py does on a CPU."""
    if setting.tiny:
        return epoch.measure(**epoch.QUICK)
    folder = str(setting.shared("glue"))
    large = "{num_hidden_layers: 24}"
    return epoch.measure(
        ("DeBERTa-v3-large, 2 layers",), threads=(4,), steps=12, data=folder, size=large, device="cuda"
    )


def profile(setting: Setting) -> list[Row]:
    """Where the time of a step goes: kinds of kernels, their number, and the share in which the GPU has none."""
    depth, size, batch = (2, whole_step.TINY, 2) if setting.tiny else (24, None, BATCH)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if setting.device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    rows: list[Row] = []
    for who in (OURS_GATED, PEER):
        call = Contestant(whole_step.build(who, depth, size, setting.device), setting)
        for length in _lengths(setting)[1:4:2]:
            inputs = _inputs(batch, length, setting.device)
            call(*inputs)
            with torch.profiler.profile(activities=activities) as seen:
                clock = time.perf_counter()
                call(*inputs)
                _wait(setting)
                wall = time.perf_counter() - clock
            kinds: dict[str, float] = {}
            count = 0
            for event in seen.events() or ():
                if setting.device == "cuda" and event.device_type == torch.autograd.DeviceType.CUDA:
                    kind = _kind(event.name)
                    kinds[kind] = kinds.get(kind, 0.0) + event.time_range.elapsed_us() / 1e3
                    count += 1
            busy = sum(kinds.values())
            rows.append(
                {
                    "what": f"{who}, N={length}",
                    "wall_ms_profiled": round(1e3 * wall, 2),
                    "kernels": count,
                    "ms": {kind: round(value, 3) for kind, value in sorted(kinds.items(), key=lambda kv: -kv[1])},
                    "idle_share_profiled": round(1 - busy / (1e3 * wall), 3),
                }
            )
        _free()
    return rows


def _module(
    attention: Callable[..., Tensor], tensors: tuple[Tensor, ...], grad_BTK: Tensor, more: dict[str, Any]
) -> None:
    attention(*tensors, **more).backward(grad_BTK)
    for tensor in tensors:
        tensor.grad = None


def _kind(kernel: str) -> str:
    """Of a CUDA kernel, by the names that cuBLAS, PyTorch and its fused attention give theirs."""
    name = kernel.lower()
    for kind, words in (
        ("copies between host and device", ("memcpy htod", "memcpy dtoh")),
        ("copies and fills", ("memcpy", "memset", "copy_kernel", "direct_copy", "fillfunctor")),
        ("fused attention", ("fmha", "flash", "efficient_attention", "attention")),
        ("GEMM", ("gemm", "cutlass", "nvjet", "splitk", "cublas")),
        ("optimizer and clipping", ("multi_tensor", "adam", "foreach", "lpnorm")),
        ("gather and scatter", ("gather", "scatter", "index", "embedding")),
        ("softmax", ("softmax",)),
        ("reductions and norms", ("reduce", "norm")),
        ("elementwise", ("elementwise", "vectorized", "dropout", "bernoulli", "distribution")),
    ):
        if any(word in name for word in words):
            return kind
    return "other"


def _contestants(depth: int, size: dict[str, int] | None, setting: Setting) -> dict[str, Contestant]:
    built = {}
    for who in (OURS, OURS_GATED, PEER, PEER_GATED):
        built[who] = Contestant(whole_step.build(who, depth, size, setting.device), setting)
    for name, package in OTHERS.items():
        if find_spec(package) is not None and setting.device == "cuda":
            with contextlib.suppress(Exception):  # a peer that does not work here is none
                built[name] = Contestant(nn.Module.to(_other(package, depth, size), setting.device), setting)
    return built


def _other(package: str, depth: int, size: dict[str, int] | None) -> PreTrainedModel:
    """A plain model with another package's attention, where it takes transformers' model and changes it."""
    model = whole_step.build(PEER, depth, size, "cuda")
    if package == "disentangled_flash":
        optimize: Any = import_module(package).optimize_deberta_training
        optimize(model.base_model, backend="triton")
        return model
    classes: Any = import_module(package)
    other = classes.FlashDebertaV2ForSequenceClassification(model.config)
    other.load_state_dict(model.state_dict(), strict=False)
    return other.train()


class Contestant:
    """A training step of one model as transformers' Trainer makes it: gradients clipped to norm 1, fused AdamW."""

    def __init__(self, model: Any, setting: Setting) -> None:
        self.model, self.device = model, setting.device
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True)

    def __call__(self, ids_BT: Tensor, labels_B: Tensor) -> None:
        with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
            loss = self.model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), labels=labels_B).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def move(self, device: str) -> None:
        nn.Module.to(self.model, device)
        for state in self.optimizer.state.values():
            for key, value in state.items():
                if isinstance(value, Tensor) and value.dim():
                    state[key] = value.to(device)


def _graph(model: PreTrainedModel, ids_BT: Tensor, labels_B: Tensor) -> Call:
    """The whole step, captured once and replayed."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True, capturable=True)
    mask_BT = torch.ones_like(ids_BT)

    def once() -> None:
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            loss = model(input_ids=ids_BT, attention_mask=mask_BT, labels=labels_B).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            once()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        once()
    return graph.replay


def _together(
    calls: Mapping[str, Call], setting: Setting
) -> tuple[dict[str, list[float]], dict[str, float], dict[str, str]]:
    """Seconds, peak memory in MB and what went wrong, of contestants that share the GPU's memory."""
    errors: dict[str, str] = {}
    for name, call in calls.items():
        try:
            call()
        except RuntimeError as error:  # a peer that has no kernel for it, or no memory
            errors[name] = str(error).splitlines()[0]
    able = {name: call for name, call in calls.items() if name not in errors}
    return _timed(able, setting), {name: _memory(call, setting) for name, call in able.items()}, errors


def _alone(
    built: Mapping[str, Contestant], inputs: tuple[Tensor, Tensor], setting: Setting
) -> tuple[dict[str, list[float]], dict[str, float], dict[str, str]]:
    """The same, where not all fit: one at a time on the GPU, in two rounds."""
    found: dict[str, list[float]] = {name: [] for name in built}
    memory: dict[str, float] = {}
    errors: dict[str, str] = {}
    for contestant in built.values():
        contestant.move("cpu")
    for _ in range(2):
        for name, contestant in built.items():
            if name in errors:
                continue
            contestant.move(setting.device)
            call = partial(contestant, *inputs)
            try:
                call()
                found[name] += _timed({name: call}, setting, rounds=2, each=2)[name]
                memory[name] = _memory(call, setting)
            except RuntimeError as error:
                errors[name] = str(error).splitlines()[0]
                contestant.optimizer.zero_grad()
            contestant.move("cpu")
            _free()
    for name, contestant in built.items():
        if name not in errors:
            contestant.move(setting.device)
    return {name: values for name, values in found.items() if values}, memory, errors


def _timed(calls: Mapping[str, Call], setting: Setting, rounds: int = 3, each: int = 4) -> dict[str, list[float]]:
    """Seconds a call: means over `each` calls, one contestant after the other in each round."""
    if setting.tiny:
        return harness.in_turn(calls, 1, harness.clock(), warm_up=0)
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            call()
            start.record()
            for _ in range(each):
                call()
            end.record()
            torch.cuda.synchronize()
            if turn:
                found[name].append(start.elapsed_time(end) / 1e3 / each)
    return found


def _memory(call: Call, setting: Setting) -> float:
    """MB that a call takes beside what is there before it; 0 on a CPU, where nothing counts it."""
    if setting.device != "cuda":
        return 0.0
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)


def _flops(call: Call) -> float:
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def _inputs(batch: int, length: int, device: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(length)
    ids_BT = torch.randint(5, whole_step.WORD_PIECES, (batch, length), generator=generator)
    return ids_BT.to(device), (ids_BT[:, 0] % 2).to(device)


def _leaf(*shape: int, setting: Setting, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, device=setting.device, dtype=dtype).requires_grad_()


def _lengths(setting: Setting) -> Sequence[int]:
    return (4, 8, 12, 16) if setting.tiny else LENGTHS


def _ms(seconds: dict[str, float]) -> dict[str, float]:
    return {name: round(1e3 * value, 4) for name, value in seconds.items()}


def _wait(setting: Setting) -> None:
    if setting.device == "cuda":
        torch.cuda.synchronize()


def _free() -> None:
    gc.collect()  # models are in cycles
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


STEPS = (
    Step(peak, 20),
    Step(steps, 110),
    Step(attention_paths, 30),
    Step(profile, 30),
    Step(epochs, 100),
    Step(other_families, 30),
    Step(trials, 60),
)
