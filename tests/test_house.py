"""The house of docs/design.md: one name for one thing, classes abstract or final, packages, nothing astray."""

from __future__ import annotations

import ast
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "edgewise"
# Names of two classes that never meet: private parts of a page or a picture, and a value of another layer.
TWICE = {"CurveDocument", "Finding", "Grid", "Line", "NodeEntry", "Panel", "Row"}
# A task and the program whose behaviour it asks for share a file name; so do the options of values and of the command line.
SAME_FILE_NAMES = {"__init__", "base", "fraction", "induction", "options", "reverse"}
# Extended all the same: what does nothing unless told otherwise, layouts that a family refines, and what pruning methods
# have in common, which is abstract by the `search` it leaves open.
OPEN = {"EdgeMethod", "FusedBlocks", "GradientSink", "Pruning", "Separate", "Trained"}
# What a class of this kind is for says whether it may be extended.
KINDS = {"ABC", "BaseModel", "Enum", "Exception", "NamedTuple", "Protocol", "StrEnum", "UserWarning"}

# Constants of the same meaning in several members of one family; the sizes of two kinds of work that are chunked alike.
FAMILIES = {"tasks": "behaviours", "programs": "behaviours"}
LONGEST_FILE, LONGEST_FUNCTION = 250, 60


@cache
def modules() -> tuple[tuple[Path, ast.Module], ...]:
    return tuple((path, ast.parse(path.read_text())) for path in sorted(SOURCE.rglob("*.py")))


def classes() -> Iterator[tuple[Path, ast.ClassDef]]:
    for path, module in modules():
        yield from ((path, node) for node in ast.walk(module) if isinstance(node, ast.ClassDef))


def bases(node: ast.ClassDef) -> set[str]:
    """The names of a class's bases, without the modules and type arguments they are written with."""
    return {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}


def is_final(node: ast.ClassDef) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "final" for mark in node.decorator_list)


def has_abstract_methods(node: ast.ClassDef) -> bool:
    methods = (part for part in node.body if isinstance(part, ast.FunctionDef))
    return any("abstractmethod" in ast.unparse(mark) for method in methods for mark in method.decorator_list)


def test_a_class_name_stands_for_one_thing() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, node in classes():
        places[node.name].append(str(path.relative_to(SOURCE)))
    shared = {name: paths for name, paths in places.items() if len(paths) > 1 and not name.startswith("_")}
    assert {name: paths for name, paths in shared.items() if name not in TWICE} == {}


def constants(module: ast.Module) -> set[str]:
    """The names in capitals that a module gives a value, those of private ones left out."""
    given = (node for node in module.body if isinstance(node, ast.Assign | ast.AnnAssign))
    targets = (target for node in given for target in (node.targets if isinstance(node, ast.Assign) else [node.target]))
    names = {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return {name for name in names if name.isupper() and len(name) > 1 and not name.startswith("_")}


def test_a_constant_stands_for_one_thing() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for path, module in modules():
        folder = path.relative_to(SOURCE).parts[0]
        for name in constants(module):
            places[name].add(FAMILIES.get(folder, str(path.relative_to(SOURCE))))
    shared = {name: sorted(paths) for name, paths in places.items() if len(paths) > 1}
    assert shared == {}


def test_files_and_functions_are_short() -> None:
    files = {str(path.relative_to(SOURCE)): len(path.read_text().splitlines()) for path, _ in modules()}
    assert {name: lines for name, lines in files.items() if lines > LONGEST_FILE} == {}
    functions = {
        f"{path.relative_to(SOURCE)}:{node.name}": length(node)
        for path, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in functions.items() if lines > LONGEST_FUNCTION} == {}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Its lines from `def` to the last one, those of its docstring left out."""
    promise = function.body[0] if ast.get_docstring(function) is not None else None
    described = promise.end_lineno - promise.lineno + 1 if promise is not None else 0  # type: ignore[operator]
    return function.end_lineno - function.lineno + 1 - described  # type: ignore[operator]


def test_a_file_name_stands_for_one_thing() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, _ in modules():
        places[path.stem].append(str(path.relative_to(SOURCE)))
    shared = {name: paths for name, paths in places.items() if len(paths) > 1}
    assert {name: paths for name, paths in shared.items() if name not in SAME_FILE_NAMES} == {}


def test_every_class_is_abstract_or_final() -> None:
    parents = {node.name: bases(node) for _, node in classes()}

    def is_of_kind(name: str) -> bool:
        """Whether one of its bases, however far up, is of one of the kinds."""
        above = parents.get(name, set())
        direct = bool(above & (KINDS - {"ABC"})) or any(base.endswith("Interrupt") for base in above)
        return direct or any(map(is_of_kind, above))

    neither = [
        node.name
        for _, node in classes()
        if not (is_final(node) or has_abstract_methods(node) or "ABC" in bases(node))
        and not (node.name in OPEN or is_of_kind(node.name))
    ]
    assert neither == []


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in SOURCE.rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


@pytest.mark.skipif(shutil.which("git") is None or not (ROOT / ".git").exists(), reason="no checkout")
def test_nothing_is_kept_that_is_ignored_and_no_module_is_ignored() -> None:
    def listed(*words: str) -> list[str]:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()

    assert listed("ls-files", "--cached", "--ignored", "--exclude-standard") == []
    assert listed("ls-files", "--others", "--ignored", "--exclude-standard", "src/edgewise/**/*.py") == []
