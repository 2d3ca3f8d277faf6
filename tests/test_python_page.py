"""docs/python.md: its code runs, on a run of ours."""

from __future__ import annotations

import re

import pytest
from transformers import BertForSequenceClassification

from conftest import ROOT, TINY_DEMO
from gifine.choices import Attention, GateSide
from gifine.models import with_attention

BLOCKS = re.findall(r"```python\n(.+?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)


@pytest.mark.long
def test_code_runs(train, capsys):
    result = train(*TINY_DEMO, "gi.side=none", "train.save_model=true", "train.max_steps=2", "train.epochs=1")
    loaded, gated, results = (
        block.replace("runs/…", str(result.folder)).replace("bert-large-uncased", str(result.folder / "model"))
        for block in BLOCKS
    )
    first, second, third = {}, {}, {}
    exec(loaded, first)  # noqa: S102 - our own page's code
    assert isinstance(first["model"], BertForSequenceClassification)
    exec(gated, second)  # noqa: S102 - our own page's code
    assert second["model"].config.gi_side == GateSide.both.value
    assert with_attention(second["model"], Attention.fast) is second["model"]
    exec(results, third)  # noqa: S102 - our own page's code
    assert str(third["record"]["metrics"]) in capsys.readouterr().out
    assert {"step", "loss"} <= set(third["curve"].columns)
    assert list(third["predictions"].columns) == ["idx", "label", "logits"]
