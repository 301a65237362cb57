"""Pictures to files, by suffix."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edgewise.circuit import Circuit
from edgewise.errors import UnknownName
from edgewise.scores import Scores
from edgewise.store.disk import write_bytes
from edgewise.viewer.dot import dot
from edgewise.viewer.finding import strongest
from edgewise.viewer.page import page
from edgewise.viewer.svg import svg

PICTURES: dict[str, Callable[[Circuit, Scores | None], str]] = {".svg": svg, ".html": page, ".dot": dot}


def show(value: Circuit | Scores, path: str | os.PathLike[str], *, scores: Scores | None = None) -> Path:
    """Writes the picture of a circuit as `.svg`, `.html` (one self-contained page) or `.dot`; returns its path.

    With `scores` of the same graph, edges show sign and strength. Of scores alone, the strongest 200 edges are shown.
    Raises UnknownName for another suffix, FileError if the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in PICTURES:
        raise UnknownName.of("picture format", suffix or Path(path).name, PICTURES)
    circuit, scores = strongest(value), value if isinstance(value, Scores) else scores
    return write_bytes(path, PICTURES[suffix](circuit, scores).encode("utf-8", "replace"))
