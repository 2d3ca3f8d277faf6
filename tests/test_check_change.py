"""`gifine check-change`: what it finds of sound changes and of others, and what it says of bad files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT
from gifine import changes, check_change, proof
from gifine.choices import GateSide
from gifine.config import GiConfig
from gifine.errors import ModelError, UserError
from gifine.inputs.change_files import FILE, NAME
from gifine.inputs.families import FAMILIES
from gifine.models import family_classes
from gifine.proof import copies, cost, gradients, invariance, start, streams, subjects, ways
from gifine.proof.findings import Finding, Status

TEMPLATE = ROOT / "docs" / "examples" / "change" / "temperature.py"
HEAD = "import torch\nfrom gifine.changes import Constant, Parameter, Settings\nSITES = ('query',)\n"
FIND = "def find_parameters(settings, place):\n    return {'scale': Parameter((place.given,))}\n"
APPLY = "def apply(settings, parameters, value, at):\n    "
SOUND = f"{HEAD}{FIND}{APPLY}return (value * (1 + parameters['scale'])).to(value.dtype)\n"

Check = Callable[[subjects.Subject], Finding | None]


def subject(change: str | Path, *words: str, family: str = "bert") -> subjects.Subject:
    config = check_change.choose(str(change), words)
    (found,) = (each for each in subjects.subjects(config.gi, config.change) if each.family == family)
    return found


def write(folder: Path, source: str) -> Path:
    path = folder / "mine.py"
    path.write_text(source)
    return path


def found(check: Check, change: str | Path, *words: str, family: str = "bert") -> tuple[Status, str]:
    finding = check(subject(change, *words, family=family))
    assert finding is not None
    return finding.status, finding.said


@pytest.mark.long
@pytest.mark.parametrize("name", [*changes.names(), TEMPLATE.stem])
def test_shipped_changes_and_the_template_are_sound(name: str, capsys) -> None:
    change = str(TEMPLATE) if name == TEMPLATE.stem else name
    assert check_change.main([change, "model=bert", "model.size=base", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [each for each in told["findings"] if each["status"] == "fails"] == []
    # Some families have one attention, and clipped_softmax has no tensors.
    one = [family for family in FAMILIES if not family_classes(family).fast]
    counted = len(FAMILIES) * (len(proof.CHECKS) - (name == "clipped_softmax")) - len(one)
    assert len(told["findings"]) == counted
    assert told["costs"][0]["model"] == "BERT base"


@pytest.mark.parametrize("check", proof.CHECKS)
def test_the_template_is_sound(check: Check) -> None:
    assert found(check, TEMPLATE, family="deberta_v2")[0] is Status.holds


def test_the_template_has_thirty_lines() -> None:
    assert 25 <= len(TEMPLATE.read_text().splitlines()) <= 33


def test_how_far_the_start_is() -> None:
    status, said = found(start.distance, TEMPLATE, "change.start=0.5")
    assert status is Status.told
    assert "e-0" in said
    assert found(start.distance, "lora")[1] == "plain, to the bit"


def test_what_couples_the_batch_is_told() -> None:
    assert found(invariance.batch, "gi", "gi.level=0.3")[1].startswith("couples examples: ")
    assert found(invariance.batch, "gi", "gi.level=0.3", "gi.threshold=token")[0] is Status.holds
    assert found(invariance.padding, "gi", "gi.level=0.9")[0] is Status.told


def test_what_hands_rounding_on_through_padding_is_no_fault(tmp_path: Path) -> None:
    """A mean over examples: DeBERTa's padding is all zeros at the start, where LayerNorm has gradients of 1e11."""
    source = SOUND.replace("'query'", "'value'").replace("(value * (1 +", "(value + (value.mean(0, keepdim=True) *")
    path = write(tmp_path, source)
    for check in (ways.one_token, ways.fast):
        assert found(check, path, family="deberta_v2")[0] is Status.holds
    assert found(invariance.batch, path, family="deberta_v2")[1].startswith("couples examples: ")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ("return (value * (1 + parameters['scale'].round())).to(value.dtype)", Status.fails, "at the start all"),
        ("return (value * (1 + parameters['scale'] ** 2)).to(value.dtype)", Status.fails, "at the start all"),
        ("return (value + parameters['scale']).to(value.dtype)", Status.holds, "yes"),
        (
            "own = parameters['scale']\n    return (value * (1 + own) + parameters['other'].round()).to(value.dtype)",
            Status.told,
            "all but change_q.other",
        ),
    ],
)
def test_what_never_learns(body: str, status: Status, said: str, tmp_path: Path) -> None:
    parameters = FIND.replace("}", ", 'other': Parameter((1,))}") if "'other'" in body else FIND
    got = found(gradients.learned, write(tmp_path, f"{HEAD}{parameters}{APPLY}{body}\n"))
    assert (got[0], got[1].startswith(said)) == (status, True), got


