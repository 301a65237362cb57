"""Recipes as files: what is written of them, what is read, and that no file says where other files are written."""

from __future__ import annotations

import os
from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from edgewise.arguments import typed
from edgewise.errors import FileError
from edgewise.request import LOCAL
from edgewise.store.json_text import parse
from edgewise.store.manifest import MANIFEST, check_listed
from edgewise.store.opening import read_bytes, understood
from edgewise.store.schema import VERSION, Strict, check_version, dump, validate

# What documents from before there were these fields say by leaving them out: circuits were judged on the pairs they were
# found on, and held a tenth of all edges.
NOTHING_HELD_OUT = {"held_out": None, "split": None}
# What a recipe is called in the folders of runs.
RECIPE_FILE = "recipe.json"


class Portable(Strict, ABC):
    """A recipe that goes to a file and comes back from it.

    `document` is the schema it has there; `before`: what documents say that have not all its fields yet.
    """

    document: ClassVar[str]
    before: ClassVar[Mapping[str, Any]] = NOTHING_HELD_OUT

    @classmethod
    @typed
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """The recipe in a JSON file: a recipe, or the manifest of a run. FileError if there is none.

        A file does not say where files are written: FileError if an option of a method in it names one.
        """
        name = os.fspath(path)
        value = parse(data := read_bytes(path), name)
        before = cls.before if "schema" in value else {}
        kind = value.pop("schema", cls.document)
        check_version(value.pop("version", VERSION), name)
        if kind == MANIFEST:
            value = value.get("recipe")
        if kind not in (cls.document, MANIFEST) or not isinstance(value, dict):
            raise FileError(f"{name} holds {kind!r}, not a recipe")
        with understood(name):
            recipe = validate(cls, {**before, **value}, name)
        if recipe.portable() != recipe.model_dump():
            raise FileError(
                f"{name}: its options say where files are written ({', '.join(LOCAL)}), which a file may not choose; take "
                "them out, and give them with --option"
            )
        check_listed(path, data)
        return recipe

    def portable(self) -> dict[str, Any]:
        """The recipe as plain values, without options that name files of the machine at hand, which change no result."""
        return self.model_dump()

    def to_json(self) -> str:
        """What is portable of the recipe, as a JSON document that `read` takes."""
        return dump({"schema": self.document, "version": VERSION, **self.portable()})


def without_files(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a method, but for those that name files it writes."""
    return {name: value for name, value in options.items() if name not in LOCAL or value is None}
