"""One run in a process of its own, started by job.py: `python -m gifine.sweep.attempt CONFIG.json [--again]`.

The config was composed and checked where the sweep was submitted. No YAML and no overrides are read here.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gifine import execution
from gifine.errors import ConfigError, ExitCode, UserError, tell
from gifine.runs import identity
from gifine.sweep.job import AGAIN


def main(words: Sequence[str] | None = None) -> int:
    """Run the config that the words name (null: the process's own); the exit code is that of `python -m gifine`."""
    word, *options = sys.argv[1:] if words is None else words
    path = Path(word)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line for every request to the Hub
    try:
        config = identity.from_dict(json.loads(path.read_text(encoding="utf-8")))
        if identity.run_id(config) != path.stem:
            raise ConfigError(
                f"{path} is the run {identity.run_id(config)} by this code and what its files hold now: "
                "one of them has changed since it was submitted; submit the sweep again"
            )
        if AGAIN in options:  # what an earlier allocation did for this submission counts
            config = replace(config, resume=True, overwrite=False)
        return execution.execute(config)
    except UserError as error:
        return tell(error)
    except KeyboardInterrupt as error:
        print(f"interrupted by {str(error) or 'Ctrl-C'}", file=sys.stderr)
        return ExitCode.INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
