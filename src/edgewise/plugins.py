"""Members of other packages: what an installed package offers as an entry point is known by name like what is built in.

    [project.entry-points."edgewise.methods"]
    mine = "my_package.my_module:MyMethod"

The groups are `edgewise.methods`, `.tasks`, `.metrics`, `.ablations` and `.families`. Other packages are looked at only for
a name that is not built in, or when everything is listed, and a member is loaded only when it is asked for.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar, final

from edgewise.errors import EdgewiseError, EdgewiseWarning, UnknownName

M = TypeVar("M")


@final
class PluginWarning(EdgewiseWarning):
    """A member of another package that cannot be used, or not under its name."""


@final
class Members(MutableMapping[str, M], Generic[M]):
    """Members of one kind by name: those built in, then those of other packages.

    `check` gives a member that was loaded, or raises EdgewiseError if it is not of the kind; `spelled` gives the one
    spelling of a name. What is in the way of a member of another package is said in one sentence: as UnknownName to who
    asks for it by name, as a warning to who lists all.
    """

    def __init__(
        self,
        kind: str,
        group: str,
        built_in: Mapping[str, M],
        check: Callable[[Any], M],
        *,
        spelled: Callable[[str], str] = str,
    ) -> None:
        self.kind, self.group, self._check, self._spelled = kind, f"edgewise.{group}", check, spelled
        self._built_in: dict[str, M] = dict(built_in)
        self._loaded: dict[EntryPoint, M] = {}
        self._said: set[str] = set()

    def __getitem__(self, name: str) -> M:
        if not isinstance(name, str):
            raise KeyError(name)
        if name in self._built_in:
            return self._built_in[name]
        if name not in (others := self._others()[0]):
            raise KeyError(name)
        return self._member(name, others[name])

    def named(self, name: object) -> M:
        """The member of that name, however it is spelled; UnknownName, with the nearest known one, if there is none."""
        key = self._spelled(str(name))
        if key not in self:
            raise UnknownName.of(self.kind, str(name), self)
        return self[key]

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        others, ignored = self._others()
        for sentence in ignored:
            self._say(sentence)
        for name, entry in others.items():
            try:
                self._member(name, entry)
            except UnknownName as error:
                self._say(str(error))
            else:
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __setitem__(self, name: str, member: M) -> None:
        self._built_in[name] = member

    def __delitem__(self, name: str) -> None:
        del self._built_in[name]

    def _others(self) -> tuple[dict[str, EntryPoint], list[str]]:
        """The entry points of other packages by name, and a sentence for each whose name is taken."""
        found: dict[str, EntryPoint] = {}
        ignored: list[str] = []
        for entry in _entries(self.group, tuple(sys.path)):
            name = self._spelled(entry.name)
            if name in self._built_in or name in found:
                owner = f"the package {_package(found[name])}" if name in found else "edgewise itself"
                whose = f"the {self.kind} {name!r} of the package {_package(entry)}"
                ignored.append(f"{whose} is ignored: {owner} has one of that name")
            else:
                found[name] = entry
        return found, ignored

    def _say(self, sentence: str) -> None:
        """Warns, of one thing once."""
        if sentence not in self._said:
            self._said.add(sentence)
            warnings.warn(sentence, PluginWarning, stacklevel=3)

    def _member(self, name: str, entry: EntryPoint) -> M:
        if entry not in self._loaded:
            whose = f"the {self.kind} {name!r} of the package {_package(entry)} cannot be used"
            try:
                member = self._check(entry.load())
            except EdgewiseError as error:
                raise UnknownName(f"{whose}: {error}") from None
            except (Exception, SystemExit) as error:  # whatever the code of somebody else may raise
                first = (str(error).strip() or "no message").splitlines()[0]
                raise UnknownName(f"{whose}: {type(error).__name__}: {first}") from None
            if self._spelled(str(getattr(member, "name", None))) != name:
                raise UnknownName(f"{whose}: its name {getattr(member, 'name', None)!r} is not that of its entry point")
            self._loaded[entry] = member
        return self._loaded[entry]


@lru_cache(maxsize=64)
def _entries(group: str, places: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """The entry points of a group, in the packages that these places hold."""
    return tuple(entry_points(group=group))


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.value
