"""What a page does not have, in sentences, and the commands that would bring it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from edgewise.display import clean
from edgewise.graph import HEAD
from edgewise.store.schema import plain
from edgewise.viewer.document import EdgeColumns
from edgewise.viewer.finding import Finding

# The dial of each search, and values for a sweep over it: what gives its edges an order.
SWEEPS: dict[str, tuple[str, tuple[float, ...]]] = {
    "acdc": ("tau", (0.3, 0.1, 0.03, 0.01)),
    "eap+acdc": ("tau", (0.3, 0.1, 0.03, 0.01)),
    "edge-pruning": ("sparsity", (0.98, 0.95, 0.9, 0.8)),
    "hap": ("sparsity", (0.98, 0.95, 0.9, 0.8)),
    "subnetwork-probing": ("regularization", (10.0, 3.0, 1.0, 0.3)),
}
# Fields of a recipe that say how pairs are held out; without a value, none are.
HELD_OUT_FIELDS = ("held_out", "split")
# Fields of which one says how large a circuit was asked for; where none does, it was a tenth of all edges.
WAYS_TO_SAY_HOW_LARGE = ("edges", "sizes", "nodes", "neurons", "faithfulness")
# The share of edges that hurt from which on a signed ranking is worth a try.
MANY_HURT = 0.25


def missing(finding: Finding, edges: EdgeColumns) -> list[str]:
    """Sentences about what the page cannot show, and what would bring it."""
    found: list[str] = []
    circuit, known = finding.circuit, finding.shown.provenance
    if circuit is None:
        found.append("There are scores but no circuit: the slider takes the best-scored edges.")
    elif not len(circuit):
        found.append("The circuit is empty: running it gives the corrupted run.")
    elif not circuit.has_path:
        found.append("No path leads from input to logits: running this circuit gives the corrupted run.")
    if finding.scores is None:
        found.append("There are no scores: edges have neither sign nor strength and are in index order.")
    if not finding.curves:
        found.append("There is no faithfulness curve: the slider cannot show what a cut costs.")
    if finding.scores is None and str(known.get("method")) in SWEEPS:
        found.append(_sweep(known))
    if hint := _signed_ranking(finding):
        found.append(hint)
    found += _of_prompts(finding)
    if edges.count < edges.total and finding.scores is not None:
        found.append(f"The page holds the strongest {edges.count:,} of {edges.total:,} edges.")
    return found


def _of_prompts(finding: Finding) -> list[str]:
    """What is not there of the prompts, and of the heads in them."""
    if not finding.shown.provenance.get("prompts"):
        return ["There are no example prompts in this file."]
    if finding.attention is None and any(HEAD.fullmatch(node) for node in finding.shown.nodes):
        return ["Where heads attend was not kept in this file; edgewise look shows it."]
    return []


def repeat(recipe: Any) -> str | None:
    """The command that repeats a run, or None if its recipe is not known.

    >>> repeat({"model": "nano", "task": "ioi", "edges": None, "faithfulness": "auto", "options": {"tau": 0.1}})
    'edgewise discover --model nano --task ioi --option tau=0.1'
    """
    if not isinstance(recipe, Mapping):
        return None
    words = ["edgewise", "discover"]
    before = {"split": None} if recipe.get("data") else {}  # a file was not split yet
    unsized = set(WAYS_TO_SAY_HOW_LARGE) <= recipe.keys() and not any(recipe[name] for name in WAYS_TO_SAY_HOW_LARGE)
    then = {"edges": "10%"} if unsized and recipe.get("method") not in SWEEPS else {}
    for name, value in {**before, **recipe, **then}.items():
        if name == "options" and isinstance(value, Mapping):
            words += [word for key, item in value.items() for word in ("--option", f"{key}={_option(item)}")]
        elif name == "faithfulness" and value == "auto":
            continue
        elif name in HELD_OUT_FIELDS:
            words += [] if value == "auto" else [f"--{name.replace('_', '-')}", str(value or 0)]
        elif name == "bad_rows":
            words += [f"--{value}-bad-rows"] if value == "skip" else []
        elif value is not None:
            words += [f"--{str(name).replace('_', '-')}", str(value)]
    return clean(shlex.join(words), 2000)


def _signed_ranking(finding: Finding) -> str:
    """That many edges of a circuit hurt the metric, which a signed ranking leaves out; empty where nothing says so."""
    circuit, hurting, recipe = finding.circuit, many_hurt(finding), finding.shown.provenance.get("recipe")
    if circuit is None or not hurting:
        return ""
    command = repeat({**recipe, "ranking": "signed"}) if isinstance(recipe, Mapping) else None
    return (
        f"{hurting:,} of the {len(circuit):,} edges hurt the metric, by their scores. Ranked by signed score as many edges "
        "leave these out and may keep more of it, though less of all else (see kl); no curve was measured for that"
        f"{f': {command}' if command else '.'}"
    )


def many_hurt(finding: Finding) -> int:
    """How many edges of a circuit hurt the metric, by their scores; 0 where they are few, or a signed ranking was tried."""
    circuit, scores, chosen = finding.circuit, finding.scores, finding.shown.provenance.get("selection")
    absolute = isinstance(chosen, Mapping) and chosen.get("absolute") is True
    if circuit is None or scores is None or not absolute or any(curve.ranking == "signed" for curve in finding.curves):
        return 0
    hurting = int((scores.values[circuit.mask] < 0).sum())
    return hurting if hurting >= MANY_HURT * len(circuit) else 0


def _option(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(plain(value))


def _sweep(known: Mapping[str, Any]) -> str:
    """Why a search has no scores, and the command that brings them."""
    dial, values = SWEEPS[known["method"]]
    recipe = known.get("recipe")
    start = dict(recipe) if isinstance(recipe, Mapping) else {"method": known["method"]}
    options = start.get("options")
    start["options"] = {**(options if isinstance(options, Mapping) else {}), dial: list(values)}
    return (
        f"{known['method']} says which edges stay, not how much each one matters, so cutting its circuit means little. "
        f"A sweep over its {dial} scores every edge and measures the curve: {repeat(start)}"
    )
