"""The estimate of memory, of every method, against what is counted and what a process takes; batches that keep to a limit."""

from __future__ import annotations

import gc
import math
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import distance, pairs, subject
from support.thinned import thinned

import edgewise as ew
from edgewise.ablations import ablation
from edgewise.attribution.memory import FINEST_CUT, MemoryEstimate, Rehearsals, memory_size
from edgewise.contract import Found
from edgewise.engine.peak import PeakBytes
from edgewise.engine.tiling import PROCESSOR, Tiling, using_tiling
from edgewise.errors import InvalidValue
from edgewise.methods import METHODS, method, run_method
from edgewise.metrics import metric
from edgewise.models import FAMILIES, Subject
from edgewise.progress import silent
from edgewise.request import Request, Wanted
from edgewise.runs.job import prepare
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import run
from edgewise.testing.traces import untouched

STATUS = Path("/proc/self/status")
# Searches keep every edge: what they take at the most. Few steps take as much as many.
OPTIONS: dict[str, dict[str, Any]] = {
    "acdc": {"tau": -math.inf},
    "eap+acdc": {"tau": -math.inf, "share": 0.9},
    "eap-ig-activations": {"steps": 2},
    "mask-ig": {"steps": 2},
    "edge-pruning": {"steps": 2, "preset": "published"},
    "hap": {"steps": 2, "preset": "published"},
    "ugs": {"steps": 2},
    "subnetwork-probing": {"steps": 2},
}
# Small enough for tests, so small that work has to be cut.
CUT = replace(PROCESSOR, chunk_bytes=1 << 18, patched_tokens=512, removal_tokens=1024, held_bytes=1 << 20)


def request(name: str, on: Subject, of: ew.Pairs, batch_size: int, **wanted: Any) -> Request:
    chosen = method(name, OPTIONS.get(name, {}))
    by = metric(chosen.metric or "logit_diff")
    return Request(on, of, by, ablation("corrupted"), batch_size, silent, Wanted(**wanted))


def estimate(asked: Request, name: str, pairs_at_once: int | None = None, tiling: Tiling = PROCESSOR) -> MemoryEstimate:
    chosen = method(name, OPTIONS.get(name, {}))
    first, pieces = next(chosen.sizes(asked, tiling))
    return Rehearsals(chosen, asked).estimate(pairs_at_once or first, pieces)


def found_by(asked: Request, name: str) -> Found:
    return run_method(method(name, OPTIONS.get(name, {})), asked)


# -- the estimate -----------------------------------------------------------------------------------------------------


@cache
def shape(family: str, width: int = 64, layers: int = 2) -> Subject:
    from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    sizes = {"hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers, "vocab_size": 500}
    grouped = {**sizes, **ends, "num_attention_heads": 4, "num_key_value_heads": 2}
    model: Any
    if family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=width, n_head=4, vocab_size=500, **ends))
    elif family == "gemma2":
        model = Gemma2ForCausalLM(Gemma2Config(**grouped, head_dim=width // 4))
    else:
        model = LlamaForCausalLM(LlamaConfig(**grouped))
    return Subject(model.eval(), None, FAMILIES[family], family)


def some_pairs(examples: int, tokens: int) -> ew.Pairs:
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = torch.randint(1, 500, (2, examples, tokens), generator=generator)
    return ew.Pairs.from_tokens(clean, corrupted, correct=clean[:, 0], wrong=(clean[:, 0] + 1) % 500)


def counted(asked: Request, name: str) -> int:
    with PeakBytes(asked.subject.device) as bytes_:
        found_by(asked, name)
    return bytes_.peak


@pytest.mark.parametrize(("name", "family"), thinned([(name,) for name in METHODS], ["gpt2", "llama"], one_in=2))
def test_the_bytes_that_are_counted_are_within_three_tenths_of_the_estimate(name: str, family: str) -> None:
    with using_tiling(CUT):
        asked = request(name, shape(family), some_pairs(8, 16), 8, memory_limit="1TB")
        estimated = estimate(asked, name, tiling=CUT).peak
        # What names candidates is estimated by itself.
        first = {"eap+acdc": "eap", "hap": "eap-ig"}.get(name)
        estimated = max(
            estimated, estimate(request(first, shape(family), asked.pairs, 8), first, tiling=CUT).peak if first else 0
        )
        assert 0.7 * estimated < Rehearsals.margin_on(asked.subject.device) * counted(asked, name) < 1.3 * estimated


@pytest.mark.skipif(not STATUS.exists(), reason="the peak of a process is read from /proc")
@pytest.mark.slow
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_what_a_process_takes_is_within_three_tenths_of_the_estimate(family: str) -> None:
    names = ["eap", "acdc", "edge-pruning"]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, family, *names]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=paths)
    for name, line in zip(names, done.stdout.splitlines(), strict=True):
        measured, estimated = map(int, line.split())
        assert 0.7 * estimated < measured < 1.3 * estimated, name


