"""The laws on a method: what it gives is usable, depends on nothing it should not, and leaves no trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, final

import torch

from edgewise.ablations import ablation
from edgewise.contract import Found, Method
from edgewise.errors import InvalidValue
from edgewise.loading import load
from edgewise.methods import run_method
from edgewise.metrics import metric
from edgewise.models import Subject
from edgewise.models.toy import ToyConfig, ToyTransformer
from edgewise.pairs import Pairs
from edgewise.progress import silent
from edgewise.pruning.base import Trained
from edgewise.request import Request, Wanted
from edgewise.testing.law_report import LawReport, demand, distance, kept, whole
from edgewise.testing.laws import N_EXAMPLES, random_pairs
from edgewise.testing.traces import other_random_numbers, untouched

SHAPE = ToyConfig(
    vocab_size=40,
    hidden_size=16,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=4,
    intermediate_size=24,
)
# So many steps do what many do, for what trains gates and is not told how many.
STEPS = 6
Laws = Iterator[tuple[str, Callable[[], float]]]


def check_method(method: Method | type[Method]) -> LawReport:
    """Check a method by the laws that every method obeys, on a tiny random model.

    `method`: the Method, or its class, which is tried with its defaults.

    Returns a LawReport if all laws hold. A method that scores must give finite scores that depend on neither batch
    size, order nor padding. A method that finds circuits must give one on the graph, with as many edges as it is asked
    for, unless it refuses to be told. Both must give the same result twice, whatever the random numbers of the caller,
    and change nothing outside themselves. Raises InvalidValue with the laws that are broken.
    """
    made = method() if isinstance(method, type) else method
    if not isinstance(made, Method):
        raise InvalidValue(f"{method!r} is not a method: it must be a subclass of edgewise.contract.Method")
    title = f"the method {made.name!r}"
    trial = _Trial(_quick(made), tiny_subject())
    with torch.set_grad_enabled(True):
        return kept(title, trial.scoring() if trial.scores() else trial.finding())


def tiny_subject() -> Subject:
    """A random model with grouped key-value heads, the same every time."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        model = ToyTransformer(SHAPE).double()
        for parameter in model.parameters():
            parameter.data.add_(0.3 * torch.randn(parameter.shape, dtype=parameter.dtype))
    return load(model.requires_grad_(False).eval())


def _quick(method: Method) -> Any:
    return replace(method, steps=STEPS) if isinstance(method, Trained) and method.steps is None else method


@final
class _Trial:
    """A method on a model and pairs."""

    def __init__(self, method: Any, subject: Subject) -> None:
        self.method, self.subject, self.pairs = method, subject, random_pairs(subject)

    def scores(self) -> bool:
        """Whether it scores edges; otherwise it finds circuits."""
        return self._takes(Wanted("scores"))

    def scoring(self) -> Laws:
        # First, while nothing has been left yet.
        yield "8 no run leaves a trace", self.trace
        yield "a score for every edge, all finite", self.finite
        yield "6 scores do not depend on batch size and order", self.batches
        yield "6 scores do not depend on what stands behind the answer", self.padding
        yield "the same twice", self.twice
        yield "what it cannot give is refused", self.refusals

    def finding(self) -> Laws:
        yield "8 no run leaves a trace", self.trace
        yield "a circuit on the graph", self.circuit
        yield "a number of edges is kept, or refused", self.sizes
        yield "the same twice", self.twice
        yield "what it cannot give is refused", self.refusals

    # -- runs ---------------------------------------------------------------------------------------------------------

    def run(self, wanted: Wanted | None = None, pairs: Pairs | None = None, batch_size: int = N_EXAMPLES) -> Found:
        by = metric(self.method.metric or "logit_diff")
        wanted = wanted or Wanted("scores" if self.scores() else "circuit")
        of = self.pairs if pairs is None else pairs
        return run_method(self.method, Request(self.subject, of, by, ablation("corrupted"), batch_size, silent, wanted))

    def values(self, pairs: Pairs | None = None, batch_size: int = N_EXAMPLES) -> torch.Tensor:
        """Scores, or the mask of the circuit."""
        found = self.run(None, pairs, batch_size)
        if not self.scores():
            return found.circuit().mask
        if found.scores is None:
            raise InvalidValue("Found.scores is None where scores were wanted")
        return found.scores.values

    def _takes(self, wanted: Wanted) -> bool:
        try:
            self.method.refuse(wanted)
        except InvalidValue:
            return False
        return True

    # -- laws ---------------------------------------------------------------------------------------------------------

    def finite(self) -> float:
        values, expected = self.values(), self.subject.graph.edge_mask.shape
        demand(values.shape == expected, f"scores of shape {tuple(values.shape)}, not {tuple(expected)}")
        on_edges = values[self.subject.graph.edge_mask]
        count = int((~torch.isfinite(on_edges)).sum())
        demand(whole(on_edges), f"{count} of {len(on_edges)} scores are NaN or infinite")
        return 0.0

    def batches(self) -> float:
        if isinstance(self.method, Trained):  # the batches are the steps of training
            return 0.0
        expected = self.values()
        ways = ((self.pairs, 1), (self.pairs[[3, 0, 4, 2, 1]], 2))
        return max(distance(self.values(pairs, size), expected) for pairs, size in ways)

    def padding(self) -> float:
        of, more = self.pairs, torch.full((N_EXAMPLES, 3), 7)
        behind = torch.arange(of.clean.shape[1]) > of.positions[:, None]
        clean, corrupted = (
            torch.cat([torch.where(behind, tokens.flip(1), tokens), more], dim=1) for tokens in (of.clean, of.corrupted)
        )
        return distance(self.values(Pairs(clean, corrupted, of.correct, of.wrong, of.positions)), self.values())

    def trace(self) -> float:
        of = self.pairs
        with untouched(self.subject.model, of.clean, of.corrupted, of.correct, of.wrong, of.positions):
            self.run()
        return 0.0

    def twice(self) -> float:
        first = self.values()
        with other_random_numbers():
            again = self.values()
        different = int((first != again).sum())
        demand(
            not different, f"{different} of {first.numel()} values differ the second time: draw from a seed of its own"
        )
        return 0.0

    def refusals(self) -> float:
        for level in ("nodes", "neurons"):
            self._takes(Wanted("scores", level))
        return 0.0

    def circuit(self) -> float:
        graph, circuit = self.subject.graph, self.run().circuit()
        demand(circuit.graph == graph, f"the circuit is on another graph ({circuit.graph})")
        outside = int((circuit.mask & ~graph.edge_mask).sum())
        demand(not outside, f"{outside} edges of the circuit are none of the graph")
        return 0.0

    def sizes(self) -> float:
        for edges in (self.subject.graph.n_edges // 4, self.subject.graph.n_edges // 2):
            wanted = Wanted("circuit", edges=edges)
            if self._takes(wanted):
                got = int(self.run(wanted).circuit().mask.sum())
                demand(got == edges, f"{edges} edges were asked for and accepted, and {got} are kept")
        return 0.0