def test_an_offset_of_all_keys_never_learns(tmp_path: Path) -> None:
    """BERT's softmax takes it out, but for rounding; DeBERTa's positions see it."""
    path = write(tmp_path, SOUND.replace("'query'", "'key'").replace("(value * (1 +", "(value + (0 +"))
    assert found(gradients.learned, path) == (Status.fails, "at the start all gradients are 0")
    assert found(gradients.learned, path, family="deberta") == (Status.holds, "yes")


def test_what_has_nothing_to_learn_is_not_asked() -> None:
    assert gradients.learned(subject("clipped_softmax")) is None


UNSOUND: dict[Check, tuple[str, str]] = {
    gradients.differences: (
        "return value + (value.detach() * parameters['scale']).to(value.dtype)",
        "off by",
    ),
    streams.paired: ("torch.rand(1)\n    return value * (1 + parameters['scale'])", "numbers in a step"),
    copies.resumed: (
        "CALLS.append(0)\n    return value * (1 + parameters['scale'] * len(CALLS))\nCALLS = []",
        "losses differ",
    ),
    ways.checkpointed: (
        "CALLS.append(0)\n    return value * (1 + parameters['scale'] * len(CALLS))\nCALLS = []",
        "differs by",
    ),
    copies.saved: (
        "return value * (1 + parameters['scale'] * (id(parameters['scale']) % 97))",
        "differs by",
    ),
}


@pytest.mark.parametrize("check", UNSOUND)
def test_each_check_can_fail(check: Check, tmp_path: Path) -> None:
    body, expected = UNSOUND[check]
    status, said = found(check, write(tmp_path, f"{HEAD}{FIND}{APPLY}{body}\n"))
    assert status is Status.fails
    assert expected in said


def test_padding_without_a_gradient_of_its_embedding_is_no_fault(tmp_path: Path) -> None:
    source = (
        f"{HEAD}{FIND}{APPLY}return value + (parameters['scale'] * at.hidden.mean(1, keepdim=True)).to(value.dtype)"
    )
    path = write(tmp_path, source)
    assert found(gradients.differences, path)[0] is Status.holds
    assert found(invariance.padding, path)[1].startswith("takes part: ")


def test_a_last_layer_that_reads_other_tokens_fails(tmp_path: Path) -> None:
    source = SOUND.replace("'query'", "'output'").replace("1 +", "1 + at.hidden.mean(1, keepdim=True) *")
    assert found(ways.one_token, write(tmp_path, source))[0] is Status.fails


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (f"{HEAD}{FIND}{APPLY}return value[:, :1]", "apply at query, layer 0: gives shape [3, 1, 32] for one of [3, 9"),
        (f"{HEAD}{FIND}{APPLY}return None", "apply at query, layer 0: gives NoneType: a tensor of shape [3, 9, 32]"),
        (f"{HEAD}{FIND}{APPLY}return value.double()", "gives torch.float64 for torch.float32: end with .to(value"),
        (f"{HEAD}{FIND}{APPLY}return value * parameters['scal']", "mine.py, line 7: KeyError: 'scal'"),
        (
            f"{HEAD}{FIND}{APPLY}return value * at.place.features",
            "no attribute 'features'; it has site, layer, depth",
        ),
        (f"{HEAD}{FIND}{APPLY}return value @ value", "mine.py, line 7: RuntimeError: "),
        (f"{HEAD}{FIND}{APPLY}return value / parameters['scale']", "NaN or infinite at the start, of 864 values 864"),
    ],
)
def test_bad_files(source: str, said: str, tmp_path: Path) -> None:
    """In a model. Most of them the check of a config finds as well: tests/inputs/test_change_trial.py."""
    entries = {NAME: "mine", FILE: str(write(tmp_path, source))}
    bert = subjects.subjects(GiConfig(side=GateSide.none, level=0.3), entries)[0]
    with pytest.raises(ModelError) as caught:
        start.distance(bert)
    assert said in str(caught.value)


