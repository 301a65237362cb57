"""check_method, check_task, check_metric, check_ablation: what edgewise has passes, and what breaks a law is told which."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from edgewise.ablations import ABLATIONS, Ablation, Replacer, Zero
from edgewise.attribution.base import ScoringMethod
from edgewise.attribution.random import Random
from edgewise.engine.replacement import Replacement
from edgewise.errors import EdgewiseError, InvalidValue
from edgewise.methods import METHODS
from edgewise.metrics import METRICS, Metric
from edgewise.options import option
from edgewise.request import Request
from edgewise.search.base import Kept, Search, refuse_edges
from edgewise.tasks import TASKS, Prompt, Task
from edgewise.testing import check_ablation, check_method, check_metric, check_task

LONG = ("mask-ig", "eap-ig-activations", "edge-pruning", "hap", "exact", "eap-ig")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in METHODS])
def test_every_method_holds(name: str) -> None:
    report = check_method(METHODS[name])
    assert report.broken == ()
    assert str(report).startswith(f"the method {name!r}\nholds")


@pytest.mark.parametrize("name", ["docstring", "induction", "reverse", "fraction", "induction-hidden"])
def test_tasks_hold(name: str) -> None:
    assert check_task(TASKS[name]).broken == ()


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_holds(name: str) -> None:
    assert check_metric(METRICS[name]).broken == ()


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_holds(name: str) -> None:
    assert check_ablation(ABLATIONS[name]).broken == ()


# -- methods that break a law -----------------------------------------------------------------------------------------

Scoring = Callable[[Request], Tensor]


def even(request: Request) -> Tensor:
    return torch.ones(request.subject.graph.edge_mask.shape)


def not_finite(request: Request) -> Tensor:
    return even(request) / 0


def of_another_shape(request: Request) -> Tensor:
    return torch.ones(3, 3)


def by_batch_size(request: Request) -> Tensor:
    return even(request) * request.batch_size


def by_order(request: Request) -> Tensor:
    return even(request) * float(request.pairs.clean[0].sum())


def by_padding(request: Request) -> Tensor:
    return even(request) * request.pairs.clean.shape[1]


def by_chance(request: Request) -> Tensor:
    return torch.randn(request.subject.graph.edge_mask.shape)


def by_pythons_chance(request: Request) -> Tensor:
    return even(request) * random.random()


def with_grad_mode(request: Request) -> Tensor:
    torch.set_grad_enabled(False)
    return even(request)


def with_hooks(request: Request) -> Tensor:
    request.subject.model.register_forward_hook(lambda *_: None)
    return even(request)


def with_weights(request: Request) -> Tensor:
    next(request.subject.model.parameters()).data.mul_(1.0001)
    return even(request)


def with_pairs(request: Request) -> Tensor:
    request.pairs.clean[0, 0] += 1
    return even(request)


def failing(request: Request) -> Tensor:
    raise RuntimeError("no luck")


def scoring(function: Scoring) -> type[ScoringMethod]:
    @dataclass(frozen=True)
    class Mine(ScoringMethod):
        name: ClassVar[str] = "mine"
        summary: ClassVar[str] = "for a test"
        cost: ClassVar[str] = "nothing"

        def scores(self, request: Request) -> Tensor:
            return function(request)

    return Mine


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (not_finite, "a score for every edge, all finite (InvalidValue: "),
        (of_another_shape, "all finite (InvalidValue: the method 'mine' gave torch.float32 [3, 3]"),
        (by_batch_size, "6 scores do not depend on batch size and order (off by 8.0e-01"),
        (by_order, "6 scores do not depend on batch size and order"),
        (by_padding, "6 scores do not depend on what stands behind the answer (off by"),
        (by_chance, "the same twice"),
        (by_pythons_chance, "8 no run leaves a trace (InvalidValue: changed: random numbers of Python"),
        (with_grad_mode, "8 no run leaves a trace (InvalidValue: changed: grad mode"),
        (with_hooks, "8 no run leaves a trace"),
        (with_weights, "8 no run leaves a trace"),
        (with_pairs, "changed: the pairs"),
        (failing, "RuntimeError: no luck"),
    ],
)
def test_a_method_that_breaks_a_law_is_told_which(function: Scoring, message: str) -> None:
    with pytest.raises(EdgewiseError) as found:
        check_method(scoring(function))
    assert str(found.value).startswith("the method 'mine' breaks ")
    assert message in str(found.value)


def test_one_that_keeps_them_passes_as_class_and_instance() -> None:
    for mine in (scoring(even), scoring(even)(), Random(seed=3)):
        assert check_method(mine).broken == ()
    with pytest.raises(InvalidValue, match="is not a method"):
        check_method(int)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Halving(Search):
    """Keeps the first edges, more or fewer than it was told by `off`, or some that are none."""

    share: float = option(0.5, "the share of edges that goes")
    edges: int | None = option(None, "how many edges stay")
    off: int = option(0, "how many more it keeps than it was told")
    everywhere: bool = option(False, "keep what is no edge too")
    name: ClassVar[str] = "halving"
    summary: ClassVar[str] = "for a test"
    cost: ClassVar[str] = "nothing"
    metric: ClassVar[str] = "kl"
    size_option: ClassVar[str] = "share"

    def for_edges(self, edges: int | None) -> Halving:
        if self.everywhere:
            refuse_edges(self.name, edges)
        return self if edges is None else replace(self, edges=edges)

    def search(self, request: Request) -> Kept:
        mask = torch.zeros_like(request.subject.graph.edge_mask)
        if self.everywhere:
            return Kept(~mask, {})
        keep = round(self.share * request.subject.graph.n_edges) if self.edges is None else self.edges + self.off
        kept = request.subject.graph.edge_mask.nonzero()[:keep]
        mask[kept[:, 0], kept[:, 1]] = True
        return Kept(mask, {})


def test_a_search_is_asked_for_a_circuit_of_the_wanted_size() -> None:
    assert check_method(Halving()).broken == ()
    with pytest.raises(InvalidValue, match=r"a number of edges is kept, or refused .*were asked for and accepted"):
        check_method(Halving(off=1))
    with pytest.raises(EdgewiseError, match="a circuit on the graph"):
        check_method(Halving(everywhere=True))


# -- tasks, metrics, ablations ----------------------------------------------------------------------------------------

PLAIN = TASKS["reverse"]
Draw = Callable[[random.Random, Any, str], Prompt]


def changed(change: Callable[[Prompt], Prompt]) -> Draw:
    return lambda rng, lists, corruption: change(PLAIN.draw(rng, lists, corruption))


def by_itself(rng: random.Random, lists: Any, corruption: str) -> Prompt:
    return PLAIN.draw(random.Random(random.random()), lists, corruption)


def always(rng: random.Random, lists: Any, corruption: str) -> Prompt:
    return PLAIN.draw(random.Random(0), lists, corruption)


def by_corruption(rng: random.Random, lists: Any, corruption: str) -> Prompt:
    rng.seed(f"{corruption}{rng.random()}")
    return PLAIN.draw(rng, lists, PLAIN.corruptions[0])


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (replace(PLAIN, metric="logit-dif"), "its metric is known (UnknownName: unknown metric 'logit-dif'"),
        (replace(PLAIN, draw=by_itself), "the same seed gave other prompts the second time"),
        (replace(PLAIN, draw=always), "seeds 0 and 1 give the same prompts"),
        (replace(PLAIN, draw=always), "pairs held out are none of the others (TooFewHeldOut"),
        (replace(PLAIN, draw=by_corruption, corruptions=("a", "b")), "b has other clean prompts"),
        (replace(PLAIN, draw=changed(lambda p: replace(p, corrupted=p.clean))), "as it is"),
        (
            replace(PLAIN, draw=changed(lambda p: replace(p, wrong=p.correct))),
            "token 0 is both a correct and a wrong answer",
        ),
        (replace(PLAIN, draw=changed(lambda p: replace(p, wrong=()))), "has no wrong answer, and logit_diff needs one"),
        (replace(PLAIN, draw=changed(lambda p: replace(p, corrupted="a"))), "every corruption gives aligned pairs"),
        (replace(PLAIN, corruptions=()), "it has no corruption"),
    ],
)
def test_a_task_that_breaks_a_law_is_told_which(task: Task, message: str) -> None:
    with pytest.raises(EdgewiseError) as found:
        check_task(task)
    assert str(found.value).startswith("the task 'reverse' breaks ")
    assert message in str(found.value)


def test_what_is_no_member_is_refused() -> None:
    for check, word in ((check_task, "task"), (check_metric, "metric"), (check_ablation, "ablation")):
        with pytest.raises(InvalidValue, match=f"is not an? {word}"):
            check("ioi")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (
            Metric("mine", lambda x, answers, clean: x.mean()),
            "mine gives shape [] for 5 examples: it must give shape [5]",
        ),
        (Metric("mine", lambda x, answers, clean: x[:, :1]), "mine gives shape [5, 1] for 5 examples"),
        (Metric("mine", lambda x, answers, clean: 1.0), "mine gives a float for 5 examples"),  # type: ignore[arg-type, return-value]
        (Metric("mine", lambda x, answers, clean: x[:, 0] / 0), "mine gives [-inf, inf"),
        (Metric("mine", lambda x, answers, clean: x[:, 0] - x.mean()), "does not depend on the others (off by"),
        (Metric("mine", lambda x, answers, clean: x[:, 0].round()), "differentiable=True, and its slope is 0.0e+00"),
        (
            Metric("mine", lambda x, answers, clean: x[:, 0], flat_at_clean=True),
            "flat_at_clean=True, and its slope there",
        ),
        (Metric("mine", lambda x, answers, clean: x[:, 0], sign=2), "sign is 1 or -1 (InvalidValue: sign=2)"),
    ],
)
def test_a_metric_that_breaks_a_law_is_told_which(metric: Metric, message: str) -> None:
    with pytest.raises(InvalidValue) as found:
        check_metric(metric)
    assert message in str(found.value)


def test_an_ablation_that_breaks_a_law_is_told_which() -> None:
    class Scaled(Ablation):
        name: ClassVar[str] = "scaled"
        summary: ClassVar[str] = "for a test"

        def prepare(self, subject: Any, pairs: Any, batch_size: int) -> Replacer:
            zero = Zero().prepare(subject, pairs, batch_size)

            def replacement(batch: Any) -> Replacement:
                found = zero(batch)
                found.writes.inputs.add_(batch_size * torch.arange(16) ** 2)
                return found

            return Replacer.of(replacement)

    with pytest.raises(InvalidValue, match=r"the ablation 'scaled' breaks .*6 it does not depend on batch size"):
        check_ablation(Scaled)
