"""Recipes as files: what is written of them, what is read, and that no file says where other files are written."""

from __future__ import annotations

import os
from abc import ABC
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from edgewise.errors import FileError
from edgewise.request import LOCAL
from edgewise.store.disk import read_bytes
from edgewise.store.schema import VERSION, Strict, check_version, dump, first_problem, parse

MANIFEST = "edgewise/manifest"
# What documents from before there were these fields say by leaving them out: circuits were judged on the pairs they were
# found on.
NOTHING_HELD_OUT = {"held_out": None, "split": None}
# What recipes and manifests are called in the folders of runs.
RECIPE_FILE, MANIFEST_FILE = "recipe.json", "manifest.json"


class Portable(Strict, ABC):
    """A recipe that goes to a file and comes back from it; `document` is the schema it has there."""

    document: ClassVar[str]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """The recipe in a JSON file: a recipe, or the manifest of a run. FileError if there is none.

        A file does not say where files are written: FileError if an option of a method in it names one.
        """
        name = os.fspath(path)
        value = parse(read_bytes(path), name)
        before = NOTHING_HELD_OUT if "schema" in value else {}
        kind = value.pop("schema", cls.document)
        check_version(value.pop("version", VERSION), name)
        if kind == MANIFEST:
            value = value.get("recipe")
        if kind not in (cls.document, MANIFEST) or not isinstance(value, dict):
            raise FileError(f"{name} holds {kind!r}, not a recipe")
        try:
            recipe = cls.model_validate({**before, **value})
        except ValidationError as error:
            raise FileError(f"{name}: {first_problem(error, cls)}") from None
        if recipe.portable() != recipe.model_dump():
            raise FileError(
                f"{name}: its options say where files are written ({', '.join(LOCAL)}), which a file may not choose; take "
                "them out, and give them with --option"
            )
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
