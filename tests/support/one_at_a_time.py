"""ACDC's oracle: the published algorithm, one full masked run for every test."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from edgewise.ablations import ablation as find_ablation
from edgewise.engine.forward import masked_forward
from edgewise.metrics import Answers
from edgewise.metrics import metric as find_metric
from edgewise.models import Subject
from edgewise.pairs import Pairs
from edgewise.search.state import KeepRule
from edgewise.search.trace import Decision


class OneAtATime:
    """The published algorithm written out: a full masked run for every removal, in the published order.

    With `candidates`, bool [writer, reader], only these are tested: a reader's other edges go when its turn comes.
    """

    def __init__(
        self, on: Subject, of: Pairs, rule: KeepRule, metric: str, ablation: str, candidates: Tensor | None = None
    ) -> None:
        self.on, self.graph, self.rule, self.metric = on, on.graph, rule, find_metric(metric)
        self.candidates = on.graph.edge_mask if candidates is None else candidates
        self.of = of.trimmed() if on.causal else of
        self.replacement = find_ablation(ablation).prepare(on, self.of, len(of))(self.of)
        self.clean = on.logits(self.of.clean, self.of.positions)
        self.mask, self.decisions = on.graph.edge_mask.clone(), list[Decision]()
        self.current = self.value(self.mask)

    def value(self, kept: Tensor) -> float:
        of = self.of
        logits = masked_forward(self.on, of.clean, of.positions, kept.to(self.on.work_dtype), self.replacement)
        answers = Answers(of.correct, of.wrong)
        return -float(self.metric.objective(logits, answers, self.clean).double().mean())

    def test(self, name: str, reader: int, writer: int | slice) -> None:
        without = self.mask.clone()
        without[writer, reader] = False
        after = self.value(without)
        kept = self.rule.keeps(self.current, after)
        self.decisions.append(Decision(name, self.current, after, kept))
        if not kept:
            self.mask, self.current = without, after

    def edges_into(self, reader: int) -> None:
        writers = list(reversed(range(self.graph.reach(reader))))
        others = [writer for writer in writers if not self.candidates[writer, reader]]
        if others:
            before = self.current
            self.mask[others, reader] = False
            self.current = self.value(self.mask)
            name = ",".join(self.graph.writers[writer] for writer in others) + f"->{self.graph.readers[reader]}"
            self.decisions.append(Decision(name, before, self.current, False, tested=False))
        for writer in writers:
            if writer not in others:
                self.test(self.graph.edge_name(writer, reader), reader, writer)

    def mlp(self, layer: int) -> None:
        if self.mask[self.graph.mlp_writer(layer)].any():
            self.edges_into(self.graph.mlp_reader(layer))
        else:
            self.mask[:, self.graph.mlp_reader(layer)] = False

    def attention(self, layer: int) -> None:
        graph = self.graph
        kinds = [graph.v_readers(layer), graph.k_readers(layer), graph.q_readers(layer)]
        readers = [r for kind in kinds for r in reversed(range(kind.start, kind.stop))]
        read = self.mask.any(dim=1)
        live = [r for r in readers if any(read[w] for w in graph.serves[r].nonzero().flatten().tolist())]
        for reader in set(readers) - set(live):
            self.mask[:, reader] = False
        for reader in live if self.rule.whole_readers else ():
            if self.candidates[:, reader].any():
                self.test(f"->{graph.readers[reader]}", reader, slice(None))
        for reader in live:
            if self.mask[:, reader].any():
                self.edges_into(reader)

    def run(self) -> tuple[Tensor, list[Decision]]:
        self.edges_into(len(self.graph.readers) - 1)
        for layer in reversed(range(self.graph.layers)):
            if self.graph.mlps:
                self.mlp(layer)
            self.attention(layer)
        return self.mask, self.decisions


def read_trace(path: Path) -> list[Decision]:
    return [Decision(**json.loads(line)) for line in path.read_text().splitlines()[1:]]
