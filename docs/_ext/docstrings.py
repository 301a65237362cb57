"""Docstrings of the house form, as reStructuredText.

In source, a docstring is plain text: `names` in backticks, a line that begins with "`name`: " for each parameter, and
equations as indented lines. Here names become code or links, parameters a list, and equations blocks as they stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

import edgewise

PARAMETER = re.compile(r"(`\w+`(?:, `\w+`)*): ")
ENDS_A_LIST = re.compile(r"(Returns|Raises|Yields)\b")
CODE = re.compile(r"(?<![`:\\])`([^`]+)`(?!`)")
# Characters that stand for themselves in our docstrings, and for markup in reStructuredText.
SPECIAL = re.compile(r"[*|\\]")
# Classes that edgewise builds.
HANDED_OUT = {
    "Comparison",
    "FusedBlocks",
    "FusedHeads",
    "Measured",
    "MetricReport",
    "NeuronCount",
    "NormKind",
    "Report",
}
HANDED_OUT |= {"Result", "Separate", "Subject"}
PUBLIC = {name for name in edgewise.__all__ if name != "__version__"}


def reformatted(lines: Sequence[str]) -> list[str]:
    """The lines of a docstring as reStructuredText."""
    found: list[str] = []
    for block in _blocks(lines):
        if block[0].startswith(">>> "):
            found += [*block, ""]
        elif block[0].startswith("    "):
            found += ["::", "", *block, ""]
        else:
            found += [*_paragraph(block), ""]
    return found


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """The paragraphs: what stands between empty lines, or before indented ones."""
    block: list[str] = []
    for line in [*lines, ""]:
        indented = line.startswith("    ")
        if block and (not line.strip() or indented != block[0].startswith("    ")):
            yield block
            block = []
        if line.strip():
            block.append(line.rstrip())


def _paragraph(block: Sequence[str]) -> Iterator[str]:
    """A paragraph, with its parameters as a list."""
    inside = False
    for line in block:
        if names := PARAMETER.match(line):
            if not inside:
                yield ""
            inside = True
            # A parameter may be called like a public function, which it is not.
            yield f"* {names[0].replace('`', '``')}{_inline(line[names.end() :])}"
        elif inside and ENDS_A_LIST.match(line):
            inside = False
            yield from ("", _inline(line))
        else:
            yield f"  {_inline(line)}" if inside else _inline(line)


def _inline(line: str) -> str:
    parts = re.split(r"(`[^`]+`)", line)
    return "".join(_code(part[1:-1]) if part.startswith("`") else SPECIAL.sub(r"\\\g<0>", part) for part in parts)


def _code(text: str) -> str:
    name = text.removeprefix("edgewise.")
    return (
        f":py:obj:`{name} <edgewise.{name}>`" if name.split(".")[0].split("(")[0] in PUBLIC & {name} else f"``{text}``"
    )


def _signature(app: Sphinx, what: str, name: str, thing: Any, *given: Any) -> tuple[str, str | None] | None:
    """No constructor for what users never build, and a default that can be parsed for a field that has a factory."""
    _, arguments, returned = given
    if name.rpartition(".")[2] in HANDED_OUT:
        return "", None
    return None if arguments is None else (arguments.replace("<factory>", "..."), returned)


def _process(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = reformatted(lines)


def _resolve(app: Sphinx, env: Any, node: Any, text: nodes.Element) -> nodes.Node | None:
    """A type of a signature is known by the module it is defined in; its page by its public name."""
    name = str(node.get("reftarget", "")).rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in PUBLIC or node.get("reftarget") == f"edgewise.{name}":
        return None
    domain = env.get_domain("py")
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", f"edgewise.{name}", node, text)


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    for module in set(edgewise._HOMES.values()):
        import_module(f"edgewise.{module}")
    app.connect("autodoc-process-signature", _signature)
    app.connect("autodoc-process-docstring", _process)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True}
