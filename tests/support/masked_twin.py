"""The slow, obvious twin of masked_forward.

It takes one example and one mask at a time, keeps a dictionary of writer outputs, mixes every reader's input on its own,
and multiplies, rotates and attends head by head. It shares nothing with the engine but the model's own weights, norms and
MLPs.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from support.families import pairs, subject
from torch import Tensor

from edgewise.models import Subject


@dataclass
class Values:
    """What every writer of one run put out, [position, d_model], by name; `raw`: heads before a norm after attention."""

    writes: dict[str, Tensor] = field(default_factory=dict)
    raw: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class Twin:
    """One run of one example. `kept`: weight of each edge; `replaced`: what every writer is replaced with.

    `neurons`: the weight of each coordinate of a writer's output, [d_model], by name; all of those that are not named.
    """

    subject: Subject
    kept: dict[str, float]
    replaced: Values
    neurons: Mapping[str, Tensor] = field(default_factory=dict)

    def logits(self, tokens: Tensor) -> Tensor:
        """[position, vocab]."""
        self.run(tokens)
        normed = self.subject.final_norm.module(self.mixed("logits")[None])
        config = self.subject.model.config
        logits = self.subject.model.get_output_embeddings()(normed)[0] / getattr(config, "logits_scaling", 1)
        cap = getattr(config, "final_logit_softcapping", None)
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

    def mixed(self, reader: str, share: float = 1.0) -> Tensor:
        """Σ replacement + biases + Σ share · mask · neurons · (out − replacement), over the writers this reader reads."""
        total = torch.zeros_like(self.out.writes["input"]) + self.bias
        for writer in self.subject.graph.writers:
            if (weight := self.kept.get(f"{writer}->{reader}")) is not None:
                old = self.replaced.writes[writer]
                total = total + old + share * weight * self.neurons.get(writer, 1.0) * (self.out.writes[writer] - old)
        return total

    def _attention(self, layer: int) -> None:
        graph, block, raw = self.subject.graph, self.subject.blocks[layer], {}
        queries, keys, values = (self._projected(layer, side) for side in "qkv")
        for head in range(graph.heads):
            name, kv = f"a{layer}.h{head}", head // (graph.heads // graph.kv_heads)
            q, k, v = queries[head], keys[kv], values[kv]
            weight, bias = output(block.output, head, graph.heads)
            weight, bias = self._multiplied(weight), None if bias is None else self._multiplied(bias)
            raw[name] = attend(self.subject, layer, q, k, v) @ weight
            # Dead heads put out their replacement; so do, for a norm they share, heads that nobody uses.
            if name not in self.alive or (block.attention_post and name not in self.useful):
                raw[name] = self.replaced.raw[name]
        self.out.raw |= raw
        scale = post_scale(block, torch.stack(list(raw.values())).sum(dim=0))
        for name, value in raw.items():
            self.out.writes[name] = value * scale if name in self.alive else self.replaced.writes[name]
        self.bias = self.bias if bias is None else self.bias + bias

    def _projected(self, layer: int, side: str) -> list[Tensor]:
        """q, k or v of all heads of a layer, [position, d_head]."""
        on, norm = self.subject, self.subject.blocks[layer].attention_norm
        native, spans = NATIVE[on.family.name], on.family.name in SPANNING and side != "v"
        heads = range(on.graph.heads if side == "q" else on.graph.kv_heads)
        found = []
        for index in heads:
            reader = on.graph.current_name(f"a{layer}.h{index}<{side}>")
            # A head that is dead or that nobody uses must not change the scale of a norm over all of them.
            fed = not spans or served(on, reader) & self.alive & self.useful
            found.append(native(on, layer, side, index, norm(self.mixed(reader) if fed else self.mixed(reader, 0.0))))
        return spanned(on, layer, side, found) if spans else found

    def _mlp(self, layer: int) -> None:
        block, name = self.subject.blocks[layer], f"m{layer}"
        out = block.mlp(block.mlp_norm(self.mixed(name)[None]))[0]
        out = self._multiplied(out if block.mlp_post is None else block.mlp_post.module(out))
        self.out.writes[name] = out if name in self.alive else self.replaced.writes[name]

    def _multiplied(self, x: Tensor) -> Tensor:
        return x * getattr(self.subject.model.config, "residual_multiplier", 1)

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
    layer, _, head = re.split(r"\.(h|kv)", node[1:])
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
    if hasattr(getattr(model, "transformer", None), "wpe"):
        return {"input": model.transformer.wte(tokens) + model.transformer.wpe(places)}
    if on.family.name == "opt":  # whose first two positions are kept free
        decoder = model.model.decoder
        return {"input": decoder.embed_tokens(tokens) + decoder.embed_positions.weight[places + 2]}
    return {"input": model.get_input_embeddings()(tokens) * getattr(model.config, "embedding_multiplier", 1)}


def output(module: Any, head: int, heads: int) -> tuple[Tensor, Tensor | None]:
    """[d_head, d_model] of one head, and the bias of all."""
    weight = module.weight if type(module).__name__ == "Conv1D" else module.weight.T
    return weight.reshape(heads, -1, weight.shape[1])[head], module.bias


def separate(on: Subject, layer: int, side: str, index: int, x: Tensor) -> Tensor:
    """q, k or v of one head, [position, d_head]: projected by its rows, normed where the model does so, rotated.

    StableLM has a norm for every head, the others one for all.
    """
    attention = on.blocks[layer].attention
    norm = getattr(attention, f"{side}_norm", getattr(attention, f"{side}_layernorm", lambda y: y))
    norm = norm.norms[index] if hasattr(norm, "norms") else norm
    return rotated(on, layer, side, norm(bare(on, layer, side, index, x)))


def spanned(on: Subject, layer: int, side: str, found: list[Tensor]) -> list[Tensor]:
    """q or k of all heads, normed as one vector, rotated."""
    normed = getattr(on.blocks[layer].attention, f"{side}_norm")(torch.cat(found, dim=-1))
    return [rotated(on, layer, side, one) for one in normed.split(found[0].shape[-1], dim=-1)]


def bare(on: Subject, layer: int, side: str, index: int, x: Tensor) -> Tensor:
    attention = on.blocks[layer].attention
    module = getattr(attention, f"{side}_proj")
    size = len(module.weight) // (on.graph.heads if side == "q" else on.graph.kv_heads)
    rows = slice(index * size, (index + 1) * size)
    out = x @ module.weight[rows].T
    return out if module.bias is None else out + module.bias[rows]


def fused_blocks(on: Subject, layer: int, side: str, index: int, x: Tensor) -> Tensor:
    module, size = on.blocks[layer].attention.c_attn, on.d_model // on.graph.heads
    start = "qkv".index(side) * on.d_model + index * size
    return x @ module.weight[:, start : start + size] + module.bias[start : start + size]


def fused_heads(on: Subject, layer: int, side: str, index: int, x: Tensor) -> Tensor:
    module, size = on.blocks[layer].attention.query_key_value, on.d_model // on.graph.heads
    start = (3 * index + "qkv".index(side)) * size
    return rotated(on, layer, side, x @ module.weight[start : start + size].T + module.bias[start : start + size])


def fused_uneven(on: Subject, layer: int, side: str, index: int, x: Tensor) -> Tensor:
    graph, module = on.graph, on.blocks[layer].attention.qkv_proj
    size = on.d_model // graph.heads
    start = {"q": 0, "k": graph.heads, "v": graph.heads + graph.kv_heads}[side] + index
    return rotated(on, layer, side, x @ module.weight[start * size : (start + 1) * size].T)


# Families with norms over all queries and over all keys of a layer.
SPANNING = ("olmo2", "olmo3")
NATIVE: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys(("toy", "llama", "mistral", "qwen2", "qwen3", "gemma2"), separate),
    **dict.fromkeys(("gemma", "gemma3", "smollm3", "starcoder2", "granite", "mixtral", "qwen3-moe"), separate),
    **dict.fromkeys(("opt", "gpt-neo", "gpt-j", "phi", "stablelm"), separate),
    **dict.fromkeys(SPANNING, bare),
    "phi3": fused_uneven,
    "gpt2": fused_blocks,
    "gpt-neox": fused_heads,
}


def rotated(on: Subject, layer: int, side: str, x: Tensor) -> Tensor:
    """By the model's own functions, in the layers in which it rotates; where it rotates part of a head, that is the first."""
    source = sys.modules[type(on.model).__module__]
    if side == "v" or not hasattr(source, "apply_rotary_pos_emb"):
        return x
    if not getattr(on.blocks[layer].attention, "use_rope", True):
        return x
    if on.family.name == "gpt-j":
        angles = source.create_sinusoidal_positions(len(x), on.model.config.rotary_dim)
        sin, cos = angles.to(x.dtype)[None].chunk(2, dim=-1)
        first, rest = x[:, : 2 * sin.shape[-1]], x[:, 2 * sin.shape[-1] :]
        return torch.cat([source.apply_rotary_pos_emb(first[None, :, None], sin, cos)[0, :, 0], rest], dim=-1)
    angles = on.model.base_model.rotary_emb
    of_type = [on.model.config.layer_types[layer]] if hasattr(angles, "layer_types") else []
    cos, sin = angles(x[None], torch.arange(len(x))[None], *of_type)
    first, rest = x[:, : cos.shape[-1]], x[:, cos.shape[-1] :]
    turned = source.apply_rotary_pos_emb(first[None, None], first[None, None], cos, sin)[0][0, 0]
    return torch.cat([turned, rest], dim=-1)


