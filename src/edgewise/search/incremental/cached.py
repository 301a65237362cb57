"""CachedFrontier: keeps what every node wrote last, and computes again only what a removal changes.

Removing an edge changes one reader's input by a cached vector. Only nodes that this reader's node reaches over kept edges
have to be computed again, late ones at the answer position alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from edgewise.circuit import live_writers
from edgewise.engine.native import native_attention
from edgewise.engine.record import record
from edgewise.engine.replacement import Replacement
from edgewise.engine.writes import expand
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.search.incremental.frontier import Frontier
from edgewise.search.incremental.places import Places, Replaced
from edgewise.search.incremental.slot_projections import SlotProjections
from edgewise.search.incremental.streams import Intake, Streams, Wiring
from edgewise.search.incremental.trials import Span, TrialOutcome, Trials


@final
class CachedFrontier(Frontier):
    """For models in which a head's write depends on nothing but what that head reads.

    `clean`: the run of the clean prompts; `streams`: what writers wrote last.
    """

    def __init__(self, subject: Subject, batch: Pairs, replacement: Replacement, mask: Tensor) -> None:
        self.clean = record(subject, batch.clean, batch.positions)
        super().__init__(subject, mask, self.clean.logits)
        self.replacement, self.dtype, self.work_dtype = replacement, subject.dtype, subject.work_dtype
        self.places = Places.find(subject, batch)
        self.replaced = Replaced(self.graph, replacement, self.places, self.work_dtype)
        self.contexts = subject.context(batch.clean.shape[1])
        self.slots = self.graph.readers_per_layer - int(self.graph.mlps)
        self._shared = (self.graph.heads, self.graph.heads + self.graph.kv_heads)  # where slots of k and v begin
        self._project = SlotProjections(subject)
        # Weights that have to be made are kept for as long as the search stays in a layer.
        self._outputs = [block.output_weight_later() for block in subject.blocks]
        self._buffer: Tensor | None = None
        self.restore()

    # -- asking and deciding ----------------------------------------------------------------------------------------

    def outcomes(self, trials: Trials) -> TrialOutcome:
        outcome = TrialOutcome(trials, torch.empty(0))
        self._alive = self._living(trials)
        self._stale: set[int] = set()
        layer, _, slot = self.graph.place(trials.removals[0].reader)
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
        return outcome

    def commit(self, outcome: TrialOutcome, gone: Sequence[int]) -> None:
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
        outcome, pruned = TrialOutcome(Trials((), ()), torch.empty(0)), (self.graph.edge_mask & ~self.mask).any(dim=0)
        self._stale = set(pruned.nonzero().flatten().tolist())
        for layer in range(self.graph.layers):
            self._walk_layer(layer, outcome)
        self._store(outcome, 0)

    def logits(self) -> Tensor:
        last = self.wiring.intake(len(self.graph.readers) - 1)
        return self._unembed(self.streams.last(last))

    # -- state ------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        clean = self.clean.writes.minus(self.replacement.writes, self.work_dtype)
        flat = clean.flat().at(self.places.active)
        tokens = len(flat.inputs)
        if self._buffer is None:  # overwritten when all is computed again
            self._buffer = flat.inputs.new_empty(len(self.graph.writers), tokens, self.subject.d_model)
        rows = expand(self.subject, flat, slice(0, tokens), self._buffer)
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

    def _store(self, outcome: TrialOutcome, number: int) -> None:
        self.streams.store(outcome.rows, number)
        for (layer, slot), outputs in outcome.projected.items():
            last = self.projected(layer)[slot]
            last.index_copy_(0, self._tokens_of(layer, slot, last.device), outputs[number])

    def _tokens_of(self, layer: int, slot: int, device: torch.device) -> Tensor:
        """Where the projection of a slot is kept up to date, as indices of all tokens."""
        return self.places.tokens(self.wiring.late_reader[layer * self.graph.readers_per_layer + slot]).to(device)

    def _tried(self, span: Span, outcome: TrialOutcome) -> Tensor:
        """Input of a frontier reader in each trial of its span: [trial, token, d_model]."""
        trials, late = outcome.trials, self.wiring.late_reader[span.reader]
        if span.reader not in self._inputs:
            intake = self.wiring.intake_of(span.reader, self.mask[:, span.reader].numpy())
            self._inputs[span.reader] = self.streams.last(intake)
        removals = enumerate(trials.removals[span.first : span.stop], start=span.first)
        tried = sorted((writer, number) for number, removal in removals for writer in removal.writers or ())
        gone = [[float(made[number]) for _, number in tried] for made in trials.made[span.first : span.stop]]
        rows, now = self.streams.written([writer for writer, _ in tried], late), self._inputs[span.reader]
        mixed = torch.tensor(gone, dtype=rows.dtype).to(rows.device)
        streams = torch.addmm(now.flatten(), mixed, rows.flatten(1), alpha=-1)
        outcome.inputs[span] = streams.unflatten(1, now.shape)
        return outcome.inputs[span]

    def _walk_layer(self, layer: int, outcome: TrialOutcome) -> None:
        """Compute again the nodes of a layer that read something changed."""
        first = layer * self.graph.readers_per_layer
        alike: dict[Intake, list[int]] = {}
        for reader in sorted(self._stale.intersection(range(first, first + self.slots))):
            alike.setdefault(self.wiring.intake(reader), []).append(reader - first)
        for intake, slots in alike.items():
            outputs = self._project(layer, slots, self.streams.now(intake, outcome.rows))
            for place, slot in enumerate(slots):
                outcome.projected[layer, slot] = outputs[..., place, :]
        if alike:
            self._attention(layer, outcome)
        self._read_mlp(layer, outcome)

    def _read_mlp(self, layer: int, outcome: TrialOutcome) -> None:
        """Compute a layer's MLP again if it reads something changed."""
        if self.graph.mlps and (reader := self.graph.mlp_reader(layer)) in self._stale:
            self._mlp(layer, self.streams.now(self.wiring.intake(reader), outcome.rows), outcome)

    def _mlp(self, layer: int, stream: Tensor, outcome: TrialOutcome) -> None:
        writer = self.graph.mlp_writer(layer)
        out = self.subject.blocks[layer].mlp_write(stream.to(self.dtype))
        self._keep(
            writer, out.to(stream.device, self.work_dtype) - self.replaced.mlp(layer, self.wiring.late[writer]), outcome
        )

    def _project_frontier(self, layer: int, outcome: TrialOutcome) -> None:
        """Outputs of the projections of the readers at the frontier."""
        for span in outcome.trials.spans:
            slot = span.reader - layer * self.graph.readers_per_layer
            if outcome.trials.removals[span.first].writers is None:
                outputs = self._replaced_projection(layer, slot)
            else:
                outputs = self._project(layer, [slot], self._tried(span, outcome))[..., 0, :]
            last = self.projected(layer)[slot]
            before = last.index_select(0, self._tokens_of(layer, slot, last.device))
            outcome.projected[layer, slot] = torch.cat([before[None], outputs])[outcome.trials.last_made(span)]

    def _replaced_projection(self, layer: int, slot: int) -> Tensor:
        """Output of the projection of a reader that keeps nothing: [1, token, d_head]."""
        if layer not in self._emptied:  # the same stream for all of the layer
            replaced = self.replaced.stream(layer * self.graph.readers_per_layer, late=False)
            self._emptied[layer] = self._project(layer, [*range(self.slots)], replaced[None])
        output = self._emptied[layer][..., slot, :]
        late = self.wiring.late_reader[layer * self.graph.readers_per_layer + slot]
        return self.places.narrow(output) if late else output

    def _attention(self, layer: int, outcome: TrialOutcome) -> None:
        """Run the heads whose projections changed, and keep what those that are read now write."""
        projections, first = self.subject.blocks[layer].projections, layer * self.graph.readers_per_layer
        changed = {slot: outputs for (at, slot), outputs in outcome.projected.items() if at == layer}
        groups = sorted({projections.group_of(slot)[0] for slot in changed})
        heads = projections.heads_of(groups)
        slots = heads + [start + group for start in self._shared for group in groups]
        trials = len(next(iter(changed.values())))
        outputs = self.projected(layer)[slots].transpose(0, 1).repeat(trials, 1, 1, 1)  # [trial, token, slot, d_head]
        for slot, values in changed.items():
            outputs[:, :, slots.index(slot)].index_copy_(1, self._tokens_of(layer, slot, values.device), values)
        by_token = outputs.unflatten(1, self.places.shape).flatten(0, 1)
        z = native_attention(self.subject, self.subject.blocks[layer], self.contexts[layer], by_token, groups)
        z = z.view(*outputs.shape[:2], len(heads), -1)
        served = self.graph.serves[[first + slot for slot in changed]].any(dim=0)
        for place, head in enumerate(heads):
            writer = self.graph.head_writers(layer).start + head
            if served[writer] and self.wiring.read_by(writer):
                self._write_head(layer, head, z[:, :, place], outcome)

    def _write_head(self, layer: int, head: int, z: Tensor, outcome: TrialOutcome) -> None:
        """Rows of a head for its z at all tokens, [trial, token, d_head]."""
        writer = self.graph.head_writers(layer).start + head
        late = self.wiring.late[writer]
        delta = z.index_select(1, self.places.tokens(late).to(z.device)) - self.replaced.z(layer, head, late)
        rows = delta.to(self.work_dtype) @ self._outputs[layer]()[head].to(self.work_dtype)
        self._keep(writer, rows.to(self.streams.rows.device), outcome)

    def _keep(self, writer: int, rows: Tensor, outcome: TrialOutcome) -> None:
        outcome.rows[writer] = rows if self._alive is None else rows * self._alive[:, writer, None, None]
        self._stale.update(self.wiring.read_by(writer))

    def _unembed(self, stream: Tensor) -> Tensor:
        return self.subject.unembed(stream.to(self.dtype))
