"""The slow, obvious twin of path patching: one masked run in which only the edges of the path carry what is changed.

What is not kept carries clean values, but for the first edge, which carries the replaced one. Of a node on the way only the
next edge of the path is kept, and of its layer's other heads none: a norm over all of them would change what they write.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from edgewise.ablations import ablation
from edgewise.engine.forward import masked_forward
from edgewise.engine.record import record
from edgewise.engine.replacement import Replacement
from edgewise.engine.writes import Writes
from edgewise.metrics import METRICS, Answers
from edgewise.models import Subject
from edgewise.pairs import Pairs
from edgewise.reachability import path_of


def slow_effect(on: Subject, of: Pairs, path: str, how: str) -> float:
    """The drop of the logit difference when that path alone is replaced, mean over the pairs."""
    edges, ready = path_of(on.graph, path), on.ready(of)
    clean = record(on, ready.clean, ready.positions)
    instead = ablation(how).prepare(on, of, len(of))(ready).writes
    values = Replacement.of_values(on, with_writer(on, clean.writes, instead, edges[0][0]))
    mask = on.graph.edge_mask.clone()
    mask[edges[0]] = False
    for (_, reader), (writer, after) in pairwise(edges):
        layer, kind, _ = on.graph.place(reader)
        mask[on.graph.mlp_writer(layer) if kind == "mlp" else on.graph.head_writers(layer)] = False
        mask[writer, after] = True
    logits = masked_forward(on, ready.clean, ready.positions, mask, values)
    answers = Answers(ready.correct, ready.wrong)
    before, after = (METRICS["logit_diff"].value(one, answers, clean.logits) for one in (clean.logits, logits))
    return float((before - after).mean())


def with_writer(on: Subject, clean: Writes, instead: Writes, writer: int) -> Writes:
    """The clean writes, of one writer those of another run."""
    inputs, z, mlp = clean.inputs.clone(), [one.clone() for one in clean.z], [one.clone() for one in clean.mlp]

    def put(into: Tensor, values: Tensor) -> None:
        into.copy_(values.expand_as(into))

    if writer < len(on.graph.inputs):
        put(inputs[..., writer, :], instead.inputs[..., writer, :])
        return replace(clean, inputs=inputs)
    layer, slot = divmod(writer - len(on.graph.inputs), on.graph.writers_per_layer)
    if slot < on.graph.heads:
        put(z[layer][..., slot, :], instead.z[layer][..., slot, :])
    else:
        put(mlp[layer], instead.mlp[layer])
    return Writes(inputs, z, mlp, clean.raw)


def drawn_paths(on: Subject, seed: int, count: int) -> list[str]:
    """Paths of two edges and more, of all kinds of readers, through a random circuit."""
    from edgewise.circuit import Circuit

    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(on.graph.edge_mask.shape, generator=generator)
    circuit = Circuit(on.graph, on.graph.edge_mask & (share < 0.35))
    found = [path for end in ("logits", "a2.h1") for path in circuit.paths("input", end, limit=4000)]
    several = [path for path in found if path.count("->") > 1]
    picked = torch.randperm(len(several), generator=generator)[:count].tolist()
    return [several[number] for number in sorted(picked)]


@torch.no_grad()
def by_hooks(on: Subject, of: Pairs, layer: int, kind: str) -> float:
    """The same of the path from the input over key or value 1 to head 2, or query and head 1, to the logits, of an OLMo."""
    model, ready, seen = on.model, on.ready(of), dict[str, Tensor]()
    block = model.model.layers[layer]
    attention, norm, size = block.self_attn, block.post_attention_layernorm, block.self_attn.head_dim
    head, slot = (1 if kind == "q" else 2), slice(size, 2 * size)
    projection, rows = getattr(attention, f"{kind}_proj"), torch.arange(len(of))

    def run(name: str, instead: Tensor | None = None) -> Tensor:
        """Logits at the answers of a run with another output of one slot of the projection; what heads give is kept."""
        hooks = [
            attention.o_proj.register_forward_pre_hook(lambda _, given: seen.update({name: given[0]})),
            projection.register_forward_pre_hook(lambda _, given: seen.update({f"{name} into": given[0]})),
            model.model.norm.register_forward_pre_hook(lambda _, given: seen.update({f"{name} out": given[0]})),
        ]
        if instead is not None:

            def put(_: object, __: object, out: Tensor) -> Tensor:
                return torch.cat([out[..., : slot.start], instead[..., slot], out[..., slot.stop :]], dim=-1)

            hooks.append(projection.register_forward_hook(put))
        logits = model(input_ids=ready.clean).logits[rows, ready.positions]
        for hook in hooks:
            hook.remove()
        return logits

    clean = run("clean")
    less = model.model.embed_tokens(ready.clean) - model.model.embed_tokens(ready.corrupted)
    run("changed", projection(seen["clean into"] - less))
    mine = slice(head * size, (head + 1) * size)
    alone = seen["clean"].clone()
    alone[..., mine] = seen["changed"][..., mine]

    def written(given: Tensor) -> Tensor:
        """What the head writes, with the scale that the norm has for all heads together."""
        scale = (attention.o_proj(given).square().mean(dim=-1, keepdim=True) + norm.variance_epsilon).rsqrt()
        return given[..., mine] @ attention.o_proj.weight[:, mine].T * scale * norm.weight

    stream = seen["clean out"] + written(alone) - written(seen["clean"])
    logits = model.lm_head(model.model.norm(stream))[rows, ready.positions]
    answers = Answers(ready.correct, ready.wrong)
    return float(
        (
            METRICS["logit_diff"].value(clean, answers, clean) - METRICS["logit_diff"].value(logits, answers, clean)
        ).mean()
    )