def test_a_type_that_only_bfloat16_shows(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND.replace(".to(value.dtype)", ""))
    assert found(start.distance, path)[0] is Status.holds
    with pytest.raises(ModelError, match=r"gives torch.float32 for torch.bfloat16: end with .to\(value.dtype\)"):
        start.bfloat16(subject(path))


def test_parameters_that_are_not_used(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND.replace("{'scale'", "{'other': Parameter((2,)), 'scale'"))
    with pytest.raises(ModelError, match=r"change_q.other has no gradient in bert: apply does not use it"):
        gradients.differences(subject(path))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing.py"], "nothing.py: no such file"),
        (["lroa"], "change=lroa"),
        ([], "the following arguments are required: FILE|NAME; --help"),
        ([str(TEMPLATE.with_suffix(".yaml"))], f"{TEMPLATE.with_suffix('.yaml')}: neither a change's name nor a file"),
        (["none"], "change=none: changes nothing, so there is nothing to check"),
        (["lora", "change.rank=0"], "change.rank=0: must be a whole number of at least 1"),
        (["lora", "gi.level=0.1"], "gi.level=0.1: two changes at once"),
        ([str(TEMPLATE), "change.strt=1"], "change.strt: change=temperature has no such key (did you mean 'start'?)"),
    ],
)
def test_wrong_words(words: list[str], said: str, capsys) -> None:
    assert check_change.main(words) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith(f"error: {said}")) == ("", True), err


def test_keys_come_from_the_yaml_beside_a_file(tmp_path: Path) -> None:
    path = tmp_path / "warm.py"
    path.write_text(TEMPLATE.read_text())
    assert check_change.choose(str(path), []).change["start"] == 0.0
    path.with_suffix(".yaml").write_text("name: warm\nstart: 0.25\n")
    assert check_change.choose(str(path), []).change["start"] == 0.25
    assert check_change.choose(str(path), ["change.start=0.5"]).change["start"] == 0.5
    for text, said in (
        ("name: warm\nstart: [\n", r"warm.yaml, line 3: expected the node content, but found '<stream end>'"),
        ("name: worm\n", r"warm.yaml: has no line `name: warm`, which makes it the YAML of warm.py"),
        ("start: 0.5\n", r"has no line `name: warm`"),
        ("name: warm\x00\n", r"warm.yaml: cannot be read: "),
    ):
        path.with_suffix(".yaml").write_text(text)
        with pytest.raises(UserError, match=said):
            check_change.choose(str(path), [])


def test_costs_of_a_model_are_those_of_the_formula() -> None:
    """LoRA on query and value: 2 · 2 · rank · D parameters a layer, and as many products a token, three times over."""
    told = cost.of_model(check_change.choose("lora", ["model=bert", "model.size=base", "change.rank=4"]))
    assert (told.a_layer, told.parameters) == (4 * 4 * 768, 12 * 4 * 4 * 768)
    assert told.flops is not None
    assert told.plain_flops is not None
    assert told.flops - told.plain_flops == pytest.approx(3 * 2 * told.parameters * cost.TOKENS, rel=0.02)


def test_a_change_that_looks_at_numbers_is_not_counted(tmp_path: Path) -> None:
    path = write(tmp_path, SOUND.replace("value * (1", "value * (1 + 0 * value.max().item()"))
    config = check_change.choose(str(path), ["model=bert", "model.size=base"])
    told = cost.of_model(config)
    assert told.flops is None
    assert told.parameters == 12 * 768
