"""The page's ES modules as one script.

A page is one file, and modules inside one file cannot import each other by name. So each becomes a function of its own
that returns what it exports, in an order in which every module comes after those it imports:

    const $cut = (() => { const { feeds } = $data; …; return { visible }; })();

Only the plain forms are understood, and anything else is refused: `import { a, b } from "./name.js";` at the start of a
line, and `export function | async function | const | class name`.
"""

from __future__ import annotations

import json
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import resources

from edgewise.viewer import templates

IMPORT = re.compile(r'^import \{([^}]*)\} from "\./(\w+)\.js";$', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async function|function|const|class) (\w+))", re.MULTILINE)
LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
FOLDER = resources.files("edgewise") / "viewer" / "web"


@cache
def web_file(name: str) -> str:
    """The text of a file of the page; `templates.js` is written from the constants of `templates`."""
    if name == "templates.js":
        constants = {key: value for key, value in vars(templates).items() if key.isupper()}
        return "".join(f"export const {key} = {json.dumps(value)};\n" for key, value in constants.items())
    return (FOLDER / name).read_text(encoding="utf-8")


def script(entry: str) -> str:
    """The module of that name and all it imports as one script; ValueError for a form that is not understood."""
    modules = dict(_reachable(entry))
    try:
        order = list(TopologicalSorter({name: set(_imports(text)) for name, text in modules.items()}).static_order())
    except CycleError as error:
        raise ValueError(f"modules that import each other: {error.args[1]}") from None
    text = "\n".join(wrapped(name, modules[name]) for name in order)
    if "</script" in text.lower() or "<!--" in text:
        raise ValueError("the script would end the element it stands in")
    return text


def wrapped(name: str, text: str) -> str:
    r"""One module as a function that returns its exports.

    >>> print(wrapped("b", 'import { x as y } from "./a.js";\nexport const z = y;'))
    const $b = (() => {
    const { x: y } = $a;
    const z = y;
    return { z };
    })();
    """
    exported = EXPORT.findall(text)
    body = IMPORT.sub(lambda m: f"const {{ {', '.join(_named(m[1]))} }} = ${m[2]};", EXPORT.sub("", text))
    if left := LEFT.search(body):
        raise ValueError(f"{name}.js: {left[0]!r} is not a form this assembler understands")
    return f"const ${name} = (() => {{\n{body.strip()}\nreturn {{ {', '.join(exported)} }};\n}})();"


def _named(names: str) -> list[str]:
    return [name.strip().replace(" as ", ": ") for name in names.split(",") if name.strip()]


def _imports(text: str) -> list[str]:
    return [found[1] for found in IMPORT.findall(text)]


def _reachable(entry: str) -> list[tuple[str, str]]:
    found: dict[str, str] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = web_file(f"{name}.js")
            waiting += _imports(found[name])
    return sorted(found.items())
