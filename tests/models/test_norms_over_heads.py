"""OLMo-2 and OLMo-3: what an edge into one head means where norms span the queries, or the keys, of all heads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from support.families import (
    corrupted_run,
    distance,
    make_model,
    make_subject,
    olmo2_config,
    olmo3_config,
    pairs,
    subject,
)
from torch import Tensor

import edgewise as ew
from edgewise.attribution.patcher import Patcher
from edgewise.engine.forward import masked_forward
from edgewise.engine.record import record
from edgewise.engine.writes import expand
from edgewise.errors import UnsupportedModel
from edgewise.models import Subject

NEAR = 1e-5
both = pytest.mark.parametrize("family", ["olmo2", "olmo3"])


def deltas(on: Subject) -> Tensor:
    """[writer, example, position, d_model]: clean minus corrupted."""
    of = pairs()
    clean, corrupted = (record(on, tokens, of.positions).writes for tokens in (of.clean, of.corrupted))
    flat = clean.minus(corrupted, torch.float32).flat()
    out = torch.empty(len(on.graph.writers), of.clean.numel(), on.d_model)
    return expand(on, flat, slice(0, of.clean.numel()), out).unflatten(1, of.clean.shape)


def with_one_projection_replaced(on: Subject, side: str, index: int, delta: Tensor) -> Tensor:
    """Logits of the native clean run in which the rows of one head of layer 1 read the stream less `delta`."""
    module = getattr(on.blocks[1].attention, f"{side}_proj")
    size = len(module.weight) // (on.graph.heads if side == "q" else on.graph.kv_heads)
    rows = slice(index * size, (index + 1) * size)

    def hook(_: Any, args: Any, output: Tensor) -> Tensor:
        output = output.clone()
        output[..., rows] = (args[0] - delta) @ module.weight[rows].T
        return output

    handle = module.register_forward_hook(hook)
    logits = on.logits(pairs().clean, pairs().positions)
    handle.remove()
    return logits


@both
@pytest.mark.parametrize("reader", ["a1.h2<q>", "a1.h1<k>", "a1.h0<v>"])
def test_a_replaced_edge_is_the_native_run_with_that_projection_replaced(family: str, reader: str) -> None:
    on, of = subject(family), pairs()
    side, index = reader[-2], int(reader[4])
    for writer in ("input", "a0.h3", "m0"):
        without = ew.Circuit.full(on.graph) - ew.Circuit.from_edges(on.graph, [f"{writer}->{reader}"])
        walked = masked_forward(on, of.clean, of.positions, without.mask, corrupted_run(on, of))
        delta = deltas(on)[on.graph.writers.index(writer)]
        assert distance(walked, with_one_projection_replaced(on, side, index, delta)) < NEAR


def attention_changes(on: Subject, slot: int) -> Tensor:
    """[head]: how much each head's z changes in layer 1 when all that the reader at `slot` reads is replaced."""
    of = pairs()
    first = on.graph.q_readers(1).start
    mask = on.graph.edge_mask.clone()
    mask[:, first + slot] = False
    replacement, seen = corrupted_run(on, of), []
    on.context(of.clean.shape[1])
    handle = on.blocks[1].output.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    for kept in (on.graph.edge_mask, mask):
        masked_forward(on, of.clean, of.positions, kept, replacement)
    handle.remove()
    # What attention hands over has three axes; the walk asks for the sum of all heads too.
    before, after = (z for z in seen if z.ndim == 3)
    return (before - after).unflatten(-1, (on.graph.heads, -1)).abs().amax(dim=(0, 1, 3))


@both
def test_queries_and_keys_couple_heads_and_values_do_not(family: str) -> None:
    on = subject(family)
    assert (attention_changes(on, 0) > 1e-4).all()  # the query of head 0
    assert (attention_changes(on, 4) > 1e-4).all()  # the key of heads 0 and 1
    assert (attention_changes(on, 6) > 1e-4).tolist() == [True, True, False, False]  # their value


