"""What the statistics of gates cost a training step: `python benchmarks/gate_statistics.py`.

Two kinds of step of one model, in turn, one thread, process time: with statistics over without, and what that is where
every 50th step has them, as tracking=wandb does.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from gifine import cli, models
from gifine.models.changed import at_work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = cli.config_from(cli.compose(["model=minilm", "gi=both", "model.random_init=true"]))
    model = models.build(config.model, config.gi, labels=["no", "yes"]).train()
    ids = torch.randint(5, 30000, (args.batch, args.length))
    gates = list(at_work(model))

    def step(*, watched: bool) -> float:
        for gate in gates:
            gate.watched = {} if watched else None
        clock = time.process_time()
        model(input_ids=ids, labels=ids[:, 0] % 2).loss.backward()
        for gate in gates:
            for value in (gate.watched or {}).values():
                value.item()
        return time.process_time() - clock

    step(watched=True)
    ratios = [step(watched=True) / step(watched=False) for _ in range(args.pairs)]
    median, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(f"MiniLM's shape, {len(gates)} gates, batch {args.batch} × {args.length}, {args.pairs} pairs")
    print(f"a step with statistics / without: {median:.3f} ({low:.3f} … {high:.3f})")
    print(f"every 50th step: {100 * (median - 1) / 50:+.2f} % of training time")


if __name__ == "__main__":
    main()
