"""Where the files of a model are: a name, a path or a hub id becomes something that can be read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, final

from edgewise.errors import InvalidValue, UnknownName
from edgewise.loading import cache, smollm2
from edgewise.loading.gguf import INSTALL_GGUF, gguf_file, gguf_folder, missing_packages
from edgewise.loading.hub import cached_folder, hub_source
from edgewise.programs import PROGRAMS
from edgewise.progress import Track

# Names that stand for folders shipped with the package; programs are names too, of models built on the spot.
EMBEDDED = ("nano",)
KNOWN = (*EMBEDDED, *PROGRAMS, smollm2.NAME)


@final
@dataclass(frozen=True)
class Place:
    """What transformers is asked for, how, and what provenance says of where it came from."""

    source: str
    options: Mapping[str, Any] = field(default_factory=dict)
    origin: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def located(name: str, revision: str | None, accepts: Callable[[str], object], track: Track) -> Iterator[Place]:
    """The place of a model while inside; UnknownName for one that is nowhere.

    `accepts` raises for a model class that is not supported, which spares the conversion of a file.
    """
    if name in EMBEDDED:
        yield Place(str(resources.files("edgewise") / "assets" / name), {"revision": revision})
    elif name == smollm2.NAME:
        with _smollm2(revision, accepts, track) as place:
            yield place
    elif (file := gguf_file(name)) is not None:
        if revision is not None:
            raise InvalidValue(f"{file} is a file and has no revisions; leave revision out")
        with gguf_folder(file, accepts, track) as (folder, origin):
            yield Place(str(folder), {}, origin)
    elif Path(name).is_dir():
        yield Place(name, {"revision": revision})
    else:
        yield _on_hub(name, revision)


def unknown(name: str, why: str) -> UnknownName:
    """The refusal of a name that leads nowhere."""
    suggestion = UnknownName.of("model", name, KNOWN)
    return UnknownName(f"{suggestion}; or give a local folder, a GGUF file, or a hub id that can be reached ({why})")


@contextmanager
def _smollm2(revision: str | None, accepts: Callable[[str], object], track: Track) -> Iterator[Place]:
    kept = cache.find(smollm2.SHA256) if revision is None else None
    file = smollm2.packaged_file() if revision is None else None
    if kept is not None:
        yield Place(str(kept.folder), {}, {"gguf": kept.name, "gguf_sha256": smollm2.SHA256})
    elif file is not None and not (missing_packages() and cached_folder(smollm2.REPOSITORY)):
        with gguf_folder(file, accepts, track) as (folder, origin):
            yield Place(str(folder), {}, origin)
    else:
        try:
            source = hub_source(smollm2.REPOSITORY, revision)
        except LookupError as why:
            needs = (
                f"; it also needs {' and '.join(missing)}: {INSTALL_GGUF}" if (missing := missing_packages()) else ""
            )
            raise UnknownName(
                f"{smollm2.NAME} is not on this machine: {smollm2.INSTALL} brings it{needs} ({why})"
            ) from None
        yield Place(source, {"revision": revision}, {"repository": smollm2.REPOSITORY})


def _on_hub(name: str, revision: str | None) -> Place:
    try:
        return Place(hub_source(name, revision), {"revision": revision})
    except LookupError as why:
        raise unknown(name, str(why)) from None
