"""Memory of one training step, each contestant in a process of its own: `python -m benchmarks.memory`.

DeBERTa-v3-large's shape with `--layers` layers and its whole vocabulary, GI on both sides of every layer, batch 8 of
N=128 tokens: peak memory of the process (Linux counts it; it includes Python and torch), and the bytes that autograd
keeps between forward and backward, parameters left out. The peers are transformers' model with the published GI and,
for the second table row, its plain model.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import harness, step

QUICK: dict[str, Any] = {"layers": 1, "length": 12, "size": step.TINY}
MEASURES = {"peak": "peak memory of the process", "saved": "saved for backward"}


def measure(
    layers: int = 6, length: int = 128, size: dict[str, int] | None = None, device: str = "cpu"
) -> list[harness.Row]:
    found, root = {}, Path(__file__).parents[1]
    for who in (step.PEER_GATED, step.PEER, step.OURS_GATED):
        words = [sys.executable, "-m", "benchmarks.memory", "--one", who, json.dumps([layers, length, size])]
        words += ["--device", device]
        done = subprocess.run(words, cwd=root, stdout=subprocess.PIPE, text=True, check=True)
        found[who] = json.loads(done.stdout.splitlines()[-1])
    rows = []
    for peer, name in ((step.PEER_GATED, "published GI"), (step.PEER, "transformers without GI")):
        for key, what in MEASURES.items():
            title = f"{what}, {layers} layers, N={length}: GI, against {name}"
            rows.append(harness.row(title, [found[peer][key]], [found[step.OURS_GATED][key]], unit="MB"))
    return rows


def one(
    who: str, layers: int, length: int, size: dict[str, int] | None = None, device: str = "cpu"
) -> dict[str, float]:
    """MB (10⁶ bytes) of a contestant: two whole steps for the peak, since AdamW makes its state in the first."""
    torch.set_num_threads(1)
    model, inputs = step.build(who, layers, size, device), step.batch(length, device)
    call = step.step(model)
    for _ in range(2):
        call(*inputs)
    peak = torch.cuda.max_memory_allocated() if device != "cpu" else _peak()
    ids_BT, labels_B = inputs
    forward = partial(model, input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT), labels=labels_B)
    return {"peak": peak / 1e6, "saved": harness.saved(forward, [*model.parameters(), *model.buffers()]) / 1e6}


def _peak() -> int:
    """Of this process; the system's own count for children (ru_maxrss) has the parent's in it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) * 1024


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--length", type=int, default=128, help="N")
    parser.add_argument("--one", nargs=2, metavar=("WHO", "WHAT"), help="what the script starts itself")
    args = parser.parse_args()
    asked = vars(args).pop("one")
    if asked:
        print(json.dumps(one(asked[0], *json.loads(asked[1]), device=args.device)))
    else:
        harness.report(measure, args)


if __name__ == "__main__":
    main()
