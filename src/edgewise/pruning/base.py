"""What the pruning methods share: presets, the options that change them, and the files they write."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import ClassVar, final

import torch

from edgewise.attribution.memory import few
from edgewise.contract import halves
from edgewise.engine.tiling import Tiling
from edgewise.errors import InvalidValue, UnknownName
from edgewise.options import option
from edgewise.pruning.batch_cache import held_bytes
from edgewise.pruning.fit import Files
from edgewise.pruning.training import Training
from edgewise.ranks import current
from edgewise.request import Request
from edgewise.search.base import Search

# How many prompts training wants to see: on SmolLM2, KL on unseen prompts over KL on those trained on was 1.4 with 160 and
# 1.1 with 400.
WANTED_EXAMPLES = 256
# A checkpoint of another format is that of another run.
STATE_FORMAT = 2
# Options that name files and change nothing about the result.
FILES = ("checkpoint", "history", "curves")
# Options that, if given, take the place of what a preset says, and what that is called there.
SCHEDULE_OPTIONS = {"steps": "steps", "learning_rate": "rate", "batch": "batch", "samples": "samples"}


@dataclass(frozen=True)
class Trained:
    """What methods share that train gates: a `preset`, options that change it, and files.

    `preset`: "default" or "published".
    `steps`, `learning_rate`, `batch`: change the preset, if given; `batch` is the number of pairs in one step, by
    default the request's.
    `seed`: the seed of the gates and of the order of the pairs.
    `checkpoint`, `history`, `curves`: files; an interrupted run goes on from its checkpoint.
    """

    preset: str = option("default", "how gates are trained: default, or published (as in the paper)")
    steps: int | None = option(None, "the number of training steps, instead of the preset's")
    learning_rate: float | None = option(None, "the learning rate, instead of the preset's")
    batch: int | None = option(None, "the number of pairs in one step, instead of the preset's")
    seed: int = option(0, "the seed of the gates and of the order of the pairs")
    checkpoint: str | None = option(None, "a file that keeps the state of training; an interrupted run goes on from it")
    history: str | None = option(None, "a file that gets one JSON object per step")
    curves: str | None = option(None, "an .svg or .png file that gets the curves of training")
    name: ClassVar[str]
    examples: ClassVar[int] = WANTED_EXAMPLES
    presets: ClassVar[dict[str, Training]]

    def __post_init__(self) -> None:
        if self.preset not in self.presets:
            raise UnknownName.of(f"preset of {self.name}", self.preset, self.presets)
        if not isinstance(self.seed, int) or self.seed < 0:
            raise InvalidValue(f"seed={self.seed!r} must be a whole number of at least 0")
        self.check()
        _ = self.training

    def check(self) -> None:
        """InvalidValue for options of the method's own that make no sense."""

    @final
    @property
    def training(self) -> Training:
        """The preset with the options that change it."""
        given = {name: getattr(self, option, None) for option, name in SCHEDULE_OPTIONS.items()}
        return replace(self.presets[self.preset], **{name: v for name, v in given.items() if v is not None})

    @final
    def batched(self, request: Request) -> Request:
        """The request with as many pairs in a batch as one step takes, each as often as it is to stand there."""
        samples, batch = self.training.samples, self.training.batch or request.batch_size
        rows = torch.arange(len(request.pairs)).repeat_interleave(samples)
        pairs = request.pairs if samples == 1 else request.pairs[rows]
        at_once = None if request.at_once is None else request.at_once * samples
        return replace(request, pairs=pairs, batch_size=batch * samples, at_once=at_once)

    @final
    def sizes(self, request: Request, tiling: Tiling) -> Iterator[tuple[int, Tiling]]:
        share = -(-min(self.training.batch or request.batch_size, len(request.pairs)) // current().count)
        return halves(share, tiling)

    @final
    def kept(self, request: Request) -> int:
        return held_bytes(self.batched(few(request, 1))) * len(request.pairs) // current().count

    @final
    def files(self, request: Request) -> Files:
        """Where this run writes, and what tells it from others."""
        options = {name: repr(value) for name, value in asdict(self).items() if name not in FILES}
        key = {
            "edgewise": self.name,
            "state": STATE_FORMAT,
            "options": options,
            "batch_size": request.batch_size,
            **request.key,
        }
        return Files(key, *(getattr(self, name) for name in FILES))


@dataclass(frozen=True)
class Pruning(Trained, Search):
    """A search that trains gates."""

    metric: ClassVar[str] = "kl"

    def rehearsal(self, request: Request) -> Callable[[], object]:
        return lambda: replace(self, steps=1).search(request)