def measure(family: str, name: str) -> tuple[int, int]:
    """What a method takes beyond the model at its peak, and what was estimated, in bytes."""
    on = shape(family, 64 if name == "acdc" else 256)
    asked = request(name, on, some_pairs(16, 32), 16, memory_limit="1TB")
    estimated = estimate(asked, name).peak
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _kilobytes("VmRSS:")
    found_by(asked, name)
    return (_kilobytes("VmHWM:") - before) * 1024, estimated


def _kilobytes(what: str) -> int:
    return int(STATUS.read_text().partition(what)[2].split()[0])


@pytest.mark.parametrize("name", ["eap-ig", "exact", "acdc", "eap+acdc", "hap", "ugs", "random"])
def test_a_rehearsal_leaves_no_trace(name: str) -> None:
    on, of = subject("gpt2"), pairs()
    asked = request(name, on, of, 4)
    with untouched(on.model, of.clean, of.corrupted):
        assert estimate(asked, name).peak > 0
    assert asked.notes == {}


# -- pairs at once ----------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process took no memory but for the work at hand."""
    monkeypatch.setattr("edgewise.attribution.memory.taken", lambda subject: 0)


# The two searches share what goes through the pairs in parts.
LONG = pytest.param("eap+acdc", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [*sorted(set(METHODS) - {"random", "eap+acdc"}), LONG])
@pytest.mark.usefixtures("nothing_taken")
def test_what_is_found_is_what_is_found_without_a_limit(name: str) -> None:
    on, of = subject("gpt2", torch.float64), pairs()
    options = {"acdc": {"tau": 0.0005}, "eap+acdc": {"tau": 0.0005}}
    free = request(name, on, of, 4)
    # A search that keeps all pairs under one trial would still fit into what two pairs need under several.
    sizes = replace(PROCESSOR, removals=1)
    limit = Rehearsals(method(name, OPTIONS.get(name, {})), free).estimate(2, sizes).least + 1
    limited = replace(free, notes={}, wanted=Wanted(memory_limit=limit))
    chosen = method(name, {**OPTIONS.get(name, {}), **options.get(name, {})})
    expected, found = run_method(chosen, free), run_method(chosen, limited)
    assert "fitting_batch_size" not in free.notes
    assert limited.notes["fitting_batch_size"] in (1, 2)
    if expected.scores is not None:
        assert found.scores is not None
        assert distance(found.scores.values, expected.scores.values) < 1e-8
    assert [circuit.mask.tolist() for circuit in found.circuits] == [c.mask.tolist() for c in expected.circuits]


