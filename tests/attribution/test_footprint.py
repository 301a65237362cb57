"""The estimate of memory: against what a process of its own takes at its peak; and batches that keep to a limit."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from support.families import distance, pairs, subject

import edgewise as ew
from edgewise.attribution import ATTRIBUTIONS
from edgewise.attribution.memory import MemoryEstimate, MemoryNeed, fitting_size, memory_size
from edgewise.errors import InvalidValue
from edgewise.models import FAMILIES, Subject
from edgewise.runs.recipe import Recipe
from edgewise.runs.run import prepare, run

LIMITED = [name for name, method in ATTRIBUTIONS.items() if method().memory_need(subject("gpt2")) is not None]
STATUS = Path("/proc/self/status")


# -- the estimate -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not STATUS.exists(), reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(
    ("family", "attention", "method"),
    [
        ("gpt2", "sdpa", "eap"),
        ("llama", "eager", "eap"),
        ("llama", "sdpa", "eap-ig"),
        ("llama", "sdpa", "atp-graddrop"),
    ],
)
def test_the_measured_peak_is_within_the_estimate_and_not_less_than_half_of_it(
    family: str, attention: str, method: str
) -> None:
    command = [sys.executable, __file__, family, attention, method]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=paths)
    measured, estimated = map(int, done.stdout.split())
    assert 0.5 * estimated < measured < estimated


def measure(family: str, attention: str, method: str) -> tuple[int, int]:
    """What scoring one batch of 16 × 64 tokens takes beyond the model at its peak, and what was estimated, in bytes."""
    on = Subject(_shape(family, attention), None, FAMILIES[family], family)
    ew.attribute(on, _pairs(1, 4), method=method)  # whatever is loaded at the first call
    of = _pairs(16, 64)
    held = ATTRIBUTIONS[method]().memory_need(on)
    assert held is not None
    estimate = MemoryEstimate.of(on, of, held)
    gc.collect()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _kilobytes("VmRSS:")
    ew.attribute(on, of, method=method, batch_size=16)
    return (_kilobytes("VmHWM:") - before) * 1024, estimate.peak(16) - estimate.base


def _kilobytes(what: str) -> int:
    return int(STATUS.read_text().partition(what)[2].split()[0])


def _shape(family: str, attention: str) -> torch.nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    if family == "gpt2":
        return GPT2LMHeadModel(GPT2Config(n_layer=6, n_embd=512, n_head=8, vocab_size=5000)).eval()
    shape = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 6, "vocab_size": 5000}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**shape, **heads, attn_implementation=attention)).eval()


def _pairs(examples: int, tokens: int) -> ew.Pairs:
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = torch.randint(1, 5000, (2, examples, tokens), generator=generator)
    return ew.Pairs.from_tokens(clean, corrupted, correct=clean[:, 0], wrong=corrupted[:, 0])


def test_it_grows_with_the_batch_and_with_what_is_held() -> None:
    on, of = subject("llama"), pairs()
    little, much = (MemoryEstimate.of(on, of, held) for held in (MemoryNeed(), MemoryNeed(writes=3, slopes=6)))
    assert little.each < much.each
    assert little.peak(3) - little.peak(2) == little.each + little.piece
    assert little.base >= sum(parameter.nbytes for parameter in on.model.parameters())


# -- batches ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the process took no memory but for batches."""
    monkeypatch.setattr("edgewise.attribution.memory._taken", lambda subject: 0)


def limit_for(method: str, examples: int) -> int:
    held = ATTRIBUTIONS[method]().memory_need(subject("gpt2"))
    assert held is not None
    return MemoryEstimate.of(subject("gpt2"), pairs(), held).peak(examples)


@pytest.mark.parametrize("method", LIMITED)
@pytest.mark.usefixtures("nothing_taken")
def test_scores_are_those_without_a_limit(method: str) -> None:
    on, of = subject("gpt2"), pairs()
    free = ew.attribute(on, of, method=method)
    limited = ew.attribute(on, of, method=method, memory_limit=limit_for(method, 2))
    assert "fitting_batch_size" not in free.provenance
    assert (limited.provenance["batch_size"], limited.provenance["fitting_batch_size"]) == (8, 2)
    assert limited.provenance["options"] == free.provenance["options"]
    assert distance(limited.values, free.values) < 1e-5


@pytest.mark.usefixtures("nothing_taken")
def test_batches_are_halved_until_they_fit() -> None:
    on, of, held = subject("gpt2"), pairs(), MemoryNeed()
    each = MemoryEstimate.of(on, of, held)
    sizes = [fitting_size(on, of, held, 8, each.peak(examples)) for examples in (5, 4, 2, 1)]
    assert sizes == [8, 2, 2, 1]  # 5 pairs are one batch of 8; else 5, 2 or 1 at a time
    nodes = ew.attribute_nodes(on, of, method="eap", memory_limit=each.peak(1))
    assert nodes.provenance["fitting_batch_size"] == 1


@pytest.mark.usefixtures("nothing_taken")
def test_a_limit_below_a_single_pair_says_what_would_do() -> None:
    with pytest.raises(
        InvalidValue, match=r"limit of 1MB is too small: 0MB are in use .* give at least \d+MB$"
    ) as error:
        ew.attribute(subject("gpt2"), pairs(), memory_limit="1KB")
    least = str(error.value).rpartition(" ")[2]
    ew.attribute(subject("gpt2"), pairs(), memory_limit=least)


def test_what_the_process_has_taken_counts() -> None:
    on = subject("gpt2")
    with pytest.raises(InvalidValue, match="are in use before scoring begins"):
        ew.attribute(on, pairs(), memory_limit=limit_for("eap", 1) // 2)
    assert "fitting_batch_size" not in ew.attribute(on, pairs(), memory_limit="1TB").provenance


@pytest.mark.parametrize("size", ["", "GB", "2 gigs", "-1GB", "0", 0])
def test_sizes_that_are_none(size: str | int) -> None:
    with pytest.raises(InvalidValue, match="write a number and a unit, as in 2GB"):
        memory_size(size)


@pytest.mark.parametrize("method", ["exact", "mask-ig", "acdc", "edge-pruning"])
def test_methods_without_an_estimate_refuse_a_limit(method: str) -> None:
    with pytest.raises(InvalidValue, match=f"the memory that {method} needs cannot be estimated"):
        ew.discover(subject("gpt2"), pairs(), method=method, memory_limit="2GB")


def test_recipes_have_a_limit_and_refuse_a_bad_one_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="write a number and a unit"):
        prepare(Recipe.of(memory_limit="lots"))
    with pytest.raises(InvalidValue, match="the memory that acdc needs cannot be estimated"):
        prepare(Recipe.of(method="acdc", memory_limit="2GB"))
    recipe = Recipe.of(examples=4, curve=0, memory_limit="1TB")
    assert torch.equal(run(recipe).circuit.mask, run(recipe.with_changes(memory_limit=None)).circuit.mask)
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    assert Recipe.read(tmp_path / "recipe.json") == recipe


if __name__ == "__main__":
    sys.stdout.write("{} {}".format(*measure(*sys.argv[1:])))
