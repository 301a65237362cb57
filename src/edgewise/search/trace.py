"""Trace: every decision of a search, written as it is made, one JSON object a line; a search goes on from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TextIO, final

from pydantic import Field

from edgewise.errors import FileError
from edgewise.ranks import current
from edgewise.request import Request
from edgewise.search.base import Search
from edgewise.store.disk import open_log, reason, write_bytes
from edgewise.store.json_text import value_in
from edgewise.store.opening import lines_of
from edgewise.store.schema import Strict, validate


@final
@dataclass(frozen=True)
class Decision:
    """One test: what was removed (`writer->reader`, or `->reader` for all edges into it), and whether it is kept.

    `before` and `after`: the metric, lower is better, with it and without it. `tested` is False for edges that went
    whatever the metric said.
    """

    edge: str
    before: float
    after: float
    kept: bool
    tested: bool = True


class DecisionDocument(Strict):
    """One line of a trace after the first."""

    edge: str
    before: Annotated[float, Field(allow_inf_nan=False)]
    after: Annotated[float, Field(allow_inf_nan=False)]
    kept: bool
    tested: bool


@final
@dataclass
class Trace:
    """Decisions of earlier, interrupted runs, then those of this one. Without a path nothing is written."""

    decisions: list[Decision] = field(default_factory=list)
    _file: TextIO | None = None

    @classmethod
    def open(cls, name: str | None, key: dict[str, Any]) -> Trace:
        """The trace in the file of this name, to be continued, or a new one. FileError for the trace of another run.

        Of several ranks, which decide alike, the first writes it.
        """
        opened: list[Trace] = []

        def decisions() -> list[Decision]:
            opened.append(cls._open(name, key))
            return opened[0].decisions

        earlier = current().of_first(decisions)
        return opened[0] if opened else cls(earlier)

    @classmethod
    def _open(cls, name: str | None, key: dict[str, Any]) -> Trace:
        if not name:
            return cls()
        path = Path(name)
        try:
            earlier = list(_read(path, key)) if path.exists() else []
            if earlier:  # written again whole: the last line of a killed run may be half there
                write_bytes(path, _lines([key, *(vars(decision) for decision in earlier)]).encode())
                return cls(earlier, open_log(path, "a"))
            trace = cls([], open_log(path, "w"))
            trace._write([key])
            return trace
        except OSError as error:
            raise FileError(f"the trace {path} cannot be written: {reason(error)}") from None

    def add(self, decisions: list[Decision]) -> None:
        """Append decisions; on return they are out of this process."""
        self.decisions += decisions
        self._write(vars(decision) for decision in decisions)

    def _write(self, objects: Iterable[Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.write(_lines(objects))
            self._file.flush()
        except OSError as error:
            raise FileError(f"the trace {self._file.name} cannot be written: {reason(error)}") from None

    def close(self) -> None:
        """No more decisions follow."""
        if self._file is not None:
            with suppress(OSError):  # what could not be flushed was complained about
                self._file.close()


def trace_key(search: Search, request: Request) -> dict[str, Any]:
    """What distinguishes a search from others, but for the name of its trace: only the same one can go on from there."""
    options = {name: repr(value) for name, value in asdict(search).items() if name != "trace"}  # type: ignore[call-overload]
    return {"edgewise": search.name, "options": options, **request.key}


def _lines(objects: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in objects)


def _read(path: Path, key: dict[str, Any]) -> Iterator[Decision]:
    """The decisions in a file, up to a last line that a killed run left half there."""
    first, *lines = lines_of(path) or [""]
    if not first:
        return
    if _key_in(first, path) != key:
        raise FileError(f"{path} is not a trace of this run: model, pairs, metric, ablation or options differ")
    for number, line in enumerate(lines, 2):
        if not line.endswith("\n"):
            return
        place = f"the trace {path}, line {number}"
        yield Decision(**validate(DecisionDocument, value_in(line, place), place).model_dump())


def _key_in(line: str, path: Path) -> Any:
    try:
        return value_in(line, str(path), numbers="any")
    except FileError:
        return None
