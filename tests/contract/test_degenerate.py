"""Degenerate data: every method says the same sentence, or gives the value that is right."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch
from support.families import pairs, subject
from support.verbs import VERBS

import edgewise as ew
from edgewise.errors import NothingScored
from edgewise.methods import METHODS


@pytest.mark.parametrize("name", METHODS)
def test_prompts_that_do_not_differ_are_refused_by_all_that_replace(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they differ after the answer position alone, where a causal model never reads."""
    same = replace(pairs(), corrupted=pairs().clean)
    unread = same.clean.clone()
    assert bool((same.positions < unread.shape[1] - 1).any())
    unread[torch.arange(unread.shape[1]) > same.positions[:, None]] += 1
    for of in (same, replace(same, corrupted=unread)):
        monkeypatch.setattr("support.verbs.pairs", lambda of=of: of)
        if not METHODS[name].replaces:
            assert bool(VERBS[name](subject("gpt2")).any())
            continue
        with pytest.raises(NothingScored, match=re.escape(f"the same in all 5 pairs, so that {name} has")):
            VERBS[name](subject("gpt2"))


@pytest.mark.parametrize("name", ["eap", "exact", "acdc"])
def test_one_pair_that_differs_and_other_ablations_are_enough(name: str) -> None:
    of, on = pairs(), subject("gpt2")
    one = replace(of, corrupted=torch.cat([of.corrupted[:1], of.clean[1:]]))
    same = replace(of, corrupted=of.clean)
    for found_on, how in ((one, {}), (same, {"ablation": "zero"})):
        if name == "acdc":
            assert len(ew.discover(on, found_on, method=name, tau=1e-4, **how))
        else:
            assert bool(ew.attribute(on, found_on, method=name, **how).values.any())
