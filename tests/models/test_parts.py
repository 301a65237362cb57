"""Norms, projections and hooks on their own, beside autograd and the native modules."""

from __future__ import annotations

import pytest
import torch
from support.families import CONFIGS, FAMILIES, distance, make_model, multiplier, subject
from torch import Tensor, nn

from edgewise.models.hooks import OnInput, OnKeywords, OnOutput, forced, hooked, input_of, steady
from edgewise.models.norms import Norm, NormKind

every_family = pytest.mark.parametrize("family", FAMILIES)


def rand(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@every_family
def test_normalising_is_what_the_module_does_before_gain_and_bias(family: str) -> None:
    norm, x = subject(family).final_norm, rand(6, 32)
    if norm.kind is NormKind.NONE:
        return
    bias = getattr(norm.module, "bias", None)
    expected = norm(x) if bias is None else norm(x) - bias
    assert distance(norm.normalise(x)[0] * norm.gain(x), expected) < 1e-5


def test_without_a_norm_nothing_is_normalised() -> None:
    norm, x = Norm(nn.Identity(), NormKind.NONE), rand(3, 4)
    normed, scale = norm.normalise(x)
    assert torch.equal(normed, x)
    assert torch.equal(scale, torch.ones(3, 1))
    assert torch.equal(norm.gain(x), torch.ones(4))


@every_family
def test_projections_split_and_join(family: str) -> None:
    """Rows of the weights give what the modules give, and joining undoes splitting."""
    on, x = subject(family), rand(2, 5, 32)
    for block in on.blocks:
        outputs = [module(x) for module in block.projections.modules]
        heads = block.projections.split(outputs)
        weight, bias = block.projections.rows(list(range(block.projections.readers)))
        expected = torch.einsum("btd,red->btre", x, weight) + (0 if bias is None else bias)
        assert distance(heads, expected) < 1e-5
        for ours, theirs in zip(block.projections.join(heads, on.graph.kv_heads), outputs, strict=True):
            assert torch.equal(ours, theirs)


@every_family
def test_heads_write_what_the_output_projection_writes(family: str) -> None:
    on = subject(family)
    block = on.blocks[1]
    z = rand(2, 5, on.graph.heads, block.output_weight.shape[1])
    written = torch.einsum("bthe,hed->btd", z, block.output_weight)
    native = block.output(z.flatten(-2)) - (0 if block.output.bias is None else block.output.bias)
    if block.attention_post is not None:
        native = native * block.attention_post.gain(native)
    native = native * multiplier(on)
    assert distance(written, native) < 1e-5


# -- hooks ------------------------------------------------------------------------------------------------------------


class Block(nn.Module):
    def forward(self, hidden_states: Tensor, scale: int = 1) -> Tensor:
        return hidden_states * scale


def test_hooks_see_positional_and_keyword_inputs_and_replace_them() -> None:
    block, seen = Block(), []
    with hooked([OnInput(block, seen.append), OnOutput(block, seen.append)]):
        block(torch.tensor(1.0))
        block(hidden_states=torch.tensor(2.0))
    assert [float(x) for x in seen] == [1, 1, 2, 2]
    with hooked([OnInput(block, lambda x: x + 1), OnOutput(block, lambda x: x * 10)]):
        assert float(block(torch.tensor(1.0), scale=3)) == 60
        assert float(block(hidden_states=torch.tensor(1.0))) == 20
    assert float(block(torch.tensor(1.0))) == 1


def test_keywords_are_handed_over() -> None:
    block, seen = Block(), []
    with hooked([OnKeywords(block, seen.append)]):
        block(hidden_states=torch.tensor(1.0), scale=2)
    assert seen[0]["scale"] == 2


def test_hooks_go_away_when_one_cannot_be_attached() -> None:
    block = Block()
    with pytest.raises(AttributeError), hooked([OnInput(block, lambda x: None), OnInput(None, lambda x: None)]):  # type: ignore[arg-type]
        pass
    assert not block._forward_pre_hooks


def test_the_input_of_a_module_without_running_it() -> None:
    ran = []
    block = Block()
    block.register_forward_hook(lambda *_: ran.append(1))
    assert float(input_of(block, lambda: block(torch.tensor(7.0)))) == 7
    assert not ran
    with pytest.raises(ZeroDivisionError):
        input_of(block, lambda: 1 / 0)


def test_forced_outputs() -> None:
    linear = nn.Linear(2, 3)
    with forced([linear], [torch.ones(4, 3)]):
        assert torch.equal(linear(torch.zeros(4, 2)), torch.ones(4, 3))
    assert not torch.equal(linear(torch.zeros(4, 2)), torch.ones(4, 3))


def test_steady_gives_every_flag_back() -> None:
    model = make_model(CONFIGS["gpt2"]())
    model.train()
    model.transformer.drop.eval()
    model.lm_head.weight.requires_grad_(True)
    with steady(model):
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.training
    assert not model.transformer.drop.training
    assert [p.requires_grad for p in model.parameters()].count(True) == 1
