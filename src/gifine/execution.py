"""One checked config, run in this process: what goes wrong is told, and what came of it is an exit code."""

from __future__ import annotations

import os
import traceback

from gifine import signals
from gifine.config import RunConfig
from gifine.errors import ExitCode, UserError, tell


def execute(config: RunConfig, *, wants_traceback: bool = False) -> ExitCode:
    """Train and evaluate; errors are told on stderr.

    Raises:
        KeyboardInterrupt: on a signal outside of training, and on Ctrl-C.
        UserError: with `wants_traceback` only.
    """
    try:
        if config.prefetch is not None:
            # The folder has all that is read; this keeps whatever else might look for news off the network. The
            # libraries read it when they are imported.
            os.environ["HF_HUB_OFFLINE"] = "1"
        with signals.raised():
            from gifine import train  # torch and transformers: seconds of start-up that a config error should not cost

            return train.run(config)
    except UserError as error:
        if wants_traceback:
            raise
        return tell(error)
    except Exception:
        # In a sweep the other runs go on; the record tells the same as this traceback.
        traceback.print_exc()
        return ExitCode.FAILED
