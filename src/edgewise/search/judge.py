"""Judge: the metric of a run as a search compares it: one number, lower is better."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from edgewise.errors import NumericalError
from edgewise.metrics import kl
from edgewise.request import Batch

# So many logits at once that what is made of them stays in cache.
NUMBERS_AT_ONCE = 1 << 20


@final
class Judge:
    """The mean metric over the examples, negated where higher is better. `clean` [example, vocab]: the model's own logits.

    Raises NumericalError where it is not finite, for the clean logits too.
    """

    def __init__(self, batch: Batch, clean: Tensor) -> None:
        self.batch, self.clean = batch, clean
        self._divergence = _Divergence(clean) if batch.metric.function is kl else None
        self.start = float(self._all(clean[None]).double().mean())
        if not math.isfinite(self.start):
            raise NumericalError(
                f"the metric {batch.metric.name} is {-self.start * batch.metric.sign} on the clean prompts, before anything "
                "is removed: choose another metric or other pairs"
            )

    def values(self, logits: Tensor) -> list[float]:
        """The metric of each run, for logits [run, example, vocab]."""
        values = self._all(logits).double().mean(dim=1).tolist()
        for value in values:
            if not math.isfinite(value):
                raise NumericalError(f"the metric {self.batch.metric.name} is {value} in the middle of the search")
        return values

    def slope(self, examples: int) -> Tensor | None:
        """Weights of the first logits, [example, vocab]: `expected` makes changes of the metric from those of weighted sums.

        None for a metric that cannot tell.
        """
        metric, clean = self.batch.metric, self.clean.detach()
        if self._divergence is not None:
            return self._divergence.draw(examples)
        if metric.flat_at_clean or not metric.differentiable:
            return None
        with torch.enable_grad():
            leaf = clean.clone().requires_grad_()
            value = self.batch.objective(leaf, clean).sum()
        return torch.autograd.grad(value, leaf)[0][:examples] if value.requires_grad else None

    def expected(self, effects: Tensor) -> Tensor:
        """How much higher the metric gets [..] when parts of the logits go whose effects are [example, ..]."""
        return effects.mean(dim=0) if self._divergence is None else effects.square().mean(dim=0) / 2

    def _all(self, logits: Tensor) -> Tensor:
        """[run, example], lower is better."""
        if self._divergence is None:
            return torch.stack([-self.batch.objective(one, self.clean) for one in logits])
        at_once = max(1, NUMBERS_AT_ONCE // self.clean.numel())
        if len(logits) <= at_once:
            return self._divergence(logits)
        return torch.cat([self._divergence(some) for some in logits.split(at_once)])


@final
class _Divergence:
    """KL(clean ‖ logits) [run, example], what belongs to the clean logits computed once."""

    def __init__(self, clean: Tensor) -> None:
        self.clean = (clean.float() if clean.dtype.itemsize < 4 else clean).log_softmax(dim=-1)
        self.probabilities = self.clean.exp()

    def __call__(self, logits: Tensor) -> Tensor:
        logits = logits.to(self.clean.dtype).log_softmax(dim=-1)
        return torch.linalg.vecdot(self.probabilities, torch.sub(self.clean, logits, out=logits))

    def draw(self, examples: int) -> Tensor:
        """For each of the first examples a random vector, [example, vocab], whose covariance is the curvature when clean.

        The same one each time: √p ∘ ε − p ⟨√p, ε⟩ with ε standard normal.
        """
        p = self.probabilities[:examples]
        noise = torch.randn(p.shape, generator=torch.Generator().manual_seed(0)).to(p)
        spread = p.sqrt() * noise
        return spread - p * spread.sum(dim=-1, keepdim=True)
