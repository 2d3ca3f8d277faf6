"""A change of one's own is applied once before a run is submitted: what it gives is wrong before time is spent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gifine import changes, cli
from gifine.changes.contract import Sizes
from gifine.errors import ConfigError, ModelError
from gifine.inputs import change_files, change_trial

SIZES = Sizes(depth=3, hidden=16, heads=4, inner=24)
HEAD = "import torch\nfrom gifine.changes import Constant, Normal, Parameter, Settings\nSITES = ({!r},)\n"
FIND = "def find_parameters(settings, place):\n    return {'scale': Parameter((place.given or 1,), Normal(0.1))}\n"


def problems(folder: Path, body: str, site: str = "query") -> list[str]:
    path = folder / "mine.py"
    path.write_text(f"{HEAD.format(site)}{FIND}def apply(settings, parameters, value, at):\n    {body}\n")
    try:
        change_trial.check_entries({"name": "mine", "file": str(path)}, SIZES)
    except ModelError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("name", changes.names())
def test_the_changes_that_come_with_gifine_are_fine(name):
    change = changes.load(name)
    chosen = change.Settings()
    change_trial.check_apply(change, chosen, change_files.places(change, chosen, SIZES))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "return value[:, :1]",
            "mine.py, line 6: apply at query, layer 0: gives shape [2, 1, 16] for one of [2, 5, 16]",
        ),
        ("return None", "mine.py, line 6: apply at query, layer 0: gives NoneType: a tensor of shape [2, 5, 16]"),
        (
            "return value.double()",
            "line 6: apply at query, layer 0: gives torch.float64 for torch.float32: end with .to",
        ),
        ("return value * parameters['scal']", "mine.py, line 7: KeyError: 'scal'"),
        ("return value @ value", "mine.py, line 7: RuntimeError: "),
        ("return value if at.place.layer < 2 else value[0]", "mine.py, line 6: apply at query, layer 2: gives shape"),
    ],
)
def test_what_is_wrong_is_one_problem_with_its_line(tmp_path, body, said):
    (problem,) = problems(tmp_path, body)
    assert said in problem


@pytest.mark.parametrize(
    ("site", "body"),
    [
        ("query", "return value * (1 + parameters['scale'])"),
        ("value", "return at.kept.setdefault('first', value)"),  # from layer to layer
        ("weights", "return (at.taken + parameters['scale']).softmax(-1)"),
        ("context", "return at.dropout(value, 0.1) * at.real_BT[:, :, None]"),
        ("output", "return value + at.taken @ at.hidden.mean((0, 1)).outer(parameters['scale'])"),
        ("ffn", "return at.activation(value) * parameters['scale']"),
        ("ffn_output", "return value + at.taken.mean(-1, keepdim=True)"),
        ("query", "return torch.linalg.inv(value.mT @ value + torch.eye(16)).mean() * value"),
    ],
)
def test_each_site_has_what_the_contract_says(tmp_path, site, body):
    assert problems(tmp_path, body, site) == []


def test_it_draws_no_number_that_a_run_would_draw(tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    assert problems(tmp_path, "return value + torch.rand_like(value)") == []
    assert torch.equal(torch.rand(3), expected)


def test_a_sweep_is_refused_before_its_baseline_is_trained(tmp_path):
    folder = tmp_path / "change"
    folder.mkdir()
    (folder / "mine.yaml").write_text("name: mine\n")
    (folder / "mine.py").write_text(
        f"{HEAD.format('query')}{FIND}def apply(settings, parameters, value, at):\n    return value.mean(1)\n"
    )
    runs = [["experiment=demo", f"change={name}"] for name in ("none", "mine")]
    with pytest.raises(ConfigError, match=r"mine.py, line 6: apply at query, layer 0: gives shape \[2, 128\]"):
        cli.configs(runs, str(tmp_path))
    (folder / "mine.yaml").write_text("name: mine\nlayers: [1\n")
    with pytest.raises(ConfigError, match=r"mine.yaml, line 3: expected ',' or '\]', but got '<stream end>'"):
        cli.configs(runs, str(tmp_path))
