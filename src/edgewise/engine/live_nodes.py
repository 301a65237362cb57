"""LiveNodes: which nodes of a masked run are on a path, and what becomes of the dead ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from edgewise.engine.mask import Mask
from edgewise.engine.plan import Plan
from edgewise.engine.replacement import Replacement
from edgewise.models.subject import Subject
from edgewise.reachability import writers_on_path


@final
@dataclass(frozen=True)
class LiveNodes:
    """`on_path` bool [mask, example, writer]: those on a path from an input writer to logits; None where nobody need know.

    There is one example where all share masks. A dead node outputs its replacement. It computes just that by itself where the
    replacement is a run of the model, unless a norm rescales it together with live heads: a head whose output nobody uses
    must not change that norm's scale for the others either.
    """

    plan: Plan
    on_path: Tensor | None

    @classmethod
    def of(cls, subject: Subject, plan: Plan, mask: Mask, replacement: Replacement) -> LiveNodes:
        """Those under a stacked mask."""
        if replacement.is_run and not subject.heads_share_norm:
            return cls(plan, None)
        carrying = mask.carrying()
        by_example = carrying if carrying.ndim == 4 else carrying[:, None]
        on_path = [writers_on_path(subject.graph, edges) for edges in by_example.flatten(0, 1).cpu()]
        return cls(plan, torch.stack(on_path).to(subject.device).unflatten(0, by_example.shape[:2]))

    def among(self, writers: Sequence[int], device: torch.device) -> Tensor | None:
        """bool [mask, example|1, node] of some writers, on a device; None where dead nodes need no care."""
        if self.on_path is None:
            return None
        return self.on_path[..., self.plan.picks(writers, self.on_path.device)].to(device)

    def zero_dead(self, delta: Tensor, writers: Sequence[int]) -> Tensor:
        """Rows [mask, node, token, ·] of some writers, with those of dead ones set to zero: they output their replacement."""
        live = self.among(writers, delta.device)
        if live is None:
            return delta
        by_example = delta.unflatten(2, (live.shape[1], -1))
        return (by_example * live.transpose(1, 2)[..., None, None]).flatten(2, 3)
