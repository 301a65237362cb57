"""The verbs attribute, discover, sweep; `evaluate`, `load`, `task`, `save`, `open`, `show` live with their nouns."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

from edgewise.ablations import Ablation
from edgewise.ablations import ablation as find_ablation
from edgewise.attribution.exact import effects_of
from edgewise.circuit import Circuit
from edgewise.contract import Found, Method
from edgewise.errors import InvalidValue
from edgewise.executors import each_done
from edgewise.methods import method as find_method
from edgewise.methods import run_method
from edgewise.metrics import Metric
from edgewise.metrics import metric as find_metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent
from edgewise.request import Request, Wanted
from edgewise.scores import Scores
from edgewise.sweeps import Sweep


def attribute(
    subject: Subject,
    pairs: Pairs,
    *,
    method: str | Method = "eap-ig",
    metric: str | Metric = "logit_diff",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    memory_limit: str | int | None = None,
    track: Track = silent,
    **options: Any,
) -> Scores:
    """A score for every edge: the drop of `metric` that replacing the edge alone causes, measured or predicted.

    Positive = the edge helps; mean over the pairs. `options` are the method's own (`seed` of random, `checkpoint` of exact).
    Results do not depend on `batch_size`, on the order of the pairs or on padding. Nothing about the model changes.
    `memory_limit` ("2GB", or bytes): batches are made so small that all that is taken, the model included, is estimated to
    stay within it (attribution/footprint.py); InvalidValue, with the least that would do, if it is too small.
    """
    asked = _On(subject, pairs, metric, ablation, batch_size, track)
    return _scores(asked.found(method, options, Wanted("scores", memory_limit=memory_limit)))


def effects(
    subject: Subject,
    pairs: Pairs,
    edges: Sequence[str],
    *,
    metric: str | Metric = "logit_diff",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    track: Track = silent,
) -> dict[str, float]:
    """The measured drop of `metric` when one edge alone is replaced, for each of `edges`: what `exact` scores them by.

    `edges` are names such as "m0->a3.h7<q>"; UnknownName for one that the graph does not have. Mean over the pairs.
    """
    if batch_size < 1:
        raise InvalidValue(f"batch size {batch_size}: it must be at least 1")
    request = Request(subject, pairs, find_metric(metric), find_ablation(ablation), batch_size, track)
    return dict(zip(edges, effects_of(request, edges).tolist(), strict=True))


def attribute_nodes(
    subject: Subject,
    pairs: Pairs,
    *,
    method: str | Method = "eap-ig",
    metric: str | Metric = "logit_diff",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    memory_limit: str | int | None = None,
    track: Track = silent,
    **options: Any,
) -> Scores:
    """A score for every writer (`input`, heads, MLPs) and each coordinate it writes: the drop when it is replaced everywhere.

    For the methods that are a path of gradients (eap, eap-ig, relp, …), at their own cost; arguments as of `attribute`.
    """
    asked = _On(subject, pairs, metric, ablation, batch_size, track)
    return _scores(asked.found(method, options, Wanted("scores", "nodes", memory_limit=memory_limit)))


def discover(
    subject: Subject,
    pairs: Pairs,
    *,
    method: str | Method = "eap-ig",
    metric: str | Metric | None = None,
    ablation: str | Ablation = "corrupted",
    edges: int | None = None,
    absolute: bool = True,
    batch_size: int = 8,
    memory_limit: str | int | None = None,
    track: Track = silent,
    **options: Any,
) -> Circuit:
    """The circuit a method finds.

    A search decides itself what it keeps: as much as its size option says (`acdc`), or exactly `edges` (`edge-pruning`,
    `hap`; default a tenth of all); `metric` defaults to its own. Of a method that scores edges these are the
    `edges` best-scored ones (default a tenth of all), by absolute score unless `absolute=False`, without those on no path
    from input to logits. `options` are the method's own, the other arguments those of `attribute`. The provenance counts the
    edges before and after dangling ones are dropped.
    """
    asked = _On(subject, pairs, metric, ablation, batch_size, track)
    found = asked.found(method, options, Wanted("circuit", edges=edges, memory_limit=memory_limit))
    return found.circuit(edges, absolute=absolute)


def sweep(
    subject: Subject,
    pairs: Pairs,
    *,
    method: str | Method = "acdc",
    values: Sequence[float] | None = None,
    metric: str | Metric | None = None,
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    executor: Executor | None = None,
    track: Track = silent,
    **options: Any,
) -> Sweep:
    """A search at several values of its size option (`tau` of `acdc`): a circuit for each, and Scores of all edges from them.

    The larger the value, the fewer edges are kept. An edge's score is the smallest value at which it goes, infinite if none
    does. `values` default to the method's own; the other arguments are those of `discover`. Values share what they can:
    each circuit is the one that `discover` finds, and its provenance counts what was `tested` and what of it `computed`.
    With an `executor` (of `concurrent.futures`, or of dask) they run beside one another, and share nothing.
    """
    on = _On(subject, pairs, metric, ablation, batch_size, track)
    wanted = Wanted("sweep", values=None if values is None else tuple(values))
    if executor is not None:
        return _beside(on, find_method(method, options), wanted, executor)
    found = on.found(method, options, wanted)
    assert found.sweep is not None
    return found.sweep


@final
@dataclass(frozen=True)
class _On:
    """What the verbs are told of a request, by names or values."""

    subject: Subject
    pairs: Pairs
    metric: str | Metric | None
    ablation: str | Ablation
    batch_size: int
    track: Track

    def found(self, method: str | Method, options: dict[str, Any], wanted: Wanted) -> Found:
        """What the method finds, by the metric that was named, else its own, else the logit difference."""
        if self.batch_size < 1:
            raise InvalidValue(f"batch size {self.batch_size}: it must be at least 1")
        chosen = find_method(method, options)
        metric = find_metric(self.metric or chosen.metric or "logit_diff")
        ablation = find_ablation(self.ablation)
        request = Request(self.subject, self.pairs, metric, ablation, self.batch_size, self.track, wanted)
        return run_method(chosen, request)


def _beside(on: _On, method: Method, wanted: Wanted, executor: Executor) -> Sweep:
    """A sweep whose values are searched at by the workers of an executor."""
    method.refuse(wanted)
    values = method.size_values if wanted.values is None else wanted.values
    quiet = replace(on, track=silent)
    found = dict(each_done(partial(_at_value, quiet, method), values, executor, on.track, f"sweeping {method.name}"))
    assert method.size_option is not None
    sweep = Found.along(method.size_option, values, [found[value] for value in values]).sweep
    assert sweep is not None
    return sweep


def _at_value(on: _On, method: Method, value: float) -> Circuit:
    (circuit,) = on.found(method, {}, Wanted("sweep", values=(value,))).circuits
    return circuit


def _scores(found: Found) -> Scores:
    assert found.scores is not None
    return found.scores
