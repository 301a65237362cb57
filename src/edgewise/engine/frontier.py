"""Frontier: what removing edges in front of an already pruned circuit does to the logits, at the least cost.

A search that goes from the output back meets, at every reader, only clean writers before it; what comes after is a circuit
whose readers are decided. Removing an edge changes one reader's input by a cached vector, and only nodes that this reader's
node reaches over kept edges have to be computed again, late ones at the answer position alone, and none at positions before
the first token in which clean and corrupted differ. Several removals, one on top of the other, share the batch axis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from edgewise.circuit import live_writers
from edgewise.engine.board import Workspace
from edgewise.engine.forward import masked_forward, native_attention
from edgewise.engine.plan import late_writers
from edgewise.engine.record import Recording, record
from edgewise.engine.replacement import Replacement
from edgewise.engine.writes import expand
from edgewise.models.family import Block
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs


@dataclass(frozen=True)
class Removal:
    """One edge into `reader`, or with `writer` None all edges into it."""

    reader: int
    writer: int | None

    @property
    def rows(self) -> int | slice:
        """The part of the reader's column of a mask that goes."""
        return slice(None) if self.writer is None else self.writer


@dataclass
class Outcome:
    """Logits [removal, example, vocab] after each removal and those before it, and what has changed on the way.

    `streams`: what the frontier reader gets, [removal, token, d_model]; `rows`: writer → [removal, token, d_model];
    `projected`: (layer, slot) → [removal, token, d_head]; each at the tokens where it is needed.
    """

    removals: Sequence[Removal]
    logits: Tensor
    streams: Tensor | None = None
    rows: dict[int, Tensor] = field(default_factory=dict)
    projected: dict[tuple[int, int], Tensor] = field(default_factory=dict)


class Frontier(ABC):
    """The state of a circuit pruned from the output back. `mask` bool [writer, reader] is its own and changes by `commit`.

    Call `settle` when the search moves on to another node or layer, and `drop` for readers whose node nobody reads.
    """

    def __init__(self, subject: Subject, clean_logits: Tensor) -> None:
        self.subject, self.graph = subject, subject.graph
        self.clean_logits = clean_logits
        self.mask = self.graph.edge_mask.clone()

    @abstractmethod
    def outcomes(self, removals: Sequence[Removal]) -> Outcome:
        """What the model answers after the first removal, after the first two, and so on; all at one node or layer."""

    @abstractmethod
    def commit(self, outcome: Outcome, count: int) -> None:
        """Make the first `count` removals of an outcome permanent."""

    @abstractmethod
    def settle(self) -> None:
        """The search moves on: forget what belongs to the last place."""

    @abstractmethod
    def restore(self) -> None:
        """Compute again all that is kept in between, after `mask` was set from outside."""

    def drop(self, readers: Sequence[int]) -> None:
        """Remove all edges into readers whose node nobody reads any more: nothing changes."""
        self.mask[:, list(readers)] = False

    def _remove(self, removals: Sequence[Removal]) -> None:
        for removal in removals:
            self.mask[removal.rows, removal.reader] = False

    def _masks_after(self, removals: Sequence[Removal]) -> Tensor:
        """bool [removal, writer, reader]: what is kept after each removal and those before it."""
        masks = self.mask.unsqueeze(0).repeat(len(removals), 1, 1)
        for number, removal in enumerate(removals):
            masks[number:, removal.rows, removal.reader] = False
        return masks


def frontier(subject: Subject, batch: Pairs, replacement: Replacement) -> Frontier:
    """The cheapest exact frontier for a model.

    A norm after attention lets a head that loses its last reader change what its whole layer writes, so that the writers
    before the reader at hand are no longer clean; such models (Gemma-2) take the general walk.
    """
    coupled = subject.blocks[0].attention_post is not None
    return WalkingFrontier(subject, batch, replacement) if coupled else CachedFrontier(subject, batch, replacement)


class WalkingFrontier(Frontier):
    """Runs the whole masked model for every removal, several at a time: exact for every family."""

    def __init__(self, subject: Subject, batch: Pairs, replacement: Replacement) -> None:
        super().__init__(subject, subject.logits(batch.clean, batch.positions))
        self.batch, self.replacement, self.workspace = batch, replacement, Workspace()

    def outcomes(self, removals: Sequence[Removal]) -> Outcome:
        masks, batch, space = self._masks_after(removals), self.batch, self.workspace
        run = masked_forward(self.subject, batch.clean, batch.positions, masks, self.replacement, workspace=space)
        return Outcome(removals, run)

    def commit(self, outcome: Outcome, count: int) -> None:
        self._remove(outcome.removals[:count])

    def settle(self) -> None:
        return

    def restore(self) -> None:
        return


