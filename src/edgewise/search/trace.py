"""Trace: every decision of a search, written as it is made, one JSON object a line; a search goes on from it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO, final

from edgewise.errors import FileError
from edgewise.ranks import current
from edgewise.request import Request
from edgewise.search.base import Search
from edgewise.store.disk import open_log, reason, write_bytes


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
            earlier = list(_read(path, key)) if path.exists() and path.stat().st_size else []
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
    first, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    if _parsed(first) != key:
        raise FileError(f"{path} is not a trace of this run: model, pairs, metric, ablation or options differ")
    for line in lines:
        parsed = _parsed(line)
        if not line.endswith("\n") or not isinstance(parsed, dict) or set(parsed) != set(Decision.__annotations__):
            return
        yield Decision(**parsed)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
