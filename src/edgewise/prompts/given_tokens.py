"""Token ids as people have them: tensors, lists of any lengths, what a tokenizer returns; read without their padding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from edgewise.errors import PairsError
from edgewise.prompts.pair_tensors import are_ragged, filled, integers, listed, token_rows

IDS, MASK = "input_ids", "attention_mask"


@final
@dataclass(frozen=True)
class GivenTokens:
    """One side of some pairs as it was given.

    `table`: int64 [example, position] where all rows are equally long, and None where they are not.
    `rows`: the ids of each prompt, padding left out. `starts`: the column in which each begins.
    """

    name: str
    table: Tensor | None
    rows: list[list[int]]
    starts: list[int]

    @classmethod
    def of(cls, name: str, value: Any, mask: Any = None) -> GivenTokens:
        """The side called `name`: a table, rows, or a tokenizer's encoding; PairsError for what holds no token ids.

        `mask`: 1 where there is a token and 0 where there is padding. An encoding brings its own.
        """
        if isinstance(value, Mapping):
            if IDS not in value:
                raise PairsError(f"{name} is a mapping without {IDS!r}; give what the tokenizer returns, or its {IDS}")
            value, mask = value[IDS], value.get(MASK, mask)
        rows = value if isinstance(value, Tensor) else listed(value)
        if not isinstance(rows, Tensor) and are_ragged(rows):
            return cls._of_rows(name, rows, mask)
        table = token_rows(name, rows)
        if mask is None:
            return cls(name, table, table.tolist(), [0] * len(table))
        return cls._of_table(name, table, mask)

    @classmethod
    def _of_rows(cls, name: str, rows: list[list[int]], mask: Any) -> GivenTokens:
        if mask is not None and [len(row) for row in listed(mask)] != [len(row) for row in rows]:
            raise PairsError(f"{name} has rows of other lengths than its {MASK}; leave the mask out: nothing is padded")
        empty = [number for number, row in enumerate(rows) if not row]
        if empty:
            raise PairsError(f"{name}: example {empty[0]} has no tokens")
        token_rows(name, filled(rows))
        return cls(name, None, rows, [0] * len(rows))

    @classmethod
    def _of_table(cls, name: str, table: Tensor, mask: Any) -> GivenTokens:
        try:
            kept = torch.as_tensor(listed(mask))
        except (TypeError, ValueError, RuntimeError):
            raise PairsError(f"{MASK} must hold 0 or 1 for each token of {name}, not {mask!r:.60}") from None
        kept = integers(MASK, kept.long() if kept.dtype == torch.bool else kept, 2)
        if kept.shape != table.shape or bool(((kept != 0) & (kept != 1)).any()):
            raise PairsError(
                f"{MASK} must hold 0 or 1 for each token of {name}, shape {tuple(table.shape)}; got {tuple(kept.shape)}"
            )
        lengths, starts = kept.sum(dim=1).tolist(), kept.argmax(dim=1).tolist()
        if bool(kept.all()):
            return cls(name, table, table.tolist(), starts)
        rows = [row[start : start + n] for row, start, n in zip(table.tolist(), starts, lengths, strict=True)]
        for number, (row, start, n) in enumerate(zip(kept.tolist(), starts, lengths, strict=True)):
            if not n or sum(row[start : start + n]) != n:
                what = "has gaps" if n else "keeps no token"
                raise PairsError(f"{MASK} {what} in example {number} of {name}; it must keep one stretch of each row")
        return cls(name, None, rows, starts)

    def __len__(self) -> int:
        return len(self.rows)

    def beside(self, other: GivenTokens) -> tuple[Tensor, Tensor]:
        """Both sides as tables, rows filled on the right; PairsError unless each pair has equally many tokens."""
        if self.table is not None and other.table is not None:
            if self.table.shape != other.table.shape:
                raise PairsError(
                    f"{self.name} has shape {tuple(self.table.shape)} and {other.name} {tuple(other.table.shape)}: the two "
                    "prompts of a pair need the same number of tokens, position by position"
                )
            return self.table, other.table
        if len(self) != len(other):
            raise PairsError(f"{self.name} has {len(self)} rows and {other.name} {len(other)}; each pair needs both")
        for number, (a, b) in enumerate(zip(self.rows, other.rows, strict=True)):
            if len(a) != len(b):
                raise PairsError(
                    f"example {number}: {self.name} has {len(a)} tokens and {other.name} {len(b)}: the two prompts of a pair "
                    "need the same number of tokens, position by position"
                )
        return filled(self.rows), filled(other.rows)

    def positions(self, given: Any) -> Tensor:
        """Where the answers are read in the rows of `beside`: by default the last token; `given` are columns as given."""
        lengths, starts = torch.tensor([len(row) for row in self.rows]), torch.tensor(self.starts)
        found = lengths - 1 if given is None else integers("positions", listed(given), 1)
        if len(found) == len(lengths) and given is not None:
            found = found - starts
        if len(found) != len(lengths) or bool(((found < 0) | (found >= lengths)).any()):
            ends = (
                f"0 and {int(lengths.max()) - 1}"
                if self.table is not None
                else "the first and last token of each prompt"
            )
            raise PairsError(f"positions must be {len(lengths)} indices between {ends}, one for each example")
        return found


def are_token_ids(value: Any) -> bool:
    """Whether prompts are given as token ids, and not as text."""
    if isinstance(value, Mapping):
        return True
    rows = listed(value)
    return isinstance(rows, list) and bool(rows) and isinstance(listed(rows[0]), list)


def both_sides(clean: Any, corrupted: Any, mask: Any) -> tuple[GivenTokens, GivenTokens]:
    """The two sides of some pairs; where no corrupted prompts are given, the clean ones stand in their place.

    Where one encoding has a mask and the other side has none, it is that of both: pairs are aligned.
    """
    first = GivenTokens.of("clean", clean, _mask_of(corrupted, mask))
    if corrupted is None:
        return first, first
    return first, GivenTokens.of("corrupted", corrupted, _mask_of(clean, mask))


def _mask_of(other: Any, mask: Any) -> Any:
    return other.get(MASK, mask) if isinstance(other, Mapping) else mask


# -- what looks like a slip ----------------------------------------------------------------------------------------------


def padding_noticed(clean: GivenTokens, corrupted: GivenTokens, positions: Any, *, pad: int | None = None) -> list[str]:
    """A sentence for token ids that look padded and would be read as if they were not; `pad`: the padding, if known."""
    if clean.table is None or corrupted.table is None:
        return []
    for side in ("left", "right"):
        if side == "right" and positions is not None:
            continue
        token = _padding(clean.rows, corrupted.rows, pad, reverse=side == "right")
        if token is not None:
            return [
                f"token {token} fills some prompts up on the {side} and is in no other place, as padding does; "
                f"give attention_mask (or all that the tokenizer returned) if it is padding"
            ]
    return []


def _padding(
    clean: Sequence[list[int]], corrupted: Sequence[list[int]], pad: int | None, *, reverse: bool
) -> int | None:
    """The token that rows of different lengths are filled up with at one side, the twins alike; None if there is none."""
    step = -1 if reverse else 1
    sides = [[row[::step] for row in rows] for rows in (clean, corrupted)]
    longest = max(range(len(clean)), key=lambda number: _run(sides[0][number], sides[0][number][0]))
    token = sides[0][longest][0] if pad is None else pad
    runs = [[_run(row, token) for row in rows] for rows in sides]
    if runs[0] != runs[1] or max(runs[0]) < (2 if pad is None else 1) or max(runs[0]) == min(runs[0]):
        return None
    elsewhere = any(
        token in row[run:] for rows, of in zip(sides, runs, strict=True) for row, run in zip(rows, of, strict=True)
    )
    return None if elsewhere else token


def _run(row: Iterable[int], token: int) -> int:
    """How often `token` stands at the beginning of a row."""
    count = 0
    for one in row:
        if one != token:
            break
        count += 1
    return count


def begin_noticed(clean: GivenTokens, corrupted: GivenTokens) -> list[str]:
    """A sentence for prompts that all begin with one token twice, as where a tokenizer's begin token is added again."""
    starts = {tuple(row[:2]) for row in (*clean.rows, *corrupted.rows)}
    if len(clean) < 2 or len(starts) != 1:
        return []
    (first,) = starts
    if len(first) < 2 or first[0] != first[1]:
        return []
    return [f"all prompts begin with token {first[0]} twice; if it is the begin token, leave one of them out"]
