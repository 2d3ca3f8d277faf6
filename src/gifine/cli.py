"""The command line: `python -m gifine [--multirun] GROUP=NAME KEY=VALUE …`.

Hydra composes conf/ over the schema; this module turns the result into a `RunConfig`, reports everything that is wrong
with it in one message, and calls `train.run`. Nothing here imports torch before the config is known to be good.
"""

from __future__ import annotations

import os
import sys

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gifine import execution
from gifine.compose import change_keys, renamed
from gifine.compose.composition import check_chdir, compose, config_from, opened, unwrap
from gifine.compose.conf_dir import conf_dir
from gifine.compose.grid import check_config_dir, configs, expand
from gifine.compose.mistakes import explain
from gifine.compose.overrides import parsed
from gifine.compose.quoting import check_spelling
from gifine.config import RunConfig
from gifine.errors import ArgumentError, ConfigError, ExitCode, UserError, tell
from gifine.runs import parent

_NO_LAUNCHER = "basic"  # Hydra's own: runs train in this process

__all__ = ["compose", "conf_dir", "config_from", "configs", "main"]


def main() -> int:
    """Run the command line and return its exit code (`errors.ExitCode`)."""
    args = get_args_parser().parse_intermixed_args()
    # Hydra's own parsing takes no overrides behind an option that follows others.
    options = [word for word in sys.argv[1:] if word not in args.overrides]
    args.overrides = renamed.current(args.overrides, args.config_dir)
    sys.argv[1:] = [*options, *map(opened, args.overrides)]
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    codes: list[ExitCode] = []

    def job(cfg: DictConfig) -> None:
        if ExitCode.INTERRUPTED not in codes:  # a signal to one run of a sweep is meant for all of them
            codes.append(_run(cfg, wants_traceback))

    run = hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")(job)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises; else it prints at length and exits with 1
    try:
        if not (args.cfg or args.info):
            _check_processes()
        if sum(word.partition("=")[0] in ("--config-dir", "-cd") for word in options) > 1:
            raise ArgumentError("--config-dir: given more than once, of which the last would count; one folder has all")
        check_config_dir(args.config_dir)
        check_spelling(args.overrides)
        run()
    except UserError as error:
        if wants_traceback:
            raise
        return tell(error)
    except Exception as error:  # Hydra lets through whatever its parts raise
        if wants_traceback:
            raise
        problems = explain(args.overrides, args.config_dir, multirun=args.multirun)
        return tell(ConfigError(*(problems or [unwrap(error)])))
    except KeyboardInterrupt as error:
        print(f"interrupted by {str(error) or 'Ctrl-C'}; the same command goes on", file=sys.stderr)
        return ExitCode.INTERRUPTED
    finally:
        os.environ["HYDRA_FULL_ERROR"] = "1" if wants_traceback else "0"
        _leave_process_group()
    return max(codes, default=ExitCode.DONE)


def _run(cfg: DictConfig, wants_traceback: bool) -> ExitCode:
    try:
        _check_single(cfg)
        config = config_from(cfg, _words(), _config_dir())
        runs = [config] if config.first.task is None else _with_parent()
    except UserError as error:
        if wants_traceback:
            raise
        return tell(error)
    code = ExitCode.DONE
    for each in runs:
        code = max(code, execution.execute(each, wants_traceback=wants_traceback))
        if code in (ExitCode.BAD_INPUT, ExitCode.INTERRUPTED):  # nothing has become of it that the next could say
            break
    return code


def _with_parent() -> list[RunConfig]:
    """The run, after the one that it starts from, if that is needed; of a sweep, which has that as a run, it alone.

    Raises:
        ConfigError: with every problem of the run before.
        ModelError: if that one has its result, but no weights.
    """
    is_of_sweep = HydraConfig.get().mode is RunMode.MULTIRUN
    *before, own = [cell.config for cell in expand(_words(), _config_dir(), is_whole=not is_of_sweep)]
    if is_of_sweep or not before or not parent.is_needed(own):
        return [own]
    return [*before, own]


def _words() -> list[str]:
    """The run's overrides, unresolved: they may have ${…}."""
    return [str(word) for word in OmegaConf.to_container(HydraConfig.get().overrides.task) or []]


def _config_dir() -> str | None:
    sources = HydraConfig.get().runtime.config_sources
    return next((source.path for source in sources if source.provider == "command-line"), None)


def _check_single(cfg: DictConfig) -> None:
    """Raise a ConfigError for a grid that would be one run of it: whoever chose it without --multirun meant all.

    And for a launcher, which runs are handed to with --multirun only, and for two changes, which a sweep may have.
    """
    settings = HydraConfig.get()
    check_chdir(settings.job.chdir)
    if settings.mode is RunMode.MULTIRUN:
        return
    problems = []
    choices = settings.runtime.choices
    launcher = choices.get("hydra/launcher")
    if launcher != _NO_LAUNCHER:
        by_site = f" (of site={choices.get('site')})" if choices.get("site") else ""
        problems.append(
            f"hydra/launcher={launcher}{by_site}: launches nothing without --multirun; add it, for one run, too, or "
            f"hydra/launcher={_NO_LAUNCHER} to train in this process"
        )
    given = {parsed(word).get_key_element() for word in _words()}
    left = [key for key in settings.sweeper.params or {} if key not in given]
    if left:
        grid = f"experiment={settings.runtime.choices.get('experiment')}"
        problems.append(f"{grid} is a grid over {', '.join(left)}: add --multirun, or give each of them a value")
    if problems:
        raise ConfigError(*problems)
    change_keys.check_one([cfg.change.get("name")], _words())


def _check_processes() -> None:
    """Raise an ArgumentError in one of several processes that srun has started: each would train on its own.

    But a shell of `srun --pty` is alone, whatever the number of tasks: the others have no terminal, and end at once.
    """
    tasks, rank = os.environ.get("SLURM_STEP_NUM_TASKS", "1"), os.environ.get("SLURM_PROCID", "0")
    is_shell = rank == "0" and sys.stdin is not None and sys.stdin.isatty()
    if "RANK" not in os.environ and tasks not in ("", "1") and not is_shell:
        raise ArgumentError(
            f"srun has started {tasks} processes (SLURM_STEP_NUM_TASKS), of which this is number {rank}, and each "
            "would be a run of its own: srun --ntasks=1, or torchrun, or hydra/launcher=slurm with tasks_per_node"
        )


def _leave_process_group() -> None:
    """Of several processes: one that ends with gloo's threads at work is now and then aborted (SIGABRT)."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