@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
@pytest.mark.usefixtures("nothing_taken")
def test_a_search_takes_no_more_memory_for_more_pairs(family: str) -> None:
    """Without a limit it does."""
    with using_tiling(CUT):
        limit = estimate(request("acdc", shape(family, 32), some_pairs(4, 8), 8), "acdc", tiling=CUT).peak
        chosen = method("acdc", {"tau": 0.5})
        for examples in (8, 32):
            asked = request("acdc", shape(family, 32), some_pairs(examples, 8), 8, memory_limit=limit)
            with PeakBytes(asked.subject.device) as bytes_:
                run_method(chosen, asked)
            assert bytes_.peak < limit


@pytest.mark.usefixtures("nothing_taken")
@pytest.mark.parametrize("name", ["eap", "acdc", "edge-pruning"])
def test_a_limit_below_a_single_pair_says_what_would_do(name: str) -> None:
    asked = request(name, shape("gpt2"), some_pairs(4, 16), 4, memory_limit="100KB")
    with pytest.raises(
        InvalidValue, match=r"limit of 1MB is too small: 0MB are in use .* give at least \d+MB$"
    ) as error:
        found_by(asked, name)
    least = str(error.value).rpartition(" ")[2]
    found_by(replace(asked, wanted=Wanted(memory_limit=least)), name)


@pytest.mark.parametrize("name", ["eap", "hisp"])
@pytest.mark.usefixtures("nothing_taken")
def test_where_one_pair_does_not_fit_otherwise_blocks_run_again(name: str) -> None:
    on, finest = shape("llama", layers=6), PROCESSOR.part(FINEST_CUT)
    free = request(name, on, some_pairs(2, 64), 2)
    expected = found_by(free, name).scores  # what is loaded at the first call is no part of a later one
    whole, again = (estimate(free, name, 1, replace(finest, kept_share=share)) for share in (0.5, 0))
    assert again.least < 0.95 * whole.least
    limited = replace(free, notes={}, wanted=Wanted(memory_limit=whole.least - 1))
    found = found_by(limited, name).scores
    assert found is not None
    assert expected is not None
    assert distance(found.values, expected.values) < 1e-5
    assert limited.notes == {"fitting_batch_size": 1, "blocks_run_again": True}
    with using_tiling(replace(finest, kept_share=0)):
        alone = counted(request(name, on, free.pairs[:1], 1), name)
    assert 0.7 * again.peak < Rehearsals.margin_on(on.device) * alone < 1.3 * again.peak
    with pytest.raises(InvalidValue, match="is too small"):
        found_by(replace(limited, wanted=Wanted(memory_limit=again.least - 1)), name)


@pytest.mark.usefixtures("nothing_taken")
def test_nodes_keep_to_a_limit_too() -> None:
    asked = request("eap", subject("gpt2"), pairs(), 4, goal="scores", level="nodes")
    nodes = ew.attribute_nodes(
        asked.subject, asked.pairs, method="eap", memory_limit=estimate(asked, "eap", 1).least + 1
    )
    assert nodes.provenance["fitting_batch_size"] == 1


def test_what_the_process_has_taken_counts() -> None:
    on = subject("gpt2")
    with pytest.raises(InvalidValue, match="are in use before eap begins"):
        ew.attribute(on, pairs(), method="eap", memory_limit="1MB")
    assert "fitting_batch_size" not in ew.attribute(on, pairs(), memory_limit="1TB").provenance


@pytest.mark.parametrize("size", ["", "GB", "2 gigs", "-1GB", "0", 0])
def test_sizes_that_are_none(size: str | int) -> None:
    with pytest.raises(InvalidValue, match="write a number and a unit, as in 2GB"):
        memory_size(size)


def test_a_recipe_keeps_the_limit() -> None:
    with pytest.raises(InvalidValue, match="'lots' is not a memory limit"):
        prepare(Recipe.of(memory_limit="lots"))
    recipe = Recipe.of(examples=4, curve=0, memory_limit="1TB")
    assert torch.equal(run(recipe).circuit.mask, run(recipe.with_changes(memory_limit=None)).circuit.mask)


if __name__ == "__main__":
    for asked_for in sys.argv[2:]:
        print(*measure(sys.argv[1], asked_for))
