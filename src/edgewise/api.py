"""The verbs attribute, discover, sweep; `evaluate`, `load`, `task`, `save`, `open`, `show` live with their nouns."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

from edgewise.ablations import Ablation
from edgewise.ablations import ablation as find_ablation
from edgewise.arguments import Size, count_of, refuse_empty_batch, typed
from edgewise.circuit import Circuit
from edgewise.contract import Found, Method
from edgewise.engine.tiling import Products, using_products
from edgewise.evaluation.measured_effects import effects
from edgewise.executors import each_done
from edgewise.methods import method as find_method
from edgewise.methods import run_method
from edgewise.metrics import AnyMetric
from edgewise.metrics import metric as find_metric
from edgewise.models.subject import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track, silent, watched
from edgewise.request import Request, Wanted
from edgewise.scores import Scores
from edgewise.surroundings import neutrally
from edgewise.sweeps import Sweep

__all__ = ["attribute", "attribute_nodes", "discover", "effects", "sweep"]


@typed
@watched
@neutrally
def attribute(
    subject: Subject,
    pairs: Pairs,
    *,
    method: str | Method = "eap-ig",
    metric: AnyMetric = "logit_diff",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    memory_limit: str | int | None = None,
    products: Products | None = None,
    track: Track = silent,
    progress: bool | None = None,
    **options: Any,
) -> Scores:
    """Score every edge by the drop of the metric that replacing this edge alone causes, measured or predicted.

    `subject`: the model, from `load`.
    `pairs`: clean and corrupted prompts with their answers.
    `method`: the name of a method that scores edges ("eap-ig", "exact", …), or a Method.
    `metric`: the name of a metric, a Metric, or a function of logits, answers and clean logits, of which higher is better.
    `ablation`: what a replaced edge carries; a name ("corrupted", "zero", "mean", "position-mean") or an Ablation.
    `batch_size`: how many pairs run at once. It changes no score, and neither do the order of the pairs or padding.
    `memory_limit`: "2GB", or a number of bytes. So few pairs then run at once that all memory, the model included, is
    estimated to stay below it; scores are the same.
    `products`: how a GPU rounds the factors of the products that make scores of edges: "float32" not at all, "tf32" to ten
    bits, which is its default. Sums are float32 or better. Without a GPU, products are exact.
    `track`: is told how far the work is; the default shows nothing.
    `progress`: True shows it: bars in a terminal or a notebook, elsewhere a line on stderr every half minute. By default
    only a notebook shows it.
    `options`: the options of the method, such as `steps=10`.

    Returns Scores: float32 [writer, reader], in units of the metric. Positive means that the edge helps. A score is a
    mean over the pairs and a sum over positions and model dimensions. Raises UnknownName for a method, metric or
    ablation that is not known, and InvalidValue for an option that makes no sense or a memory limit that is too small.
    NumericalError says that the metric has no gradient that the method can use. The model is never changed.
    """
    asked = _On(subject, pairs, metric, ablation, batch_size, track, products)
    return _scores(asked.found(method, options, Wanted("scores", memory_limit=memory_limit)))


@typed
@watched
@neutrally
def attribute_nodes(
    subject: Subject,
    pairs: Pairs,
    *,
    method: str | Method = "eap-ig",
    metric: AnyMetric = "logit_diff",
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    memory_limit: str | int | None = None,
    products: Products | None = None,
    track: Track = silent,
    progress: bool | None = None,
    **options: Any,
) -> Scores:
    """Score every writer, and each coordinate it writes, by the drop of the metric when it is replaced everywhere.

    `subject`, `pairs`, `metric`, `ablation`, `batch_size`, `memory_limit`, `products`, `track`, `progress`, `options`: as in
    `attribute`.
    `method`: a method made of gradients at native runs (eap, eap-ig, relp, …).

    Returns Scores of nodes, float32 [writer]; their `neurons` are float32 [writer, d_model]. The cost is that of
    scoring edges. Raises InvalidValue for a method that scores no nodes.
    """
    asked = _On(subject, pairs, metric, ablation, batch_size, track, products)
    return _scores(asked.found(method, options, Wanted("scores", "nodes", memory_limit=memory_limit)))


@typed
@watched
@neutrally
def discover(
    subject: Subject,
    pairs: Pairs,
    *,
    method: str | Method = "eap-ig",
    metric: AnyMetric | None = None,
    ablation: str | Ablation = "corrupted",
    edges: Size | None = None,
    absolute: bool = True,
    batch_size: int = 8,
    memory_limit: str | int | None = None,
    products: Products | None = None,
    track: Track = silent,
    progress: bool | None = None,
    **options: Any,
) -> Circuit:
    """Find a circuit by a method.

    `subject`, `pairs`, `ablation`, `batch_size`, `memory_limit`, `products`, `track`, `progress`, `options`: as in
    `attribute`.
    `method`: the name of any method, or a Method.
    `metric`: by default the method's own ("kl" for searches), else "logit_diff".
    `edges`: how many edges to keep, or a share of all such as "10%"; by default a tenth of all; `select` finds as
    many as keep a share of the behaviour. A search such as `acdc` decides this itself.
    `absolute`: whether edges are ranked by the absolute value of their scores, or by their signed scores.

    Returns a Circuit. For a method that scores edges it holds the best of them, without those on no path from input to
    logits; the provenance counts both. Raises InvalidValue if the method cannot be told how many edges to keep, and
    whatever `attribute` raises.
    """
    asked = _On(subject, pairs, metric, ablation, batch_size, track, products)
    count = None if edges is None else count_of(edges, subject.graph.n_edges)
    found = asked.found(method, options, Wanted("circuit", edges=count, memory_limit=memory_limit))
    return found.circuit(count, absolute=absolute)


@typed
@watched
@neutrally
def sweep(
    subject: Subject,
    pairs: Pairs,
    *,
    method: str | Method = "acdc",
    values: Sequence[float] | None = None,
    metric: AnyMetric | None = None,
    ablation: str | Ablation = "corrupted",
    batch_size: int = 8,
    executor: Executor | None = None,
    track: Track = silent,
    progress: bool | None = None,
    **options: Any,
) -> Sweep:
    """Run a search at several values of its size option, for a circuit of each size.

    `subject`, `pairs`, `metric`, `ablation`, `batch_size`, `track`, `progress`, `options`: as in `discover`.
    `method`: a search, such as `acdc`, whose size option is `tau`.
    `values`: values of the size option, by default the method's own. The larger the value, the fewer edges are kept.
    `executor`: one of `concurrent.futures`, or of dask, whose workers search at one value each; they share no work.

    Returns a Sweep: a circuit for each value, and Scores of all edges that follow from them. Each circuit is the one
    that `discover` finds; the values share what work they can. Methods that train go from the largest circuit to the
    smallest instead, each begun with the gates of the one before, unless an executor is given. Raises InvalidValue for
    a method that scores all edges at once.
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
    metric: AnyMetric | None
    ablation: str | Ablation
    batch_size: int
    track: Track
    products: Products | None = None

    def found(self, method: str | Method, options: dict[str, Any], wanted: Wanted) -> Found:
        """What the method finds, by the metric that was named, else its own, else the logit difference."""
        refuse_empty_batch(self.batch_size)
        chosen = find_method(method, options)
        metric = find_metric((chosen.metric or "logit_diff") if self.metric is None else self.metric)
        ablation = find_ablation(self.ablation)
        request = Request(self.subject, self.pairs, metric, ablation, self.batch_size, self.track, wanted)
        with using_products(self.products):
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
