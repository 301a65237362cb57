"""History: what an optimisation was at, step by step, as numbers, as a file of JSON lines and as curves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TextIO, final

import torch
from torch import Tensor

from edgewise.errors import FileError
from edgewise.ranks import current
from edgewise.store.disk import open_log, reason
from edgewise.store.json_text import value_in
from edgewise.store.opening import lines_of
from edgewise.store.schema import Strict, validate


@final
@dataclass(frozen=True)
class Record:
    """One step: `loss` is the metric, lower is better (KL in nats by default), of the mask as drawn.

    `sparsity` is 1 − Σ mask / all edges, `target` what it is led to (NaN if nothing leads it), `linear` and `quadratic` the
    multipliers λ₁ and λ₂ (NaN likewise), `edges` how many edges were not closed, `norm` the gradient's norm before clipping.
    Where each example has a mask of its own, `sparsity` and `edges` are means over them.
    """

    step: int
    loss: float
    sparsity: float
    target: float
    linear: float
    quadratic: float
    edges: int
    norm: float

    def __str__(self) -> str:
        led = f" → {self.target:.1%}" if self.target == self.target else ""
        multipliers = f", λ {self.linear:.2g} {self.quadratic:.2g}" if self.linear == self.linear else ""
        return f"step {self.step}: loss {self.loss:.3g}, sparsity {self.sparsity:.1%}{led}{multipliers}, {self.edges:,} edges"


class RecordDocument(Strict):
    """One line of a history; NaN is left out."""

    step: int
    loss: float
    sparsity: float
    target: float | None = None
    linear: float | None = None
    quadratic: float | None = None
    edges: int
    norm: float


HISTORY_COLUMNS = tuple(f.name for f in fields(Record))
WHOLE = ("step", "edges")


@final
@dataclass
class History:
    """All records so far. With a path they are written there too, one JSON object a line, as they are made."""

    records: list[Record] = field(default_factory=list)
    _file: TextIO | None = None

    @classmethod
    def open(cls, path: Path | None, earlier: Iterable[Record] = ()) -> History:
        """A history that begins with the records of an interrupted run."""
        records = list(earlier)
        if path is None or not current().first:
            return cls(records)
        try:
            file = open_log(path, "w")
            file.writelines(_line(record) for record in records)
            return cls(records, file)
        except OSError as error:
            raise FileError(f"the history {path} cannot be written: {reason(error)}") from None

    def add(self, record: Record) -> None:
        """Append a record; on return it is out of this process."""
        self.records.append(record)
        if self._file is None:
            return
        try:
            self._file.write(_line(record))
            self._file.flush()
        except OSError as error:
            raise FileError(f"the history {self._file.name} cannot be written: {reason(error)}") from None

    def close(self) -> None:
        """No more records follow."""
        if self._file is not None:
            with suppress(OSError):  # what could not be flushed was complained about
                self._file.close()

    def to_tensor(self, count: int) -> Tensor:
        """The first `count` records, float64 [record, column]."""
        rows = [[float(getattr(record, name)) for name in HISTORY_COLUMNS] for record in self.records[:count]]
        return torch.tensor(rows, dtype=torch.float64).view(len(rows), len(HISTORY_COLUMNS))


def from_tensor(rows: Tensor) -> list[Record]:
    """The records that `History.to_tensor` made numbers of."""
    named = (dict(zip(HISTORY_COLUMNS, row, strict=True)) for row in rows.tolist())
    return [Record(**{name: int(v) if name in WHOLE else v for name, v in row.items()}) for row in named]


def read_history(path: str | Path) -> list[Record]:
    """The records in a history file. FileError if it is none; a half-written last line is left out."""
    whole = [line for line in lines_of(path) if line.endswith("\n")]
    return [
        _record(line, f"{path}, line {number}, not the history of a pruning run")
        for number, line in enumerate(whole, 1)
    ]


def _record(line: str, place: str) -> Record:
    document = validate(RecordDocument, value_in(line, place, numbers="any"), place)
    return Record(**{**_NOTHING, **document.model_dump(exclude_none=True)})


_NOTHING = dict.fromkeys(("target", "linear", "quadratic"), float("nan"))


def _line(record: Record) -> str:
    values = {name: value for name, value in asdict(record).items() if value == value}
    return json.dumps(values) + "\n"
