"""Words that Hydra cannot read: the message has what to type in a shell instead, and that gives what was meant."""

from __future__ import annotations

import subprocess

import pytest

from gifine.compose.overrides import parsed
from gifine.compose.quoting import check_spelling, quoting
from gifine.errors import ConfigError

LAUNCHER = "hydra.launcher"


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("output_root", "a/x=1", "a/x=1"),
        ("output_root", "a#b", "a#b"),
        ("output_root", "李/runs", "李/runs"),
        ("output_root", "it's", "it's"),
        ("output_root", r"a\'b#", r"a\'b#"),
        ("output_root", 'a"$`#', 'a"$`#'),
        ("model.checkpoint", "a b#c", "a b#c"),
        ("task.files.train", "x=1.csv", "x=1.csv"),
        ("tracking.tags", "[a b,c=d]", ["a b", "c=d"]),
        (f"{LAUNCHER}.exclude", "node[1-2]", "node[1-2]"),
        (f"{LAUNCHER}.exclude", "node1,node2", "node1,node2"),
        (f"{LAUNCHER}.constraint", "[a|b]", "[a|b]"),
        (f"{LAUNCHER}.srun_args", "[--mpi=none]", ["--mpi=none"]),
        (f"{LAUNCHER}.srun_args", "--mpi=none", ["--mpi=none"]),
        (f"{LAUNCHER}.setup", "[export A=1]", ["export A=1"]),
        (f"{LAUNCHER}.additional_parameters.mail-type", "END,FAIL", "END,FAIL"),
        ("hydra.sweep.dir", "a=b", "a=b"),
    ],
)
def test_what_a_shell_makes_of_the_advice_is_what_was_meant(key, value, meant):
    advice = quoting(f"{key}={value}").removeprefix("; quote it: ")
    typed = subprocess.run(["/bin/sh", "-c", f"printf %s {advice}"], capture_output=True, text=True, check=True).stdout
    override = parsed(typed)
    assert (override.key_or_group, override.value()) == (key, meant)


@pytest.mark.parametrize(
    "word", ["seed=1=2", "task=a#b", "gi.level=0#", f"{LAUNCHER}.timeout_min=3,5", "nope=a#", "seed"]
)
def test_text_is_no_advice_for_numbers_and_names(word):
    assert quoting(word) == ""


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (f"{LAUNCHER}=slurm", "which are chosen with a slash: hydra/launcher=slurm"),
        ("hydra.sweeper=basic", "which are chosen with a slash: hydra/sweeper=basic"),
        (f"{LAUNCHER}.timeout_min=3,5", "Hydra's own keys have one value in a sweep; give one"),
        (f"++{LAUNCHER}.additional_parameters.mail-type=END,FAIL", ".mail-type='END,FAIL'\""),
    ],
)
def test_words_about_hydra_that_mean_something_else(word, said):
    with pytest.raises(ConfigError) as error:
        check_spelling(["seed=1,2", word, "not a word"])
    (problem,) = error.value.problems
    assert problem.startswith(f"{word}: ")
    assert said in problem


@pytest.mark.parametrize("word", ["change=[lora,ia3]", "change=gi,[lora,ia3]"])
def test_a_list_is_no_choice_of_one_change(word):
    with pytest.raises(ConfigError) as caught:
        check_spelling([word])
    assert str(caught.value) == (
        f"{word}: two changes at once; give one of them, or a sweep: --multirun change=lora,ia3"
    )
    check_spelling(["change=lora,ia3", "change.sites=[query,key]"])
