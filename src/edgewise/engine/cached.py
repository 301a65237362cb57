"""CachedFrontier: keeps what every node wrote last, and computes again only what a removal changes.

Removing an edge changes one reader's input by a cached vector. Only nodes that this reader's node reaches over kept edges
have to be computed again, late ones at the answer position alone, and none at positions before the first token in which clean
and corrupted differ.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from edgewise.circuit import live_writers
from edgewise.engine.forward import native_attention
from edgewise.engine.frontier import Frontier, Outcome, Trials, WalkingFrontier
from edgewise.engine.plan import late_writers
from edgewise.engine.record import record
from edgewise.engine.replacement import Replacement
from edgewise.engine.writes import expand
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs


class CachedFrontier(Frontier):
    """For models in which a head's write depends on nothing but what that head reads.

    `rows` [writer, token, d_model]: what writers wrote last, minus their replacement; `projected`: per layer
    [token, slot, d_head], what the q, k and v projections gave last.
    """

    def __init__(self, subject: Subject, batch: Pairs, replacement: Replacement) -> None:
        self._clean = record(subject, batch.clean, batch.positions)
        super().__init__(subject, self._clean.logits)
        self.replacement, self.dtype = replacement, subject.dtype
        self.shape = batch.clean.shape
        self.contexts = subject.context(self.shape[1])
        self.slots = self.graph.readers_per_layer - int(self.graph.mlps)
        self._parts = [block.projections.parts() for block in subject.blocks]
        self._find_tokens(batch)
        self._start()

    # -- asking and deciding ----------------------------------------------------------------------------------------

    def outcomes(self, trials: Trials) -> Outcome:
        outcome = Outcome(trials, torch.empty(0), len(self.answers))
        self._alive = self._living(trials)
        self._stale: set[int] = set()
        layer, slot = divmod(trials.removals[0].reader, self.graph.readers_per_layer)
        if layer == self.graph.layers:
            outcome.logits = self._unembed(self._inputs_of(trials, trials.spans[0], len(trials)))
            return outcome
        if slot == self.slots:
            self._mlp(layer, self._inputs_of(trials, trials.spans[0], len(trials)), outcome)
        else:
            self._project_frontier(layer, outcome)
            self._attention(layer, outcome)
            if self.graph.mlps and self.graph.mlp_reader(layer) in self._stale:
                self._mlp(layer, self._stream(self.graph.mlp_reader(layer), outcome), outcome)
        for later in range(layer + 1, self.graph.layers):
            self._walk_layer(later, outcome)
        outcome.logits = self._unembed(self._stream(self.last, outcome)).expand(len(trials), -1, -1)
        outcome.tokens = statistics.mean([len(self.answers), *(rows.shape[1] for rows in outcome.rows.values())])
        return outcome

    def commit(self, outcome: Outcome, gone: Sequence[int]) -> None:
        for number in gone:
            removal = outcome.trials.removals[number]
            if removal.writers is not None and removal.reader in self._inputs:
                rows = self.rows[list(removal.writers)][:, self._where(removal.reader)]
                self._inputs[removal.reader] = self._inputs[removal.reader] - rows.sum(dim=0)
            self.mask[removal.rows, removal.reader] = False
        if gone:
            self._store(outcome, gone[-1])

    def settle(self) -> None:
        graph, late = self.graph, late_writers(self.graph, self.mask)
        self.late: list[bool] = late.tolist()
        self.late_reader = [bool((graph.serves[r] & late).any()) for r in range(self.last)] + [True]
        for layer in range(graph.layers):
            shared = range(layer * graph.readers_per_layer + graph.heads, layer * graph.readers_per_layer + self.slots)
            for reader in shared:  # keys and values are read at every token
                self.late_reader[reader] = False
        self.read_by: list[list[int]] = [[] for _ in graph.writers]
        self.reads: list[list[int]] = [[] for _ in graph.readers]
        for writer, reader in self.mask.nonzero().tolist():
            self.read_by[writer].append(reader)
            self.reads[reader].append(writer)
        self._inputs: dict[int, Tensor] = {}
        self._sums: dict[int, tuple[frozenset[int], Tensor]] = {}

    def restore(self) -> None:
        self._start()
        self._alive = None
        if not self.replacement.is_run:
            self._alive = live_writers(self.graph, self.mask)[None].to(self.rows.device)
        outcome, pruned = Outcome(Trials((), ()), torch.empty(0), 0), (self.graph.edge_mask & ~self.mask).any(dim=0)
        self._stale = set(pruned.nonzero().flatten().tolist())
        for layer in range(self.graph.layers):
            self._walk_layer(layer, outcome)
        self._store(outcome, 0)

    def _store(self, outcome: Outcome, number: int) -> None:
        for writer, rows in outcome.rows.items():
            where = self.answers_active if self.late[writer] else slice(None)
            self.rows[writer, where] = rows[min(number, len(rows) - 1)]
        for (layer, slot), outputs in outcome.projected.items():
            self.projected[layer][self._tokens_of(layer, slot), slot] = outputs[min(number, len(outputs) - 1)]
        changed = outcome.rows.keys()
        stale = [reader for reader, (without, _) in self._sums.items() if (changed & set(self.reads[reader])) - without]
        for reader in stale:
            del self._sums[reader]

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

    def _start(self) -> None:
        subject, clean = self.subject, self._clean
        self.last = len(self.graph.readers) - 1
        flat = clean.writes.minus(self.replacement.writes, subject.work_dtype).flat()
        tokens = len(flat.inputs)
        buffer = flat.inputs.new_empty(len(self.graph.writers), tokens, subject.d_model)
        self.rows = expand(subject, flat, slice(0, tokens), buffer)[:, self.active].clone()
        self.projected = [
            block.projections.split([m(block.attention_norm(x)) for m in block.projections.modules]).flatten(0, 1)
            for block, x in zip(subject.blocks, clean.attention_in, strict=True)
        ]
        self.settle()

    def _living(self, trials: Trials) -> Tensor | None:
        """bool [trial, writer], where nodes that lose all they read must be told to output their replacement."""
        if self.replacement.is_run:
            return None
        return torch.stack([live_writers(self.graph, mask) for mask in trials.masks(self.mask)]).to(self.rows.device)

    # -- streams ----------------------------------------------------------------------------------------------------

    def _where(self, reader: int) -> Tensor | slice:
        """Where a reader is needed, as places in `rows`."""
        return self.answers_active if self.late_reader[reader] else slice(None)

    def _tokens_of(self, layer: int, slot: int) -> Tensor:
        """Where the projection of a slot is kept up to date, as indices of all tokens."""
        reader = layer * self.graph.readers_per_layer + slot
        return self.answers if self.late_reader[reader] else self.active

    def _base(self, reader: int) -> Tensor:
        """What a reader gets when none of its edges is kept: [token, d_model] at the tokens where it is needed."""
        layer, slot = divmod(reader, self.graph.readers_per_layer)
        if layer == self.graph.layers:
            stream = self.replacement.final_in
        else:
            stream = (self.replacement.mlp_in if slot == self.slots else self.replacement.attention_in)[layer]
        return self._flat(stream)[self._tokens_of(layer, slot)]

    def _flat(self, stream: Tensor) -> Tensor:
        return stream.to(self.rows.dtype).expand(*self.shape, -1).flatten(0, 1)

    def _sum(self, reader: int, writers: Iterable[int]) -> Tensor:
        """What a reader gets at present from some writers: [token, d_model]."""
        stream, where = self._base(reader), self._where(reader)
        for writer in writers:
            stream += self.rows[writer, where]
        return stream

    def _stream(self, reader: int, outcome: Outcome) -> Tensor:
        """What a reader gets in each trial: [trial, token, d_model]."""
        changed = [writer for writer in self.reads[reader] if writer in outcome.rows]
        # The others stay as they are while the same writers change again and again: their sum is kept.
        held = self._sums.get(reader)
        if held is None or held[0] != frozenset(changed):
            others = self._sum(reader, (writer for writer in self.reads[reader] if writer not in outcome.rows))
            held = self._sums[reader] = (frozenset(changed), others)
        stream = held[1][None]
        for writer in changed:
            rows = outcome.rows[writer]
            cut = self.late_reader[reader] and not self.late[writer]
            stream = stream + (rows[:, self.answers_active] if cut else rows)
        return stream

    def _inputs_of(self, trials: Trials, span: tuple[int, int, int], stop: int) -> Tensor:
        """Input of a frontier reader in the trials from the first of its span to before `stop`: [trial, token, d_model]."""
        reader, first, end = span
        if reader not in self._inputs:
            self._inputs[reader] = self._sum(reader, self.mask[:, reader].nonzero().flatten().tolist())
        now, where = self._inputs[reader], self._where(reader)
        parts = [self._removed(trials, number, where) for number in range(first, end)]
        made = torch.tensor([made[first:end] for made in trials.made[first:stop]], dtype=now.dtype, device=now.device)
        return now - (made @ torch.stack(parts).flatten(1)).unflatten(1, now.shape)

    def _removed(self, trials: Trials, number: int, where: Tensor | slice) -> Tensor:
        writers = trials.removals[number].writers or ()
        if len(writers) == 1:
            return self.rows[writers[0], where]
        return self.rows[list(writers)][:, where].sum(dim=0)

    # -- nodes ------------------------------------------------------------------------------------------------------

    def _walk_layer(self, layer: int, outcome: Outcome) -> None:
        """Compute again the nodes of a layer that read something changed."""
        first = layer * self.graph.readers_per_layer
        slots = sorted(reader - first for reader in self._stale if first <= reader < first + self.slots)
        for slot in slots:
            outcome.projected[layer, slot] = self._project(layer, slot, self._stream(first + slot, outcome))
        if slots:
            self._attention(layer, outcome)
        if self.graph.mlps and first + self.slots in self._stale:
            self._mlp(layer, self._stream(first + self.slots, outcome), outcome)

    def _mlp(self, layer: int, stream: Tensor, outcome: Outcome) -> None:
        block, writer = self.subject.blocks[layer], self.graph.mlp_writer(layer)
        assert block.mlp_norm is not None
        assert block.mlp is not None
        out = block.mlp(block.mlp_norm(stream.to(self.dtype)))
        out = out if block.mlp_post is None else block.mlp_post(out)
        tokens = self.answers if self.late[writer] else self.active
        self._keep(writer, out.to(self.rows.dtype) - self._flat(self.replacement.writes.mlp[layer])[tokens], outcome)

    def _project(self, layer: int, slot: int, stream: Tensor) -> Tensor:
        part = next(part for part in self._parts[layer] if part.start <= slot < part.stop)
        out = self.subject.blocks[layer].attention_norm(stream.to(self.dtype)) @ part.weight[slot - part.start].T
        return out if part.bias is None else out + part.bias[slot - part.start]

    def _project_frontier(self, layer: int, outcome: Outcome) -> None:
        """Outputs of the projections of the readers at the frontier in each trial."""
        trials = outcome.trials
        for span in trials.spans:
            reader, first, stop = span
            slot = reader - layer * self.graph.readers_per_layer
            now = self.projected[layer][self._tokens_of(layer, slot), slot]
            # Behind the reader's own trials it stays as the next one has it.
            own = min(stop + 1, len(trials))
            if trials.removals[first].writers is None:
                gone = self._project(layer, slot, self._base(reader))
                states = [gone if made[first] else now for made in trials.made[first:own]]
            else:
                states = list(self._project(layer, slot, self._inputs_of(trials, span, own)))
            states = [now] * first + states + [states[-1]] * (len(trials) - own)
            outcome.projected[layer, slot] = torch.stack(states)

    def _attention(self, layer: int, outcome: Outcome) -> None:
        """Run the heads whose projections changed, and keep what those that are read now write."""
        block, projections = self.subject.blocks[layer], self.subject.blocks[layer].projections
        slots = [slot for (at, slot) in outcome.projected if at == layer]
        groups = sorted({projections.group_of(slot)[0] for slot in slots})
        heads = [head for group in groups for head in projections.group_of(projections.heads + group)[1]]
        running = [*heads, *(projections.heads + side * projections.kv_heads + g for side in (0, 1) for g in groups)]
        count = max(len(outcome.projected[layer, slot]) for slot in slots)
        outputs = self.projected[layer][:, running].unsqueeze(0).repeat(count, 1, 1, 1)
        for slot in slots:
            outputs[:, self._tokens_of(layer, slot), running.index(slot)] = outcome.projected[layer, slot]
        by_token = outputs.unflatten(1, self.shape).flatten(0, 1)
        z = native_attention(self.subject, block, self.contexts[layer], by_token, len(groups))
        z = z.view(count, *self.shape, len(heads), -1)
        queries = {slot for slot in slots if slot < projections.heads}
        shared = {projections.group_of(slot)[0] for slot in slots if slot >= projections.heads}
        served = [head for head in heads if head in queries or projections.group_of(head)[0] in shared]
        self._write_heads(layer, {head: z[..., heads.index(head), :] for head in served}, outcome)

    def _write_heads(self, layer: int, changed: dict[int, Tensor], outcome: Outcome) -> None:
        """Rows of the changed heads that are read, for z [trial, example, position, d_head] of each."""
        block, first = self.subject.blocks[layer], self.graph.head_writers(layer).start
        replaced, weight = self.replacement.writes.z[layer], block.output_weight
        for head, z in changed.items():
            if not self.read_by[first + head]:
                continue
            delta = (z - replaced[..., head, :]).flatten(1, 2)
            tokens = self.answers if self.late[first + head] else self.active
            rows = delta[:, tokens].to(self.rows.dtype) @ weight[head].to(self.rows.dtype)
            self._keep(first + head, rows, outcome)

    def _keep(self, writer: int, rows: Tensor, outcome: Outcome) -> None:
        outcome.rows[writer] = rows if self._alive is None else rows * self._alive[:, writer, None, None]
        self._stale.update(self.read_by[writer])

    def _unembed(self, stream: Tensor) -> Tensor:
        return self.subject.unembed(stream.to(self.dtype))


def frontier(subject: Subject, batch: Pairs, replacement: Replacement) -> Frontier:
    """The cheapest exact frontier for a model.

    A norm after attention lets a head that loses its last reader change what its whole layer writes, so that the writers
    before the reader at hand are no longer clean; such models (Gemma-2) take the general walk.
    """
    coupled = subject.blocks[0].attention_post is not None
    return WalkingFrontier(subject, batch, replacement) if coupled else CachedFrontier(subject, batch, replacement)
