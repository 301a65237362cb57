"""What a run would do, without making it: every loop of it is begun, timed for a moment, and left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, final

from edgewise.arguments import typed
from edgewise.attribution.memory import Rehearsals, taken, without_files
from edgewise.contract import Method
from edgewise.engine.tiling import tiling_for
from edgewise.errors import InvalidValue
from edgewise.evaluation.by_faithfulness import ROUNDS, SIZES_AT_FIRST, SIZES_IN_A_ROUND
from edgewise.progress import Track, silent
from edgewise.ranks import alone, current
from edgewise.request import Request
from edgewise.runs.job import Job, prepare
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import compute
from edgewise.surroundings import neutrally

T = TypeVar("T")
# How long a loop is watched, unless its first step takes longer. A first step may also make ready what the others need, and
# tell nothing of them: where there are more than so many, a second one is watched.
SECONDS_WATCHED, FEW_STEPS = 2.0, 40


@final
@dataclass(frozen=True)
class Stage:
    """A loop of a run: so many steps, and about how many seconds all of them take."""

    label: str
    steps: int
    seconds: float


@final
@dataclass(frozen=True)
class RunEstimate:
    """What a run would do: on which model and prompts, and what it takes.

    `edges`, `nodes`: how many the model has. `examples`, `held_out`: how many pairs circuits are found and judged on.
    `cost`: what the method does for a batch, in words; `batches`: of how many pairs at most, `batch_size`.
    `memory`: bytes at the most, model included. `stages`: where time goes, as far as could be told; `seconds`: all of it.
    `untold`: why what comes after the last stage could not be timed, if so.
    """

    model: str
    edges: int
    nodes: int
    prompts: str
    examples: int
    held_out: int
    method: str
    cost: str
    batches: int
    batch_size: int
    memory: int
    stages: tuple[Stage, ...]
    seconds: float
    untold: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The values as a dictionary for JSON."""
        return {**vars(self), "stages": [vars(stage) for stage in self.stages]}


@typed
@neutrally
def dry_run(recipe: Recipe, *, track: Track = silent) -> RunEstimate:
    """What a run of the recipe would do and take; nothing is written.

    The model is loaded and each loop of the run begun, until two seconds have passed or its first step is done. A time is
    what those steps took, so it is about right where steps are alike: a search or a training may well be quicker later.

    `recipe`: as for `run`. `track`: shows how far loading is.
    Returns a RunEstimate. Raises what `run` would before it computes anything.
    """
    if current().count > 1:
        raise InvalidValue("a dry run is made in one process: leave torchrun out")
    started, job = time.perf_counter(), prepare(recipe)
    subject = job.setting.model.load(track)
    loading = time.perf_counter() - started
    job = job.on(subject)
    pairs = job.setting.source.pairs(subject.tokenizer)
    held_out = job.setting.source.held_out(subject.tokenizer, pairs)
    request, method = job.request(subject, pairs, silent), without_files(job.method)
    memory = memory_of(method, request)
    # A search for the size would begin a loop for each size it tries; one of them is enough to know.
    begun = Begun.of(lambda track: compute(replace(job, method=method, share=None), track, subject=subject))
    stages = (*begun.merged, *_size_search(job, begun.stages))
    return RunEstimate(
        model=subject.name,
        edges=subject.graph.n_edges,
        nodes=len(subject.graph.writers) + 1,
        prompts=recipe.prompts,
        examples=len(pairs),
        held_out=0 if held_out is None else len(held_out),
        method=method.name,
        cost=method.cost,
        batches=-(-len(pairs) // pairs_at_once(request)),
        batch_size=pairs_at_once(request),
        memory=memory,
        stages=stages,
        seconds=loading + begun.besides + sum(stage.seconds for stage in stages),
        untold=begun.untold,
    )


def pairs_at_once(request: Request) -> int:
    """How many pairs the largest batch of a request has."""
    return min(request.batch_size, len(request.pairs))


def memory_of(method: Method, request: Request) -> int:
    """Bytes that a method takes at the most, model included."""
    with alone():
        estimate = Rehearsals(method, request).estimate(pairs_at_once(request), tiling_for(request.subject.device))
        return taken(request.subject) + estimate.peak


def _size_search(job: Job, begun: Sequence[Stage]) -> Iterator[Stage]:
    """What the search for the size adds, where there is one: rounds of sizes, besides those that are on the curve."""
    two = next((stage for stage in begun if stage.label == "evaluating the circuit"), None)
    curve, masks = next((stage for stage in begun if stage.label.endswith("circuits")), None), 2 * job.recipe.curve
    if job.share is None or two is None:
        return
    # Two circuits were run there, and so many more for the curve, beside one clean and one corrupted run each.
    each = max(0.0, curve.seconds - two.seconds) / (masks - 2) if curve and masks > 2 else two.seconds / 2
    rounds = ROUNDS + (job.recipe.curve != SIZES_AT_FIRST)
    yield Stage("looking for the size", rounds * two.steps, rounds * (two.seconds + (SIZES_IN_A_ROUND - 2) * each))


@final
@dataclass
class Begun:
    """A Track that takes the first steps of each loop, and leaves it.

    `besides`: seconds that the work took outside of its loops. `untold`: why it ended after a loop that was left, if it did.
    """

    stages: list[Stage] = field(default_factory=list)
    watched: list[float] = field(default_factory=list)
    left: bool = False
    besides: float = 0.0
    untold: str = ""

    @classmethod
    def of(cls, work: Callable[[Begun], object]) -> Begun:
        """The beginnings of the loops of a piece of work; what it raises before one is left is raised."""
        begun, before = cls(), time.perf_counter()
        try:
            work(begun)
        except Exception as error:
            if not begun.left:
                raise
            begun.untold = str(error)  # of numbers that are none, since the loops before were left
        begun.besides = time.perf_counter() - before - sum(begun.watched)
        return begun

    def __call__(
        self, steps: Iterable[T], total: int, label: str, detail: Callable[[T], str] | None = None
    ) -> Iterator[T]:
        started, done, first = time.perf_counter(), 0, 0.0
        for step in steps:
            yield step
            done, passed = done + 1, time.perf_counter() - started
            first = first or passed
            if passed > SECONDS_WATCHED and done < total and (done > 1 or total <= FEW_STEPS):
                self.left = True
                break
        passed = time.perf_counter() - started
        rest = (passed - first) / (done - 1) * (total - 1) if done > 1 else first * (total - 1)
        self.stages.append(Stage(label, total, first + rest))
        self.watched.append(passed)

    @property
    def merged(self) -> tuple[Stage, ...]:
        """The stages, those of one label together."""
        found: dict[str, Stage] = {}
        for stage in self.stages:
            known = found.get(stage.label, Stage(stage.label, 0, 0.0))
            found[stage.label] = Stage(stage.label, known.steps + stage.steps, known.seconds + stage.seconds)
        return tuple(found.values())
