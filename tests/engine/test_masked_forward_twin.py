"""masked_forward beside a slow, obvious twin of it.

The twin takes one example and one mask at a time, keeps a dictionary of writer outputs, mixes every reader's input on its
own, and multiplies, rotates and attends head by head. It shares nothing with the engine but the model's own weights, norms
and MLPs.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest
import torch
from families import FAMILIES, corrupted_run, distance, pairs, random_circuit, random_mask, subject
from torch import Tensor

from edgewise.ablations import ablation
from edgewise.circuit import Circuit
from edgewise.engine.board import Workspace
from edgewise.engine.forward import masked_forward
from edgewise.errors import GraphMismatch, NumericalError
from edgewise.models import Subject

NEAR = 1e-5
every_family = pytest.mark.parametrize("family", FAMILIES)


# -- the twin ---------------------------------------------------------------------------------------------------------


@dataclass
class Values:
    """What every writer of one run put out, [position, d_model], by name; `raw`: heads before a norm after attention."""

    writes: dict[str, Tensor] = field(default_factory=dict)
    raw: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Twin:
    """One run of one example. `kept`: weight of each edge; `replaced`: what every writer is replaced with."""

    subject: Subject
    kept: dict[str, float]
    replaced: Values

    def logits(self, tokens: Tensor) -> Tensor:
        """[position, vocab]."""
        self.run(tokens)
        normed = self.subject.final_norm.module(self.mixed("logits")[None])
        logits = self.subject.model.get_output_embeddings()(normed)[0]
        cap = getattr(self.subject.model.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def run(self, tokens: Tensor) -> Values:
        self.out, self.bias = Values(embedded(self.subject, tokens)), torch.zeros(self.subject.d_model)
        self.alive, self.useful = self._alive(), self._useful()
        graph = self.subject.graph
        for layer in range(graph.layers):
            bias_before = self.bias
            self._attention(layer)
            if graph.mlps:
                after_attention, self.bias = self.bias, bias_before if graph.parallel else self.bias
                self._mlp(layer)
                self.bias = after_attention
        return self.out

    def mixed(self, reader: str) -> Tensor:
        """Σ replacement + biases + Σ mask · (out − replacement), over the writers this reader reads."""
        total = torch.zeros_like(self.out.writes["input"]) + self.bias
        for writer in self.subject.graph.writers:
            if (weight := self.kept.get(f"{writer}->{reader}")) is not None:
                old = self.replaced.writes[writer]
                total = total + old + weight * (self.out.writes[writer] - old)
        return total

    def _attention(self, layer: int) -> None:
        graph, block, native = self.subject.graph, self.subject.blocks[layer], NATIVE[self.subject.family.name]
        group, raw = graph.heads // graph.kv_heads, {}
        for head in range(graph.heads):
            name, kv = f"a{layer}.h{head}", head // group
            q, k, v = (
                native(self.subject, layer, side, index, block.attention_norm.module(self.mixed(f"{where}<{side}>")))
                for side, index, where in (
                    ("q", head, name),
                    ("k", kv, f"a{layer}.h{kv}"),
                    ("v", kv, f"a{layer}.h{kv}"),
                )
            )
            weight, bias = output(block.output, head, graph.heads)
            raw[name] = attend(self.subject, layer, q, k, v) @ weight
            # Dead heads put out their replacement; so do, for a norm they share, heads that nobody uses.
            if name not in self.alive or (block.attention_post and name not in self.useful):
                raw[name] = self.replaced.raw[name]
        self.out.raw |= raw
        scale = post_scale(block, torch.stack(list(raw.values())).sum(dim=0))
        for name, value in raw.items():
            self.out.writes[name] = value * scale if name in self.alive else self.replaced.writes[name]
        self.bias = self.bias if bias is None else self.bias + bias

    def _mlp(self, layer: int) -> None:
        block, name = self.subject.blocks[layer], f"m{layer}"
        out = block.mlp(block.mlp_norm.module(self.mixed(name)[None]))[0]
        out = out if block.mlp_post is None else block.mlp_post.module(out)
        self.out.writes[name] = out if name in self.alive else self.replaced.writes[name]

    def _alive(self) -> set[str]:
        """Writers that an input writer reaches over kept edges."""
        alive = set(self.subject.graph.inputs)
        for _ in range(2 * self.subject.graph.layers):
            for edge, weight in self.kept.items():
                writer, _, reader = edge.partition("->")
                if weight and writer in alive:
                    alive |= served(self.subject, reader)
        return alive

    def _useful(self) -> set[str]:
        """Writers from which kept edges lead to `logits`."""
        useful: set[str] = set()
        for _ in range(2 * self.subject.graph.layers):
            for edge, weight in self.kept.items():
                writer, _, reader = edge.partition("->")
                if weight and (reader == "logits" or served(self.subject, reader) & useful):
                    useful.add(writer)
        return useful


def served(on: Subject, reader: str) -> set[str]:
    """The writers a reader takes part in computing."""
    if reader == "logits" or reader.startswith("m"):
        return {reader} - {"logits"}
    node, side = reader[:-1].split("<")
    layer, head = node[1:].split(".h")
    group = on.graph.heads // on.graph.kv_heads
    heads = [int(head)] if side == "q" else range(int(head) * group, (int(head) + 1) * group)
    return {f"a{layer}.h{one}" for one in heads}


# -- the parts of the models it needs ---------------------------------------------------------------------------------


def embedded(on: Subject, tokens: Tensor) -> dict[str, Tensor]:
    """What the input writers write."""
    places, model = torch.arange(len(tokens)), on.model
    if "positions" in on.graph.inputs:
        return {"input": model.embed(tokens), "positions": model.positions(places)}
    if hasattr(model, "positions"):
        return {"input": model.embed(tokens) + model.positions(places)}
    if hasattr(model, "transformer"):
        return {"input": model.transformer.wte(tokens) + model.transformer.wpe(places)}
    return {"input": model.get_input_embeddings()(tokens)}


def output(module: Any, head: int, heads: int) -> tuple[Tensor, Tensor | None]:
    """[d_head, d_model] of one head, and the bias of all."""
    weight = module.weight if type(module).__name__ == "Conv1D" else module.weight.T
    return weight.reshape(heads, -1, weight.shape[1])[head], module.bias


def separate(on: Subject, layer: int, side: str, index: int, x: Tensor) -> Tensor:
    """q, k or v of one head, [position, d_head]: projected by its rows, normed where the model does so, rotated."""
    attention = on.blocks[layer].attention
    module = getattr(attention, f"{side}_proj")
    size = len(module.weight) // (on.graph.heads if side == "q" else on.graph.kv_heads)
    rows = slice(index * size, (index + 1) * size)
    out = x @ module.weight[rows].T
    out = out if module.bias is None else out + module.bias[rows]
    return rotated(on, side, getattr(attention, f"{side}_norm", lambda y: y)(out))


def fused_blocks(on: Subject, layer: int, side: str, index: int, x: Tensor) -> Tensor:
    module, size = on.blocks[layer].attention.c_attn, on.d_model // on.graph.heads
    start = "qkv".index(side) * on.d_model + index * size
    return x @ module.weight[:, start : start + size] + module.bias[start : start + size]


def fused_heads(on: Subject, layer: int, side: str, index: int, x: Tensor) -> Tensor:
    module, size = on.blocks[layer].attention.query_key_value, on.d_model // on.graph.heads
    start = (3 * index + "qkv".index(side)) * size
    return rotated(on, side, x @ module.weight[start : start + size].T + module.bias[start : start + size])


NATIVE: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(("toy", "llama", "mistral", "qwen2", "qwen3", "gemma2"), separate),
    "gpt2": fused_blocks,
    "gpt-neox": fused_heads,
}


def rotated(on: Subject, side: str, x: Tensor) -> Tensor:
    """By the model's own functions."""
    source = sys.modules[type(on.model).__module__]
    if side == "v" or not hasattr(source, "apply_rotary_pos_emb"):
        return x
    base = on.model.base_model
    cos, sin = base.rotary_emb(x[None], torch.arange(len(x))[None])
    return source.apply_rotary_pos_emb(x[None, None], x[None, None], cos, sin)[0][0, 0]


