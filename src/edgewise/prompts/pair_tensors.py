"""The columns of pairs: lists and tensors as users have them, made into tensors of the form that Pairs keeps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from edgewise.errors import PairsError

NO_ANSWER = -1


def column(name: str, values: Any) -> list[Any]:
    """The values of a column, of whatever kind of sequence: one for each pair."""
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise PairsError(f"{name} must be a list with one entry for each pair, not {values!r:.60}")
    return list(values)


def listed(value: Any) -> Any:
    """What numpy, torch and pandas hold, as lists within lists; anything else as it is."""
    plain = value.tolist() if hasattr(value, "tolist") else value
    return [listed(part) for part in plain] if isinstance(plain, list | tuple) else plain


def is_missing(value: Any) -> bool:
    """Whether a cell of a table is empty: None, or what stands for that in pandas."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def filled(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows made equally long by repeating their last token: nobody reads it there, and models object to padding tokens."""
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[row[-1]] * (width - len(row))] for row in rows], dtype=torch.long)


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of answers made equally long by no answers."""
    width = max(1, *(len(row) for row in rows))
    return torch.tensor([[*row, *[NO_ANSWER] * (width - len(row))] for row in rows], dtype=torch.long)


def are_ragged(rows: Any) -> bool:
    """Whether these are lists of whole numbers of different lengths."""
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        return False
    whole = all(isinstance(token, int) and not isinstance(token, bool) for row in rows for token in row)
    return whole and len({len(row) for row in rows}) > 1


def _rectangular(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PairsError(f"{name} must be a rectangular tensor of integers: {error}") from None


def integers(name: str, value: Any, dims: int) -> Tensor:
    """int64 on the CPU, with so many axes; PairsError, which calls them `name`, for anything else."""
    tensor = _rectangular(name, value)
    if tensor.dtype.is_floating_point or tensor.dtype == torch.bool or tensor.ndim != dims:
        raise PairsError(f"{name} must be integers with {dims} dimension(s); got {tensor.dtype} {tuple(tensor.shape)}")
    return tensor.detach().to("cpu", torch.long)


def token_rows(name: str, value: Any) -> Tensor:
    """Token ids [example, position]; PairsError for what cannot be."""
    tensor = integers(name, value, 2)
    if not tensor.numel():
        raise PairsError(f"{name} is empty: shape {tuple(tensor.shape)}")
    if bool((tensor < 0).any()):
        raise PairsError(f"{name} holds negative token ids; pad with any real token and give positions")
    return tensor


def answer_rows(name: str, value: Any, n: int) -> Tensor:
    """Token ids [example, answer] of `n` examples, each once in its row; PairsError for what cannot be."""
    rows: Any = value if isinstance(value, Tensor) else listed(value)
    tensor = _rectangular(name, padded(rows) if are_ragged(rows) else rows)
    tensor = integers(name, tensor[:, None] if tensor.ndim == 1 else tensor, 2)
    if len(tensor) != n:
        raise PairsError(f"{name} has {len(tensor)} rows for {n} examples")
    if bool((tensor < NO_ANSWER).any()):
        raise PairsError(f"{name} holds token ids below -1")
    return _once(tensor) if tensor.shape[1] else torch.full((n, 1), NO_ANSWER)


def _once(answers: Tensor) -> Tensor:
    """Each token of a row once, in the order in which they come first; rows padded on the right with -1."""
    earlier = torch.ones(answers.shape[1], answers.shape[1], dtype=torch.bool).tril(-1)
    again = ((answers[:, :, None] == answers[:, None, :]) & earlier).any(dim=2)
    once = answers.masked_fill(again, NO_ANSWER)
    order = (once == NO_ANSWER).int().sort(dim=1, stable=True).indices
    return once.gather(1, order)[:, : max(1, int((once != NO_ANSWER).sum(dim=1).max()))]
