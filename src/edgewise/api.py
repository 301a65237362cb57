"""The verbs attribute, select, discover, sweep; `evaluate`, `load`, `task`, `save`, `open`, `show` live with their nouns."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from edgewise.ablations import Ablation
from edgewise.ablations import ablation as find_ablation
from edgewise.attribution import Method
from edgewise.attribution.exact import effects_of
from edgewise.attribution.memory import fitting_size, memory_size
from edgewise.attribution.neuron_scores import neuron_scores
from edgewise.attribution.paths import PathMethod
from edgewise.circuit import Circuit
from edgewise.errors import InvalidValue
from edgewise.methods import method as find_method
from edgewise.metrics import Metric
from edgewise.metrics import metric as find_metric
from edgewise.models.subject import Subject
from edgewise.neurons import NeuronCircuit
from edgewise.nodes import NodeScores
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent
from edgewise.provenance import provenance
from edgewise.request import Request
from edgewise.scores import Scores
from edgewise.search import Found, Search, SharingSearch, dialled
from edgewise.sweeps import Sweep

DEFAULT_SHARE = 0.1


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
    if batch_size < 1:
        raise InvalidValue(f"batch size {batch_size}: it must be at least 1")
    chosen = find_method(method, options)
    if isinstance(chosen, Search):
        raise InvalidValue(f"{chosen.name} finds a circuit and scores no edges: use discover")
    request = Request(subject, pairs, find_metric(metric), find_ablation(ablation), batch_size, track)
    chosen, started = chosen.resolved(request), time.perf_counter()
    values = chosen.scores(_within(memory_limit, request, chosen))
    return Scores(subject.graph, values, provenance(request, chosen, time.perf_counter() - started))


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
) -> NodeScores:
    """A score for every writer (`input`, heads, MLPs) and each coordinate it writes: the drop when it is replaced everywhere.

    For the methods that are a path of gradients (eap, eap-ig, relp, …), at their own cost; arguments as of `attribute`.
    """
    if batch_size < 1:
        raise InvalidValue(f"batch size {batch_size}: it must be at least 1")
    chosen = node_method(find_method(method, options))
    request = Request(subject, pairs, find_metric(metric), find_ablation(ablation), batch_size, track)
    chosen, started = chosen.resolved(request), time.perf_counter()
    neurons = neuron_scores(chosen, _within(memory_limit, request, chosen))
    facts = provenance(request, chosen, time.perf_counter() - started)
    return NodeScores(subject.graph, neurons.sum(dim=1).float(), neurons.float(), facts)


def node_method(chosen: Method | Search) -> PathMethod:
    """The method, if it can score nodes and neurons; InvalidValue otherwise."""
    if not isinstance(chosen, PathMethod):
        raise InvalidValue(
            f"{chosen.name} scores no nodes: take a method made of gradients at native runs, such as eap-ig"
        )
    return chosen


def discover(
    subject: Subject,
    pairs: Pairs,
    *,
    method: str | Method | Search = "eap-ig",
    metric: str | Metric | None = None,
    ablation: str | Ablation = "corrupted",
    edges: int | None = None,
    absolute: bool = True,
    batch_size: int = 8,
    track: Track = silent,
    **options: Any,
) -> Circuit:
    """The circuit a method finds.

    A search decides itself what it keeps: as much as its dial says (`acdc`), or exactly `edges` (`edge-pruning`, `hap`;
    default a tenth of all); `metric` defaults to its own. Of a method that scores edges these are the
    `edges` best-scored ones (default a tenth of all), by absolute score unless `absolute=False`, without those on no path
    from input to logits. `options` are the method's own, the other arguments, `memory_limit` among them, those of
    `attribute`. The provenance counts the edges before and after dangling ones are dropped.
    """
    limit = options.pop("memory_limit", None)
    chosen = find_method(method, options)
    if not isinstance(chosen, Search):
        how = {"metric": metric or "logit_diff", "ablation": ablation, "batch_size": batch_size, "track": track}
        scores = attribute(subject, pairs, method=chosen, memory_limit=limit, **how)
        return select(scores, edges, absolute=absolute)
    if limit is not None:
        raise unlimited(chosen.name)
    request = Request(subject, pairs, find_metric(metric or chosen.metric), find_ablation(ablation), batch_size, track)
    return _searched(chosen.for_edges(edges), request)


def sweep(
    subject: Subject,
    pairs: Pairs,
    *,
    method: str | Search = "acdc",
    values: Sequence[float] | None = None,
    metric: str | Metric | None = None,
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    track: Track = silent,
    **options: Any,
) -> Sweep:
    """A search at several values of its dial (`tau` of `acdc`): a circuit for each, and Scores of all edges from them.

    The larger the value, the fewer edges are kept. An edge's score is the smallest value at which it goes, infinite if none
    does. `values` default to the method's own; the other arguments are those of `discover`. Values share what they can:
    each circuit is the one that `discover` finds, and its provenance counts what was `tested` and what of it `computed`.
    """
    chosen = find_method(method, options)
    if not isinstance(chosen, Search):
        raise InvalidValue(f"{chosen.name} scores every edge at once: there is nothing to sweep; use attribute")
    request = Request(subject, pairs, find_metric(metric or chosen.metric), find_ablation(ablation), batch_size, track)
    wanted = sorted(set(chosen.dial_values if values is None else values), reverse=True)
    searches = [dialled(chosen, value) for value in wanted]
    if not isinstance(chosen, SharingSearch):
        return Sweep(chosen.dial, tuple(wanted), tuple(_searched(one, request) for one in searches))
    found = chosen.sweep(wanted, request)
    circuits = [_circuit(one, request, each, 0.0) for one, each in zip(searches, found, strict=True)]
    return Sweep(chosen.dial, tuple(wanted), tuple(circuits))


def _within(limit: str | int | None, request: Request, chosen: Method) -> Request:
    """The request with batches that are estimated to stay within the limit; said in its notes where they are smaller."""
    if limit is None:
        return request
    held = chosen.memory_need(request.subject)
    if held is None:
        raise unlimited(chosen.name)
    size = fitting_size(request.subject, request.pairs, held, request.batch_size, memory_size(limit))
    if size < request.batch_size:
        request.notes["fitting_batch_size"] = size
    return replace(request, batch_size=size)


def unlimited(name: str) -> InvalidValue:
    """The refusal of a memory limit for a method that gives no estimate."""
    return InvalidValue(
        f"what {name} takes is not estimated, so it cannot keep to a memory limit: give a smaller batch size instead, or "
        "take a method made of gradients at native runs, such as eap-ig"
    )


def _searched(chosen: Search, request: Request) -> Circuit:
    started = time.perf_counter()
    found = chosen.search(request)
    return _circuit(chosen, request, replace(found, seconds=None), time.perf_counter() - started)


def _circuit(chosen: Search, request: Request, found: Found, seconds: float) -> Circuit:
    facts, graph = provenance(request, chosen, found.seconds or seconds), request.subject.graph
    # What a search keeps is its result, dangling edges and all: dropping them is the caller's choice.
    counts = {"selected": int(found.mask.sum()), "kept": int(found.mask.sum()), "total": graph.n_edges}
    return Circuit(graph, found.mask, {**facts, **found.counts, "edges": counts})


def select(scores: Scores, edges: int | None, *, absolute: bool = True) -> Circuit:
    """The `edges` best-scored edges (default a tenth of all) without dangling ones; the provenance counts both."""
    wanted = max(1, round(DEFAULT_SHARE * scores.graph.n_edges)) if edges is None else edges
    selected = scores.top(wanted, absolute=absolute)
    circuit = selected.without_dangling()
    counts = {"selected": len(selected), "kept": len(circuit), "total": scores.graph.n_edges}
    return circuit.with_provenance(edges=counts)


def select_level(
    scores: NodeScores, level: Literal["nodes", "neurons"], size: int, *, absolute: bool = True
) -> Circuit | NeuronCircuit:
    """The circuit of the best-scored heads and MLPs, or of the best-scored neurons without those of writers on no path.

    The provenance counts them.
    """
    if level == "nodes":
        circuit = scores.top(size, absolute=absolute)
        edges = {"selected": len(circuit), "kept": len(circuit), "total": scores.graph.n_edges}
        return circuit.with_provenance(edges=edges, nodes={"selected": size, "kept": size, "total": len(scores)})
    neurons = scores.neuron_scores
    kept = neurons.top(size, absolute=absolute).without_dangling()
    return kept.with_provenance(neurons={"selected": size, "kept": len(kept), "total": len(neurons)})
