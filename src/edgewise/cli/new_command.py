"""The command that begins a package of one's own: new."""

from __future__ import annotations

import keyword
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from edgewise.cli import console
from edgewise.cli.options import AsJson
from edgewise.errors import InvalidValue, UnknownName

SKELETONS = files("edgewise") / "assets" / "new"


# What can be begun, and the group of entry points it is offered in.
ENTRY_POINT_GROUPS = {"method": "methods", "task": "tasks", "family": "families"}


@console.guarded
def new(
    kind: Annotated[str, typer.Argument(help="method, task or family")],
    name: Annotated[str, typer.Argument(help="its name, such as my-method")],
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="a new folder [default: the name]")] = None,
    as_json: AsJson = False,
) -> None:
    """Begin a method, a task or a family of your own: a folder with code that works, its tests, and a package.

    Run the tests with `python test_NAME.py` or pytest; `pip install --no-deps -e .` makes it known by its name.
    """
    from edgewise.store.disk import new_folder, write_bytes

    if kind not in ENTRY_POINT_GROUPS:
        raise UnknownName.of("kind", kind, ENTRY_POINT_GROUPS)
    folder = out or Path(name)
    words = _words(kind, name)
    module = words["module"]
    texts = {
        f"{module}.py": f"{kind}.py.txt",
        f"test_{module}.py": f"test_{kind}.py.txt",
        "pyproject.toml": "pyproject.toml.txt",
    }
    with new_folder(folder) as made:
        for file, skeleton in texts.items():
            write_bytes(made / file, Template((SKELETONS / skeleton).read_text("utf-8")).substitute(words).encode())
    console.print_path(folder, as_json)


def _words(kind: str, name: str) -> dict[str, str]:
    """What stands in for the placeholders of a skeleton."""
    parts = name.split("-")
    module = "_".join(parts)
    if (
        not all(part.isascii() and part.isalnum() and part == part.lower() for part in parts)
        or not module.isidentifier()
    ):
        raise InvalidValue(f"{name!r:.60} is no name to use: take small letters, digits and hyphens, such as my-{kind}")
    if keyword.iskeyword(module):
        raise InvalidValue(f"{name!r} is a word of Python; take another name")
    spec = find_spec(module)
    if spec is not None and spec.origin is not None:
        raise InvalidValue(
            f"there is a module {module!r} already, which one of that name would hide; take another name"
        )
    cls, constant = "".join(part.capitalize() for part in parts), module.upper()
    return {
        "name": name,
        "module": module,
        "title": name.replace("-", " ").capitalize(),
        "cls": cls,
        "constant": constant,
        "member": cls if kind == "method" else constant,
        "kind": kind,
        "group": ENTRY_POINT_GROUPS[kind],
    }