class CachedFrontier(Frontier):
    """Keeps what every node wrote last, and computes again only what a removal changes."""

    def __init__(self, subject: Subject, batch: Pairs, replacement: Replacement) -> None:
        clean = record(subject, batch.clean, batch.positions)
        super().__init__(subject, clean.logits)
        self.replacement = replacement
        self.shape = batch.clean.shape
        self.contexts = subject.context(self.shape[1])
        self.late = torch.zeros(len(self.graph.writers), dtype=torch.bool)
        self._find_tokens(batch)
        self._start(clean)
        self._input: tuple[int, Tensor] | None = None

    # -- asking and deciding ----------------------------------------------------------------------------------------

    def outcomes(self, removals: Sequence[Removal]) -> Outcome:
        outcome = Outcome(removals, torch.empty(0))
        self.alive = self._alive(removals)
        first = removals[0].reader
        layer, slot = divmod(first, self.graph.readers_per_layer)
        if removals[0].writer is not None:
            outcome.streams = self._reduced(removals)
        if first == len(self.graph.readers) - 1:
            assert outcome.streams is not None
            outcome.logits = self._unembed(outcome.streams)
            return outcome
        if self.graph.mlps and slot == self.graph.readers_per_layer - 1:
            assert outcome.streams is not None
            self._mlp(layer, outcome.streams, outcome)
        else:
            self._project_removed(layer, removals, outcome)
            self._attention(layer, len(removals), outcome)
            reader = self.graph.mlp_reader(layer)
            if self.graph.mlps and not self.graph.parallel and bool(self._reads(list(outcome.rows))[reader]):
                self._mlp(layer, self._stream(reader, outcome), outcome)
        for later in range(layer + 1, self.graph.layers):
            self._walk_layer(later, len(removals), outcome)
        changed = bool(self._reads(list(outcome.rows))[-1])
        stream = self._stream(len(self.graph.readers) - 1, outcome) if changed else self._stream_now(-1)[None]
        outcome.logits = self._unembed(stream).expand(len(removals), -1, -1)
        return outcome

    def commit(self, outcome: Outcome, count: int) -> None:
        if not count:
            return
        self._remove(outcome.removals[:count])
        if outcome.streams is not None:
            self._input = (outcome.removals[0].reader, outcome.streams[count - 1])
        self._store(outcome, count - 1)

    def settle(self) -> None:
        self.late = late_writers(self.graph, self.mask)
        self._input = None

    def restore(self) -> None:
        self.settle()
        self.alive = None
        if not self.replacement.is_run:
            self.alive = live_writers(self.graph, self.mask)[None].to(self.rows.device)
        outcome, pruned = Outcome((), torch.empty(0)), (self.graph.edge_mask & ~self.mask).any(dim=0)
        for layer in range(self.graph.layers):
            self._walk_layer(layer, 1, outcome, pruned)
        self._store(outcome, 0)

    def _store(self, outcome: Outcome, number: int) -> None:
        for writer, rows in outcome.rows.items():
            where = self.answers_active if self.late[writer] else slice(None)
            self.rows[writer, where] = rows[number]
        for (layer, slot), outputs in outcome.projected.items():
            self.projected[layer][self._tokens_of(layer, slot), slot] = outputs[number]

    # -- state ------------------------------------------------------------------------------------------------------

    def _find_tokens(self, batch: Pairs) -> None:
        examples, width = self.shape
        place = torch.arange(width, device=batch.clean.device)[None]
        differs = (batch.clean != batch.corrupted) & (place <= batch.positions[:, None])
        seen = differs.long().cumsum(dim=1) > 0
        if not self.replacement.is_run:
            seen = torch.ones_like(seen)
        needed = (seen & (place <= batch.positions[:, None])) | (place == batch.positions[:, None])
        if not self.subject.causal:
            needed = torch.ones_like(needed)
        self.active = needed.flatten().nonzero().flatten()
        self.answers = torch.arange(examples, device=place.device) * width + batch.positions
        self.answers_active = torch.searchsorted(self.active, self.answers)

    def _start(self, clean: Recording) -> None:
        subject = self.subject
        flat = clean.writes.minus(self.replacement.writes, subject.work_dtype).flat()
        tokens = len(flat.inputs)
        buffer = flat.inputs.new_empty(len(self.graph.writers), tokens, subject.d_model)
        self.rows = expand(subject, flat, slice(0, tokens), buffer)[:, self.active].clone()
        self.projected = [
            block.projections.split([m(block.attention_norm(x)) for m in block.projections.modules]).flatten(0, 1)
            for block, x in zip(subject.blocks, clean.attention_in, strict=True)
        ]

    def _alive(self, removals: Sequence[Removal]) -> Tensor | None:
        """bool [removal, writer], where nodes that lose all they read must be told to output their replacement."""
        if self.replacement.is_run:
            return None
        alive = [live_writers(self.graph, mask) for mask in self._masks_after(removals)]
        return torch.stack(alive).to(self.rows.device)

    # -- streams ----------------------------------------------------------------------------------------------------

    def _is_late(self, reader: int) -> bool:
        """Whether a reader is needed at the answer positions alone."""
        if reader % len(self.graph.readers) == len(self.graph.readers) - 1:
            return True
        layer, slot = divmod(reader, self.graph.readers_per_layer)
        if self.graph.mlps and slot == self.graph.readers_per_layer - 1:
            return bool(self.late[self.graph.mlp_writer(layer)])
        return slot < self.graph.heads and bool(self.late[self.graph.head_writers(layer).start + slot])

    def _base(self, reader: int) -> Tensor:
        layer, slot = divmod(reader % len(self.graph.readers), self.graph.readers_per_layer)
        if layer == self.graph.layers:
            stream = self.replacement.final_in
        elif self.graph.mlps and slot == self.graph.readers_per_layer - 1:
            stream = self.replacement.mlp_in[layer]
        else:
            stream = self.replacement.attention_in[layer]
        flat = stream.to(self.rows.dtype).expand(*self.shape, -1).flatten(0, 1)
        return flat[self.answers if self._is_late(reader) else self.active]

    def _stream_now(self, reader: int, without: Sequence[int] = ()) -> Tensor:
        """What a reader gets at present, leaving out some writers: [token, d_model] at the tokens where it is needed."""
        stream = self._base(reader).clone()
        where = self.answers_active if self._is_late(reader) else slice(None)
        for writer in self.mask[:, reader].nonzero().flatten().tolist():
            if writer not in without:
                stream += self.rows[writer, where]
        return stream

    def _stream(self, reader: int, outcome: Outcome) -> Tensor:
        """What a reader gets after each removal: [removal, token, d_model]."""
        changed = [writer for writer in outcome.rows if self.mask[writer, reader]]
        stream = self._stream_now(reader, changed)[None]
        for writer in changed:
            rows = outcome.rows[writer]
            late_only = self._is_late(reader) and not self.late[writer]
            stream = stream + (rows[:, self.answers_active] if late_only else rows)
        return stream

    def _reduced(self, removals: Sequence[Removal]) -> Tensor:
        """Input of the frontier reader after each removal of an edge into it: [removal, token, d_model]."""
        reader = removals[0].reader
        if self._input is None or self._input[0] != reader:
            self._input = (reader, self._stream_now(reader))
        writers = [removal.writer for removal in removals if removal.writer is not None]
        where = self.answers_active if self._is_late(reader) else slice(None)
        return self._input[1] - self.rows[writers][:, where].cumsum(dim=0)

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _walk_layer(self, layer: int, count: int, outcome: Outcome, pruned: Tensor | None = None) -> None:
        """Compute again what reads something changed, or, of the readers given as `pruned`, anything."""
        before, attention = list(outcome.rows), self.graph.attention_readers(layer)
        stale = self._reads(before) if pruned is None else self._reads(before) | pruned
        slots = stale[attention].nonzero().flatten().tolist()
        for slot in slots:
            stream = self._stream(attention.start + slot, outcome)
            outcome.projected[layer, slot] = self._project(self.subject.blocks[layer], slot, stream)
        if slots:
            self._attention(layer, count, outcome)
        if self.graph.mlps:
            stale = self._reads(before if self.graph.parallel else list(outcome.rows))
            reader = self.graph.mlp_reader(layer)
            if bool(stale[reader]) or (pruned is not None and bool(pruned[reader])):
                self._mlp(layer, self._stream(reader, outcome), outcome)

    def _reads(self, writers: list[int]) -> Tensor:
        """bool [reader]: those that keep an edge from one of the writers."""
        return self.mask[writers].any(dim=0)

    def _mlp(self, layer: int, stream: Tensor, outcome: Outcome) -> None:
        block, writer = self.subject.blocks[layer], self.graph.mlp_writer(layer)
        assert block.mlp_norm is not None
        assert block.mlp is not None
        out = block.mlp(block.mlp_norm(stream.to(self.subject.dtype)))
        out = out if block.mlp_post is None else block.mlp_post(out)
        tokens = self.answers if self.late[writer] else self.active
        replaced = self.replacement.writes.mlp[layer].to(self.rows.dtype).expand(*self.shape, -1).flatten(0, 1)[tokens]
        self._keep(writer, out.to(self.rows.dtype) - replaced, outcome)

    def _project(self, block: Block, slot: int, stream: Tensor) -> Tensor:
        weight, bias = block.projections.rows([slot])
        out = block.attention_norm(stream.to(self.subject.dtype)) @ weight[0].T
        return out if bias is None else out + bias[0]

    def _project_removed(self, layer: int, removals: Sequence[Removal], outcome: Outcome) -> None:
        """Outputs of the projections of the frontier readers after each removal."""
        block, first = self.subject.blocks[layer], self.graph.attention_readers(layer).start
        if outcome.streams is not None:
            slot = removals[0].reader - first
            outcome.projected[layer, slot] = self._project(block, slot, outcome.streams)
            return
        for number, removal in enumerate(removals):
            slot = removal.reader - first
            now = self.projected[layer][self._tokens_of(layer, slot), slot]
            gone = self._project(block, slot, self._base(removal.reader))
            outcome.projected[layer, slot] = torch.stack([now] * number + [gone] * (len(removals) - number))

    def _attention(self, layer: int, count: int, outcome: Outcome) -> None:
        """Run the heads whose projections changed, and keep what those that are read now write."""
        block, projections = self.subject.blocks[layer], self.subject.blocks[layer].projections
        slots = [slot for (at, slot) in outcome.projected if at == layer]
        groups = sorted({projections.group_of(slot)[0] for slot in slots})
        heads = [head for group in groups for head in projections.group_of(projections.heads + group)[1]]
        running = [*heads, *(projections.heads + side * projections.kv_heads + g for side in (0, 1) for g in groups)]
        outputs = self.projected[layer][:, running].unsqueeze(0).repeat(count, 1, 1, 1)
        for slot in slots:
            outputs[:, self._tokens_of(layer, slot), running.index(slot)] = outcome.projected[layer, slot]
        by_token = outputs.unflatten(1, self.shape).flatten(0, 1)
        z = native_attention(self.subject, block, self.contexts[layer], by_token, len(groups))
        z = z.view(count, *self.shape, len(heads), -1)
        served = self.graph.serves[self.graph.attention_readers(layer), self.graph.head_writers(layer)][slots].any(
            dim=0
        )
        self._write_heads(layer, {head: z[..., i, :] for i, head in enumerate(heads) if served[head]}, outcome)

    def _write_heads(self, layer: int, changed: dict[int, Tensor], outcome: Outcome) -> None:
        """Rows of the changed heads that are read, for z [removal, example, position, d_head] of each."""
        block, first = self.subject.blocks[layer], self.graph.head_writers(layer).start
        replaced = self.replacement.writes.z[layer]
        for head, z in changed.items():
            if not bool(self.mask[first + head].any()):
                continue
            delta = (z - replaced[..., head, :]).flatten(1, 2)
            tokens = self.answers if self.late[first + head] else self.active
            weight = block.output_weight[head].to(self.rows.dtype)
            self._keep(first + head, delta[:, tokens].to(self.rows.dtype) @ weight, outcome)

    def _keep(self, writer: int, rows: Tensor, outcome: Outcome) -> None:
        outcome.rows[writer] = rows if self.alive is None else rows * self.alive[:, writer, None, None]

    def _unembed(self, stream: Tensor) -> Tensor:
        return self.subject.unembed(stream.to(self.subject.dtype))

    def _tokens_of(self, layer: int, slot: int) -> Tensor:
        """Where the projection of a slot is kept up to date, as indices of all tokens."""
        reader = self.graph.attention_readers(layer).start + slot
        return self.answers if self._is_late(reader) else self.active
