"""SearchMetric: the metric of a run as a search compares it: one number, lower is better."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from edgewise.engine.tiling import tiling_for
from edgewise.metrics import kl
from edgewise.request import Batch


@final
class SearchMetric:
    """The metric of a batch, negated where higher is better. `clean` [example, vocab]: the model's own logits."""

    def __init__(self, batch: Batch, clean: Tensor) -> None:
        self.batch, self.clean = batch, clean
        self._divergence = _Divergence(clean) if batch.metric.function is kl else None

    def sums(self, logits: Tensor) -> Tensor:
        """Sums over the examples, float64 [run] on the CPU, for logits [run, example, vocab]; NumericalError for NaN."""
        sums = self._all(logits).double().sum(dim=1).cpu()
        if bool(sums.isfinite().all()):
            return sums
        # The metric itself says of which example, and ends the search.
        return -self.batch.objectives(logits, self.clean).double().sum(dim=1).cpu()

    def _all(self, logits: Tensor) -> Tensor:
        """[run, example], lower is better."""
        if self._divergence is None:
            return -self.batch.objectives(logits, self.clean)
        at_once = max(1, tiling_for(self.clean.device).logits // self.clean.numel())
        if len(logits) <= at_once:
            return self._divergence(logits)
        return torch.cat([self._divergence(chunk) for chunk in logits.split(at_once)])


@final
class _Divergence:
    """KL(clean ‖ logits) [run, example], what belongs to the clean logits computed once."""

    def __init__(self, clean: Tensor) -> None:
        self.clean = (clean.float() if clean.dtype.itemsize < 4 else clean).log_softmax(dim=-1)
        self.probabilities = self.clean.exp()

    def __call__(self, logits: Tensor) -> Tensor:
        logits = logits.to(self.clean.dtype).log_softmax(dim=-1)
        return torch.linalg.vecdot(self.probabilities, torch.sub(self.clean, logits, out=logits))
