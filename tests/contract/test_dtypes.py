"""Every method on every family in half precision: it runs, what it gives is finite, and it finds what float32 finds.

Scores are held against those of float32; circuits by what they recover, measured in float32: which of two edges of equal
use is kept is decided by rounding, and what the circuit is worth is not.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from support.families import CONFIGS, FAMILIES, make_subject, pairs, subject
from support.thinned import thinned

import edgewise as ew
from edgewise.methods import METHODS
from edgewise.models import Subject
from edgewise.search import Search

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# The least correlation of scores, and share of their top fifth that both have. Measured: 0.96, 0.84; 0.99, 0.95.
SAME = {"bfloat16": (0.9, 0.7), "float16": (0.97, 0.85)}
# The share that is kept of what the circuit of float32 recovers; measured 0.7.
WORTH = 0.5
# Enough for circuits that are worth something, and no more.
OPTIONS: dict[str, dict[str, Any]] = {
    "eap-ig": {"steps": 2},
    "eap-ig-activations": {"steps": 1},
    "mask-ig": {"steps": 2},
    "ugs": {"steps": 4, "batch": 3},
    "eap+acdc": {"share": 0.5},
    "edge-pruning": {"steps": 10, "batch": 3, "edges": 40},
    "hap": {"steps": 60, "batch": 3, "edges": 40},
    "subnetwork-probing": {"steps": 12, "batch": 3, "learning_rate": 0.5, "regularization": 0.5},
}
SCORING = [name for name, method in METHODS.items() if not issubclass(method, Search)]
SEARCHING = [name for name in METHODS if name not in SCORING]
FEW = pairs()[:3]


@cache
def in_half(family: str, dtype: str) -> Subject:
    return make_subject(CONFIGS[family](), dtype=HALF[dtype])


@cache
def scored(family: str, method: str) -> ew.Scores:
    return ew.attribute(subject(family), FEW, method=method, **OPTIONS.get(method, {}))


def divergence(family: str, circuit: ew.Circuit) -> float:
    return ew.evaluate(subject(family), circuit, FEW, metrics=["kl"], random=None)["kl"].circuit


@cache
def of_nothing(family: str) -> float:
    return divergence(family, ew.Circuit.from_edges(subject(family).graph, []))


def recovered(family: str, circuit: ew.Circuit) -> float:
    """The share of the whole divergence that a circuit does without."""
    return 1 - divergence(family, circuit) / of_nothing(family)


# Where the common options find next to nothing in float32: Granite divides its logits by 3, so that a divergence a ninth as
# large stands against the same penalty; on this OLMo-3 half of the edges are too few to begin with.
APART = {
    ("granite", "subnetwork-probing"): {"regularization": 0.5 / 9},
    ("olmo3", "eap+acdc"): {"share": 0.7},
}


def searched(on: Subject, family: str, method: str) -> ew.Circuit:
    tau = {"tau": 0.01 * of_nothing(family)} if "acdc" in method else {}
    return ew.discover(on, FEW, method=method, **tau, **{**OPTIONS.get(method, {}), **APART.get((family, method), {})})


@cache
def found(family: str, method: str) -> float:
    return recovered(family, searched(subject(family), family, method))


def each(methods: list[str]) -> Any:
    """Every method in bfloat16 on every family, and in float16 on some; a sixth of it whenever tests run."""
    cases = {dtype: [(method, dtype) for method in methods] for dtype in HALF}
    return pytest.mark.parametrize(
        ("method", "dtype", "family"),
        thinned(cases["bfloat16"], FAMILIES, one_in=6)
        + thinned(cases["float16"], ["gpt2", "llama", "gemma2"], one_in=6),
    )


@each(SCORING)
def test_scores_in_half_precision_are_nearly_those_of_float32(method: str, dtype: str, family: str) -> None:
    scores = ew.attribute(in_half(family, dtype), FEW, method=method, **OPTIONS.get(method, {}))
    assert bool(scores.values.isfinite().all())
    assert scores.provenance["dtype"] == dtype
    expected, (correlation, overlap) = scored(family, method), SAME[dtype]
    if method == "atp-graddrop":  # where effects cancel, rounding decides about the sign
        scores, expected = (ew.Scores(one.graph, one.values.abs()) for one in (scores, expected))
    agreement = scores.agreement(expected, top=len(scores) // 5)
    assert agreement["pearson"] > correlation
    assert agreement["overlap"] > overlap


@each(SEARCHING)
def test_circuits_found_in_half_precision_are_worth_nearly_as_much(method: str, dtype: str, family: str) -> None:
    circuit = searched(in_half(family, dtype), family, method)
    assert circuit.provenance["dtype"] == dtype
    assert 0 < len(circuit) < circuit.graph.n_edges
    assert found(family, method) > 0.3
    assert recovered(family, circuit) > WORTH * found(family, method)
