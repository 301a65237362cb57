"""A recipe whose names are resolved, and all that can be refused of it before a model is loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from edgewise.contract import Method
from edgewise.errors import InvalidValue
from edgewise.evaluation import Resampling
from edgewise.evaluation.bootstrap import resampled_method
from edgewise.methods import swept_method
from edgewise.metrics import metric
from edgewise.models import Subject
from edgewise.pairs import Pairs
from edgewise.progress import Track
from edgewise.request import Request, Wanted
from edgewise.runs.asked_sizes import asked_share, count_before_graph
from edgewise.runs.recipe import Recipe
from edgewise.runs.resolved import ResolvedSetting, resolve


@final
@dataclass(frozen=True)
class Job:
    """A recipe whose names are resolved: its setting, its method with its options, what is wanted of it.

    `share` is what its circuit is to keep of the metric, where its size is chosen by that.
    `resampling` is how the examples are drawn again, None where they are not. `recipe` is what the result is labelled with.
    """

    recipe: Recipe
    setting: ResolvedSetting
    method: Method
    wanted: Wanted
    share: float | None
    resampling: Resampling | None

    @property
    def absolute(self) -> bool:
        """Whether scores are ranked by absolute value."""
        return self.recipe.ranking == "absolute"

    def request(self, subject: Subject, pairs: Pairs, track: Track) -> Request:
        """What is asked of the method."""
        setting = self.setting
        going_by = metric(setting.metric or self.method.metric or setting.reported_metric(pairs))
        return Request(subject, pairs, going_by, setting.ablation, setting.batch_size, track, self.wanted)

    def on(self, subject: Subject) -> Job:
        """The job with numbers in the place of shares; a circuit that could not be selected is refused."""
        recipe = self.recipe.on(subject)
        return replace(self, recipe=recipe, wanted=_wanted(recipe, self.wanted.values))


def prepare(recipe: Recipe) -> Job:
    """Resolves every name in the recipe and reads its data: all that can be refused before a model is loaded."""
    chosen, values = swept_method(recipe.method, recipe.options)
    chosen.refuse(wanted := _wanted(recipe, values))
    share = asked_share(recipe.faithfulness, wanted, chosen)
    if recipe.sizes is not None:
        for size in recipe.sizes:
            chosen.refuse(replace(wanted, goal="circuit", edges=count_before_graph(size)))
    resampling = _resampling(recipe, chosen, wanted) if recipe.stability else None
    return Job(recipe, resolve(recipe), chosen, wanted, share, resampling)


def _wanted(recipe: Recipe, values: tuple[float, ...] | None) -> Wanted:
    """What a recipe asks of its method, whose size option has these values if it is to be swept."""
    asked = Wanted(level=recipe.level, memory_limit=recipe.memory_limit)
    if recipe.sizes is not None:
        if values is not None:
            raise InvalidValue("give several numbers of edges, or several values of an option, not both")
        return replace(asked, goal="sizes", sizes=tuple(sorted(size for size in recipe.sizes if isinstance(size, int))))
    if values is not None:
        return replace(asked, goal="sweep", values=values)
    return replace(asked, goal="circuit", edges=count_before_graph(recipe.edges))


def _resampling(recipe: Recipe, chosen: Method, wanted: Wanted) -> Resampling:
    """How the examples are drawn again; InvalidValue, before anything is computed, for what could not be."""
    resampling = Resampling(recipe.stability, recipe.seed, recipe.ranking == "absolute")
    if recipe.level != "edges":
        raise InvalidValue(f"stability is measured for edges only, not for {recipe.level}; leave it out")
    if wanted.values is not None:
        raise InvalidValue(f"stability is not measured for a sweep of {recipe.method}; leave it out")
    resampled_method(chosen)
    if recipe.examples == 1:
        raise InvalidValue("stability needs at least two examples; ask for more, or leave it out")
    return resampling
