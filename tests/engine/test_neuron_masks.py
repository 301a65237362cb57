"""Masks of neurons: beside the twin, beside hooks on the native modules that replace coordinates by hand, and by law."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from support.families import (
    EXAMPLES,
    FAMILIES,
    LINEAR,
    corrupted_run,
    distance,
    make_subject,
    pairs,
    random_circuit,
    random_mask,
    subject,
    without_jumps,
)
from support.masked_twin import SPANNING, output, post_scale, slow
from torch import Tensor, nn

import edgewise as ew
from edgewise.ablations import ablation
from edgewise.engine.forward import masked_forward
from edgewise.engine.mask import Mask
from edgewise.errors import GraphMismatch
from edgewise.metrics import Answers, logit_diff
from edgewise.models import Subject
from edgewise.old_names import NeuronCircuit

NEAR = 1e-5
every_family = pytest.mark.parametrize("family", FAMILIES)


def random_neurons(on: Subject, density: float, seed: int) -> NeuronCircuit:
    """Some neurons of two thirds of the writers, the input writers among them."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(len(on.graph.writers), on.d_model, generator=generator) < density
    whole = torch.rand(len(on.graph.writers), 1, generator=generator) < 2 / 3
    whole[: len(on.graph.inputs)] = True
    return NeuronCircuit(on.graph, drawn & whole)


