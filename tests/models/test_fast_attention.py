"""Fast attention: DeBERTa's, with transformers' outputs and gradients for every setting, and the same training with it
and with XLNet's, which `test_fast_xlnet.py` looks into."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForSequenceClassification, set_seed
from transformers.models.deberta import modeling_deberta as v1
from transformers.models.deberta_v2 import modeling_deberta_v2 as v2

from gifine import evaluate
from gifine.changes import gi
from gifine.choices import Attention, GateSide
from gifine.config import GiConfig
from gifine.errors import ExitCode
from gifine.models import at_site, build, family_classes, from_pretrained
from gifine.models.attention import disentangled, disentangled_sdpa, distances, fast_dropout
from gifine.models.attention.positions import positions
from gifine.models.changed import become
from gifine.models.families import deberta, deberta_v2
from gifine.runs import finished, records
from gifine.training.restoration import restore
from support.processes import ACCELERATE, RUN, differences, finish, start
from support.rounding import tolerances
from support.tiny_models import BOTH, LABELS, NONE, ROUNDING, make, make_batch, model_config

DEBERTAS = ["deberta", "deberta_v2"]
FAST = [*DEBERTAS, "xlnet"]
PLAIN = {"deberta": v1.DisentangledSelfAttention, "deberta_v2": v2.DisentangledSelfAttention}
GATED = {"deberta": deberta.GiDebertaSelfAttention, "deberta_v2": deberta_v2.GiDebertaV2SelfAttention}


class Case(NamedTuple):
    family: str
    length: int
    batch: int = 2
    heads: int = 2
    head_size: int = 4
    terms: tuple[str, ...] = ("c2p", "p2c")
    shared: bool = True
    buckets: int = 8
    maximum: int = 32
    padding: int = 0
    side: str = "none"
    dtype: torch.dtype = torch.float64


def modules(case: Case) -> tuple[Any, Any, Tensor]:  # Any: for their submodules
    """Transformers' own module or our gated one, the fast one with the same parameters, and relative positions."""
    entries: dict[str, Any] = {
        "hidden_size": case.heads * case.head_size,
        "num_attention_heads": case.heads,
        "num_hidden_layers": 1,
        "relative_attention": True,
        "max_relative_positions": case.maximum,
        "pos_att_type": list(case.terms),
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    entries |= {"gi_side": case.side, "gi_level": 0.3} if case.side != "none" else {}
    states = torch.empty(case.batch, case.length, 1)
    if case.family == "deberta_v2":
        entries |= {"share_att_key": case.shared, "position_buckets": case.buckets}
        relative_pos = v2.build_relative_position(states, states, case.buckets, case.maximum)
    else:
        relative_pos = v1.build_relative_position(states, states)
    family = family_classes(case.family)
    gated = case.side != "none"
    config: Any = family.config(**entries) if gated else family.plain_config(**entries)
    attention: Any = GATED[case.family] if gated else PLAIN[case.family]

    def made(kind: Any) -> Any:
        if not gated:
            return kind(config).to(case.dtype)
        module = PLAIN[case.family](config)
        become(module, kind, config, 0, gi.SIDES[case.side], *config.find_change())
        return module.to(case.dtype)

    theirs, ours = made(attention), made(family.fast[attention])
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.3)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours, relative_pos


def mask_of(case: Case) -> Tensor:
    """As the encoder makes it, 64-bit integers; the last example is the longest."""
    real_BT = torch.ones(case.batch, case.length, dtype=torch.long)
    for index in range(case.batch - 1):
        if case.padding:
            real_BT[index, max(1, case.length - case.padding - index) :] = 0
    return real_BT[:, None, None] * real_BT[:, None, :, None]


def results(module: nn.Module, case: Case, relative_pos: Tensor) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    size = case.heads * case.head_size
    rows = 2 * (case.buckets if case.family == "deberta_v2" and case.buckets > 0 else case.maximum)
    hidden = torch.randn(case.batch, case.length, size, generator=generator).to(case.dtype).requires_grad_()
    relative = torch.randn(rows, size, generator=generator).to(case.dtype).requires_grad_()
    grad = torch.randn(case.batch, case.length, size, generator=generator).to(case.dtype)
    mask = mask_of(case)
    with at_site.during(at_site.Pass(mask[:, 0].diagonal(dim1=-2, dim2=-1).bool())):
        context, _ = module(hidden, mask, relative_pos=relative_pos, rel_embeddings=relative)
    context.backward(grad)
    found = {"context": context.detach(), "hidden": hidden.grad, "relative": relative.grad}
    found |= {name: parameter.grad for name, parameter in module.named_parameters()}
    return {name: value for name, value in found.items() if value is not None}


