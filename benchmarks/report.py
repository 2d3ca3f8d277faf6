"""What reading many runs takes: `python benchmarks/report.py`.

Makes records of a grid nobody has trained, 10,000 by default, in a temporary folder, and then measures processes: one
that only reads them, one that prints the whole report, and one that does so with predictions of 1,000 examples a split,
as the verdicts need them. Its peer reads the same files and does nothing with them: the records by `json.loads`, the
predictions by `pyarrow.parquet.read_table`. Then `--out`, of 1,000 and of all records, each with a learning curve.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from gifine import cli
from gifine.choices import GateSide
from gifine.config import RunConfig
from gifine.objectives.predictions import locate
from gifine.runs import identity, provenance, records
from gifine.runs.curves import CURVE
from gifine.runs.records import Record, Status

MODELS = ("bert", "roberta", "deberta", "debertav3")
TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
GATES = [
    (GateSide.none, 0.3, None),
    *itertools.product((GateSide.key, GateSide.query, GateSide.both), (0.0, 0.1, 0.3, 0.9), (None, 12, 6, 3)),
]
READ = "from gifine.report.reading import Reader; Reader([pathlib.Path(sys.argv[1])]).read()"
BARE = (
    "import json, pyarrow.parquet; root = pathlib.Path(sys.argv[1]); "
    "[json.loads(path.read_bytes()) for path in root.glob('*/record.json')]; "
    "[pyarrow.parquet.read_table(path) for path in root.glob('*/predictions-*.parquet')]"
)
REPORT = "from gifine.report.__main__ import main; main()"
# The system counts the parent's memory among a child's (ru_maxrss), so the process says itself what it has used.
PEAK = (
    "print(sum(os.times()[:4]), re.search(r'VmHWM:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1], "
    "file=sys.stderr)"
)
EXAMPLES = 1000  # a split's, of the runs with predictions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument(
        "--with-predictions", type=int, default=10_000, help="records in the measurement with predictions"
    )
    parser.add_argument("--with-files", type=int, nargs="*", default=[1_000, 10_000], help="records in those of --out")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        many, some = Path(scratch, "many"), Path(scratch, "some")
        write(many, args.records, predictions=False)
        write(some, args.with_predictions, predictions=True)
        size = sum(path.stat().st_size for path in many.glob("*/record.json"))
        print(f"{args.records:,} records of {size / args.records / 1e3:.1f} kB")
        measure("importing it", "import gifine.report.__main__", many)
        measure("reading them", READ, many)
        measure("the whole report", REPORT, many)
        measure(f"reading {args.with_predictions:,} with predictions, bare", BARE, some)
        measure(f"of {args.with_predictions:,} with predictions", REPORT, some)
        for count in args.with_files:
            root, out = Path(scratch, f"curves-{count}"), Path(scratch, f"out-{count}")
            write(root, count, predictions=False, curves=True)
            measure(f"of {count:,} with curves, --out", REPORT, root, "--out", str(out))
            files = [path for path in out.rglob("*") if path.is_file()]
            sizes = (out / "report.html").stat().st_size, sum(path.stat().st_size for path in files)
            print(f"{'':<45} page {sizes[0] / 1e6:.1f} MB; {len(files):,} files of {sizes[1] / 1e6:.0f} MB")


def measure(name: str, program: str, root: Path, *options: str) -> None:
    """Print seconds, those of the CPU among them, and peak memory of a Python process."""
    words = [sys.executable, "-c", f"import sys, os, pathlib, re; {program}; {PEAK}", str(root), *options]
    clock = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    seconds, (cpu, peak) = time.monotonic() - clock, map(float, done.stderr.split()[-2:])
    print(f"{name:<45} {seconds:6.1f} s, CPU {cpu:6.1f} s {peak / 1024:6.0f} MB", flush=True)


def write(root: Path, count: int, *, predictions: bool, curves: bool = False) -> None:
    """So many records, without the durability that `records.write` pays for."""
    rng = np.random.default_rng(0)
    made_with = provenance.collect() | {"device": "cuda:0", "processes": 1, "data": {"train": "0" * 64}}
    for config in itertools.islice(configs(), count):
        folder = root / f"{identity.slug(config)}-{identity.run_id(config)}"
        folder.mkdir(parents=True)
        splits = {split: rng.integers(2, size=EXAMPLES) for split in config.task.evaluation_splits}
        record = Record(identity.run_id(config), identity.slug(config), identity.to_dict(config), status=Status.DONE)
        record.provenance, record.finished = dict(made_with), "2026-01-01T00:00:00+00:00"
        for split, metric in itertools.product(splits, config.task.metrics):
            record.metrics[f"{config.task.name}/{split}/{metric}"] = float(rng.normal(0.8, 0.02))
        if predictions:
            for split in splits:
                record.metrics |= answer(folder, config, split, rng)
            record.provenance["predictions"] = {split: _sha256(locate(folder, split)) for split in splits}
        if curves:
            (folder / CURVE).write_text(curve(config, rng), encoding="utf-8")
        (folder / records.RECORD).write_text(json.dumps(asdict(record), indent=2), encoding="utf-8")


def curve(config: RunConfig, rng: np.random.Generator) -> str:
    """The loss at 100 steps, and all measures at the end of three epochs."""
    lines: list[dict[str, float]] = []
    for step in range(10, 1010, 10):
        loss = float(np.exp(-step / 400) + rng.normal(0, 0.02))
        lines.append({"step": step, "epoch": step / 333, "loss": loss, "learning_rate": 1e-5, "grad_norm": 2.0})
    for step in (330, 670, 1000):
        names = [
            f"{config.task.name}/{split}/{metric}"
            for split in config.task.evaluation_splits
            for metric in config.task.metrics
        ]
        lines.append({"step": step, "epoch": step / 333} | {name: float(rng.normal(0.8, 0.02)) for name in names})
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def configs() -> Iterator[RunConfig]:
    """Seed by seed, so that any number of records has pairs."""
    bases = [cli.config_from(cli.compose([f"model={m}", f"task={t}"])) for m in MODELS for t in TASKS]
    for seed in itertools.count(1):
        for base, (side, level, layers) in itertools.product(bases, GATES):
            yield replace(base, seed=seed, gi=replace(base.gi, side=side, level=level, layers=layers))


def answer(folder: Path, config: RunConfig, split: str, rng: np.random.Generator) -> dict[str, float | None]:
    """Write predictions of one split, right in eight of ten examples; their metrics."""
    from gifine.objectives import metrics

    classes, labels = len(config.task.labels), np.arange(EXAMPLES)
    if classes:
        labels = labels % classes
        logits = np.eye(classes)[np.where(rng.random(EXAMPLES) < 0.8, labels, rng.integers(classes, size=EXAMPLES))]
        predicted = logits.argmax(1)
    else:
        predicted = labels + rng.normal(0, EXAMPLES / 5, size=EXAMPLES)
        logits = predicted[:, None]
    table = pa.table({"idx": np.arange(EXAMPLES), "label": labels, "logits": list(logits)})
    pyarrow.parquet.write_table(table, locate(folder, split))
    found = metrics.compute(config.task.metrics, predicted, labels)
    return {f"{config.task.name}/{split}/{name}": value for name, value in found.items()}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
