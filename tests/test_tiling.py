"""Whatever the tiling, results are the same; under an accelerator's, little is asked of the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from threading import Thread
from typing import Any

import pytest
import torch
from benchmarks import large
from benchmarks.counted import counted as counted_bytes
from benchmarks.counted import hollow
from benchmarks.counting import Count, counted, peak_elsewhere
from benchmarks.ops import both_count, far, forward_count, gpt2_shape, llama_shape, masked, random_pairs
from benchmarks.other_device import elsewhere
from benchmarks.pruning import open_gates
from support.families import FAMILIES, corrupted_run, distance, pairs, random_circuit, random_mask, subject, subject_of
from support.thinned import thinned
from torch import Tensor
from transformers import LlamaConfig
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

import edgewise as ew
from edgewise.engine.forward import masked_forward
from edgewise.engine.tiling import ACCELERATOR, PROCESSOR, Tiling, tiling_for, using_products, using_tiling
from edgewise.errors import InvalidValue
from edgewise.models import Subject
from edgewise.runs.recipe import Recipe

# As small as can be, all work cut to pieces and added up one by one; and layers whole from half of their heads on.
CRUMBS = replace(
    PROCESSOR,
    chunk_bytes=1,
    layers=1,
    runs=1,
    patched_tokens=1,
    removals=1,
    removal_tokens=1,
    logits=1,
    held_bytes=0,
    sparse=1.0,
    kept_share=0,
)
OTHERS = {"accelerator": ACCELERATOR, "crumbs": CRUMBS, "half": replace(PROCESSOR, whole=0.5)}
every_other = pytest.mark.parametrize("other", OTHERS)


# -- results ----------------------------------------------------------------------------------------------------------


def walked(family: str, density: float | None, tiling: Tiling) -> tuple[Tensor, Tensor]:
    """Logits of a masked run, sparse or dense, and the gradient in the mask at its candidates."""
    on, of = subject(family, torch.float64), pairs()
    mask = random_mask(on, 0) if density is None else random_circuit(on, density, 1).mask.double()
    leaf = mask.requires_grad_()
    with using_tiling(tiling):
        with torch.no_grad():
            plain = masked_forward(on, of.clean, of.positions, mask.detach(), corrupted_run(on, of))
        logits = masked_forward(on, of.clean, of.positions, leaf, corrupted_run(on, of))
        slope = torch.autograd.grad(logits.square().sum(), leaf)[0]
    assert distance(plain, logits.detach()) < 1e-9
    return plain, slope * on.graph.edge_mask


@pytest.mark.parametrize(("density", "family"), thinned([(0.15,), (None,)], FAMILIES, one_in=2))
def test_masked_runs_are_the_same_where_layers_run_whole(family: str, density: float | None) -> None:
    for ours, theirs in zip(walked(family, density, ACCELERATOR), walked(family, density, PROCESSOR), strict=True):
        assert distance(ours, theirs) < 1e-8


@every_other
@pytest.mark.parametrize("family", ["gpt2", "gemma2"])
def test_masked_runs_are_the_same_in_any_pieces(family: str, other: str) -> None:
    for ours, theirs in zip(walked(family, 0.3, OTHERS[other]), walked(family, 0.3, PROCESSOR), strict=True):
        assert distance(ours, theirs) < 1e-8


@every_other
@pytest.mark.parametrize("how", ["mean", "zero"])
def test_evaluation_is_the_same(how: str, other: str) -> None:
    on, reports = subject("llama", torch.float64), []
    for tiling in (OTHERS[other], PROCESSOR):
        with using_tiling(tiling):
            reports.append(ew.evaluate(on, random_circuit(on, 0.2, 3), pairs(), metrics=["kl"], ablation=how)["kl"])
    assert reports[0].values == pytest.approx(reports[1].values, rel=1e-8, abs=1e-12)


METHODS: dict[str, dict[str, Any]] = {
    "eap": {},
    "eap-ig": {"steps": 2},
    "eap-ig-activations": {"steps": 2},
    "exact": {},
    "atp-qk": {},
    "atp-graddrop": {},
    "information-flow-routes": {},
    "mask-ig": {"steps": 2},
}


def scores(method: str, **how: Any) -> Tensor:
    return ew.attribute(subject("llama", torch.float64), pairs(), method=method, **METHODS[method], **how).values


def node_scores() -> Tensor:
    return ew.attribute_nodes(subject("llama", torch.float64), pairs()).values


# What the usual tiling gives is computed once.
usual_scores, usual_node_scores = cache(scores), cache(node_scores)


@every_other
@pytest.mark.parametrize("method", METHODS)
def test_scores_are_the_same(method: str, other: str) -> None:
    with using_tiling(OTHERS[other]):
        found = scores(method, batch_size=2)
    assert distance(found, usual_scores(method)) < 1e-8


@every_other
def test_node_scores_are_the_same(other: str) -> None:
    with using_tiling(OTHERS[other]):
        found = node_scores()
    assert distance(found, usual_node_scores()) < 1e-8


@every_other
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("acdc", {"tau": 0.02}),
        ("acdc", {"tau": 0.02, "metric": "logit_diff"}),
        ("edge-pruning", {"edges": 20, "steps": 3, "batch": 2}),
        ("subnetwork-probing", {"steps": 3, "batch": 2}),
    ],
)
def test_circuits_are_the_same(method: str, options: dict[str, Any], other: str) -> None:
    on = subject("gpt2", torch.float64)
    with using_tiling(OTHERS[other]):
        found = ew.discover(on, pairs(), method=method, **options)
    assert found == ew.discover(on, pairs(), method=method, **options)


# -- the policy -------------------------------------------------------------------------------------------------------


def test_a_tiling_is_chosen_by_device_and_given_to_a_thread_alone() -> None:
    here, seen = torch.device("cpu"), []
    assert tiling_for(here) == PROCESSOR
    with using_tiling(CRUMBS):
        other = Thread(target=lambda: seen.append(tiling_for(here)))
        other.start()
        other.join()
        assert tiling_for(here) == tiling_for(torch.device("meta")) == CRUMBS
    assert seen == [PROCESSOR]
    assert tiling_for(torch.device("meta")) == ACCELERATOR


def test_products_are_rounded_inside_alone_and_only_where_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    flags, there = torch.backends.cuda.matmul, torch.device("cuda")
    before = flags.fp32_precision
    rounded = replace(ACCELERATOR, products="tf32")
    with rounded.rounding(torch.device("cpu")):
        assert flags.fp32_precision == before
    with replace(ACCELERATOR, products="float32").rounding(there):
        assert flags.fp32_precision == before
    with rounded.rounding(there):
        with rounded.rounding(there):
            assert flags.fp32_precision == "tf32"
        assert flags.fp32_precision == "tf32"  # another thread may still be inside
    assert flags.fp32_precision == before
    with pytest.raises(KeyError), rounded.rounding(there):
        raise KeyError
    assert flags.fp32_precision == before


def test_a_user_says_how_products_are_rounded_and_reads_it_in_the_result() -> None:
    there = torch.device("meta")
    assert tiling_for(there).products == "tf32"
    with using_products("float32"):
        assert tiling_for(there).products == "float32"
        with using_products(None):
            assert tiling_for(there) == replace(ACCELERATOR, products="float32")
    assert tiling_for(there) == ACCELERATOR
    scores = ew.attribute(subject("gpt2"), pairs(), products="tf32")
    assert scores.provenance["products"] == "float32"  # a CPU rounds nothing
    with pytest.raises(InvalidValue, match="products must be 'float32' or 'tf32' or none, not 'bf16'"):
        ew.discover(subject("gpt2"), pairs(), products="bf16")  # type: ignore[arg-type]
    with pytest.raises(InvalidValue, match=r"recipe is not usable: .*products"):
        Recipe.of(products="bf16")
    assert Recipe.of(products="float32").products == "float32"


# -- what is asked of a device ----------------------------------------------------------------------------------------


SHAPES = {"gpt2": gpt2_shape, "llama": llama_shape}
every_shape = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture
def there() -> Iterator[None]:
    with elsewhere():
        yield


@cache
def of_layers(shape: str, layers: int) -> Subject:
    return far(subject_of(SHAPES[shape](layers)))


def attribution(on: Subject, tokens: int = 16) -> Callable[[], object]:
    return partial(ew.attribute, on, random_pairs(tokens=tokens), method="eap")


def evaluation(on: Subject) -> Callable[[], object]:
    return partial(ew.evaluate, on, random_circuit(on, 0.3, 0), random_pairs(), metrics=["logit_diff"], random=None)


def training(on: Subject) -> Callable[[], object]:
    return open_gates(on, random_pairs(), on.graph.edge_mask).advance


def bare(on: Subject, forwards: int, backwards: int) -> int:
    """How many operations so many forward and backward runs of the model itself are."""
    forward, both = forward_count(on, random_pairs()), both_count(on, random_pairs())
    return (forwards - backwards) * forward.operations + backwards * both.operations


@every_shape
def test_attribution_is_at_most_three_times_the_bare_passes_for_any_number_of_tokens(shape: str, there: None) -> None:
    on = of_layers(shape, 3)
    count = counted(attribution(on))
    assert count.operations <= 3 * bare(on, 2, 1)
    longer = counted(attribution(on, tokens=64))
    assert (longer.operations, longer.waits, longer.uploads) == (count.operations, count.waits, count.uploads)


def added_by_a_layer(shape: str, work: Callable[[Subject], Callable[[], object]]) -> Count:
    """What one layer more adds to a count."""
    less, more = (counted(work(of_layers(shape, layers))) for layers in (2, 3))
    return Count(*(getattr(more, name) - getattr(less, name) for name in ("operations", "views", "waits", "uploads")))


@every_shape
@pytest.mark.parametrize("work", [attribution, evaluation, training])
def test_no_layer_makes_the_host_wait_or_brings_anything_to_the_device(shape: str, work: Any, there: None) -> None:
    added = added_by_a_layer(shape, work)
    assert (added.waits, added.uploads) == (0, 0)


def test_a_layer_of_a_circuit_is_at_most_25_operations(there: None) -> None:
    def walk(on: Subject) -> Callable[[], object]:
        return masked(on, random_pairs(), random_circuit(on, 0.3, 0).mask)

    assert added_by_a_layer("gpt2", walk).operations <= 25


@every_shape
def test_evaluation_and_training_stay_near_the_bare_passes(shape: str, there: None) -> None:
    on = of_layers(shape, 3)
    assert counted(evaluation(on)).operations <= 1.6 * bare(on, 3, 0)
    assert counted(training(on)).operations <= 2.5 * bare(on, 3, 1)


@pytest.mark.slow
def test_the_table_of_large_models_can_be_made_of_tiny_ones() -> None:
    rows = list(large.tiny_table(rounds=1))
    assert len(rows) == 14
    assert all(float(row[1]) > 0 for row in rows)


def test_a_model_without_values_holds_what_one_with_values_does() -> None:
    shape, of = replace(large.TINY.llama_1b, dtype=torch.float32), random_pairs(2, 12)
    near = ew.load(AutoModelForCausalLM.from_config(shape.config, dtype=shape.dtype).eval())
    with elsewhere():
        on = far(near)
        with peak_elsewhere() as ours:
            ew.attribute(on, of, method="eap")
    assert ours.alive == 0
    assert counted_bytes(hollow(shape), of, again=False).eap == ours.peak


def test_eap_holds_an_eighth_more_than_the_bare_passes_and_less_where_blocks_run_again() -> None:
    """At the widths of a large model, where what is wide outweighs what is made once."""
    heads = {"num_attention_heads": 16, "num_key_value_heads": 4, "num_hidden_layers": 4}
    config = LlamaConfig(hidden_size=512, intermediate_size=1792, vocab_size=64, **heads)
    on, of = hollow(large.Shape("wide", config, torch.bfloat16)), random_pairs(2, 512, 64)
    with using_tiling(replace(ACCELERATOR, chunk_bytes=1 << 24)):
        whole, again = (counted_bytes(on, of, again=again) for again in (False, True))
    assert whole.eap <= 1.15 * whole.bare
    assert again.eap < 0.9 * again.bare
