"""compare: methods beside one another, each against a reference circuit, exact effects, and the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

from edgewise.ablations import Ablation
from edgewise.ablations import ablation as find_ablation
from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.comparison.compare_recipe import (
    DEFAULT_SIZES,
    Size,
    check_names,
    entries_on,
    sizes_on,
    usual_entries,
)
from edgewise.comparison.comparison import Comparison
from edgewise.comparison.comparison_job import EXACT, ComparisonJob
from edgewise.comparison.comparison_store import ComparisonStore
from edgewise.comparison.entry import Entry, entry_fields, given_scores
from edgewise.comparison.reference import sample_size, settle
from edgewise.errors import InvalidValue
from edgewise.methods import method as find_method
from edgewise.metrics import AnyMetric
from edgewise.metrics import metric as find_metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent, watched
from edgewise.request import Request
from edgewise.scores import Scores
from edgewise.surroundings import neutrally


@typed
@watched
@neutrally
def compare(  # noqa: PLR0913 - a public verb: what a user may say of a comparison
    subject: Subject,
    pairs: Pairs,
    *,
    methods: Sequence[str | Entry | Scores | dict[str, Any]] | None = None,
    reference: str | Circuit | None = None,
    metric: AnyMetric = "logit_diff",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    edges: Sequence[Size] = DEFAULT_SIZES,
    held_out: Pairs | None = None,
    exact_sample: int | None = None,
    executor: Executor | None = None,
    track: Track = silent,
    progress: bool | None = None,
) -> Comparison:
    """Compare methods on one model and one set of pairs.

    `subject`, `ablation`, `batch_size`, `track`, `progress`: as in `attribute`.
    `pairs`: the prompts that circuits are found on.
    `methods`: a name, or a mapping with `method`, `options`, `label`, `metric`, `values` and `ranking`, for each
    method; by default eap-ig, eap, acdc and exact, on models with more than 2,000 edges eap-ig and eap. Scores that are
    there already are compared as Scores, as a file with them, or as a mapping with `scores` and `label`. Random scores
    join as the baseline.
    `reference`: the circuit to recover: a Circuit; "task", the known one of the task; "exact:1%" or "exact:0.05", the
    edges with the largest measured effects; or "none". By default the task's where it fits the model, else "exact:1%"
    on small models, else none: then methods are told apart by how they agree with the measured effects of 100 edges, and
    by what their circuits keep.
    `metric`: what edges are scored by.
    `edges`: the sizes at which circuits are compared, as numbers or as shares like "5%".
    `held_out`: pairs to measure circuits on, instead of those they were found on.
    `exact_sample`: how many edges, drawn evenly, to replace one by one, for the agreement with exact effects where
    measuring all takes too long.
    `executor`: one of `concurrent.futures`, or of dask, whose workers run the methods beside one another; other processes
    need a model that was loaded by name.

    Returns a Comparison: what each method recovers of the reference, at the level of edges and of nodes; how its scores
    agree with exact effects; and what its circuits keep of the behaviour at each size. For a search that cannot be told
    a size it is the nearest circuit of its sweep. Raises UnknownName and InvalidValue as `attribute` does, and
    NumericalError for a metric that is the same clean and corrupted.
    """
    request = Request(subject, pairs, find_metric(metric), find_ablation(ablation), batch_size, track)
    chosen = usual_entries() if methods is None else methods
    entries = [entry if isinstance(entry, Entry) else Entry.of(**entry_fields(entry)) for entry in chosen]
    entries = entries_on(subject.graph, entries)
    source = pairs.source.get("task")
    settled = settle(reference, subject, str(source) if source is not None else None)
    baseline, sizes = with_baseline(entries, 0), sizes_on(subject.graph, edges)
    return ComparisonJob(
        request,
        baseline,
        settled,
        sizes,
        ComparisonStore(),
        judged=held_out,
        exact_sample=sample_size(exact_sample, reference, settled),
        executor=executor,
    ).comparison()


def with_baseline(entries: Sequence[Entry], seed: int) -> tuple[Entry, ...]:
    """The entries, each checked, with random scores at the end unless they are there."""
    names = {entry.method for entry in entries}
    baseline = [] if "random" in names else [Entry(method="random", options={"seed": seed})]
    check_names([*entries, *baseline, EXACT])
    for entry in entries:
        if entry.scores is not None:
            given_scores(entry)
            continue
        chosen = find_method(entry.method, entry.options)
        if entry.values is not None and chosen.size_option is None:
            raise InvalidValue(f"{entry.name} scores every edge at once, so it takes no values; leave them out")
        if entry.metric is not None:
            find_metric(entry.metric)
    return (*entries, *baseline)
