"""On an accelerator: what the CPU finds, memory within the limit, and an answer where memory does not suffice."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks import large
from support.command_line import edgewise
from support.families import (
    CONFIGS,
    FAMILIES,
    corrupted_run,
    distance,
    make_model,
    pairs,
    random_circuit,
    random_mask,
    subject_of,
)
from support.families import subject as on_cpu
from torch import Tensor

import edgewise as ew
from edgewise.ablations import ABLATIONS, ablation
from edgewise.attribution import ATTRIBUTIONS
from edgewise.attribution.memory import Rehearsals
from edgewise.engine.forward import masked_forward
from edgewise.engine.tiling import tiling_for, using_tiling
from edgewise.metrics import metric
from edgewise.models import Subject
from edgewise.pairs import Pairs
from edgewise.progress import silent
from edgewise.request import Request

if not torch.cuda.is_available():
    pytest.skip("there is no CUDA device", allow_module_level=True)

every_family = pytest.mark.parametrize("family", FAMILIES)
# Sums of float32 in another order.
NEAR = 2e-4
DEVICE = "cuda"


@cache
def there(family: str, dtype: torch.dtype = torch.float32) -> Subject:
    return subject_of(make_model(CONFIGS[family](), dtype=dtype).to(DEVICE))


def cheap(method: str) -> dict[str, Any]:
    return {"steps": 4, "batch": 2} if method == "ugs" else {}


@every_family
def test_masked_runs_and_their_gradients_are_those_of_the_cpu(family: str) -> None:
    results = []
    for on in (on_cpu(family), there(family)):
        of = pairs().to(on.device)
        for mask in (random_mask(on, 0, torch.float32), random_circuit(on, 0.3, 1).mask.float()):
            leaf = mask.clone().requires_grad_()
            logits = masked_forward(on, of.clean, of.positions, leaf, corrupted_run(on, of))
            slope = torch.autograd.grad(logits.square().mean(), leaf)[0]
            results.append((logits.detach().cpu(), slope.cpu()))
    for (logits, slope), (expected, expected_slope) in zip(results[2:], results[:2], strict=True):
        assert distance(logits, expected) < NEAR
        assert distance(slope, expected_slope) < NEAR


@every_family
@pytest.mark.parametrize("method", [*ATTRIBUTIONS, "ugs"])
def test_scores_are_those_of_the_cpu_and_lie_there(family: str, method: str) -> None:
    found, expected = (
        ew.attribute(on, pairs(), method=method, **cheap(method)) for on in (there(family), on_cpu(family))
    )
    assert found.values.device.type == "cpu"
    assert distance(found.values, expected.values) < 10 * NEAR


@every_family
@pytest.mark.parametrize("how", ABLATIONS)
def test_evaluation_is_that_of_the_cpu(family: str, how: str) -> None:
    reports = [
        ew.evaluate(on, random_circuit(on, 0.5, 3), pairs(), metrics=["kl", "logit_diff"], ablation=how)
        for on in (there(family), on_cpu(family))
    ]
    for name in ("kl", "logit_diff"):
        found, expected = (torch.tensor(report[name].values) for report in reports)
        assert distance(found, expected) < 10 * NEAR


@pytest.mark.parametrize("family", ["toy", "gpt2", "llama", "neox-parallel", "gemma2"])
@pytest.mark.parametrize("metric", ["kl", "logit_diff"])
@pytest.mark.parametrize("method", ["acdc", "eap+acdc"])
def test_searches_decide_as_on_the_cpu(family: str, metric: str, method: str) -> None:
    """In float64, where rounding decides nothing."""
    found, expected = (
        ew.discover(on, pairs(), method=method, metric=metric, tau=0.01)
        for on in (there(family, torch.float64), on_cpu(family, torch.float64))
    )
    assert found == expected
    assert found.provenance["tested"] == expected.provenance["tested"]


@pytest.mark.parametrize("family", ["toy", "gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("method", ["edge-pruning", "hap", "subnetwork-probing"])
def test_gates_are_trained_and_a_killed_run_goes_on(family: str, method: str, tmp_path: Path) -> None:
    on, options = there(family), {"method": method, "steps": 8, "batch": 2}
    options |= {} if method == "subnetwork-probing" else {"edges": 30}

    def killed(steps: Any, total: int, label: str, detail: Any = None) -> Any:
        for number, step in enumerate(steps):
            if number == 1 and label == "training gates":
                raise KeyboardInterrupt
            yield step

    whole = ew.discover(on, pairs(), **options)
    assert len(whole) <= 30 or method == "subnetwork-probing"
    with pytest.raises(KeyboardInterrupt):
        ew.discover(on, pairs(), checkpoint=str(tmp_path / "state"), track=killed, **options)
    assert (tmp_path / "state").exists()
    assert ew.discover(on, pairs(), checkpoint=str(tmp_path / "state"), **options) == whole


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_nodes_and_neurons_too(family: str) -> None:
    found, expected = (ew.attribute_nodes(on, pairs()) for on in (there(family), on_cpu(family)))
    assert distance(found.values, expected.values) < 10 * NEAR
    circuit = found.neuron_scores.top(100)
    kept = [ew.evaluate(on, circuit, pairs(), metrics=["kl"])["kl"].circuit for on in (there(family), on_cpu(family))]
    assert kept[0] == pytest.approx(kept[1], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2"])
def test_bfloat16_ranks_edges_much_as_float32_does(family: str) -> None:
    half = subject_of(copy.deepcopy(on_cpu(family).model).to(DEVICE, torch.bfloat16))
    agreement = ew.attribute(half, pairs()).agreement(ew.attribute(on_cpu(family), pairs()))
    assert agreement["pearson"] > 0.97


# -- a model larger than one GPU --------------------------------------------------------------------------------------

two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are fewer than two GPUs")


@cache
def dispatched(family: str, dtype: torch.dtype = torch.float32, *, others: int | str = 1) -> Subject:
    """Its first layer on the first GPU, the others on the second, or where `others` says."""
    accelerate = pytest.importorskip("accelerate")
    model = make_model(CONFIGS[family](), dtype=dtype)
    layers = subject_of(model).family.blocks
    outer = layers.rpartition(".")[0]
    places: dict[str, int | str] = {name: 0 for name, _ in model.named_children() if name != outer}
    places |= {f"{outer}.{name}": 0 for name, _ in model.get_submodule(outer).named_children()}
    del places[layers]
    places |= {f"{layers}.{number}": others if number else 0 for number in range(len(model.get_submodule(layers)))}  # type: ignore[arg-type]
    accelerate.dispatch_model(model, places, main_device=0)
    return ew.load(model)


@two_gpus
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "neox-parallel"])
@pytest.mark.parametrize("method", [*ATTRIBUTIONS, "ugs"])
def test_scores_of_a_model_over_two_gpus_are_those_of_the_cpu(family: str, method: str) -> None:
    on = dispatched(family)
    assert [str(block.device) for block in on.blocks] == ["cuda:0", *["cuda:1"] * (len(on.blocks) - 1)]
    found, expected = (ew.attribute(where, pairs(), method=method, **cheap(method)) for where in (on, on_cpu(family)))
    assert distance(found.values, expected.values) < 10 * NEAR


@two_gpus
@pytest.mark.parametrize(
    ("family", "method", "options"),
    [
        ("gpt2", "acdc", {"tau": 0.01}),
        ("llama", "eap+acdc", {"tau": 0.01}),
        ("gemma2", "acdc", {"tau": 0.3}),
    ],
)
def test_searches_over_two_gpus_decide_as_on_the_cpu(family: str, method: str, options: dict[str, Any]) -> None:
    found, expected = (
        ew.discover(on, pairs(), method=method, **options)
        for on in (dispatched(family, torch.float64), on_cpu(family, torch.float64))
    )
    assert found == expected


@two_gpus
def test_gates_of_a_model_over_two_gpus_are_trained() -> None:
    found = ew.discover(dispatched("llama"), pairs(), method="edge-pruning", edges=30, steps=8, batch=2)
    assert len(found) <= 30


@two_gpus
def test_a_model_over_two_gpus_needs_hooks_that_move_things() -> None:
    model: Any = make_model(CONFIGS["llama"]()).to("cuda:0")
    model.model.layers[1].to("cuda:1")
    with pytest.raises(ew.EdgewiseError, match="nothing moves what they compute"):
        ew.load(model)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("method", ["eap", "eap-ig", "exact", "mask-ig"])
def test_layers_in_the_memory_of_the_cpu_change_no_scores(family: str, method: str) -> None:
    on = dispatched(family, others="cpu")
    assert {str(block.device) for block in on.blocks} == {"cuda:0"}
    found, expected = (ew.attribute(where, pairs(), method=method) for where in (on, on_cpu(family)))
    assert distance(found.values, expected.values) < 10 * NEAR


# -- memory -----------------------------------------------------------------------------------------------------------


def larger(family: str) -> tuple[Subject, Pairs]:
    """A model of some layers and 64 pairs of 64 tokens: enough that batches, not fixed costs, fill the memory."""
    from transformers import GPT2Config, LlamaConfig

    heads: dict[str, Any] = {"num_attention_heads": 8, "num_key_value_heads": 4, "num_hidden_layers": 8}
    sizes: dict[str, Any] = {"hidden_size": 512, "intermediate_size": 1024, "vocab_size": 4000}
    config = (
        GPT2Config(vocab_size=4000, n_embd=512, n_layer=8, n_head=8)
        if family == "gpt2"
        else LlamaConfig(**heads, **sizes)
    )
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = (torch.randint(1, 4000, (64, 64), generator=generator) for _ in range(2))
    answers = torch.arange(64)
    of = Pairs.from_tokens(clean, corrupted, correct=answers, wrong=answers + 1)
    return subject_of(make_model(config).to(DEVICE)), of


def peak(on: Subject, of: Pairs, **how: Any) -> int:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    ew.attribute(on, of, **how)
    return torch.cuda.max_memory_allocated()


def estimated(on: Subject, of: Pairs, method: str, size: int) -> int:
    """Bytes that so many pairs at once are estimated to take beyond the model."""
    request = Request(on, of, metric("logit_diff"), ablation("corrupted"), size, silent)
    return Rehearsals(ATTRIBUTIONS[method](), request).estimate(size, tiling_for(on.device)).peak


def in_float64(on: Subject, of: Pairs, **how: Any) -> Tensor:
    """The scores without the rounding of float32, by which those of other batch sizes may differ."""
    return ew.attribute(subject_of(copy.deepcopy(on.model).double()), of, batch_size=8, **how).values


def as_near(found: Tensor, other: Tensor, truth: Tensor) -> bool:
    """Whether scores are as near to the truth as others of the same precision: rounding in another order, nothing else."""
    return float((found - truth).norm()) < 2 * float((other - truth).norm())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
@pytest.mark.parametrize("method", ["eap", "eap-ig"])
def test_the_peak_is_within_the_estimate_and_the_limit(family: str, method: str) -> None:
    on, of = larger(family)
    ew.attribute(on, of[:2], method=method)  # libraries allocate on first use
    base = torch.cuda.memory_allocated()
    for size in (8, 32):
        taken = peak(on, of[:size], method=method, batch_size=size) - base
        assert 0.7 * estimated(on, of, method, size) < taken < 1.3 * estimated(on, of, method, size)
    limit = base + estimated(on, of, method, 16)
    whole = ew.attribute(on, of, method=method, batch_size=64)
    assert peak(on, of, method=method, batch_size=64) > limit
    assert peak(on, of, method=method, batch_size=64, memory_limit=limit) < limit
    limited = ew.attribute(on, of, method=method, memory_limit=limit)
    truth = in_float64(on, of, method=method)
    assert as_near(limited.values, whole.values, truth)
    assert distance(whole.values, truth) < 10 * NEAR


def test_a_batch_that_does_not_fit_is_halved_and_said_so() -> None:
    on, of = larger("llama")
    whole = ew.attribute(on, of, batch_size=4)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    try:
        torch.cuda.set_per_process_memory_fraction(
            (torch.cuda.memory_allocated() + estimated(on, of, "eap-ig", 16)) / total
        )
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            again = ew.attribute(on, of, batch_size=64)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any("not enough memory for a batch of 64" in str(one.message) for one in seen)
    assert again.provenance["fitting_batch_size"] < 64
    assert as_near(again.values, whole.values, in_float64(on, of))


# -- speed ------------------------------------------------------------------------------------------------------------


def test_rounded_products_rank_edges_as_exact_ones_do() -> None:
    on, of = larger("llama")
    rounded = ew.attribute(on, of, method="eap")
    with using_tiling(replace(tiling_for(on.device), products="float32")):
        exact = ew.attribute(on, of, method="eap")
    assert rounded.agreement(exact)["pearson"] > 0.9999
    assert torch.backends.cuda.matmul.fp32_precision != "tf32"


def test_the_table_of_large_models_is_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes two to three minutes; the figures are printed, and none is held to anything."""
    if torch.cuda.get_device_properties(0).total_memory < 70 << 30:
        pytest.skip("the largest model of the table needs 70 GiB")
    monkeypatch.setattr("benchmarks.setting.DEVICE", torch.device(DEVICE))
    monkeypatch.setattr("benchmarks.large.DEVICE", torch.device(DEVICE))
    for row in large.table(rounds=2):
        with capsys.disabled():
            print(*row, sep=" | ")
        assert float(row[1]) > 0


# -- what a user types ------------------------------------------------------------------------------------------------


def test_the_command_line_takes_a_device(tmp_path: Path) -> None:
    kept = []
    for device in ("cpu", DEVICE):
        out = tmp_path / device
        done = edgewise("discover", "--device", device, "--examples", "16", "--edges", "40", "--out", out, "--quiet")
        assert done.exit_code == 0, done.output
        found = ew.open(out / "circuit.json")
        assert isinstance(found, ew.Circuit)
        kept.append(found)
    assert kept[0].jaccard(kept[1]) > 0.9
