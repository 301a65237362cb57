"""look: nodes add up to the logits, each beside formulas written out, and what is shown is what was measured."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from support.families import gpt2_config, make_subject, pairs, random_circuit, subject

import edgewise as ew
from edgewise.errors import GraphMismatch, InvalidValue, UnknownName
from edgewise.pairs import Pairs

# Without biases and soft caps, so that nothing but nodes speaks; norms after attention, a divisor of logits, experts.
BARE = ("llama", "granite", "olmo2", "mixtral")


@pytest.mark.parametrize("family", BARE)
def test_all_nodes_together_say_the_whole(family: str) -> None:
    on = subject(family, torch.float64)
    seen = ew.look(on, ew.Circuit.full(on.graph), pairs(), prompts=0)
    assert [one.node for one in seen.nodes] == list(on.graph.writers)
    assert seen.whole == pytest.approx(ew.evaluate(on, ew.Circuit.full(on.graph), pairs())["logit_diff"].clean)
    assert seen.rest == pytest.approx(0, abs=2e-5)
    assert max(abs(one.direct) for one in seen.nodes) > 1e-3


def by_formula(node: str) -> torch.Tensor:
    """Logits [example, vocab] of what a head or MLP of GPT-2 writes at the answer, through the frozen norm, by hand."""
    on, ready, seen = subject("gpt2"), subject("gpt2").ready(pairs()), dict[str, torch.Tensor]()
    model, layer = on.model.transformer, int(node[1])
    block = model.h[layer]
    hooks = [
        block.attn.c_proj.register_forward_pre_hook(lambda _, given: seen.update(z=given[0])),
        block.mlp.register_forward_hook(lambda _, __, out: seen.update(mlp=out)),
        model.ln_f.register_forward_pre_hook(lambda _, given: seen.update(out=given[0])),
    ]
    with torch.no_grad():
        on.model(input_ids=ready.clean)
    for hook in hooks:
        hook.remove()
    if node.startswith("m"):
        written = seen["mlp"]
    else:
        size = seen["z"].shape[-1] // on.graph.heads
        mine = slice(size * int(node[4:]), size * (int(node[4:]) + 1))
        written = seen["z"][..., mine] @ block.attn.c_proj.weight[mine]
    rows = torch.arange(len(pairs()))
    written, stream = written[rows, ready.positions], seen["out"][rows, ready.positions]
    scale = (stream.var(dim=-1, correction=0, keepdim=True) + model.ln_f.eps).rsqrt()
    centred = written - written.mean(dim=-1, keepdim=True)
    return (centred * scale * model.ln_f.weight @ on.model.lm_head.weight.T).detach()


@pytest.mark.parametrize("node", ["a0.h2", "a2.h3", "m1"])
def test_each_node_says_what_the_formula_says(node: str) -> None:
    on, of = subject("gpt2"), pairs()
    one, logits = ew.look(on, ew.Circuit.full(on.graph), of, tokens=4)[node], by_formula(node)
    diffs = [
        logits[row, of.correct[row][of.correct[row] >= 0]].mean()
        - logits[row, of.wrong[row][of.wrong[row] >= 0]].mean()
        for row in range(len(of))
    ]
    assert one.direct == pytest.approx(float(torch.stack(diffs).mean()), abs=1e-5)
    mean = logits.mean(dim=0) - logits.mean()
    for found, best in ((one.promoted, mean.topk(4)), (one.suppressed, mean.topk(4, largest=False))):
        assert [word for word, _ in found] == [f"[{token}]" for token in best.indices.tolist()]
        assert [value for _, value in found] == pytest.approx(best.values.tolist(), abs=1e-4)


def test_patterns_are_the_weights_of_the_model() -> None:
    on, of = make_subject(gpt2_config(attn_implementation="eager")), pairs()
    seen = ew.look(on, ew.Circuit.full(on.graph), of, prompts=2)
    native = on.model(input_ids=of.clean, output_attentions=True).attentions
    for layer, head, prompt in ((0, 1, 0), (2, 3, 1)):
        pattern = seen[f"a{layer}.h{head}"].patterns[prompt]
        end = int(of.positions[prompt]) + 1
        assert len(pattern.tokens) == end
        assert pattern.answer == end - 1
        weights = native[layer][prompt, head, :end, :end]
        assert torch.allclose(torch.tensor(pattern.weights), weights, atol=1e-4)
        place = int(weights[-1].argmax())
        assert pattern.most(1) == ((f"[{int(of.clean[prompt, place])}]", pattern.weights[-1][place]),)
    assert seen["m1"].patterns == ()
    assert len(seen["a0.h1"].patterns) == 2


def test_only_what_is_on_a_path_is_looked_at() -> None:
    on = subject("gpt2")
    circuit = ew.Circuit.from_edges(on.graph, ["input->a0.h1<v>", "a0.h1->logits", "input->m0"])
    seen, all_of_it = ew.look(on, circuit, pairs()), ew.look(on, ew.Circuit.full(on.graph), pairs())
    assert [one.node for one in seen.nodes] == ["input", "a0.h1"]
    assert seen["a0.h1"].direct == pytest.approx(all_of_it["a0.h1"].direct)
    assert seen["a0.h1"].patterns == all_of_it["a0.h1"].patterns
    with pytest.raises(UnknownName, match="unknown node in this circuit 'm0'"):
        seen["m0"]


def test_batches_change_nothing() -> None:
    on = subject("gpt2", torch.float64)
    once, bits = (ew.look(on, ew.Circuit.full(on.graph), pairs(), batch_size=size) for size in (8, 2))
    assert [one.direct for one in once.nodes] == pytest.approx([one.direct for one in bits.nodes])
    assert once["a1.h0"].patterns == bits["a1.h0"].patterns


def test_it_is_plain_values_text_and_html() -> None:
    on = ew.load("nano")
    of = ew.task("ioi").pairs(on.tokenizer, n=4)
    seen = ew.look(on, ew.discover(on, of, method="eap", edges=20), of)
    assert json.loads(json.dumps(seen.to_dict(), allow_nan=False))["nodes"][0]["node"] == "input"
    text, html = str(seen), seen._repr_html_()
    for one in seen.nodes:
        assert f"{one.direct:+.3f}" in text
        assert html.count(f">{one.node}<") >= 1 + bool(one.patterns)
    assert "<script" not in html
    assert len(repr(seen)) < 100
    assert seen["input"].promoted[0][0] in str(seen)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompts": -1}, "prompts=-1: it must be at least 0"),
        ({"tokens": "many"}, "look: tokens must be a whole number"),
        ({"batch_size": 0}, "batch_size=0: it must be at least 1"),
        ({"circuit": "a"}, "look: circuit must be a Circuit"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    on = subject("gpt2")
    given = {"circuit": ew.Circuit.full(on.graph), **changes}
    with pytest.raises(InvalidValue, match=message):
        ew.look(on, pairs=pairs(), **given)


def test_what_cannot_be_looked_at_is_refused() -> None:
    on, of = subject("gpt2"), pairs()
    with pytest.raises(InvalidValue, match="no path leads from input to logits"):
        ew.look(on, ew.Circuit.from_edges(on.graph, []), of)
    with pytest.raises(GraphMismatch, match="the circuit is of another model"):
        ew.look(on, random_circuit(subject("llama"), 0.3, seed=0), of)
    one_sided = Pairs.from_tokens(of.clean, of.corrupted, correct=of.correct, positions=of.positions)
    with pytest.raises(InvalidValue, match="some pairs have no wrong one"):
        ew.look(on, ew.Circuit.full(on.graph), one_sided)
