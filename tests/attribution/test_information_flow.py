"""Information flow routes: against the definition, reader by reader and token by token."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.families import FAMILIES, distance, pairs, subject

import edgewise as ew
from edgewise.engine.record import record
from edgewise.engine.tiling import PROCESSOR, using_tiling
from edgewise.engine.writes import expand


@pytest.mark.parametrize("family", FAMILIES)
def test_shares_are_those_of_the_definition(family: str) -> None:
    on, of = subject(family), pairs()
    graph, expected = on.graph, torch.zeros(on.graph.edge_mask.shape)
    for i in range(len(of)):
        width = int(of.positions[i]) + 1
        one = record(on, of.clean[i : i + 1, :width], of.positions[i : i + 1])
        out = expand(on, one.writes.flat(), slice(0, width), torch.empty(len(graph.writers), width, on.d_model))
        for r, reader in enumerate(graph.readers):
            layer, is_mlp = r // graph.readers_per_layer, reader.startswith("m")
            streams = one.mlp_in if is_mlp else one.attention_in
            whole = (one.final_in if reader == "logits" else streams[layer])[0]
            for t in range(width):
                rest = [float((whole[t] - part[t]).abs().sum()) for part in out[: graph.reach(r)]]
                flow = [max(float(whole[t].abs().sum()) - other, 0.0) for other in rest]
                for w, value in enumerate(flow):
                    expected[w, r] += value / sum(flow) / width / len(of)
    scores = ew.attribute(on, of, method="information-flow-routes", batch_size=2)
    assert distance(scores.values, expected) < 1e-4


def test_the_shares_of_a_reader_sum_to_one() -> None:
    with using_tiling(replace(PROCESSOR, chunk_bytes=20_000)):
        scores = ew.attribute(subject("llama"), pairs(), method="information-flow-routes")
    torch.testing.assert_close(scores.values.sum(dim=0), torch.ones(len(scores.graph.readers)))
    assert scores.values.min() >= 0


def test_neither_the_metric_nor_the_corrupted_prompts_matter() -> None:
    on, of = subject("gpt2"), pairs()
    expected = ew.attribute(on, of, method="information-flow-routes").values
    for how in ({"metric": "kl"}, {"ablation": "zero"}):
        assert torch.equal(ew.attribute(on, of, method="information-flow-routes", **how).values, expected)
