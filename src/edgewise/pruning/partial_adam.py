"""PartialAdamOptimizer: Adam whose scales are partly each number's own and partly one for all of a parameter."""

from __future__ import annotations

from typing import Any, final

import torch


@final
class PartialAdamOptimizer(torch.optim.Optimizer):
    """Moves against m / (v^(own/2) · mean(v)^((1 − own)/2)), m and v being running means of the gradient and of its square.

    `defaults`: `own`, and how much the means keep of what was, `first` and `second`; each group has a rate `lr`.
    """

    def __init__(self, groups: list[dict[str, Any]], defaults: dict[str, Any]) -> None:
        super().__init__(groups, defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One step; numbers whose gradients were all zero stay."""
        for group in self.param_groups:
            for parameter in group["params"]:
                self._move(parameter, group)

    def _move(self, parameter: torch.nn.Parameter, group: dict[str, Any]) -> None:
        gradient, state = parameter.grad, self.state[parameter]
        if gradient is None:
            return
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        state["step"] += 1
        state["exp_avg"].lerp_(gradient, 1 - group["first"])
        state["exp_avg_sq"].lerp_(gradient.square(), 1 - group["second"])
        count = int(state["step"])
        mean = state["exp_avg"] / (1 - group["first"] ** count)
        square = state["exp_avg_sq"] / (1 - group["second"] ** count)
        scale = square.pow(group["own"] / 2) * square.mean().pow((1 - group["own"]) / 2)
        parameter.sub_(torch.where(scale > 0, mean / scale, 0), alpha=group["lr"])