def attend(on: Subject, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention of one head, [position, d_head], written out position by position."""
    config, rows = on.model.config, []
    types = getattr(config, "layer_types", None)
    windowed = types[layer] == "sliding_attention" if types else bool(getattr(config, "sliding_window", None))
    window = config.sliding_window if windowed else len(q)
    scale = getattr(config, "query_pre_attn_scalar", q.shape[1]) ** -0.5
    cap = getattr(config, "attn_logit_softcapping", None)
    for place in range(len(q)):
        seen = slice(max(0, place + 1 - window), place + 1)
        scores = k[seen] @ q[place] * scale
        scores = scores if cap is None else cap * torch.tanh(scores / cap)
        rows.append(scores.softmax(dim=0) @ v[seen])
    return torch.stack(rows)


def post_scale(block: Any, summed: Tensor) -> Tensor | float:
    """What a norm after attention multiplies the sum of the heads by, [position, d_model]."""
    if block.attention_post is None:
        return 1.0
    norm = block.attention_post.module
    return (summed.square().mean(dim=-1, keepdim=True) + norm.eps) ** -0.5 * (1 + norm.weight)


# -- running it -------------------------------------------------------------------------------------------------------


def kept_by(on: Subject, mask: Tensor) -> dict[str, float]:
    return {edge: float(mask[on.graph.edge_index(edge)]) for edge in on.graph.edges}


@cache
def corrupted_values(family: str, example: int) -> Values:
    """The writers of an ordinary run: everything kept, so what would replace it does not matter."""
    on, tokens = subject(family), pairs().corrupted[example]
    blank = dict.fromkeys(on.graph.writers, torch.zeros(len(tokens), on.d_model))
    return Twin(on, dict.fromkeys(on.graph.edges, 1.0), Values(blank, blank)).run(tokens)


@torch.no_grad()
def slow(family: str, mask: Tensor, how: str = "corrupted") -> Tensor:
    """Logits at the answer positions, example by example."""
    on, of, rows = subject(family), pairs(), []
    for i in range(len(of)):
        replaced = corrupted_values(family, i)
        if how == "zero":
            replaced = Values(*({k: v * 0 for k, v in side.items()} for side in (replaced.writes, replaced.raw)))
        rows.append(Twin(on, kept_by(on, mask), replaced).logits(of.clean[i])[of.positions[i]])
    return torch.stack(rows)


def fast(on: Subject, mask: Tensor, how: str = "corrupted", **options: Any) -> Tensor:
    of = pairs()
    return masked_forward(on, of.clean, of.positions, mask, ablation(how).prepare(on, of, 8)(of), **options)


@every_family
def test_the_twin_with_everything_kept_is_the_model(family: str) -> None:
    on, of = subject(family), pairs()
    assert distance(slow(family, on.graph.edge_mask), on.logits(of.clean, of.positions)) < NEAR


@every_family
@pytest.mark.parametrize("how", ["corrupted", "zero"])
def test_equal_on_fractional_masks(family: str, how: str) -> None:
    on = subject(family)
    mask = random_mask(on, seed=5)
    assert distance(fast(on, mask, how), slow(family, mask, how)) < NEAR


@every_family
@pytest.mark.parametrize("how", ["corrupted", "zero"])
@pytest.mark.parametrize("density", [0.08, 0.25, 0.7])
def test_equal_on_circuits(family: str, how: str, density: float) -> None:
    on = subject(family)
    circuit = random_circuit(on, density, seed=6)
    assert distance(fast(on, circuit.mask, how), slow(family, circuit.mask, how)) < NEAR


# -- variants of the engine among themselves ----------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("how", ["corrupted", "position-mean"])
def test_masks_on_the_batch_axis_are_masks_one_by_one(family: str, how: str) -> None:
    on = subject(family)
    masks = torch.stack([random_circuit(on, density, seed=7).mask.float() for density in (0.0, 0.1, 0.3, 1.0)])
    masks = torch.cat([masks, random_mask(on, 8)[None].float()])
    together = fast(on, masks, how)
    assert together.shape == (5, 5, 50)
    for one, mask in zip(together, masks, strict=True):
        assert distance(one, fast(on, mask, how)) < NEAR


@every_family
def test_sparse_walking_is_dense_walking(family: str) -> None:
    on = subject(family)
    for density in (0.03, 0.1, 0.3):
        circuit = random_circuit(on, density, seed=9)
        dense = fast(on, circuit.mask.float(), candidates=on.graph.edge_mask)
        assert distance(fast(on, circuit.mask), dense) < NEAR


@every_family
def test_candidates_beyond_the_mask_change_nothing(family: str) -> None:
    on = subject(family)
    circuit, more = random_circuit(on, 0.2, seed=10), random_circuit(on, 0.5, seed=11)
    expected = fast(on, circuit.mask)
    assert distance(fast(on, circuit.mask.float(), candidates=(circuit | more).mask), expected) < NEAR


@every_family
def test_a_reused_workspace_leaks_nothing(family: str) -> None:
    """Runs of other sizes, and one that fails, before the same run again."""
    on, of, workspace = subject(family), pairs(), Workspace()
    circuit = random_circuit(on, 0.3, seed=12)
    expected = fast(on, circuit.mask)
    replacement = corrupted_run(on, of)
    for mask in (on.graph.edge_mask, random_circuit(on, 0.05, 13).mask, random_mask(on, 14).expand(3, -1, -1)):
        fast(on, mask, workspace=workspace)
    with pytest.raises(NumericalError):
        fast(on, on.graph.edge_mask * torch.nan, workspace=workspace)
    again = masked_forward(on, of.clean, of.positions, circuit.mask, replacement, workspace=workspace)
    assert torch.equal(again, expected)


@every_family
def test_gradients_are_those_of_finite_differences(family: str) -> None:
    """float64 where the model is; a few edges, of every kind of reader."""
    on, of = subject(family, torch.float64), pairs()[:2]
    replacement, graph = corrupted_run(on, of), on.graph
    probe = torch.randn(2, 50, generator=torch.Generator().manual_seed(15), dtype=torch.float64)

    def value(mask: Tensor) -> Tensor:
        return (masked_forward(on, of.clean, of.positions, mask, replacement) * probe).sum()

    mask = random_mask(on, 16).requires_grad_()
    gradient = torch.autograd.grad(value(mask), mask)[0]
    assert not gradient[~graph.edge_mask].any()
    step, largest = 1e-2, float(gradient.abs().max())
    for edge in graph.edges[:: len(graph.edges) // 9]:
        nudge = torch.zeros_like(mask)
        nudge[graph.edge_index(edge)] = step
        with torch.no_grad():
            measured = (value(mask + nudge) - value(mask - nudge)) / (2 * step)
        assert abs(float(measured - gradient[graph.edge_index(edge)])) < 2e-3 * largest


@every_family
def test_gradients_over_a_batch_of_masks_are_those_one_by_one(family: str) -> None:
    on = subject(family, torch.float64)
    masks = torch.stack([random_mask(on, seed) for seed in (17, 18, 19)]).requires_grad_()
    together = torch.autograd.grad(fast(on, masks).square().sum(), masks)[0]
    for one, expected in zip(masks.detach(), together, strict=True):
        alone = one.clone().requires_grad_()
        assert distance(torch.autograd.grad(fast(on, alone).square().sum(), alone)[0], expected) < NEAR


def masks_of_each(on: Subject, dtype: torch.dtype) -> Tensor:
    """Two masks for each of the five examples, [2, example, writer, reader]: nothing, some edges, degrees of all, of none."""
    some = [random_circuit(on, density, seed=20).mask.to(dtype) for density in (0.0, 0.05, 0.2, 0.6, 1.0)]
    more = [random_mask(on, seed, dtype) for seed in (21, 22)]
    more += [random_mask(on, seed, dtype) * random_circuit(on, 0.3, seed).mask for seed in (23, 24, 25)]
    return torch.stack([torch.stack(some), torch.stack(more)])


@every_family
@pytest.mark.parametrize("how", ["corrupted", "position-mean"])
def test_masks_of_each_example_are_examples_one_by_one(family: str, how: str) -> None:
    on, of = subject(family), pairs()
    masks = masks_of_each(on, torch.float32)
    together = fast(on, masks, how)
    assert together.shape == (2, 5, 50)
    for number in range(2):
        for example in range(5):
            mask = masks[number, example]
            expected = fast(on, mask, how)[example]
            assert distance(together[number, example], expected) < NEAR, (number, example)
    assert not torch.allclose(together[0], together[1])
    with pytest.raises(GraphMismatch, match="for 5 examples"):
        masked_forward(on, of.clean, of.positions, masks[:, :4], corrupted_run(on, of))


@every_family
@pytest.mark.parametrize("how", ["corrupted", "zero"])
def test_gradients_of_masks_of_each_example_are_those_one_by_one(family: str, how: str) -> None:
    on = subject(family, torch.float64)
    masks = masks_of_each(on, torch.float64)
    together = gradient_of_each(on, masks, how)
    for example in range(5):
        alone = masks[:, example].clone().requires_grad_()
        value = fast(on, alone, how, candidates=on.graph.edge_mask)[:, example].square().sum() * (example + 1)
        expected = torch.autograd.grad(value, alone)[0]
        assert float((together[:, example] - expected).abs().max()) < NEAR * float(together.abs().max()), example


def gradient_of_each(on: Subject, masks: Tensor, how: str) -> Tensor:
    """Of a sum over all examples that tells them apart."""
    masks = masks.clone().requires_grad_()
    weights = torch.arange(1.0, 6.0, dtype=masks.dtype)[:, None]
    return torch.autograd.grad((fast(on, masks, how).square() * weights).sum(), masks)[0]


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
@pytest.mark.parametrize("size", [4_000, 60_000])
def test_masks_of_each_example_in_pieces(family: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces of single examples, and of some."""
    on = subject(family, torch.float64)
    masks = masks_of_each(on, torch.float64)
    expected = fast(on, masks), gradient_of_each(on, masks, "corrupted")
    monkeypatch.setattr("edgewise.engine.writes.CHUNK_BYTES", size)
    assert distance(fast(on, masks), expected[0]) < NEAR
    assert distance(gradient_of_each(on, masks, "corrupted"), expected[1]) < NEAR


def test_masks_of_each_example_that_are_the_same_are_one_mask() -> None:
    on = subject("gpt2")
    mask = random_mask(on, 26, torch.float32)
    assert distance(fast(on, mask.expand(1, 5, -1, -1))[0], fast(on, mask)) < NEAR


def test_late_nodes_at_unequal_answer_positions() -> None:
    """A circuit in which all that runs is needed at the answers alone: values and queries of the last layer, its MLP."""
    for family in ("toy", "gpt2", "llama", "gemma2"):
        on = subject(family)
        edges = ["input->a2.h0<q>", "input->a2.h1<v>", "a2.h0->m2", "a2.h2->logits", "m2->logits", "input->logits"]
        mask = Circuit.from_edges(on.graph, edges).mask
        assert distance(fast(on, mask), slow(family, mask)) < NEAR
        assert distance(fast(on, mask.expand(1, 5, -1, -1))[0], slow(family, mask)) < NEAR


def test_a_mask_of_another_graph_is_refused() -> None:
    with pytest.raises(GraphMismatch, match="mask of shape"):
        fast(subject("gpt2"), torch.ones(2, 3))


def test_a_run_with_a_gradient_is_freed_when_it_is_over() -> None:
    """The board and the graph that made it must not hold each other: no collector sees through autograd's nodes."""
    from edgewise.engine.board import Board

    on, of = subject("gpt2"), pairs()
    replacement, mask = corrupted_run(on, of), random_mask(on, 0, torch.float32).requires_grad_()
    for _ in range(3):
        out = masked_forward(on, of.clean, of.positions, mask, replacement)
        torch.autograd.grad(out.sum(), mask)
        del out
    gc.collect()
    assert not any(type(thing) is Board for thing in gc.get_objects())
