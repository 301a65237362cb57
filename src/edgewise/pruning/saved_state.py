"""What the saved state of a training must be, before it goes on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from edgewise.pruning.history import HISTORY_COLUMNS
from edgewise.store.checkpoint import Like

# What the optimizers keep of a parameter.
STATE = ("step", "exp_avg", "exp_avg_sq")


def wanted_tensors(saved: Mapping[str, Tensor], parameters: Sequence[Tensor], random: Tensor) -> dict[str, Like]:
    """The tensors of a state by name; `random` is a state of the generator."""
    found = {
        "random": Like(random.dtype, tuple(random.shape)),
        "order": Like(torch.long, (None,)),
        "shortlist": Like(torch.float32, (0,) if _is_empty(saved) else (None, len(parameters[0]))),
        "step": Like(torch.long, ()),
        "records": Like(torch.float64, (None, len(HISTORY_COLUMNS)), finite=False),
    }
    for number, parameter in enumerate(parameters):
        alike = Like(parameter.dtype, tuple(parameter.shape))
        found[f"parameter.{number}"] = alike
        found |= {f"moved.{number}.{name}": Like(torch.float32, ()) if name == "step" else alike for name in STATE}
    return found


def is_consistent(saved: Mapping[str, Tensor], steps: int, batches: int) -> bool:
    """Whether its numbers fit together: so many records as steps, of at most `steps`, and an order of all `batches`."""
    step, order = int(saved["step"]), saved["order"].sort().values
    told = saved["records"][:, [HISTORY_COLUMNS.index(name) for name in ("step", "loss", "edges")]]
    known = 0 < step <= steps and len(told) == step and bool(told.isfinite().all())
    return known and torch.equal(order, torch.arange(batches))


def _is_empty(saved: Mapping[str, Tensor]) -> bool:
    return "shortlist" in saved and not saved["shortlist"].numel()