def weights(on: Subject, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Every neuron kept to a different degree, and one writer not at all."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(len(on.graph.writers), on.d_model, generator=generator, dtype=dtype)
    drawn[seed % (len(drawn) - 1) + 1] = 0
    return drawn


def fast(on: Subject, mask: Mask, how: str = "corrupted", **options: Any) -> Tensor:
    of = pairs()
    return masked_forward(on, of.clean, of.positions, mask, ablation(how).prepare(on, of, 8)(of), **options)


# -- beside the twin --------------------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("how", ["corrupted", "zero"])
def test_equal_on_fractional_masks_of_edges_and_neurons(family: str, how: str) -> None:
    on = subject(family)
    edges, neurons = random_mask(on, 21), weights(on, 22).float()
    edges = edges * (neurons != 0).any(dim=1, keepdim=True)
    assert distance(fast(on, Mask(edges, neurons), how), slow(family, edges, how, neurons)) < NEAR


@every_family
@pytest.mark.parametrize("how", ["corrupted", "zero"])
@pytest.mark.parametrize("density", [0.02, 0.3])
def test_equal_on_circuits(family: str, how: str, density: float) -> None:
    on = subject(family)
    circuit = random_neurons(on, density, seed=23)
    expected = slow(family, circuit.circuit.mask, how, circuit.neurons.float())
    assert distance(fast(on, Mask.of(circuit), how), expected) < NEAR


# -- beside the native modules ----------------------------------------------------------------------------------------


class Native:
    """The native model with hooks on its own modules; what they see is kept by (what, layer)."""

    def __init__(self, on: Subject) -> None:
        self.on = on
        self.seen: dict[tuple[str, int], Tensor] = {}

    def run(self, tokens: Tensor) -> Tensor:
        with self._hooked():
            return self.on.logits(tokens, pairs().positions)

    @contextmanager
    def _hooked(self) -> Iterator[None]:
        handles = [self._input(number, module) for number, module in enumerate(self._inputs())]
        for layer, block in enumerate(self.on.blocks):
            after = block.output if block.attention_post is None else block.attention_post.module
            handles.append(block.output.register_forward_pre_hook(lambda _, args, at=layer: (self.heads(at, args[0]),)))
            handles.append(after.register_forward_hook(lambda _, args, out, at=layer: self.attention(at, out)))
            for side in "qk" if self.on.family.name in SPANNING else "":
                take = lambda _, args, out, at=layer, side=side: self.projected(side, at, out)  # noqa: E731
                handles.append(getattr(block.attention, f"{side}_proj").register_forward_hook(take))
            if block.mlp_site is not None:
                handles.append(block.mlp_site.register_forward_hook(lambda _, args, out, at=layer: self.mlp(at, out)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _inputs(self) -> list[nn.Module]:
        model: Any = self.on.model
        return [model.embed, model.positions] if len(self.on.graph.inputs) == 2 else [self.on.blocks[0].module]

    def _input(self, number: int, module: nn.Module) -> Any:
        if len(self.on.graph.inputs) == 2:
            return module.register_forward_hook(lambda _, args, out: self.input(number, out))
        take = lambda _, args, kwargs: ((self.input(0, args[0]), *args[1:]), kwargs)  # noqa: E731
        return module.register_forward_pre_hook(take, with_kwargs=True)

    def writes(self, layer: int) -> Tensor:
        """[head, .., d_model]: z_h · W_O[h], with a norm after attention in its scale."""
        block, heads = self.on.blocks[layer], self.on.graph.heads
        z = self.seen["z", layer].unflatten(-1, (heads, -1))
        raw = torch.stack([z[..., head, :] @ output(block.output, head, heads)[0] for head in range(heads)])
        return raw * post_scale(block, raw.sum(dim=0))

    def input(self, number: int, x: Tensor) -> Tensor:
        self.seen["input", number] = x
        return x

    def projected(self, side: str, layer: int, out: Tensor) -> Tensor:
        self.seen[side, layer] = out
        return out

    def heads(self, layer: int, z: Tensor) -> Tensor:
        self.seen["z", layer] = z
        return z

    def attention(self, layer: int, out: Tensor) -> Tensor:
        return out

    def mlp(self, layer: int, out: Tensor) -> Tensor:
        self.seen["mlp", layer] = out
        return out


class ByHand(Native):
    """A run in which the coordinates that a circuit does not keep are those of `old`, or zero."""

    def __init__(self, circuit: NeuronCircuit, old: Native, factor: float) -> None:
        super().__init__(old.on)
        self.old, self.factor = old, factor
        self.kept = dict(zip(circuit.graph.writers, circuit.neurons, strict=True))

    def put(self, writer: str, new: Tensor, old: Tensor) -> Tensor:
        return torch.where(self.kept[writer], new, self.factor * old)

    def input(self, number: int, x: Tensor) -> Tensor:
        old = self.old.seen["input", number]
        return self.put(self.on.graph.inputs[number], x, old[: len(x)])

    def heads(self, layer: int, z: Tensor) -> Tensor:
        """A head of which nothing is kept enters the sum that a norm may scale with its old output."""
        self.seen["z", layer] = self._dead_as_before("z", layer, z, self._dead(layer))
        return self.seen["z", layer]

    def projected(self, side: str, layer: int, out: Tensor) -> Tensor:
        """And its queries enter the norm over all of them with their old values, as do keys that only such heads read."""
        dead, graph = self._dead(layer), self.on.graph
        return self._dead_as_before(side, layer, out, dead if side == "q" else dead.view(graph.kv_heads, -1).all(dim=1))

    def _dead(self, layer: int) -> Tensor:
        heads = range(self.on.graph.heads)
        return torch.tensor([not bool(self.kept[f"a{layer}.h{head}"].any()) for head in heads])

    def _dead_as_before(self, what: str, layer: int, new: Tensor, dead: Tensor) -> Tensor:
        old = self.factor * self.old.seen[what, layer].unflatten(-1, (len(dead), -1))
        return torch.where(dead[:, None], old, new.unflatten(-1, (len(dead), -1))).flatten(-2)

    def attention(self, layer: int, out: Tensor) -> Tensor:
        for head, (new, old) in enumerate(zip(self.writes(layer), self.old.writes(layer), strict=True)):
            out = out + self.put(f"a{layer}.h{head}", new, old) - new
        return out

    def mlp(self, layer: int, out: Tensor) -> Tensor:
        return self.put(f"m{layer}", out, self.old.seen["mlp", layer])


@every_family
@pytest.mark.parametrize(("how", "factor"), [("corrupted", 1.0), ("zero", 0.0)])
@pytest.mark.parametrize("density", [0.1, 0.6])
@torch.no_grad()
def test_equal_to_coordinates_replaced_by_hand(family: str, how: str, factor: float, density: float) -> None:
    on, of = subject(family), pairs()
    circuit, old = random_neurons(on, density, seed=24), Native(on)
    corrupted = old.run(of.corrupted)
    by_hand = ByHand(circuit, old, factor).run(of.clean)
    assert distance(fast(on, Mask.of(circuit), how), by_hand) < NEAR
    assert distance(by_hand, on.logits(of.clean, of.positions)) > 0.01
    assert distance(by_hand, corrupted) > 0.01


# -- laws -------------------------------------------------------------------------------------------------------------


@every_family
def test_all_neurons_are_the_clean_run_and_none_the_corrupted_one(family: str) -> None:
    on, of = subject(family), pairs()
    everything = NeuronCircuit.full(on.graph, on.d_model)
    assert distance(fast(on, Mask.of(everything)), on.logits(of.clean, of.positions)) < NEAR
    nothing = everything - everything
    assert distance(fast(on, Mask.of(nothing)), on.logits(of.corrupted, of.positions)) < NEAR
    none_kept = Mask(on.graph.edge_mask, nothing.neurons, on.graph.edge_mask)
    assert distance(fast(on, none_kept), fast(on, Mask.of(nothing))) < NEAR


@every_family
def test_all_neurons_of_some_edges_are_those_edges(family: str) -> None:
    on, circuit = subject(family), random_circuit(subject(family), 0.3, seed=25)
    everything = torch.ones(len(on.graph.writers), on.d_model)
    assert distance(fast(on, Mask(circuit.mask, everything)), fast(on, Mask(circuit.mask))) < NEAR


@every_family
def test_first_order_scores_are_the_derivative_in_the_mask_of_neurons(family: str) -> None:
    """Law 3 at the level of neurons: where all is kept."""
    on, of = subject(family, torch.float64), pairs()
    keep = torch.ones(len(on.graph.writers), on.d_model, dtype=torch.float64, requires_grad=True)
    logits = fast(on, Mask(on.graph.edge_mask, keep))
    value = logit_diff(logits, Answers(of.correct, of.wrong), logits).mean()
    scores = ew.attribute_nodes(on, of, method="eap", batch_size=2).neuron_scores.values
    assert distance(torch.autograd.grad(value, keep)[0], scores) < 1e-5


@pytest.mark.parametrize("linear", [True, False])
@torch.no_grad()
def test_where_the_model_is_linear_scores_are_exact_patching_of_coordinates(linear: bool) -> None:
    """Law 4 at the level of neurons; where it is not linear, they differ."""
    on, of = make_subject(LINEAR) if linear else subject("toy"), pairs()
    scores = ew.attribute_nodes(on, of, method="eap").neuron_scores.values
    keep = torch.ones(scores.numel(), *scores.shape)
    keep.flatten(1).fill_diagonal_(0)
    answers = Answers(of.correct, of.wrong)
    one_gone = torch.cat([fast(on, Mask(on.graph.edge_mask, masks)) for masks in keep.split(64)])
    clean = on.logits(of.clean, of.positions)
    full = logit_diff(clean, answers, clean).mean()
    drops = torch.stack([full - logit_diff(logits, answers, clean).mean() for logits in one_gone])
    assert (distance(drops.view_as(scores), scores) < 1e-4) == linear


@every_family
def test_gradients_are_those_of_finite_differences(family: str) -> None:
    """In edges and neurons at once, three masks together, away from where all is kept."""
    on, of = without_jumps(family), pairs()[:2]
    replacement = corrupted_run(on, of)
    probe = torch.randn(2, 50, generator=torch.Generator().manual_seed(26), dtype=torch.float64)
    edges = torch.stack([random_mask(on, seed) for seed in (27, 28, 29)]).requires_grad_()
    neurons = (0.1 + torch.stack([weights(on, seed) for seed in (30, 31, 32)])).requires_grad_()

    def value(edges: Tensor, neurons: Tensor) -> Tensor:
        return (masked_forward(on, of.clean, of.positions, Mask(edges, neurons), replacement) * probe).sum()

    gradients = torch.autograd.grad(value(edges, neurons), [edges, neurons])
    step = 1e-3
    for number, gradient in enumerate(gradients):
        way = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(33), dtype=torch.float64)
        if number == 0:
            way = way * on.graph.edge_mask
        parts = [edges.detach(), neurons.detach()]
        ends = []
        for sign in (1, -1):
            moved = [part + sign * step * way if at == number else part for at, part in enumerate(parts)]
            with torch.no_grad():
                ends.append(value(*moved))
        measured = float(ends[0] - ends[1]) / (2 * step)
        scale = float(gradient.norm() * way.norm()) / way.numel() ** 0.5
        assert abs(measured - float((gradient * way).sum())) < 1e-3 * scale


@every_family
@pytest.mark.parametrize("how", ["corrupted", "position-mean"])
def test_masks_on_the_batch_axis_are_masks_one_by_one(family: str, how: str) -> None:
    """Several masks of neurons under one of edges, and of both."""
    on = subject(family)
    neurons = torch.stack([random_neurons(on, density, seed=34).neurons for density in (0.0, 0.1, 1.0)])
    for edges in (on.graph.edge_mask, torch.stack([random_mask(on, seed) for seed in (35, 36, 37)])):
        together = fast(on, Mask(edges, neurons), how)
        assert together.shape == (3, EXAMPLES, 50)
        for one, number in zip(together, range(3), strict=True):
            alone = Mask(edges if edges.ndim == 2 else edges[number], neurons[number])
            assert distance(one, fast(on, alone, how)) < NEAR


@every_family
@pytest.mark.parametrize("how", ["corrupted", "zero"])
def test_readers_that_get_the_same_are_served_by_one_input(family: str, how: str) -> None:
    """The same run, whether the engine sees that all readers of a layer are alike or is kept from seeing it by a gradient."""
    on, circuit = subject(family), random_neurons(subject(family), 0.3, seed=39)
    for mask in (Mask.of(circuit), Mask(on.graph.edge_mask * 0.7)):
        together = fast(on, mask, how)
        one_by_one = fast(on, Mask(mask.edges.float().requires_grad_(), mask.neurons), how)
        assert distance(together, one_by_one.detach()) < NEAR


@every_family
def test_neurons_of_writers_on_no_path_change_nothing(family: str) -> None:
    """Law 7: without what the input writes, and without what only heads before it read."""
    on = subject(family)
    for how in ("corrupted", "zero"):
        circuit = random_neurons(on, 0.2, seed=38)
        neurons = circuit.neurons.clone()
        neurons[: len(on.graph.inputs)] = False
        cut = NeuronCircuit(on.graph, neurons)
        assert len(cut) > len(cut.without_dangling()) == 0
        assert distance(fast(on, Mask.of(cut), how), fast(on, Mask.of(cut.without_dangling()), how)) < NEAR


def test_masks_of_another_shape_are_refused() -> None:
    on = subject("gpt2")
    for neurons in (torch.ones(3, on.d_model), torch.ones(len(on.graph.writers), on.d_model + 1)):
        with pytest.raises(GraphMismatch, match=r"the mask has shape .* but one of neurons needs"):
            fast(on, Mask(on.graph.edge_mask, neurons))