@both
@pytest.mark.parametrize("how", ["corrupted", "zero", "mean"])
def test_what_a_head_that_nobody_uses_reads_changes_nothing(family: str, how: str) -> None:
    on, of = subject(family), pairs()
    edges = ["input->a1.h1<q>", "input->a1.h0<k>", "input->a1.h0<v>", "a1.h1->logits", "input->logits"]
    used = ew.Circuit.from_edges(on.graph, edges)
    more = used | ew.Circuit.from_edges(on.graph, ["input->a1.h3<q>", "input->a1.h1<k>", "m0->a1.h2<q>", "input->m0"])
    ours, theirs = (ew.evaluate(on, one, of, ablation=how)["logit_diff"].circuit for one in (used, more))
    assert ours == pytest.approx(theirs, abs=1e-5)
    # While one more head that is used does change the others' queries.
    also = used | ew.Circuit.from_edges(on.graph, ["input->a1.h3<q>", "a1.h3->a2.h0<v>", "a2.h0->logits"])
    without = also - ew.Circuit.from_edges(on.graph, ["input->a1.h3<q>"])
    values = [ew.evaluate(on, one, of, ablation=how)["logit_diff"].circuit for one in (also, without)]
    assert abs(values[0] - values[1]) > 1e-6


@both
def test_ungrouped_keys_are_normed_as_the_shared_ones(family: str) -> None:
    """The norm's gain is repeated with the keys; scores of a shared key are the sums of its heads'."""
    model, of = make_model({"olmo2": olmo2_config, "olmo3": olmo3_config}[family]()), pairs()
    shared, apart = ew.load(model), ew.load(model, kv="ungrouped")
    assert distance(apart.logits(of.clean, of.positions), shared.logits(of.clean, of.positions)) < 1e-6
    assert len(model.model.layers[0].self_attn.k_norm.weight) == 16
    assert len(apart.model.model.layers[0].self_attn.k_norm.weight) == 32
    ours, theirs = (ew.attribute(on, of) for on in (shared, apart))
    summed = theirs["input->a1.h2<k>"] + theirs["input->a1.h3<k>"]
    assert ours["input->a1.h1<k>"] == pytest.approx(summed, abs=1e-5)


def test_a_bias_that_would_belong_to_no_head_is_refused() -> None:
    for config in (olmo2_config(attention_bias=True), olmo3_config(attention_bias=True)):
        with pytest.raises(UnsupportedModel, match="attention_bias=True"):
            ew.load(make_model(config))


# -- how much of an edge's effect the coupling is ---------------------------------------------------------------------


@contextmanager
def others_held(on: Subject) -> Iterator[None]:
    """While one edge is patched, all queries and keys of that layer but those of the edge's own head are the clean ones."""
    native = Patcher.change_of_attention

    def held(self: Patcher, block: Any, layer: int, slot: int, delta: Tensor) -> Tensor:
        stream, heads = self.clean.attention_in[layer], block.projections.heads
        with pytest.MonkeyPatch.context() as patch:
            for side, index in (("q", slot), ("k", slot - heads)):
                norm, projection = (getattr(block.attention, f"{side}_{kind}") for kind in ("norm", "proj"))
                own = (torch.arange(len(norm.weight)) // on_head(block)) == index
                patch.setattr(norm, "forward", _mixed(norm.forward, norm(projection(stream)), own))
            return native(self, block, layer, slot, delta)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Patcher, "change_of_attention", held)
        yield


def on_head(block: Any) -> int:
    return block.output_weight.shape[1]


def _mixed(native: Any, clean: Tensor, own: Tensor) -> Any:
    return lambda x: torch.where(own, native(x), clean.repeat(len(x) // len(clean), 1, 1))


def coupling(on: Subject) -> float:
    """Σ |effect − effect with the other heads held| / Σ |effect|, over the edges into queries and keys."""
    ours = ew.attribute(on, pairs(), method="exact").values
    with others_held(on):
        alone = ew.attribute(on, pairs(), method="exact").values
    graph, into = on.graph, torch.zeros(len(on.graph.readers), dtype=torch.bool)
    for layer in range(graph.layers):
        into[graph.q_readers(layer).start : graph.k_readers(layer).stop] = True
    edges = graph.edge_mask & into
    assert distance(ours[graph.edge_mask & ~into], alone[graph.edge_mask & ~into]) < NEAR
    return float((ours - alone)[edges].abs().sum() / ours[edges].abs().sum())


@both
def test_the_coupling_is_part_of_what_an_edge_does(family: str) -> None:
    assert 0.01 < coupling(subject(family)) < 1


def test_with_one_head_nothing_couples() -> None:
    assert coupling(make_subject(olmo2_config(num_attention_heads=1, num_key_value_heads=1))) < NEAR
