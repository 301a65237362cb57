"""All gradients of one run, kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from edgewise.engine.gradients import GradientSink, live_run
from edgewise.engine.rules import PLAIN, BackwardRule
from edgewise.models import Subject
from edgewise.pairs import Pairs


@dataclass
class Collected(GradientSink):
    """What each hand-over brought, by layer, and the order of the hand-overs."""

    streams: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    projected: dict[int, Tensor] = field(default_factory=dict)
    at_heads: dict[int, Tensor] = field(default_factory=dict)
    at_mlp: dict[int, Tensor] = field(default_factory=dict)
    at_mlp_in: dict[int, Tensor] = field(default_factory=dict)
    at_mlp_out: dict[int, Tensor] = field(default_factory=dict)
    at_final: list[Tensor] = field(default_factory=list)
    order: list[tuple[str, int]] = field(default_factory=list)

    def heads(self, layer: int, stream: Tensor, projected: Tensor, gradient: Tensor) -> None:
        self.streams["heads", layer], self.projected[layer], self.at_heads[layer] = stream, projected, gradient
        self.order.append(("heads", layer))

    def mlp_in(self, layer: int, gradient: Tensor) -> None:
        self.at_mlp_in[layer] = gradient
        self.order.append(("mlp", layer))

    def mlp_normed(self, layer: int, stream: Tensor, gradient: Tensor) -> None:
        self.streams["mlp", layer], self.at_mlp[layer] = stream, gradient
        self.order.append(("mlp", layer))

    def mlp_out(self, layer: int, gradient: Tensor) -> None:
        self.at_mlp_out[layer] = gradient

    def final(self, gradient: Tensor) -> None:
        self.at_final.append(gradient)


def collected(on: Subject, of: Pairs, objective: Callable[[Tensor], Tensor], rule: BackwardRule = PLAIN) -> Collected:
    """The gradients of the clean run."""
    taker = Collected()
    with live_run(on, of.clean, of.positions, objective, rule=rule) as run:
        run.last_gradients(taker)
    return taker