def assert_equal(theirs: Any, ours: Any, case: Case, relative_pos: Tensor) -> None:
    """But for what rounding may do to each result. Some are nothing else: the gradient of a key's bias, which moves all
    scores of a query alike, is 0, and so is the sum that it is computed as, of terms that are not."""
    reference = copy.deepcopy(theirs).double()

    def in_float64() -> dict[str, Tensor]:
        reference.zero_grad()
        return results(reference, case._replace(dtype=torch.float64), relative_pos)

    allowed = tolerances(in_float64, case.dtype)
    expected, found = results(theirs, case, relative_pos), results(ours, case, relative_pos)
    for name, value in expected.items():
        if name not in found:  # never used: transformers projects positions for a term that is not there
            assert not value.any(), name
            continue
        assert found[name].shape == value.shape
        assert float((found[name] - value).abs().max()) <= allowed[name], name


CASES = st.builds(
    Case,
    family=st.sampled_from(DEBERTAS),
    length=st.one_of(st.integers(1, 12), st.sampled_from([31, 63, 64, 65, 130])),
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    head_size=st.integers(1, 5),
    terms=st.sampled_from([(), ("c2p",), ("p2c",), ("c2p", "p2c")]),
    shared=st.booleans(),
    buckets=st.sampled_from([-1, 4, 6, 8, 32]),
    maximum=st.sampled_from([5, 32, 140]),
    padding=st.integers(0, 6),
    side=st.sampled_from(["none", "key", "query", "both"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)


FOUND = {"heads": 3, "head_size": 5, "shared": False, "buckets": 6, "maximum": 5, "padding": 1, "side": "key"}


@settings(max_examples=settings().max_examples // 4)
@given(case=CASES)
@example(case=Case("deberta_v2", 7, terms=("c2p",), dtype=torch.float32, **FOUND))
@example(case=Case("deberta_v2", 512, batch=1, buckets=256, maximum=512))
@example(case=Case("deberta_v2", 300, batch=2, buckets=-1, maximum=512, shared=False, padding=40))
@example(case=Case("deberta", 512, batch=1, maximum=512))
@example(case=Case("deberta_v2", 1, batch=1, heads=1, head_size=1))
def test_outputs_and_gradients_are_transformers(case: Case) -> None:
    set_seed(0)
    theirs, ours, relative_pos = modules(case)
    assert_equal(theirs, ours, case, relative_pos)


@pytest.mark.parametrize("part", [1, 500, 3000])
@pytest.mark.parametrize("block", [5, 7, 20])
def test_parts_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, part: int, block: int) -> None:
    monkeypatch.setattr(disentangled, "PART", part)
    monkeypatch.setattr(distances, "BLOCK", block)
    case = Case("deberta_v2", 20, batch=3, heads=3, padding=3)
    theirs, ours, relative_pos = modules(case)
    assert_equal(theirs, ours, case, relative_pos)


@pytest.mark.parametrize(("buckets", "maximum"), [(256, 512), (32, 128), (-1, 512), (16, 24)])
def test_rows_are_those_that_transformers_looks_up(buckets: int, maximum: int) -> None:
    span = buckets if buckets > 0 else maximum
    for length in range(1, 513):
        states = torch.empty(1, length, 1)
        relative = v2.build_relative_position(states, states, buckets, maximum)[0]
        expected = (relative + span).clamp(0, 2 * span - 1)
        found = positions(length, span, buckets, maximum, torch.device("cpu"))
        assert (found.first, found.last) == (int(expected.min()), int(expected.max()) + 1)
        distance = torch.arange(length)[:, None] - torch.arange(length)
        assert torch.equal(found.row_L[distance + length - 1] + found.first, expected)


def test_a_mask_of_one_row_and_masks_of_pairs_are_transformers() -> None:
    case = Case("deberta_v2", 9, batch=2)
    theirs, ours, relative_pos = modules(case)
    hidden, relative = torch.randn(2, 9, 8).double(), torch.randn(16, 8).double()
    for mask in (
        torch.tensor([[1] * 9, [1] * 4 + [0] * 5])[:, None, None],
        torch.randint(0, 2, (2, 1, 9, 9)),
        torch.randint(0, 2, (2, 2, 9, 9)),
    ):
        expected, found = (
            module(hidden, mask, relative_pos=relative_pos, rel_embeddings=relative)[0] for module in (theirs, ours)
        )
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", DEBERTAS)
@pytest.mark.parametrize("side", ["none", "both"])
def test_weights_are_there_for_who_asks(family: str, side: str) -> None:
    case = Case(family, 7, side=side, padding=2)
    theirs, ours, relative_pos = modules(case)
    hidden, relative = torch.randn(2, 7, 8).double(), torch.randn(64 if family == "deberta" else 16, 8).double()
    keywords = {"output_attentions": True, "relative_pos": relative_pos, "rel_embeddings": relative}
    expected, found = (module(hidden, mask_of(case), **keywords) for module in (theirs, ours))
    assert all(torch.equal(mine, own) for mine, own in zip(found, expected, strict=True))


@pytest.mark.parametrize("case", [Case("deberta_v2", 11, padding=3), Case("deberta", 11, padding=3, terms=("p2c",))])
def test_the_path_for_gpus_is_transformers(monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    monkeypatch.setattr(disentangled_sdpa, "serves", lambda query: True)
    used = []
    attention = disentangled_sdpa.attention
    monkeypatch.setattr(disentangled_sdpa, "attention", lambda *a, **k: used.append(1) or attention(*a, **k))
    theirs, ours, relative_pos = modules(case)
    assert_equal(theirs, ours, case, relative_pos)
    assert used


# Dropout


@pytest.mark.parametrize("dropout", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_dropout_keeps_as_many_as_it_should(dropout: float) -> None:
    set_seed(0)
    keep = torch.empty(401, 1003, dtype=torch.bool)
    rescale = fast_dropout.draw(keep, dropout)
    chance, count = float(keep.double().mean()), keep.numel()
    assert abs(chance - (1 - dropout)) < 2**-16 + 4 * (dropout * (1 - dropout) / count) ** 0.5
    assert rescale == (0 if dropout == 1 else pytest.approx(1 / (1 - dropout), rel=1e-4))
    pairs = float((keep[:, 1:] & keep[:, :-1]).double().mean())  # neighbours share a random number
    assert abs(pairs - (1 - dropout) ** 2) < 0.005


@pytest.mark.parametrize("family", DEBERTAS)
def test_dropout_leaves_the_mean_what_it_is(family: str) -> None:
    set_seed(0)
    case = Case(family, 6, batch=1)
    _, ours, relative_pos = modules(case)
    hidden, relative = torch.randn(1, 6, 8).double(), torch.randn(64 if family == "deberta" else 16, 8).double()
    keywords = {"relative_pos": relative_pos, "rel_embeddings": relative}
    mask = mask_of(case)
    with torch.no_grad():
        expected, _ = ours.eval()(hidden, mask, **keywords)
        ours.dropout.p = 0.3
        ours.train()
        drawn = torch.stack([ours(hidden, mask, **keywords)[0] for _ in range(4000)])
    error = drawn.std(dim=0) / 4000**0.5
    assert float(((drawn.mean(dim=0) - expected) / error).abs().max()) < 5
    assert drawn.std() > 0.01


def test_dropout_has_its_gradient_and_repeats_by_seed() -> None:
    """The gradient of what was drawn, by finite differences: with the same seed the same numbers are dropped."""
    case = Case("deberta_v2", 5, batch=2, padding=1)
    _, ours, relative_pos = modules(case)
    ours.dropout.p, ours.pos_dropout.p = 0.4, 0.2
    ours.train()
    relative = torch.randn(16, 8).double().requires_grad_()
    hidden = torch.randn(2, 5, 8).double().requires_grad_()

    def context(hidden: Tensor, relative: Tensor) -> Tensor:
        set_seed(3)
        return ours(hidden, mask_of(case), relative_pos=relative_pos, rel_embeddings=relative)[0]

    assert torch.equal(context(hidden, relative), context(hidden, relative))
    first = context(hidden, relative)
    assert not torch.equal(first, ours(hidden, mask_of(case), relative_pos=relative_pos, rel_embeddings=relative)[0])
    assert torch.autograd.gradcheck(context, (hidden, relative))


def test_dropout_of_everything_leaves_zeros() -> None:
    case = Case("deberta_v2", 5)
    theirs, ours, relative_pos = modules(case)
    for module in (theirs, ours):
        module.dropout.p = 1.0
        module.train()
    expected, found = (results(module, case, relative_pos) for module in (theirs, ours))
    assert not expected["context"].any()
    for name, value in found.items():
        assert not value.any(), name


@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_dropout_of_hidden_states_is_torchs_but_for_the_numbers_drawn(dropout: float) -> None:
    set_seed(0)
    module = fast_dropout.FastDropout(dropout)
    states = torch.rand(200, 301).add(1).requires_grad_()
    dropped = module(states)
    dropped.backward(torch.ones_like(dropped))
    kept = dropped != 0
    assert states.grad is not None
    assert float(kept.double().mean()) == pytest.approx(1 - dropout, abs=0.01)
    torch.testing.assert_close(dropped, states * states.grad)
    rescale = 1 / (1 - dropout) if dropout < 1 else 0
    torch.testing.assert_close(states.grad, kept * rescale, rtol=1e-4, atol=0, check_dtype=False)
    assert module.eval()(states) is states


# Models


fast = make


def hf(family: str, gi: GiConfig, **overrides: Any) -> Any:
    set_seed(0)
    return build(model_config(family, config_overrides=overrides, attention=Attention.hf), gi, labels=LABELS).eval()


def kinds(model: nn.Module) -> set[str]:
    return {type(module).__name__ for module in model.modules()}


@pytest.mark.parametrize("family", FAST)
@pytest.mark.parametrize("gi", [NONE, BOTH], ids=["plain", "gated"])
def test_a_model_has_it_and_is_saved_as_ever(tmp_path, family: str, gi: GiConfig) -> None:
    ours, theirs = fast(family, gi), hf(family, gi)
    assert any(kind.startswith("Fast") for kind in kinds(ours))
    assert not any(kind.startswith("Fast") for kind in kinds(theirs))
    assert type(ours) is type(theirs)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()
    read = AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours")
    assert type(read) is type(theirs)
    assert not any(kind.startswith("Fast") for kind in kinds(read))
    batch, expected = make_batch(family, width=12), ours.double()(**make_batch(family, width=12)).logits
    for model in (read.eval(), from_pretrained(tmp_path / "ours")):
        torch.testing.assert_close(model.double()(**batch).logits, expected, rtol=0.0, atol=ROUNDING)


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_other_families_have_one(family: str) -> None:
    assert kinds(fast(family, NONE)) == kinds(hf(family, NONE))


VARIANTS = [
    ("deberta", {}),
    ("deberta", {"pos_att_type": ["c2p"], "max_relative_positions": 5}),
    ("deberta_v2", {}),
    ("deberta_v2", {"share_att_key": False, "position_buckets": -1, "norm_rel_ebd": "none"}),
    ("deberta_v2", {"conv_kernel_size": 3, "conv_act": "gelu"}),
    ("deberta_v2", {"relative_attention": False, "pos_att_type": []}),
    ("xlnet", {}),
]
NO_DROPOUT: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
XLNETS_NO_DROPOUT: dict[str, Any] = {"dropout": 0.0, "summary_last_dropout": 0.0}


@pytest.mark.parametrize("gi", [NONE, BOTH], ids=["plain", "gated"])
@pytest.mark.parametrize(("family", "overrides"), VARIANTS)
def test_fifty_steps_are_those_of_transformers(family: str, overrides: dict[str, Any], gi: GiConfig) -> None:
    no_dropout, losses = XLNETS_NO_DROPOUT if family == "xlnet" else NO_DROPOUT, []
    for made in (fast, hf):
        model = made(family, gi, **no_dropout, **overrides, initializer_range=0.02).double().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        losses.append([])
        for step in range(50):
            batch = make_batch(family, lengths=(9, 4, 6, 2 + step % 7), width=9 + step % 4, seed=step % 5)
            loss = model(**batch, labels=torch.tensor([0, 1, 2, 1])).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=0, abs=ROUNDING)
    assert losses[0][-1] < losses[0][0]


@pytest.mark.parametrize("family", DEBERTAS)
def test_gradient_checkpointing_draws_the_same_dropout(family: str) -> None:
    case = Case(family, 9, padding=2)
    _, ours, relative_pos = modules(case)
    ours.dropout.p = 0.3
    ours.train()

    def forward(again: bool) -> tuple[Tensor, ...]:
        set_seed(5)
        ours.zero_grad()
        hidden = torch.randn(2, 9, 8).double().requires_grad_()
        relative = torch.randn(64 if family == "deberta" else 16, 8).double()
        arguments = (hidden, mask_of(case), False, None, relative_pos, relative)
        context, _ = checkpoint(ours, *arguments, use_reentrant=False) if again else ours(*arguments)
        context.square().sum().backward()
        assert hidden.grad is not None
        return context, hidden.grad, *(parameter.grad for parameter in ours.parameters() if parameter.grad is not None)

    for kept, again in zip(forward(again=False), forward(again=True), strict=True):
        assert torch.equal(kept, again)


@pytest.mark.parametrize("gi", [NONE, GiConfig(side=GateSide.both, level=0.3)], ids=["plain", "gated"])
@pytest.mark.parametrize("family", FAST)
def test_autocast_is_near_float32(family: str, gi: GiConfig) -> None:
    model, batch = fast(family, gi, initializer_range=0.1), make_batch(family, width=12)
    expected = model(**batch).logits
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch, labels=torch.tensor([0, 1, 2]))
    loss.loss.backward()
    assert float((loss.logits.float() - expected).detach().abs().max() / expected.detach().abs().max()) < 0.1
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("family", DEBERTAS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_floats_keep_the_mask(family: str, dtype: torch.dtype) -> None:
    case = Case(family, 9, padding=3, dtype=torch.float32)
    _, ours, relative_pos = modules(case)
    expected = results(ours, case, relative_pos)["context"]
    found = results(ours.to(dtype), case._replace(dtype=dtype), relative_pos)
    assert all(value.isfinite().all() for value in found.values())
    assert float((found["context"].float() - expected).abs().max() / expected.abs().max()) < 0.1


@pytest.mark.parametrize("family", DEBERTAS)
def test_nothing_is_kept_without_gradients(family: str) -> None:
    model, batch = fast(family, NONE), make_batch(family)
    with torch.inference_mode():
        first = model(**batch).logits
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(1) or tensor, lambda tensor: tensor):
        with torch.no_grad():
            again = model(**batch).logits
        assert not kept
        model(**batch).loss  # noqa: B018 - for what the forward pass does
        assert kept
    assert torch.equal(first, again)
    model(**batch, labels=torch.tensor([0, 1, 2])).loss.backward()  # what inference has cached serves training


def test_saved_tensors_are_a_fifth() -> None:
    case = Case("deberta_v2", 64, batch=8, heads=4, head_size=16, buckets=256, maximum=512)
    theirs, ours, relative_pos = modules(case)
    sizes = []
    for module in (theirs, ours):
        module.dropout.p, module.pos_dropout.p = 0.1, 0.1
        module.train()
        held: dict[int, Tensor] = {}
        own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}

        def keep(tensor: Tensor, held: dict[int, Tensor] = held, own: set[int] = own) -> Tensor:
            if (place := tensor.untyped_storage().data_ptr()) not in own:
                held[place] = tensor
            return tensor

        hidden, relative = torch.randn(8, 64, 64).double(), torch.randn(512, 64).double()
        hidden.requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            module(hidden, mask_of(case), relative_pos=relative_pos, rel_embeddings=relative)
        sizes.append(sum(tensor.untyped_storage().nbytes() for tensor in held.values()))
    assert sizes[1] < sizes[0] / 5


# Runs

DEBERTA_RUN = [word.replace("model=bert", "model=debertav3") for word in RUN]
DEBERTA_RUN.append("model.config_overrides.initializer_range=0.2")  # at RUN's 0.5 rounding shows in the fourth digit


@pytest.mark.parametrize("attention", ["fast", "hf"])
def test_a_run_is_evaluated_with_its_own(train, tmp_path, attention: str) -> None:
    result = train(*DEBERTA_RUN, f"model.attention={attention}")
    (run,) = finished.read([result.folder])
    trainer, _ = restore(run, tmp_path / "scratch")
    assert trainer.model is not None
    assert any(kind.startswith("Fast") for kind in kinds(trainer.model)) == (attention == "fast")
    assert evaluate.main([str(result.folder)]) == ExitCode.DONE, "to the last digit"
    del result.record.config["model"]["attention"]  # a run of before there was a choice
    records.write(result.folder, result.record)
    (run,) = finished.read([result.folder])
    assert run.config.model.attention is Attention.hf


@pytest.mark.long
@pytest.mark.usefixtures("float64")
def test_ddp_and_fsdp_with_gradient_checkpointing_are_one_process(train, tmp_path) -> None:
    words = [*DEBERTA_RUN, "gi.threshold=sequence"]
    one = train(*words, "train.batch_size=16", "model.attention=hf")
    own = ["train.keep_checkpoints=true", f"data.cache_dir={tmp_path}"]
    for name, more in (("ddp", []), ("fsdp", ["train.fsdp=true", "train.gradient_checkpointing=true"])):
        finish(start(ACCELERATE, *words, *more, *own, f"output_dir={tmp_path / name}"))
        assert max(differences(one.folder, tmp_path / name)) < 1e-10, name
    assert [*(tmp_path / "fsdp" / "checkpoints").glob("checkpoint-*/optimizer.bin")], "it was not FSDP"
