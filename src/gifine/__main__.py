"""`gifine …`, which is `python -m gifine …`: runs (cli.py), or a command of those that `usage` lists."""

import importlib
import sys

from gifine import commands
from gifine.compose import usage
from gifine.errors import ArgumentError, tell


def main() -> int:
    """Run the command line and return its exit code (`errors.ExitCode`)."""
    words = sys.argv[1:]
    if words and words[0] in usage.COMMANDS:
        return importlib.import_module(usage.module(words[0])).main(words[1:])
    if words and words[0].replace("-", "").isalpha() and not words[0].startswith("-"):  # no override has such a form
        known = ", ".join(usage.COMMANDS)
        meant = usage.nearest(words[0])
        return tell(ArgumentError(f"{words[0]}: no such command{meant}; valid: {known}; else KEY=VALUE or GROUP=NAME"))
    text = usage.text(words)
    if text is not None:
        try:
            print(text, flush=True)
        except BrokenPipeError:  # whoever read it, such as head, has seen enough
            commands.give_up_stdout()
        return 0
    from gifine import cli  # Hydra, which takes half a second

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
