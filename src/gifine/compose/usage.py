"""`gifine --help`: the commands, and what can be chosen. Hydra takes a second to find that out.

Nothing is imported here that takes time.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from gifine.compose.conf_dir import conf_dir, folders
from gifine.errors import did_you_mean

# `gifine NAME …` is `python -m gifine.NAME …`, with _ for -: a module that is run as one, and what it does.
COMMANDS = {
    "report": "what runs say together: tables, figures, a page, and whether a change helps",
    "evaluate": "evaluate finished runs again and compare with their records",
    "predict": "predict test sets: the files that GLUE's server or SQuAD's script takes",
    "inspect": "see what a change does in a trained model, head by head: a page",
    "export": "write a run's weights as a whole model, its change as it is or merged into them",
    "sweep": "plan, status, retry, cancel, logs and table of many runs",
    "doctor": "will runs work on this machine? what is wrong, and how to mend it",
    "prefetch": "fetch weights and data into a folder for machines without internet",
    "check-change": "is a change to attention sound in all families, and what does it cost?",
    "memory": "what training a model takes",
    "sync": "upload to Weights & Biases what offline runs left",
    "dashboard": "build the workspace and report of a wandb project",
}
_TEXT = """\
gifine: does a change to attention, such as Gate with Inhibition, help BERT, RoBERTa, DeBERTa or XLNet on GLUE?

  gifine model=debertav3 gi.level=0.3 task=cola
  gifine experiment=demo                       offline, minutes, nothing to fetch
  gifine --multirun gi.side=none,both seed=1,2,3,4,5
  gifine COMMAND …                             COMMAND --help lists its arguments

Commands (gifine COMMAND … is python -m gifine.COMMAND …, and gifine … is python -m gifine …):

{commands}

Choices (GROUP=NAME):

{choices}

Values (KEY=VALUE; --cfg job shows all of them with what they are now):
  gi.side=none|key|query|both   gi.level=0.3   gi.layers=6   gi.threshold=batch|sequence|token
  model.size=base   model.checkpoint=FOLDER_OR_HUB_ID   train.learning_rate=1e-5   seed=1

--cfg job     show the composed config          --info searchpath   where configs are looked for
--multirun    run every combination of KEY=A,B  --hydra-help        Hydra's own flags"""
_INNER = ("hydra/job_logging", "recipe/published")  # nothing to choose from on a command line


def text(words: Sequence[str]) -> str | None:
    """The help, if these words of a command line ask for it."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--help", "-h", action="store_true")
    parser.add_argument("--config-dir", "-cd", type=Path)
    try:
        given, _ = parser.parse_known_args(words)
    except argparse.ArgumentError:  # said later, as what is wrong with the other words
        return None
    if not given.help:
        return None
    names: defaultdict[str, set[str]] = defaultdict(set)
    for folder in folders(given.config_dir):
        for group, name in choices(folder):
            names[group].add(name)
    return _TEXT.format(
        commands="\n".join(f"  {name:<14}{does}" for name, does in COMMANDS.items()),
        choices="\n".join(f"{group}: {', '.join(sorted(names[group]))}" for group in sorted(names)),
    )


def nearest(word: str) -> str:
    """What somebody who takes this word for a command may have meant, as ` (did you mean …?)`; or an empty string."""
    if word.lower() in ("help", "h"):
        return " (did you mean '--help'?)"
    if (Path(__file__).parents[1] / "sweep" / "commands" / f"{word}.py").is_file():
        return f" (did you mean 'sweep {word}'?)"
    if (conf_dir() / "experiment" / f"{word}.yaml").is_file():
        return f" (did you mean 'experiment={word}'?)"
    return did_you_mean(word.lower(), COMMANDS)


def module(command: str) -> str:
    """The address of a command: a module of gifine with a function `main`, or a package with such a `__main__`."""
    name = command.replace("-", "_")
    folder = Path(__file__).parents[1] / name
    return f"gifine.{name}.__main__" if folder.is_dir() else f"gifine.{name}"


def choices(folder: Path) -> Iterator[tuple[str, str]]:
    """Group and name of each config below a folder."""
    for path in folder.rglob("*.yaml"):
        group = path.parent.relative_to(folder).as_posix()
        if group not in (".", *_INNER):
            yield group, path.stem
