"""Whatever is written on the command line ends with a run, or with one message and exit code 2."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from dataclasses import fields, is_dataclass
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from gifine import cli
from gifine.config import RunConfig
from gifine.errors import ExitCode


def keys(node: object, prefix: str = "") -> list[str]:
    """Every dotted key of the schema."""
    found = []
    for field in fields(node):  # pyrefly: ignore[bad-argument-type] - only dataclasses come here
        value = getattr(node, field.name)
        found += [f"{prefix}{field.name}", *(keys(value, f"{prefix}{field.name}.") if is_dataclass(value) else [])]
    return found


GROUPS = {path.name: [file.stem for file in path.glob("*.yaml")] for path in cli.conf_dir().iterdir() if path.is_dir()}
NAMES = [name for names in GROUPS.values() for name in names]
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
VALUES = st.one_of(
    st.sampled_from(["", "null", "nan", "inf", "-1", "0", "1e400", "[]", "{}", "[1,2", "${seed}", "${nope}", "???"]),
    st.sampled_from(["1,2", "'", "a b", "~", "range(3)", "../x", "{a: 1}", "true"]),
    st.integers().map(str),
    st.floats().map(str),
    PLAIN,
)
OVERRIDES = st.one_of(
    st.builds("{}={}".format, st.sampled_from(keys(RunConfig())), VALUES),
    st.builds("{}{}={}".format, st.sampled_from(["", "+", "++", "~"]), st.sampled_from([*GROUPS, "hydra"]), VALUES),
    st.builds(
        "{}={}x".format,
        st.sampled_from(list(GROUPS)),
        st.sampled_from([name for names in GROUPS.values() for name in names]),
    ),
    st.builds("{}x={}".format, st.sampled_from(keys(RunConfig())), VALUES),
    st.builds("~{}".format, st.sampled_from(keys(RunConfig()))),
    PLAIN,
)


@settings(max_examples=settings().max_examples // 8)
@given(st.lists(OVERRIDES.filter(lambda word: not word.startswith("-")), min_size=1, max_size=3))
def test_one_message_and_exit_code_2_or_a_run(words):
    """In this process: test_cli sees that no torch is imported on the way."""
    started = mock.Mock(return_value=ExitCode.DONE)
    environment = mock.patch.dict(os.environ, {"HYDRA_FULL_ERROR": "0"})
    err = io.StringIO()
    with (
        environment,
        mock.patch.object(sys, "argv", ["gifine", *words]),
        mock.patch("gifine.train.run", started),
        contextlib.redirect_stderr(err),
    ):
        code = cli.main()
    if code == ExitCode.BAD_INPUT:
        assert err.getvalue().startswith("error:")
        assert "Traceback" not in err.getvalue()
        assert not started.called
    else:
        assert code == ExitCode.DONE
        assert started.called
