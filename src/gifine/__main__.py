"""`python -m gifine`: see cli.py."""

import sys

from gifine.compose import usage


def main() -> int:
    """Run the command line and return its exit code (`errors.ExitCode`)."""
    text = usage.text(sys.argv[1:])
    if text is not None:
        print(text)
        return 0
    from gifine import cli  # Hydra, which takes half a second

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
