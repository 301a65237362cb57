"""CachedFrontier: keeps what every node wrote last, and computes again only what a removal changes.

Removing an edge changes one reader's input by a cached vector. Only nodes that this reader's node reaches over kept edges
have to be computed again, late ones at the answer position alone, and none at positions before the first token in which clean
and corrupted differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import linear

from edgewise.circuit import live_writers
from edgewise.engine.descent import Descent
from edgewise.engine.frontier import Frontier, Outcome, Removal, Span, Trials, WalkingFrontier
from edgewise.engine.native import native_attention
from edgewise.engine.places import Places, Replaced
from edgewise.engine.record import record
from edgewise.engine.replacement import Replacement
from edgewise.engine.streams import Streams
from edgewise.engine.versions import Group, Versions
from edgewise.engine.wiring import Intake, Wiring
from edgewise.engine.writes import expand
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs


@final
class CachedFrontier(Frontier):
    """For models in which a head's write depends on nothing but what that head reads.

    `clean`: the run of the clean prompts; `streams`: what writers wrote last.
    """

    def __init__(self, subject: Subject, batch: Pairs, replacement: Replacement) -> None:
        self.clean = record(subject, batch.clean, batch.positions)
        super().__init__(subject, self.clean.logits)
        self.replacement, self.dtype, self.work_dtype = replacement, subject.dtype, subject.work_dtype
        self.places = Places.find(subject, batch, replacement)
        self.replaced = Replaced(self.graph, replacement, self.places, self.work_dtype)
        self.contexts = subject.context(batch.clean.shape[1])
        self.slots = self.graph.readers_per_layer - int(self.graph.mlps)
        # Views of what is stored; what has to be made is made again, and kept for as long as the search stays in a layer.
        self._parts = [block.projections.parts() if block.projections.stored else None for block in subject.blocks]
        self._outputs = [block.output_weight_later() for block in subject.blocks]
        self._start()

    # -- asking and deciding ----------------------------------------------------------------------------------------

    def outcomes(self, trials: Trials) -> Outcome:
        outcome = Outcome(trials, torch.empty(0), len(self.places.answers))
        self._alive = self._living(trials)
        self._stale: set[int] = set()
        layer, slot = divmod(trials.removals[0].reader, self.graph.readers_per_layer)
        if layer == self.graph.layers:
            outcome.logits = self._unembed(self._tried(trials.spans[0], outcome))
            return outcome
        if slot == self.slots:
            self._mlp(layer, self._tried(trials.spans[0], outcome), outcome)
        else:
            self._project_frontier(layer, outcome)
            self._attention(layer, outcome)
            self._read_mlp(layer, outcome)
        for later in range(layer + 1, self.graph.layers):
            self._walk_layer(later, outcome)
        logits = self._unembed(self.streams.now(self.wiring.intake(len(self.graph.readers) - 1), outcome.rows))
        outcome.logits = logits.expand(len(trials), -1, -1)
        tokens = [outcome.tokens, *(rows.shape[1] for rows in outcome.rows.values())]
        outcome.tokens = sum(tokens) / len(tokens)
        return outcome

    def commit(self, outcome: Outcome, gone: Sequence[int]) -> None:
        for number in gone:
            removal = outcome.trials.removals[number]
            self.mask[removal.rows, removal.reader] = False
        for span, streams in outcome.inputs.items():
            if within := [number - span.first for number in gone if span.first <= number < span.stop]:
                self._inputs[span.reader] = streams[within[-1]].clone()
        if gone:
            self._store(outcome, gone[-1])

    def settle(self) -> None:
        self.streams.settle(self.mask)
        self._inputs: dict[int, Tensor] = {}
        self._emptied: dict[int, Tensor] = {}

    def restore(self) -> None:
        self._start()
        self._alive = None
        if not self.replacement.is_run:
            self._alive = live_writers(self.graph, self.mask)[None].to(self.subject.device)
        outcome, pruned = Outcome(Trials((), ()), torch.empty(0), 0), (self.graph.edge_mask & ~self.mask).any(dim=0)
        self._stale = set(pruned.nonzero().flatten().tolist())
        for layer in range(self.graph.layers):
            self._walk_layer(layer, outcome)
        self._store(outcome, 0)

    def descent(self, cotangent: Tensor) -> Descent:
        return Descent(self, cotangent)

    # -- state ------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        clean = self.clean.writes.minus(self.replacement.writes, self.work_dtype)
        flat = clean.flat().at(self.places.active)
        tokens = len(flat.inputs)
        buffer = flat.inputs.new_empty(len(self.graph.writers), tokens, self.subject.d_model)
        rows = expand(self.subject, flat, slice(0, tokens), buffer)
        self.streams = Streams(self.graph, self.places, self.replaced, rows)
        self._last: dict[int, Tensor] = {}
        self.settle()

    @property
    def wiring(self) -> Wiring:
        """The edges that were kept when the search came to the place where it is."""
        return self.streams.wiring

    def projected(self, layer: int) -> Tensor:
        """What the projections of a layer gave last, [slot, token, d_head]: the clean outputs if nothing has changed them."""
        if layer not in self._last:
            block = self.subject.blocks[layer]
            normed = block.attention_norm(self.clean.attention_in[layer])
            outputs = block.projections.split([module(normed) for module in block.projections.modules])
            self._last[layer] = outputs.flatten(0, 1).transpose(0, 1).contiguous()
        return self._last[layer]

    def _living(self, trials: Trials) -> Tensor | None:
        """bool [trial, writer], where nodes that lose all they read must be told to output their replacement."""
        if self.replacement.is_run:
            return None
        return torch.stack([live_writers(self.graph, mask) for mask in trials.masks(self.mask)]).to(self.subject.device)

    def _store(self, outcome: Outcome, number: int) -> None:
        self.streams.store(outcome.rows, number)
        for (layer, slot), outputs in outcome.projected.items():
            if (values := outputs.at(number)) is not None:
                self.projected(layer)[slot].index_copy_(0, self._tokens_of(layer, slot), values)

    def _tokens_of(self, layer: int, slot: int) -> Tensor:
        """Where the projection of a slot is kept up to date, as indices of all tokens."""
        return self.places.tokens(self.wiring.late_reader[layer * self.graph.readers_per_layer + slot])

    # -- what readers at the frontier get ---------------------------------------------------------------------------

    def _tried(self, span: Span, outcome: Outcome) -> Tensor:
        """Input of a frontier reader in each trial of its span, and after them if others follow and it is then otherwise.

        [trial, token, d_model]; what it is after them is what it was before if none of them is expected to go.
        """
        trials, late = outcome.trials, self.wiring.late_reader[span.reader]
        if span.reader not in self._inputs:
            intake = self.wiring.intake_of(span.reader, self.mask[:, span.reader].numpy())
            self._inputs[span.reader] = self.streams.last(intake)
        now = self._inputs[span.reader]
        goes = trials.goes[span.first : span.stop]
        differs = span.stop < len(trials) and any(goes) and not goes[-1]
        streams = now.new_empty(len(goes) + differs, *now.shape)
        for number, stream in zip(range(span.first, span.stop), streams, strict=False):
            torch.sub(now, self._gone(trials.removals[number], late), out=stream)
            now = stream if trials.goes[number] else now
        if differs:
            streams[-1] = now
        outcome.inputs[span] = streams
        return streams

    def _gone(self, removal: Removal, late: bool) -> Tensor:
        """What a removal takes from its reader's input: [token, d_model]."""
        first, *others = (self.streams.written(writer, late) for writer in removal.writers or ())
        return sum(others, start=first)

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _walk_layer(self, layer: int, outcome: Outcome) -> None:
        """Compute again the nodes of a layer that read something changed."""
        first = layer * self.graph.readers_per_layer
        alike: dict[Intake, list[int]] = {}
        for reader in sorted(self._stale.intersection(range(first, first + self.slots))):
            alike.setdefault(self.wiring.intake(reader), []).append(reader - first)
        for intake, slots in alike.items():
            outputs = self._project(layer, slots, self.streams.now(intake, outcome.rows))
            for place, slot in enumerate(slots):
                outcome.projected[layer, slot] = Versions(0, outputs[..., place, :])
        if alike:
            self._attention(layer, outcome)
        self._read_mlp(layer, outcome)

    def _read_mlp(self, layer: int, outcome: Outcome) -> None:
        """Compute a layer's MLP again if it reads something changed."""
        if self.graph.mlps and (reader := self.graph.mlp_reader(layer)) in self._stale:
            self._mlp(layer, self.streams.now(self.wiring.intake(reader), outcome.rows), outcome)

    def _mlp(self, layer: int, stream: Tensor, outcome: Outcome) -> None:
        writer = self.graph.mlp_writer(layer)
        out = self.subject.blocks[layer].mlp_write(stream.to(self.dtype))
        self._keep(writer, out.to(self.work_dtype) - self.replaced.mlp(layer, self.wiring.late[writer]), outcome)

    def _project(self, layer: int, slots: list[int], stream: Tensor) -> Tensor:
        """Outputs of the projections of some slots, in order, for one stream: [trial, token, slot, d_head]."""
        normed, outputs = self.subject.blocks[layer].attention_norm(stream.to(self.dtype)), []
        for part in self._parts[layer] or self.subject.blocks[layer].projections.parts():
            if rows := [slot - part.start for slot in slots if part.start <= slot < part.stop]:
                chosen = slice(rows[0], rows[-1] + 1) if rows == [*range(rows[0], rows[-1] + 1)] else rows  # a view
                weight, bias = part.weight[chosen], None if part.bias is None else part.bias[chosen].flatten()
                weight, bias = weight.to(normed.dtype), None if bias is None else bias.to(normed.dtype)
                outputs.append(linear(normed, weight.flatten(0, 1), bias).unflatten(-1, weight.shape[:2]))
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-2)

    def _project_frontier(self, layer: int, outcome: Outcome) -> None:
        """Outputs of the projections of the readers at the frontier, each from the first of its own trials on."""
        trials = outcome.trials
        for span in trials.spans:
            slot = span.reader - layer * self.graph.readers_per_layer
            if trials.removals[span.first].writers is None:
                outputs = self._replaced_projection(layer, slot)
            else:
                outputs = self._project(layer, [slot], self._tried(span, outcome))[..., 0, :]
            returns = not any(trials.goes[span.first : span.stop])
            outcome.projected[layer, slot] = Versions(span.first, outputs, returns)

    def _replaced_projection(self, layer: int, slot: int) -> Tensor:
        """Output of the projection of a reader that keeps nothing: [1, token, d_head]."""
        if layer not in self._emptied:  # the same stream for all of the layer
            replaced = self.replaced.stream(layer * self.graph.readers_per_layer, late=False)
            self._emptied[layer] = self._project(layer, [*range(self.slots)], replaced[None])
        output = self._emptied[layer][..., slot, :]
        late = self.wiring.late_reader[layer * self.graph.readers_per_layer + slot]
        return self.places.narrow(output) if late else output

    def _attention(self, layer: int, outcome: Outcome) -> None:
        """Run the heads whose projections changed."""
        block, last = self.subject.blocks[layer], self.projected(layer)
        changed = {slot: versions for (at, slot), versions in outcome.projected.items() if at == layer}
        groups = Group.of(block.projections, changed)
        # Heads that share keys and values lie on the batch axis, each group in as many versions as it has, unless the
        # attention has something of its own for each head.
        for together in [groups] if block.projections.alike else [[group] for group in groups]:
            self._attend(layer, together, last, outcome)

    def _attend(self, layer: int, groups: list[Group], last: Tensor, outcome: Outcome) -> None:
        """Run the heads of some groups, and keep what those that are read now write."""
        block, counts = self.subject.blocks[layer], [group.count for group in groups]
        outputs = last.new_empty(sum(counts), last.shape[1], len(groups[0].slots), last.shape[2])
        for group, part in zip(groups, outputs.split(counts), strict=True):
            group.fill(part, last, lambda slot: self._tokens_of(layer, slot))
        by_token = outputs.unflatten(1, self.places.shape).flatten(0, 1)
        number, _ = block.projections.group_of(groups[0].slots[0])
        z = native_attention(self.subject, block, self.contexts[layer], by_token, [number])
        z = z.view(*outputs.shape[:2], len(groups[0].heads), -1)
        for group, part in zip(groups, z.split(counts), strict=True):
            for head in group.served:
                versions = Versions(group.first, part[:, :, group.heads.index(head)], group.returns)
                self._write_head(layer, head, versions, outcome)

    def _write_head(self, layer: int, head: int, z: Versions, outcome: Outcome) -> None:
        """Rows of a head, if it is read, for its z at all tokens."""
        writer = self.graph.head_writers(layer).start + head
        if not self.wiring.read_by(writer):
            return
        late = self.wiring.late[writer]
        delta = z.values.index_select(1, self.places.tokens(late)) - self.replaced.z(layer, head, late)
        rows = delta.to(self.work_dtype) @ self._outputs[layer]()[head].to(self.work_dtype)
        everywhere = z._replace(values=rows).everywhere(len(outcome.trials), self.streams.written(writer, late)[None])
        self._keep(writer, everywhere, outcome)

    def _keep(self, writer: int, rows: Tensor, outcome: Outcome) -> None:
        outcome.rows[writer] = rows if self._alive is None else rows * self._alive[:, writer, None, None]
        self._stale.update(self.wiring.read_by(writer))

    def _unembed(self, stream: Tensor) -> Tensor:
        return self.subject.unembed(stream.to(self.dtype))


def frontier(subject: Subject, batch: Pairs, replacement: Replacement) -> Frontier:
    """The cheapest exact frontier for a model.

    A norm over all heads, of what they write or of their queries, lets a head that loses its last reader change what its
    whole layer writes, so that the writers before the reader at hand are no longer clean; such models (Gemma-2, OLMo-2) take
    the general walk.
    """
    kind = WalkingFrontier if subject.heads_share_norm else CachedFrontier
    return kind(subject, batch, replacement)
