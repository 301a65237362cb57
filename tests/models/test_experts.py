"""Mixtures of experts as one MLP: the router is live, kernels agree, and what no kernel computes is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.families import corrupted_run, distance, make_model, mixtral_config, pairs, qwen3_moe_config, subject
from torch import Tensor

import edgewise as ew
from edgewise.engine.forward import masked_forward
from edgewise.engine.gradients import GradientSink, live_run
from edgewise.engine.rules import BackwardRule
from edgewise.errors import UnsupportedModel
from edgewise.models import Subject

both = pytest.mark.parametrize("family", ["mixtral", "qwen3-moe"])
CONFIGS = {"mixtral": mixtral_config, "qwen3-moe": qwen3_moe_config}


def chosen(on: Subject, run: Callable[[], object]) -> Tensor:
    """The experts chosen in layer 2 when it runs for the last time: [token, expert], lowest number first."""
    seen: list[Tensor] = []
    router = on.model.get_submodule("model.layers.2.mlp.gate")
    handle = router.register_forward_hook(lambda _, args, output: seen.append(output[2].sort(dim=-1)[0]))
    run()
    handle.remove()
    return seen[-1]


@both
def test_the_router_chooses_for_what_the_mlp_is_given(family: str) -> None:
    """With everything kept the experts of the clean run, at the answers; of an MLP that reads less, others."""
    on, of = subject(family), pairs()
    full = ew.Circuit.full(on.graph)
    into = [edge for edge in on.graph.edges if edge.endswith("->m2")]
    without = full - ew.Circuit.from_edges(on.graph, into[:-1])
    native = chosen(on, lambda: on.logits(of.clean, of.positions)).unflatten(0, of.clean.shape)
    whole, less = (
        chosen(on, lambda c=c: masked_forward(on, of.clean, of.positions, c.mask, corrupted_run(on, of)))
        for c in (full, without)
    )
    assert torch.equal(whole, native[torch.arange(len(of)), of.positions])
    assert not torch.equal(less, whole)


@both
def test_a_gradient_passes_the_routers_weights(family: str) -> None:
    """Scores change when the router's part of the gradient is left out, so it is in them otherwise."""
    on, of = subject(family), pairs()
    whole = ew.attribute(on, of).values
    gates = [module for name, module in on.model.named_modules() if name.endswith("mlp.gate")]
    handles = [gate.register_forward_pre_hook(lambda _, args: (args[0].detach(),)) for gate in gates]
    without = ew.attribute(on, of).values
    for handle in handles:
        handle.remove()
    assert distance(without, whole) > 1e-3


@both
def test_kernels_agree(family: str) -> None:
    of = pairs()
    scores = []
    for kernel in ("grouped_mm", "eager", "batched_mm"):
        model = make_model(CONFIGS[family]())
        model.set_experts_implementation(kernel)  # type: ignore[operator]
        scores.append(ew.attribute(ew.load(model), of, method="relp").values)
    assert distance(scores[1], scores[0]) < 1e-5
    assert distance(scores[2], scores[0]) < 1e-5


@both
def test_float64_needs_another_kernel(family: str, tmp_path: Path) -> None:
    model = make_model(CONFIGS[family]())
    model.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModel, match="'grouped_mm', which does not support float64; call model"):
        ew.load(model.double())
    on, of = ew.load(str(tmp_path), dtype="float64"), pairs()
    assert on.dtype == torch.float64
    assert distance(ew.attribute(on, of).values, ew.attribute(subject(family), of).values) < 1e-4


@both
def test_the_half_rule_halves_both_products(family: str) -> None:
    """What an expert reads goes through two products, what the router reads through one."""
    on, of, seen = subject(family), pairs(), []
    block = on.model.get_submodule("model.layers.2.mlp")

    def keep(module: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        args[0].register_hook(seen.append)

    for rule in (BackwardRule(), BackwardRule.of(["products"])):
        handle = block.register_forward_pre_hook(keep)
        with live_run(on, of.clean, of.positions, lambda logits: logits[:, 3].sum(), rule=rule) as run:
            run.last_gradients(GradientSink())
        handle.remove()
    plain, halved = seen
    assert distance(halved, plain / 4) > 1e-4  # the router's part is a half, not a quarter
    assert distance(halved, plain / 2) > 1e-4
