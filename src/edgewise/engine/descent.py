"""Descent: one backward pass that goes along with a search from the output back, through what the search has kept.

When the search comes to a node, everything that reads the node is decided, and everything before the node is still clean. So
the gradient at what the node writes is the sum of those at its kept readers, and one step at the clean run's values takes it
to what the node reads. Nodes that nobody reads any more are left out; late MLPs have gradients at the answers alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, final

import torch
from torch import Tensor

from edgewise.engine.native import mlp, native_attention
from edgewise.graph import Graph

if TYPE_CHECKING:
    from edgewise.engine.cached import CachedFrontier


class Effects(NamedTuple):
    """How far edges move a sum: what each carries beyond its replacement times the gradient at its reader.

    `values` [example, writer, reader], of some `readers`, for the writers that these can read.
    """

    readers: list[int]
    values: Tensor


class Gradients(NamedTuple):
    """Gradients at what `readers` read: `values` [reader, token, d_model], at some `tokens` of those of a descent."""

    readers: list[int]
    tokens: Tensor
    values: Tensor


@final
class Descent:
    """The gradient of Σ cotangent · logits over the first examples of a frontier's batch, at one place after the other.

    `cotangent` [example, vocab], for as many of the examples as it has. It looks at the active tokens of these.
    """

    def __init__(self, front: CachedFrontier, cotangent: Tensor) -> None:
        self.front, self.graph, self.cotangent = front, front.graph, cotangent
        places, self._examples = front.places, len(cotangent)
        self._active = places.active[places.active < self._examples * places.shape[1]]
        self._answers = places.answers_active[: self._examples]
        self._example = self._active // places.shape[1]
        self._everywhere = torch.arange(len(self._active), device=self._active.device)
        self._ahead, self._here = _order(self.graph), Gradients([], self._answers, cotangent)
        # The gradient at what each writer writes, as far as its readers are decided: [writer, token, d_model].
        self._written = front.streams.rows.new_zeros(len(self.graph.writers), len(self._active), front.subject.d_model)

    def effects(self, reader: int) -> Effects:
        """Those at the node or the layer's attention where a reader is.

        To be asked once for each place, in the order of the search, before anything is decided there.
        """
        readers = range(0)
        while reader not in readers:
            self._hand_on()
            readers = next(self._ahead)
            self._here = self._gradients(readers)
        found, tokens, values = self._here
        reach = self.graph.reach(reader)
        rows = self.front.streams.rows[:reach, : len(self._active)]
        rows = rows if tokens is self._everywhere else rows.index_select(1, tokens)
        by_token = torch.bmm(rows.transpose(0, 1), values.permute(1, 2, 0))
        effects = by_token.new_zeros(self._examples, reach, len(found))
        return Effects(found, effects.index_add_(0, self._example[tokens], by_token))

    def _hand_on(self) -> None:
        """Give the gradients of the place behind to the writers that are still read there."""
        readers, tokens, values = self._here
        if readers:
            kept = self.front.mask[: self.graph.reach(readers[0]), readers].to(values)
            given = (kept @ values.flatten(1)).unflatten(1, values.shape[1:])
            self._written[: len(kept)].index_add_(1, tokens, given)

    # -- one step, at each kind of place ----------------------------------------------------------------------------

    def _gradients(self, readers: range) -> Gradients:
        layer, slot = divmod(readers.start, self.graph.readers_per_layer)
        if layer == self.graph.layers:
            x = self._clean(self.front.clean.final_in, self._answers)
            return Gradients([*readers], self._answers, self._pull(self.front.subject.unembed, x, self.cotangent)[None])
        if slot == 0:
            return self._attention(layer, readers)
        writer, block = self.graph.mlp_writer(layer), self.front.subject.blocks[layer]
        tokens = self._answers if self.front.wiring.late[writer] else self._everywhere
        if not self.front.mask[writer].any():
            return Gradients([], tokens[:0], self._written[:0, :0])
        x, gradient = self._clean(self.front.clean.mlp_in[layer], tokens), self._written[writer, tokens]
        return Gradients([*readers], tokens, self._pull(partial(mlp, block), x, gradient)[None])

    def _attention(self, layer: int, readers: range) -> Gradients:
        """Of the readers of heads that are read."""
        block, writers = self.front.subject.blocks[layer], self.graph.head_writers(layer)
        read = self.front.mask[writers].any(dim=1)
        serves = self.graph.serves[readers.start : readers.stop, writers]
        slots = (serves & read).any(dim=1).nonzero().flatten().tolist()
        if not slots:
            return Gradients([], self._answers[:0], self._written[:0, :0])
        gradient = self._at_projections(layer)[:, slots].transpose(0, 1)
        weight = block.projections.rows(slots)[0]
        x = self._clean(self.front.clean.attention_in[layer], self._everywhere).expand(len(slots), -1, -1)
        values = self._pull(block.attention_norm, x, torch.bmm(gradient.to(x.dtype), weight.to(x.dtype)))
        return Gradients([readers[slot] for slot in slots], self._everywhere, values)

    def _at_projections(self, layer: int) -> Tensor:
        """The gradient at what a layer's projections give: [token, slot, d_head]."""
        subject, block = self.front.subject, self.front.subject.blocks[layer]
        # Nothing of the layer has changed yet, unless a search goes on in its middle: what was projected last is clean.
        last = self.front.projected(layer)[:, : self._examples * self.front.places.shape[1]]
        given = last.transpose(0, 1).unflatten(0, (self._examples, -1))
        weight, written = block.output_weight.to(given.dtype), self._written[self.graph.head_writers(layer)]
        at_heads = torch.bmm(written.to(weight.dtype), weight.transpose(1, 2)).transpose(0, 1)
        gradient = given.new_zeros(given.shape[:2].numel(), *at_heads.shape[1:]).index_copy_(0, self._active, at_heads)
        groups = range(self.graph.kv_heads)
        attention = partial(native_attention, subject, block, self.front.contexts[layer], groups=groups)
        return self._pull(attention, given, gradient.view(*given.shape[:2], -1)).flatten(0, 1)[self._active]

    def _clean(self, stream: Tensor, tokens: Tensor) -> Tensor:
        """A stream of the clean run at some tokens: [token, d_model]."""
        return stream.flatten(0, 1)[self._active[tokens]]

    def _pull(self, function: Callable[[Tensor], Any], x: Tensor, gradient: Tensor) -> Tensor:
        """The gradient at x, for that at function(x), in the type of the rows."""
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            out = function(leaf)
        return torch.autograd.grad(out, leaf, gradient.to(out.dtype).view_as(out))[0].to(self.front.streams.rows.dtype)


def _order(graph: Graph) -> Iterator[range]:
    """The readers of all places, in the order of a search."""
    yield range(len(graph.readers) - 1, len(graph.readers))
    for layer in reversed(range(graph.layers)):
        if graph.mlps:
            yield range(graph.mlp_reader(layer), graph.mlp_reader(layer) + 1)
        attention = graph.attention_readers(layer)
        yield range(attention.start, attention.stop)
