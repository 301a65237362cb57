"""Backward rules: against models rewritten with constants, one rule at a time; that each acts; and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import torch
from support.all_gradients import collected
from support.families import CONFIGS, FAMILIES, distance, make_subject, pairs, subject, toy_config
from support.path_oracle import batch_of, scores_along
from torch import Tensor, nn

import edgewise as ew
from edgewise.engine.backward import Seen, with_backward
from edgewise.engine.gradients import GradientSink, RunHooks, live_run
from edgewise.engine.record import keep, record
from edgewise.engine.rules import CHANGES, PLAIN, BackwardRule
from edgewise.errors import UnknownName, UnsupportedModel
from edgewise.models import Subject
from edgewise.models.hooks import OnInput
from edgewise.models.norms import Norm

NEAR = 1e-4
every_family = pytest.mark.parametrize("family", FAMILIES)
ACTIVATIONS = ("GELU", "NewGELUActivation", "GELUActivation", "GELUTanh", "SiLUActivation")
GATED = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma", "gemma3", "smollm3", "granite", "olmo2", "olmo3")
GATED = (*GATED, "phi3", "stablelm", "stablelm-parallel")


# -- the same rules written into the forward pass, with constants ------------------------------------------------------


def norm_with_constant_scale(module: Any, norm: Norm) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True) if norm.centred else x
        scale = norm.normalise(x)[1].detach()
        return centred * scale * norm.gain(x) + norm.shift(x)

    return forward


def chord(module: nn.Module) -> Callable[[Tensor], Tensor]:
    native = module.forward
    return lambda x: x * (native(x) / x).detach()


def half_product(mlp: Any) -> Callable[[Tensor], Tensor]:
    def forward(x: Tensor) -> Tensor:
        if hasattr(mlp, "gate_up_proj"):
            gate, up = mlp.gate_up_proj(x).chunk(2, dim=-1)
            product = mlp.activation_fn(gate) * up
        else:
            product = mlp.act_fn(mlp.gate_proj(x)) * mlp.up_proj(x)
        return mlp.down_proj(product / 2 + (product / 2).detach())

    return forward


def half_mixture(block: Any) -> Callable[[Tensor], Tensor]:
    """Expert by expert, with constants in both products: of gate and up, and of the router's weight and the expert."""
    experts = block.experts

    def half(product: Tensor) -> Tensor:
        return product / 2 + (product / 2).detach()

    def forward(x: Tensor) -> Tensor:
        flat = x.flatten(0, -2)
        _, weights, chosen = block.gate(flat)
        total = torch.zeros_like(flat)
        for number in range(experts.num_experts):
            gate, up = (flat @ experts.gate_up_proj[number].T).chunk(2, dim=-1)
            out = half(experts.act_fn(gate) * up) @ experts.down_proj[number].T
            share = (weights * (chosen == number)).sum(dim=-1, keepdim=True)
            total = total + half(out * share)
        return total.view_as(x)

    return forward


@contextmanager
def softer_softmax(temperature: float) -> Iterator[None]:
    """softmax(x) + t · (softmax(x / t) − its value): the value of the one, the derivative t · ∂softmax(x / t)."""
    native = torch.softmax

    def softmax(x: Tensor, dim: int = -1, **options: Any) -> Tensor:
        if x.ndim == 2:  # a router's
            return native(x, dim=dim)
        softer = temperature * native(x / temperature, dim=dim)
        return native(x, dim=dim).detach() + softer - softer.detach()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "softmax", softmax)
        patch.setattr(Tensor, "softmax", lambda x, dim: softmax(x, dim))
        yield


