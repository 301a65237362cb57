"""ComparisonJob: a comparison about to be made, and the steps that make it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, final

from edgewise.circuit import Circuit
from edgewise.comparison.agreement import agreement
from edgewise.comparison.case_study import heads as study
from edgewise.comparison.compare_recipe import Entry, Thresholds
from edgewise.comparison.comparison import Comparison
from edgewise.comparison.comparison_store import ComparisonStore
from edgewise.comparison.method_run import MethodOutcome, run_entry
from edgewise.comparison.mib_areas import areas_of, auroc_of
from edgewise.comparison.reference import Reference, measured, recovered
from edgewise.comparison.result import Measured, Result
from edgewise.comparison.sample import Sample
from edgewise.errors import InvalidValue, NumericalError
from edgewise.evaluation import Grid, MetricReport, Report, evaluate, evaluate_each, measure_grid
from edgewise.executors import each_done
from edgewise.metrics import METRICS, Metric
from edgewise.pairs import NO_ANSWER, Pairs
from edgewise.progress import Track, silent
from edgewise.prompts.habits import with_warnings
from edgewise.provenance import versions
from edgewise.request import Request
from edgewise.runs.judged import first_pairs
from edgewise.scores import Scores

# The measured circuits of a method, and its areas.
Measures = tuple[tuple[Measured, ...], Mapping[str, float | None]]
EXACT = Entry(method="exact", label="exact effects")


@final
@dataclass(frozen=True)
class ComparisonJob:
    """A comparison about to be made: `reference` settled, or still to be measured (`exact:…`) or not wanted (`none`).

    `heads` is the size of the circuits whose heads are studied; None studies none. `grid` are thresholds of `eap+acdc`,
    each pair to be held against the reference. `judged` are the pairs on which circuits are measured, None for those of
    the request, on which they are found. `exact_sample` is how many edges are patched alone; `with_areas` whether the areas
    of the MIB benchmark are taken. An `executor` runs the methods beside one another, and then measures their circuits.
    """

    request: Request
    entries: tuple[Entry, ...]
    reference: Reference | str
    sizes: tuple[int, ...]
    store: ComparisonStore
    heads: int | None = None
    grid: Thresholds | None = None
    judged: Pairs | None = None
    exact_sample: int | None = None
    with_areas: bool = True
    executor: Executor | None = None

    def comparison(self) -> Comparison:
        """Run every method, then measure what it found."""
        found_on, said = self._ends(self.request)
        ends, said = (found_on, said) if self.judged is None else self._ends(self._judging)
        reference = self.reference if isinstance(self.reference, Reference) else None
        outcomes = self._outcomes()
        exact = next((outcome.scores for outcome in outcomes if self._is_exact(outcome.entry)), None)
        if exact is not None:
            reference = self._settled(exact, found_on[self.request.metric.name])
        known = reference.circuit if reference is not None else None
        listed = sorted((outcome for outcome in outcomes if outcome.entry in self.entries), key=self._place)
        sample = self.store.sample(self.measure_sample) if self.exact_sample is not None else None
        measures = self._measures(listed)
        results = tuple(
            self._result(one, known, exact, sample, measured) for one, measured in zip(listed, measures, strict=True)
        )
        studied = (
            study(listed, self.heads, self.request, replaced=found_on["kl"].corrupted)
            if self.heads is not None
            else None
        )
        grid = self.store.grid(lambda: self.measure_thresholds(known)) if self.grid is not None else None
        return Comparison(self._facts(said), ends, self.sizes, reference, results, exact, studied, grid, sample)

    @property
    def planned(self) -> list[Entry]:
        """The methods in the order they run in: exact effects first if the reference needs them."""
        if not isinstance(self.reference, str) or self.reference == "none":
            return list(self.entries)
        exact = [entry for entry in self.entries if self._is_exact(entry)][:1] or [EXACT]
        return [*exact, *(entry for entry in self.entries if entry not in exact)]

    # -- steps ------------------------------------------------------------------------------------------------------

    @property
    def _judging(self) -> Request:
        """The request on the pairs that circuits are measured on."""
        return self.request if self.judged is None else replace(self.request, pairs=self.judged)

    def measure_sample(self) -> Sample:
        """The exact effects of some edges."""
        return Sample.measured(self.request, self.exact_sample or 0, seed=0)

    def _ends(self, request: Request) -> tuple[dict[str, MetricReport], tuple[str, ...]]:
        """Every reported metric, clean and corrupted, and warnings; a metric that cannot tell the two apart is refused."""
        empty = Circuit.from_edges(request.subject.graph, [])
        report = evaluate(request.subject, empty, request.pairs, random=None, **self._how(silent))
        ends = report[request.metric.name]
        if ends.clean == ends.corrupted:
            raise NumericalError(
                f"the metric {self.request.metric.name} is {ends.clean:.4g} both clean and corrupted, so there is "
                "nothing to find; choose another metric or other pairs"
            )
        return dict(report.metrics), report.warnings

    def _outcomes(self) -> list[MethodOutcome]:
        """Every method's, from the store where it is there already."""
        missing = [entry for entry in self.planned if not self.store.has(entry)]
        find = self.find if self.executor is None else self._sent.find
        found: dict[str, MethodOutcome] = {}
        for entry, outcome in each_done(find, missing, self.executor, self.request.track, "comparing methods"):
            found[entry.folder] = self.store.outcome(entry, lambda _, outcome=outcome: outcome)
        return [found.get(entry.folder) or self.store.outcome(entry, self.find) for entry in self.planned]

    def _measures(self, outcomes: Sequence[MethodOutcome]) -> list[Measures]:
        """What the circuits of every method keep, and its areas."""
        if self.executor is None:
            return [self.measure(outcome) for outcome in outcomes]
        missing = [outcome for outcome in outcomes if not self._is_measured(outcome)]
        measured: dict[str, Measures] = {}
        track, work = self.request.track, self._sent.measure
        for outcome, (curve, areas) in each_done(work, missing, self.executor, track, "measuring their circuits"):
            of_curve = self.store.curve(outcome, lambda _, curve=curve: curve)
            of_areas = self.store.areas(outcome, lambda _, areas=areas: areas) if self.with_areas else areas
            measured[outcome.entry.folder] = of_curve, of_areas
        return [measured.get(outcome.entry.folder) or self.measure(outcome) for outcome in outcomes]

    def _is_measured(self, outcome: MethodOutcome) -> bool:
        return self.store.has_measures(outcome.entry, areas=self.with_areas)

    def measure(self, outcome: MethodOutcome) -> Measures:
        """What the circuits of a method keep, and its areas."""
        areas = self.store.areas(outcome, self._areas) if self.with_areas else {"cpr": None, "cmd": None}
        return self.store.curve(outcome, self._curve), areas

    @property
    def _sent(self) -> ComparisonJob:
        """The comparison as a worker gets it: what it finds is told and kept here."""
        quiet = replace(self.request, track=silent)
        return replace(self, request=quiet, store=ComparisonStore(), executor=None)

    def _place(self, outcome: MethodOutcome) -> int:
        return self.entries.index(outcome.entry)

    def find(self, entry: Entry) -> MethodOutcome:
        """What one method finds."""
        return run_entry(entry, self.request, self.sizes, partial=self.store.partial(entry))

    def _is_exact(self, entry: Entry) -> bool:
        return entry.method == "exact" and entry.metric in (None, self.request.metric.name)

    def _settled(self, exact: Scores, ends: MetricReport) -> Reference | None:
        if isinstance(self.reference, Reference):
            return self.reference
        return None if self.reference == "none" else measured(self.reference, exact, ends.clean - ends.corrupted)

    def _result(
        self,
        outcome: MethodOutcome,
        reference: Circuit | None,
        exact: Scores | None,
        sample: Sample | None,
        measured: Measures,
    ) -> Result:
        entry = outcome.entry
        found = outcome.circuits or outcome.scores
        recovery = recovered(found, reference, absolute=entry.absolute)
        agreeing = None if exact is None or self._is_exact(entry) else agreement(outcome, exact)
        agreeing = sample.agreement(outcome) if agreeing is None and sample is not None else agreeing
        curve, areas = measured
        areas = {**areas, "auroc": auroc_of(outcome.scores, reference)}
        return Result(entry.name, outcome, recovery, agreeing, curve, areas)

    def _areas(self, outcome: MethodOutcome) -> Mapping[str, float | None]:
        return areas_of(outcome.scores, self._judging)

    def _curve(self, outcome: MethodOutcome) -> tuple[Measured, ...]:
        """What the circuits of a method keep, from few edges to many."""
        circuits = outcome.measurable(self.sizes)
        judged = [_measured(report) for report in self._reports(circuits, self._judging)]
        if self.judged is None:
            return tuple(judged)
        examples = outcome.entry.examples
        seen = self.request if examples is None else replace(self.request, pairs=self.request.pairs[:examples])
        seen = first_pairs(seen)
        found_on = [_measured(report).metrics for report in self._reports(circuits, seen)]
        return tuple(replace(one, found_on=metrics) for one, metrics in zip(judged, found_on, strict=True))

    def _reports(self, circuits: Sequence[Circuit], request: Request) -> list[Report]:
        return evaluate_each(request.subject, circuits, request.pairs, **self._how(request.track))

    def measure_thresholds(self, reference: Circuit | None) -> Grid:
        """How `eap+acdc` does over both of its thresholds."""
        if reference is None or self.grid is None:
            raise InvalidValue("a grid of thresholds needs a reference, and this comparison has none; name one")
        request = self.request
        options = {"thresholds": self.grid.threshold, "taus": self.grid.tau, "ablation": request.ablation}
        return measure_grid(request.subject, request.pairs, reference, **options, track=request.track)

    def _how(self, track: Track) -> dict[str, Any]:
        request = self.request
        return {
            "metrics": reported(request),
            "ablation": request.ablation,
            "batch_size": request.batch_size,
            "track": track,
        }

    def _facts(self, said: Iterable[str]) -> dict[str, Any]:
        request = self.request
        judged = {"judged_on": _described(self.judged)} if self.judged else {}
        return {
            "model": request.subject.identity,
            "data": with_warnings({**_described(request.pairs), **judged}, said),
            "metric": request.metric.name,
            **request.ablation.key,
            "batch_size": request.batch_size,
            "versions": versions(),
        }


def reported(request: Request) -> list[str | Metric]:
    """What circuits are measured by: the metric at hand, then those of the tables of the literature."""
    answered = not bool((request.pairs.wrong == NO_ANSWER).all(dim=1).any())
    others = ("logit_diff", "kl", "accuracy") if answered else ("kl", "accuracy")
    return [request.metric, *(METRICS[name] for name in others if name != request.metric.name)]


def _described(pairs: Pairs) -> dict[str, Any]:
    return {**pairs.source, "sha256": pairs.fingerprint, "examples": len(pairs)}


def _measured(report: Report) -> Measured:
    plain = {name: one.to_dict() for name, one in report.metrics.items()}
    metrics = {name: one["circuit"] for name, one in plain.items()}
    shares = {name: one["faithfulness"] for name, one in plain.items()}
    return Measured(report.edges, report.live_edges, metrics, shares)
