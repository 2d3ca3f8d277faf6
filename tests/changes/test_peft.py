"""LoRA and (IA)³ against peft, in float64: logits, hidden states and gradients, in both readings of DeBERTa."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import set_seed

from gifine.choices import Attention
from gifine.models import family_classes, with_attention
from support.tiny_models import ARCHITECTURE, LABELS, ROUNDING, make_batch

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),  # peft asks for it
]

FAMILIES = ("bert", "roberta", "deberta_v2")
CASES = [
    (family, change, sites, reading)
    for family in FAMILIES
    for change, sites in [
        ("lora", ("query", "value")),
        ("lora", ("query", "key", "value")),
        ("lora", ("key", "output", "ffn_output")),
        ("ia3", ("key", "value", "ffn")),
        ("ia3", ("key", "value", "context", "ffn")),
    ]
    for reading in (("positions", "content") if family == "deberta_v2" else ("positions",))
]
# The sites in transformers' models, which peft matches against whole paths, and where ours has its tensors.
PROJECTIONS = {site: (rf"self\.{site}(?:_proj)?", f"self.change_{site[0]}") for site in ("query", "key", "value")}
CONTEXT, INNER = r"attention\.output\.dense", r"(layer\.\d+\.)output\.dense"
SITES: dict[str, dict[str, tuple[str, str]]] = {
    "lora": PROJECTIONS
    | {"output": (CONTEXT, "attention.output.change_output"), "ffn_output": (INNER, r"\1output.change_ffn_output")},
    # (IA)³ scales what these take, as peft has it.
    "ia3": PROJECTIONS
    | {"context": (CONTEXT, "attention.self.change_context"), "ffn": (INNER, r"\1intermediate.change_ffn")},
}


def target(change: str, sites: tuple[str, ...]) -> str:
    return ".*(" + "|".join(SITES[change][site][0] for site in sites) + ")"


def adapted(plain: Any, change: str, sites: tuple[str, ...]) -> Any:
    import peft  # takes a second, which tests that are not wanted need not take

    how: dict[str, Any] = {"task_type": "SEQ_CLS", "target_modules": target(change, sites)}
    if change == "lora":
        config: Any = peft.LoraConfig(r=3, lora_alpha=5, **how)
    else:
        inner = tuple(site for site in sites if site not in PROJECTIONS)
        config = peft.IA3Config(feedforward_modules=target(change, inner), **how)
    return peft.get_peft_model(copy.deepcopy(plain), config)


def ours_of(name: str, change: str) -> str | None:
    """Of a parameter of peft's model; None for the copy of the classifier that it does not use."""
    name = name.removeprefix("base_model.model.").replace(".base_layer", "")
    if ".original_module." in name:
        return None
    name = name.replace(".modules_to_save.default", "")
    found = re.fullmatch(r"(.*)\.(?:lora_([AB])\.default\.weight|ia3_l\.default)", name)
    if found is None:
        return name
    path = found[1]
    for theirs, here in SITES[change].values():
        path, matched = re.subn(f"{theirs}$", here, path)
        if matched:
            break
    return f"{path}.{found[2] or 'scale'}"


def content_alone(model: Any) -> None:
    """peft's modules without its adapters where DeBERTa projects relative positions."""
    for attention in [module for module in model.modules() if hasattr(module, "disentangled_attention_bias")]:
        wrapped = [module for module in attention.children() if hasattr(module, "_disable_adapters")]

        def bias(*args: Any, of: Callable[..., Tensor], wrapped: list[Any], **kwargs: Any) -> Tensor:
            for module in wrapped:
                module._disable_adapters = True
            found = of(*args, **kwargs)
            for module in wrapped:
                module._disable_adapters = False
            return found

        attention.disentangled_attention_bias = partial(bias, of=attention.disentangled_attention_bias, wrapped=wrapped)


def results(model: Any, states_of: nn.Module, family: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    states: list[Tensor] = []
    handle = states_of.register_forward_hook(lambda _module, _args, output: states.append(output[0]))
    batch = make_batch(family)
    output = model(**batch, labels=torch.tensor([2, 0, 1]))
    output.loss.backward()
    handle.remove()
    found = {"logits": output.logits, "states": states[0][batch["attention_mask"].bool()]}
    return found, {name: each.grad for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize(("family", "change", "sites", "reading"), CASES)
def test_equal_to_peft(family: str, change: str, sites: tuple[str, ...], reading: str) -> None:
    classes = family_classes(family)
    entries = ARCHITECTURE[family] | {"num_labels": len(LABELS)}
    set_seed(0)
    plain = classes.plain_classifier(classes.plain_config(**entries)).double().eval()
    theirs = adapted(plain, change, sites).double().eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in theirs.named_parameters():
        parameter.requires_grad_()  # gradients of all, as if all were trained
        if "lora_" in name or "ia3_l" in name:
            nn.init.normal_(parameter, 1.0 if "ia3_l" in name else 0.0, 0.3, generator=generator)
    if reading == "content":
        content_alone(theirs)

    keys: dict[str, Any] = {"name": change, "sites": [*sites], "positions": reading == "positions"}
    keys |= {"rank": 3, "alpha": 5} if change == "lora" else {}
    model: Any = classes.classifier(classes.config(**entries, change=keys)).double().eval()
    shapes = {name: each.shape for name, each in model.state_dict().items()}
    state = {ours_of(name, change): each for name, each in theirs.state_dict().items()}
    model.load_state_dict({name: each.view(shapes[name]) for name, each in state.items() if name is not None})

    expected, theirs_grad = results(theirs, theirs.base_model.model.base_model, family)
    gradients = {name: each for key, each in theirs_grad.items() if (name := ours_of(key, change)) is not None}
    for attention in (Attention.hf, Attention.fast):
        model.zero_grad()
        found, found_grad = results(with_attention(model, attention), model.base_model, family)
        torch.testing.assert_close(found, expected, rtol=0.0, atol=ROUNDING)
        assert found_grad.keys() == gradients.keys()
        for name, grad in gradients.items():
            torch.testing.assert_close(found_grad[name], grad.view(shapes[name]), rtol=0.0, atol=ROUNDING, msg=name)
