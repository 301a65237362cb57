"""TrainedGates: what training leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from edgewise.store.checkpoint import Checkpoint


@final
@dataclass(frozen=True)
class TrainedGates:
    """The trained `logits` [gate], and the `shortlist` of those whose circuits are compared, the last step's at its end.

    The `checkpoint` stays until `done`, so that what is interrupted between the two goes on from here.
    """

    logits: Tensor
    shortlist: tuple[Tensor, ...]
    checkpoint: Checkpoint

    def done(self) -> None:
        """The run is complete: its checkpoint is no longer needed."""
        self.checkpoint.remove()
