"""What is called and where it is seen: MLPs of one module and of several, and norms that two kinds of readers share."""

from __future__ import annotations

import pytest
import torch
from support.families import CONFIGS, HUGGING_FACE, distance, make_model, pairs, subject, subject_of
from torch import Tensor, nn

import edgewise as ew
from edgewise.engine.record import record
from edgewise.models import Block
from edgewise.models.hooks import InShapeOf, OnInput, OnOutput, hooked, on_gradient

SHARED = ("gpt-j", "phi", "stablelm-parallel")


@pytest.mark.parametrize("family", HUGGING_FACE)
def test_called_on_what_its_norm_gives_it_writes_what_is_seen_in_a_run(family: str) -> None:
    on, of = subject(family), pairs()
    run = record(on, of.clean, of.positions)
    for layer, block in enumerate(on.blocks):
        out = block.mlp_write(run.mlp_in[layer])
        assert run.writes.mlp[layer].shape == run.attention_in[layer].shape
        assert distance(out, run.writes.mlp[layer]) < 1e-6


# -- one norm for attention and MLP -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", HUGGING_FACE)
def test_which_families_share_a_norm(family: str) -> None:
    on = subject(family)
    for block in on.blocks:
        assert block.mlp_norm is not None
        assert (block.mlp_norm.module is block.attention_norm.module) == (family in SHARED)
    assert not on.graph.parallel or family in (*SHARED, "neox-parallel")


def last_map(block: Block) -> nn.Module:
    assert block.mlp is not None
    return [module for module in block.mlp.modules.values() if isinstance(module, nn.Linear)][-1]


@pytest.mark.parametrize("family", SHARED)
@pytest.mark.parametrize("method", ["eap", "relp", "exact", "mask-ig"])
def test_a_shared_norm_keeps_the_two_kinds_of_readers_apart(family: str, method: str) -> None:
    """An MLP that writes nothing is given nothing of the attention's effect, and the other way round."""
    for silent in ("mlp", "attention"):
        on = subject_of(make_model(CONFIGS[family]()))
        for block in on.blocks:
            for parameter in (block.output if silent == "attention" else last_map(block)).parameters():
                parameter.data.zero_()
        values = ew.attribute(on, pairs(), method=method).values
        of_mlps = torch.tensor([reader.startswith("m") for reader in on.graph.readers])
        of_heads = torch.tensor([reader.startswith("a") for reader in on.graph.readers])
        quiet, loud = (of_mlps, of_heads) if silent == "mlp" else (of_heads, of_mlps)
        assert float(values[:, quiet].abs().max()) < 1e-6
        assert float(values[:, loud].abs().max()) > 1e-3


# -- hooks that see another shape -------------------------------------------------------------------------------------


class Rows(nn.Module):
    """Hands its tokens on in one row."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.flatten(0, 1)).view(x.shape)


def test_a_hook_sees_and_gives_the_shape_of_the_outer_module() -> None:
    rows, x, seen = Rows(), torch.randn(2, 3, 4), []
    plain = rows(x)
    with hooked(
        [InShapeOf(rows, OnInput(rows.inner, seen.append)), InShapeOf(rows, OnOutput(rows.inner, seen.append))]
    ):
        assert torch.equal(rows(x), plain)
    assert torch.equal(seen[0], x)
    assert torch.equal(seen[1], plain)
    with hooked([InShapeOf(rows, OnOutput(rows.inner, lambda out: out * torch.arange(3)[:, None]))]):
        assert torch.equal(rows(x), plain * torch.arange(3)[:, None])
    assert torch.equal(rows(x), plain)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in rows.modules())


def test_a_gradient_that_is_watched_there_comes_by() -> None:
    rows, gradients = Rows(), []
    with hooked([InShapeOf(rows, OnOutput(rows.inner, lambda out: on_gradient(out, gradients.append)))]):
        out = rows(torch.randn(2, 3, 4))
    weight = torch.randn(2, 3, 4)
    (out * weight).sum().backward()
    assert len(gradients) == 1
    assert torch.equal(gradients[0], weight)