@contextmanager
def rewritten(on: Subject, rules: tuple[str, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for module in on.model.modules():
            name = type(module).__name__
            if "norms" in rules and name.endswith("Norm"):
                patch.setattr(module, "forward", norm_with_constant_scale(module, Norm(module, on.final_norm.kind)))
            if "activations" in rules and name in ACTIVATIONS:
                patch.setattr(module, "forward", chord(module))
            if "products" in rules and hasattr(module, "down_proj"):
                patch.setattr(module, "forward", half_product(module))
            if "products" in rules and hasattr(module, "experts"):
                patch.setattr(module, "forward", half_mixture(module))
        if "softmax" in rules:
            stack.enter_context(softer_softmax(2.0))
        yield


def by_rewriting(family: str, rules: tuple[str, ...]) -> Tensor:
    on = make_subject(CONFIGS[family]())
    if hasattr(on.model, "set_attn_implementation"):
        on.model.set_attn_implementation("eager")
    batch = batch_of(on, pairs())
    with rewritten(on, rules):
        return scores_along(batch, [(1.0, [])])


@every_family
@pytest.mark.parametrize("rules", [("norms",), ("activations",), ("products",), ("softmax",)])
def test_each_rule_is_what_constants_in_the_forward_pass_give(family: str, rules: tuple[str, ...]) -> None:
    scores = ew.attribute(subject(family), pairs(), method="relp", rules=rules)
    assert distance(scores.values, by_rewriting(family, rules)) < NEAR


@every_family
def test_and_so_are_all_of_relp_together(family: str) -> None:
    scores = ew.attribute(subject(family), pairs(), method="relp", batch_size=2)
    assert distance(scores.values, by_rewriting(family, ("norms", "activations", "products"))) < NEAR


@pytest.mark.parametrize("family", ["gpt2", "neox-parallel", "qwen3", "toy"])
def test_attention_shares_its_gradient(family: str) -> None:
    """The scores of queries and keys are a quarter, those of values a half of what they would be otherwise."""
    on, of = subject(family), pairs()
    objective: Callable[[Tensor], Tensor] = lambda logits: (logits[:, 3] - logits[:, 5]).sum()  # noqa: E731
    plain, shared = (collected(on, of, objective, rule) for rule in (BackwardRule(), BackwardRule.of(["attention"])))
    heads, kv = on.graph.heads, on.graph.kv_heads
    share = torch.tensor([0.25] * (heads + kv) + [0.5] * kv)[:, None]
    # In the last layer nothing comes behind the attention's gradient but the MLP, which no rule changes.
    last = on.graph.layers - 1
    torch.testing.assert_close(shared.at_heads[last], plain.at_heads[last] * share, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(shared.at_final, plain.at_final)


def test_gim_is_its_four_rules() -> None:
    named = ew.attribute(subject("llama"), pairs(), method="relp", rules=("norms", "products", "attention", "softmax"))
    assert torch.equal(ew.attribute(subject("llama"), pairs(), method="gim").values, named.values)
    plain = ew.attribute(subject("llama"), pairs(), method="relp", rules=("norms", "products", "attention"))
    same = ew.attribute(subject("llama"), pairs(), method="gim", temperature=1.0)
    torch.testing.assert_close(same.values, plain.values, rtol=1e-3, atol=1e-5)


# -- values, and that rules act ---------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("rule", CHANGES)
def test_forward_values_are_bit_for_bit_the_same(family: str, rule: str) -> None:
    on, of = subject(family), pairs()
    plain = record(on, of.clean, of.positions)
    streams, objective = [], lambda logits: logits.sum()
    watching = [OnInput(on.final_norm.module, keep(streams))]
    with live_run(
        on, of.clean, of.positions, objective, rule=BackwardRule.of([rule]), hooks=RunHooks(watching=watching)
    ) as run:
        run.last_gradients(GradientSink())
    assert torch.equal(run.logits, plain.logits)
    assert torch.equal(streams[0], plain.final_in)


def sites_of(family: str) -> dict[str, int]:
    """Norms: two a layer and the last; Gemma-2 four; Qwen3 and others two more, for queries and keys. Three layers each.

    GPT-J, Phi and StableLM's parallel layers have one, StableLM's heads six more: one for each q head and each k head.
    Products: one a layer where there is a gate; of a mixture of experts two, and a layer of Qwen3-MoE has an ordinary MLP.
    """
    norms = {"toy-without-norms": 0, "toy-separate-bare": 0, "toy-attention-only": 4, "gemma3": 19}
    norms |= dict.fromkeys(("qwen3", "gemma2", "olmo2", "olmo3", "qwen3-moe"), 13)
    norms |= {"gpt-j": 4, "phi": 4, "stablelm-parallel": 4 + 3 * 6}
    mixtures = {"mixtral": 6, "qwen3-moe": 5}
    mlps = 0 if family in ("toy-attention-only", "toy-separate-bare") else 3
    fused = family in ("gpt2", "neox-parallel", "neox-serial", "phi3")
    return {
        "norms": norms.get(family, 7),
        "activations": 0 if family == "opt" else mlps,  # the slope of a ReLU is that of the chord
        "products": mixtures.get(family, 3 if family in GATED else 0),
        "attention": 3 if fused else 9,
        "softmax": 3,
    }


@every_family
@pytest.mark.parametrize("rule", CHANGES)
def test_every_rule_acts_on_all_its_places(family: str, rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Seen] = []

    def seen() -> Seen:
        counted.append(Seen())
        return counted[-1]

    monkeypatch.setattr("edgewise.engine.rules.Seen", seen)
    expected = sites_of(family)[rule]
    assert CHANGES[rule].sites(subject(family)) == expected
    ew.attribute(subject(family), pairs(), method="relp", rules=[rule])
    assert [one.forward for one in counted] == [expected]
    # Nobody asks for the gradient in front of the first layer's norms or projections.
    assert max(expected - 3, min(expected, 1)) <= counted[0].backward <= expected


def test_a_rule_that_does_not_act_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgewise.engine.rules.activations", lambda subject: [nn.GELU()])
    with pytest.raises(UnsupportedModel, match="rule activations acted on 0 of 1 places in GPT2LMHeadModel"):
        ew.attribute(subject("gpt2"), pairs(), method="relp")


# -- numbers by hand --------------------------------------------------------------------------------------------------


def test_a_chord_has_the_limit_one_half_at_zero() -> None:
    """gelu(x) / x at 2, −1 and 0: Φ(2) = 0.97725, Φ(−1) = 0.15866, and ½."""
    from edgewise.engine.rules import _chord

    x = torch.tensor([2.0, -1.0, 0.0], requires_grad=True)
    y = _chord(Seen())(x, nn.GELU()(x))
    (slope,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(slope, torch.tensor([0.97725, 0.15866, 0.5]), rtol=1e-4, atol=1e-5)


def test_a_backward_pass_can_be_given() -> None:
    x = torch.ones(2, requires_grad=True)
    y = with_backward(x, x * 3, lambda gradient: gradient * 7)
    assert y.tolist() == [3, 3]
    assert torch.autograd.grad(y.sum(), x)[0].tolist() == [7, 7]


# -- refusals ---------------------------------------------------------------------------------------------------------


class Wiggle(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


def test_an_unknown_activation_is_refused_by_name() -> None:
    on = make_subject(toy_config())
    on.model.layers[1].mlp[1] = Wiggle()
    for method in ("relp", "gim"):
        with pytest.raises(UnsupportedModel, match="do not support Wiggle"):
            ew.attribute(on, pairs(), method=method)
    assert ew.attribute(on, pairs(), method="eap").values.any()


def test_an_unknown_mlp_is_refused_by_name() -> None:
    class Doubled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a_proj, self.b_proj = nn.Linear(32, 32), nn.Linear(32, 32)

        def forward(self, x: Tensor) -> Tensor:
            return self.a_proj(x) * self.b_proj(x)

    on = make_subject(toy_config())
    on.model.layers[1].mlp = Doubled()
    on = Subject(on.model, None, on.family, "odd")
    with pytest.raises(UnsupportedModel, match="do not know Doubled"):
        ew.attribute(on, pairs(), method="relp")


def test_an_unknown_norm_is_refused_by_name() -> None:
    class OddNorm(nn.LayerNorm):
        pass

    on = make_subject(toy_config())
    on.model.layers[1].mlp_norm = OddNorm(32)
    on = Subject(on.model, None, on.family, "odd")
    with pytest.raises(UnsupportedModel, match="does not support OddNorm"):
        ew.attribute(on, pairs(), method="relp")


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(UnknownName, match="unknown backward rule 'norm'; did you mean 'norms'"):
        ew.attribute(subject("toy"), pairs(), method="relp", rules=["norm"])
    assert PLAIN.changes == ()


def test_rules_may_be_written_with_commas() -> None:
    named = ew.attribute(subject("toy"), pairs(), method="relp", rules="norms, activations,products").values
    assert torch.equal(named, ew.attribute(subject("toy"), pairs(), method="relp").values)
    assert torch.equal(
        ew.attribute(subject("toy"), pairs(), method="relp", rules="").values,
        ew.attribute(subject("toy"), pairs(), method="eap").values,
    )
