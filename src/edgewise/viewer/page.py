"""A finding as one self-contained HTML page: its data, its scripts and its styles in one file, and no network."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape

from edgewise.circuit import Circuit
from edgewise.scores import Scores
from edgewise.store.schema import dump
from edgewise.viewer.bundle import script, web_file
from edgewise.viewer.caption import BIDI
from edgewise.viewer.contents import document
from edgewise.viewer.document import PageDocument
from edgewise.viewer.finding import Finding

# What could end the element the data stand in, be taken for a line end in a script, or turn the direction of what is read.
UNSAFE = {character: f"\\u{ord(character):04x}" for character in ("<", ">", "&", "\u2028", "\u2029", *sorted(BIDI))}


def page(value: Circuit | Finding, scores: Scores | None = None) -> str:
    """The page of a finding, or of a circuit with its scores, as HTML text.

    Nothing but the page's own script can run in it: its policy names that script by its hash. The data stand in it as
    JSON, and the script makes text of them, never markup.
    """
    finding = value if isinstance(value, Finding) else Finding(value, scores)
    content = document(finding)
    code = "\n" + script("start") + "\n"
    parts = {
        "policy": policy(code),
        "title": escape(content.title),
        "style": web_file("page.css"),
        "described": escape(f"{content.title}: {content.circuits[0].described}"),
        "data": embedded(content),
        "script": code,
    }
    return re.sub(r"\{(\w+)\}", lambda match: parts[match[1]], web_file("page.html"))


def policy(code: str) -> str:
    """The content security policy under which only `code` runs and nothing is fetched."""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src 'sha256-{digest}'"


def embedded(content: PageDocument) -> str:
    """The document as JSON that can stand in a script element."""
    text = dump(content, indent=None).strip().encode("utf-8", "backslashreplace").decode()
    return re.sub(f"[{''.join(UNSAFE)}]", lambda match: UNSAFE[match[0]], text)
