"""The formats of other tools as templates, which both Python (`edgelist`, `dot`) and the page (`web/formats.js`) fill.

`$name` is a hole. The page gets the constants as its module `templates.js`, which `bundle` writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from string import Template
from typing import Any

import edgewise
from edgewise.store.schema import CIRCUIT, VERSION

# The head of a circuit that the page writes.
DOCUMENT = {"schema": CIRCUIT, "version": VERSION}

CSV = "edge,writer,reader,kind,score,exact,in_circuit,in_other,in_reference".split(",")

GRAPHML = {
    "file": """\
<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
 <key id="kind" for="node" attr.name="kind" attr.type="string"/>
 <key id="layer" for="node" attr.name="layer" attr.type="int"/>
 <key id="role" for="node" attr.name="role" attr.type="string"/>
 <key id="reader" for="edge" attr.name="reader" attr.type="string"/>
 <key id="score" for="edge" attr.name="score" attr.type="double"/>
 <key id="exact" for="edge" attr.name="exact" attr.type="double"/>
 <graph id="circuit" edgedefault="directed">
$nodes$edges </graph>
</graphml>
""",
    "node": """\
  <node id="$name"><data key="kind">$kind</data><data key="layer">$layer</data><data key="role">$role</data></node>
""",
    "edge": """\
  <edge id="$edge" source="$writer" target="$node">\
<data key="reader">$reader</data><data key="score">$score</data><data key="exact">$exact</data></edge>
""",
    # A regular expression of what is left out: data of which nothing is known.
    "empty": '<data key="[a-z]+"></data>',
}

DOT = {
    "file": """\
digraph circuit {
  graph [rankdir=BT, bgcolor=white, fontname=Helvetica, labelloc=t, label=$title];
  node [shape=box, style=rounded, fontname=Helvetica, fontsize=11, height=0.3];
$facts$ranks$edges}
""",
    "rank": "  { rank=same; $names; }\n",
    "edge": """\
  $writer -> $node [color=$colour, style=$line, arrowhead=$end, penwidth=$width, tooltip=$tooltip$label];
""",
    "label": ', xlabel="$kind"',
    "lines": {"q": "dashed", "k": "dotted", "v": "bold", "": "solid"},
    "ends": {"q": "empty", "k": "odiamond", "v": "odot", "": "normal"},
}

# What is the same for every circuit, and the order of the fields; the others are filled in.
NEURONPEDIA: dict[str, Any] = {
    "metadata": {
        "slug": "edgewise-circuit",
        "scan": "",
        "prompt_tokens": [],
        "prompt": "",
        "info": {
            "description": "Heads and MLPs of a circuit found by edgewise. Edges have no positions: every node stands at "
            "the last token. A link sums the edges into q, k and v.",
            "generator": {"name": "edgewise", "version": edgewise.__version__},
        },
    },
    "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
}
FEATURE_TYPES = {"input": "embedding", "head": "lorsa", "mlp": "unknown", "logits": "logit"}


def filled(template: str, values: Mapping[str, str]) -> str:
    """The text with the value of each hole in its place.

    >>> filled("$writer -> $node", {"writer": "input", "node": "m0"})
    'input -> m0'
    """
    return Template(template).substitute(values)
