"""Pictures to files, by suffix."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from edgewise.arguments import typed
from edgewise.circuit import Circuit
from edgewise.errors import InvalidValue, UnknownName
from edgewise.scores import Scores
from edgewise.store.disk import write_bytes
from edgewise.store.schema import encode
from edgewise.viewer.dot import dot
from edgewise.viewer.finding import Finding
from edgewise.viewer.page import page
from edgewise.viewer.png import png
from edgewise.viewer.svg import svg


@runtime_checkable
class HasFinding(Protocol):
    """What knows what there is to show of it: a run."""

    @property
    def finding(self) -> Finding: ...


Showable = Circuit | Scores | Finding | HasFinding

PICTURES: dict[str, Callable[[Finding], bytes]] = {
    ".svg": lambda finding: encode(svg(finding.shown, finding.scores)),
    ".png": lambda finding: png(finding.shown, finding.scores),
    ".html": lambda finding: encode(page(finding)),
    ".dot": lambda finding: encode(dot(finding.shown, finding.scores)),
}


@typed
def show(
    value: Showable,
    path: str | os.PathLike[str],
    *,
    scores: Scores | None = None,
    exact: Scores | None = None,
    compare: Showable | None = None,
) -> Path:
    """Write the picture of a circuit, of scores or of a run, as `.html`, `.svg`, `.png` or `.dot`.

    `value`: a Circuit, Scores or a run. Of a circuit of neurons the edges between its nodes are shown.
    `path`: where to write. An `.html` is one page to move through, which needs no network. A `.png` needs the extra
    `viz`. An `.svg`, `.png` or `.dot` of scores alone shows the 200 strongest edges.
    `scores`: scores of the same graph, which give edges their sign and strength.
    `exact`: measured effects of the edges, if known.
    `compare`: a second circuit to lay over the first, on the page.

    Returns the path. Raises UnknownName for another suffix, InvalidValue for a comparison that is no page or a `.png`
    without matplotlib, GraphMismatch for parts of different graphs, FileError if the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in PICTURES:
        raise UnknownName.of("picture format", suffix or Path(path).name, PICTURES)
    if compare is not None and suffix != ".html":
        raise InvalidValue(f"only a page compares two circuits; name a .html file, not {suffix}")
    finding = gathered(value, scores=scores, exact=exact, compare=compare)
    return write_bytes(path, PICTURES[suffix](finding))


def gathered(value: Showable, *, scores: Scores | None, exact: Scores | None, compare: Showable | None) -> Finding:
    """A value and what is known beside it as one finding; what is None stays as the value has it."""
    changes = {"scores": scores, "exact": exact, "other": None if compare is None else finding_of(compare)}
    return replace(finding_of(value), **{name: part for name, part in changes.items() if part is not None})


def finding_of(value: Showable) -> Finding:
    """What there is to show of a value."""
    if isinstance(value, Finding):
        return value
    return Finding.of(value) if isinstance(value, Circuit | Scores) else value.finding