def attend(on: Subject, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention of one head, [position, d_head], written out position by position."""
    config, rows = on.model.config, []
    types = getattr(config, "layer_types", None)
    windowed = types[layer] == "sliding_attention" if types else bool(getattr(config, "sliding_window", None))
    window = config.sliding_window if windowed else len(q)
    scale = getattr(config, "query_pre_attn_scalar", q.shape[1]) ** -0.5
    if on.family.name == "gpt-neo":
        window = config.window_size if config.attention_layers[layer] == "local" else len(q)
        scale = 1.0
    scale = getattr(config, "attention_multiplier", scale)
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
    gain, eps = (1 + norm.weight, norm.eps) if hasattr(norm, "eps") else (norm.weight, norm.variance_epsilon)
    return (summed.square().mean(dim=-1, keepdim=True) + eps) ** -0.5 * gain


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
def slow(family: str, mask: Tensor, how: str = "corrupted", neurons: Tensor | None = None) -> Tensor:
    """Logits at the answer positions, example by example."""
    on, of, rows = subject(family), pairs(), []
    weights = {} if neurons is None else dict(zip(on.graph.writers, neurons, strict=True))
    for i in range(len(of)):
        replaced = corrupted_values(family, i)
        if how == "zero":
            replaced = Values(*({k: v * 0 for k, v in side.items()} for side in (replaced.writes, replaced.raw)))
        rows.append(Twin(on, kept_by(on, mask), replaced, weights).logits(of.clean[i])[of.positions[i]])
    return torch.stack(rows)
