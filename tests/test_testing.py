"""check_family: all laws hold on every family, and a model that breaks one is told which."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.families import CONFIGS, FAMILIES, TOY, make_model
from support.thinned import thinned
from torch import Tensor, nn

import edgewise as ew
from edgewise.errors import UnsupportedModel
from edgewise.models.toy import ToyTransformer
from edgewise.testing import check_family, family_report


@pytest.mark.parametrize("family", thinned([()], FAMILIES, one_in=6))
def test_all_laws_hold_on_every_family(family: str) -> None:
    model = make_model(CONFIGS[family]())
    report = check_family(model)
    assert report.broken == ()
    assert {finding.law.split()[0] for finding in report.findings} >= set("1236789")
    assert str(report).startswith(f"{type(model).__name__} as family ")
    assert "BROKEN" not in str(report)


@pytest.mark.parametrize(
    ("dtype", "family"), thinned([(torch.float64,), (torch.bfloat16,)], ["llama", "gpt2", "gemma2"], one_in=2)
)
def test_in_other_dtypes_too(dtype: torch.dtype, family: str) -> None:
    check_family(make_model(CONFIGS[family](), dtype=dtype))


def test_a_model_that_reads_both_ways_is_asked_what_can_be_asked() -> None:
    report = check_family(make_model(replace(TOY, causal=False)))
    assert not any("behind the answer" in finding.law for finding in report.findings)


# -- models that break a law and pass the self-check ------------------------------------------------------------------


class Own(ToyTransformer):
    """Stands for a class of the user's own."""


OWN = replace(ew.FAMILIES["toy"], name="own", architectures=("Own",))


def own() -> Any:
    torch.manual_seed(0)
    return Own(TOY).requires_grad_(False).eval()


def reading_ahead() -> Any:
    """Says that it is causal, and is not."""
    model = own()
    for layer in model.layers:
        layer.attention.config = replace(TOY, causal=False)
    return model


def hearing_the_others() -> Any:
    """What enters the first layer depends on the rest of the batch."""
    model = own()
    model.embed.register_forward_hook(lambda _, args, out: out + out.mean(dim=0))
    return model


class FrozenScale(nn.LayerNorm):
    """Gives what a layer norm gives, but no gradient passes its scale."""

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        scale = (centred.square().mean(dim=-1, keepdim=True) + self.eps).rsqrt().detach()
        return centred * scale * self.weight + self.bias


def with_frozen_scales() -> Any:
    model = own()
    for layer in model.layers:
        layer.attention_norm = FrozenScale(32)
    return model.requires_grad_(False)


def drawing_numbers() -> Any:
    model = own()
    model.embed.register_forward_hook(lambda _, args, out: out + 0 * torch.rand(()))
    return model


def counting_calls() -> Any:
    model = own()
    model.calls = 0
    model.register_forward_hook(lambda module, args, out: setattr(module, "calls", module.calls + 1))
    return model


BREAKING = {
    "behind the answer": reading_ahead,
    "batch size and order": hearing_the_others,
    "gradient in the mask": with_frozen_scales,
    "changed: random numbers": drawing_numbers,
    "changed: .calls": counting_calls,
}


@pytest.mark.parametrize("law", BREAKING)
def test_a_broken_law_is_named_with_numbers(law: str) -> None:
    model = BREAKING[law]()
    with pytest.raises(UnsupportedModel) as caught:
        check_family(model, OWN)
    said = str(caught.value)
    counts = re.match(r"Own as family 'own' breaks (\d+) of (\d+) ", said)
    assert counts is not None, said
    assert 0 < int(counts[1]) < int(counts[2])
    assert law in said
    assert "\n" not in said


def test_a_law_in_whose_middle_the_model_raises_is_broken() -> None:
    model = own()

    def refuse(_: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        if args[0].shape[1] == 7 and torch.is_grad_enabled():
            raise RuntimeError("only without gradients")

    model.layers[1].mlp.register_forward_hook(refuse)
    assert "RuntimeError: only without gradients" in str(family_report(model, OWN))


def test_what_load_refuses_is_refused_as_load_does() -> None:
    with pytest.raises(UnsupportedModel, match="mlp='nlp' names nothing"):
        check_family(own(), replace(OWN, mlp="nlp"))


def test_the_checks_need_no_pytest() -> None:
    code = "import sys, edgewise.testing; sys.exit('pytest' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
