"""What training a model takes: `gifine memory [GROUP=NAME KEY=VALUE …]`.

Without arguments a Markdown table of every model in conf/model, gated on both sides of all layers; with arguments, a
line for each run that they describe. Counted on the `meta` device: no weights are fetched or made.

Activations are not in it. They grow with the batch and with length, and train.gradient_checkpointing makes them small.
"""

from __future__ import annotations

import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from gifine.commands import Parser, call
from gifine.compose import composition, grid
from gifine.compose.conf_dir import conf_dir
from gifine.config import RunConfig
from gifine.errors import ExitCode, ModelError
from gifine.inputs import architecture
from gifine.machine.footprint import Footprint
from gifine.runs import identity


def count(config: RunConfig) -> Footprint:
    """What the model of a run takes.

    Raises:
        ModelError: for an architecture that cannot be built, and in pre-training for one that is on the Hub alone.
    """
    if config.task.objective.pretrains:  # by arithmetic: a generator and a discriminator may share parameters
        counted = architecture.count_trained(config)
        if counted is None:
            raise ModelError(
                f"task={config.task.name}: the architecture is not known: counted are models of conf/model, and folders"
            )
        return Footprint(*counted)
    import torch
    from transformers.initialization import no_init_weights

    from gifine import models

    model = replace(config.model, random_init=True)
    with torch.device("meta"), no_init_weights():
        built = models.build(
            model,
            config.gi,
            config.change,
            labels=config.task.labels,
            objective=config.task.objective,
            vocab_size=architecture.architecture(config.model).get("vocab_size"),
            parameters=config.train.parameters,
        )
    found = models.count_parameters(built)
    return Footprint(found["total"], found["gates"], found["trainable"])


def table(rows: Iterator[tuple[str, Footprint]]) -> str:
    """Markdown: millions of parameters, gigabytes (10⁹ bytes)."""
    lines = ["| model | parameters | gates | weights | gradients | optimizer | sum | a checkpoint on disk |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for name, each in rows:
        sizes = (each.weights, each.gradients, each.optimizer, each.training, each.checkpoint)
        counts = f"{each.parameters / 1e6:,.1f} M | {each.gates / 1e6:,.1f} M"
        lines.append(f"| {name} | {counts} | {' | '.join(f'{size / 1e9:.1f} GB' for size in sizes)} |")
    return "\n".join(lines)


def presets() -> Iterator[tuple[str, Footprint]]:
    """Every published size in conf/model, by its names on the command line, gated on both sides of all layers."""
    for path in sorted((conf_dir() / "model").glob("*.yaml")):
        config = composition.config_from(composition.compose([f"model={path.stem}", "gi=both"]))
        if config.model.name != path.stem:
            continue  # another name of a model that comes under its own
        for size in config.model.sizes:
            sized = replace(config, model=replace(config.model, size=size))
            yield f"`model={path.stem} model.size={size}`", count(sized)


def main(words: Sequence[str] | None = None) -> ExitCode:
    """Run the command line (null: the process's own) and return its exit code."""
    parser = Parser(prog="gifine memory", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="those of `gifine`")
    parser.add_argument("--config-dir", metavar="FOLDER", help="a folder of configs of your own")
    return call(_print, parser, words)


def _print(args: Namespace) -> ExitCode:
    print(table(_asked_for(args.overrides, args.config_dir) if args.overrides else presets()))
    return ExitCode.DONE


def _asked_for(overrides: list[str], config_dir: str | None) -> Iterator[tuple[str, Footprint]]:
    for run in grid.expand(overrides, config_dir):
        config = run.config
        yield identity.title(config), count(config)


if __name__ == "__main__":
    sys.exit(main())
