"""Models that accelerate has dispatched: weights that are kept elsewhere, and brought for each call, change nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from support.families import CONFIGS, corrupted_run, distance, make_model, pairs, subject
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

import edgewise as ew
from edgewise.attribution import ATTRIBUTIONS
from edgewise.engine.forward import masked_forward
from edgewise.engine.gradients import GradientSink, live_run
from edgewise.errors import UnsupportedModel
from edgewise.models import Subject
from edgewise.models.placement import check_placement, is_away

accelerate = pytest.importorskip("accelerate")
CPU = torch.device("cpu")


def in_memory(family: str) -> Any:
    """A model whose weights are all kept in memory, away from the device that computes, which is the CPU too."""
    model = make_model(CONFIGS[family]())
    accelerate.cpu_offload(model, execution_device=CPU)
    return model


@cache
def dispatched(family: str) -> Subject:
    return ew.load(in_memory(family))


def test_weights_are_away_and_come_back_as_they_were() -> None:
    model = make_model(CONFIGS["llama"]()).train()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.get_submodule("model.layers.0.mlp.up_proj").weight.requires_grad_(False)  # type: ignore[union-attr, operator]
    plain = ew.load(copy.deepcopy(model))
    accelerate.cpu_offload(model, execution_device=CPU)
    before = {name: (x.device, x.requires_grad) for name, x in model.named_parameters()}
    on = ew.load(model)
    assert is_away(on.blocks[0].output)
    assert on.device == CPU
    assert on.identity == plain.identity
    ew.attribute(on, pairs())
    assert {name: (x.device, x.requires_grad) for name, x in model.named_parameters()} == before
    assert all(parameter.is_meta for parameter in model.parameters())
    assert model.training


@pytest.mark.parametrize(
    ("family", "method"),
    [("llama", name) for name in ATTRIBUTIONS if name not in ("exact", "ugs")]
    + [("gpt2", "exact"), ("gpt2", "eap-ig"), ("gemma2", "eap-ig"), ("olmo2", "mask-ig")],
)
def test_scores_are_those_of_the_plain_model(family: str, method: str) -> None:
    found, expected = (ew.attribute(on, pairs(), method=method).values for on in (dispatched(family), subject(family)))
    assert distance(found, expected) < 1e-6


@pytest.mark.parametrize(
    ("family", "method", "options"),
    [
        ("gpt2", "acdc", {"tau": 0.1}),
        ("llama", "eap+acdc", {"tau": 0.1, "ablation": "zero"}),
        ("gpt2", "subnetwork-probing", {"steps": 3, "batch": 2}),
    ],
)
def test_searches_find_what_they_find_in_the_plain_model(family: str, method: str, options: dict[str, Any]) -> None:
    found, expected = (
        ew.discover(on, pairs(), method=method, **options) for on in (dispatched(family), subject(family))
    )
    assert found == expected


@pytest.mark.parametrize("family", ["llama", "olmo2", "phi3"])
def test_keys_and_values_can_be_ungrouped(family: str) -> None:
    models = (in_memory(family), make_model(CONFIGS[family]()))
    found, expected = (ew.attribute(ew.load(model, kv="ungrouped"), pairs()).values for model in models)
    assert distance(found, expected) < 1e-6
    assert all(parameter.is_meta for parameter in models[0].parameters())


def test_layers_on_disk(tmp_path: Path) -> None:
    model = make_model(CONFIGS["llama"]())
    places = {"model.embed_tokens": "cpu", "model.rotary_emb": "cpu", "model.norm": "cpu", "lm_head": "disk"}
    places |= {f"model.layers.{number}": "disk" if number else "cpu" for number in range(3)}
    accelerate.dispatch_model(model, places, main_device="cpu", offload_dir=tmp_path, force_hooks=True)
    on = ew.load(model)
    assert [is_away(block.output) for block in on.blocks] == [False, True, True]
    assert distance(ew.attribute(on, pairs()).values, ew.attribute(subject("llama"), pairs()).values) < 1e-6
    assert on.identity["weights"] == subject("llama").identity["weights"]


class Fetched(Mapping[str, Tensor]):
    """What is fetched of weights that are kept elsewhere, each time a copy."""

    def __init__(self, kept: Mapping[str, Tensor]) -> None:
        self.kept, self.copies = kept, list[StorageWeakRef]()

    def __getitem__(self, name: str) -> Tensor:
        copied = self.kept[name].clone()
        self.copies.append(StorageWeakRef(copied.untyped_storage()))
        return copied

    def __iter__(self) -> Iterator[str]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def held(self) -> int:
        return sum(not copy.expired() for copy in self.copies)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_no_graph_holds_weights_that_are_brought(family: str) -> None:
    model = in_memory(family)
    on, maps = ew.load(model), []
    for module in on.blocks[1].module.modules():
        if (hook := module.__dict__.get("_hf_hook")) is not None and hook.offload:
            hook.weights_map = Fetched(hook.weights_map)
            maps.append(hook.weights_map)
    of = pairs()
    with live_run(on, of.clean, of.positions, lambda logits: logits.square().sum()) as run:
        assert all(some.copies for some in maps)
        assert not any(some.held for some in maps)
        before = sum(len(some.copies) for some in maps)
        run.last_gradients(GradientSink())
        assert sum(len(some.copies) for some in maps) > before
    mask = on.graph.edge_mask.float().requires_grad_()
    logits = masked_forward(on, of.clean, of.positions, mask, corrupted_run(on, of))
    assert not any(some.held for some in maps)
    slope = torch.autograd.grad(logits.square().sum(), mask)[0]
    plain = subject(family)
    again = mask.detach().requires_grad_()
    expected = masked_forward(plain, of.clean, of.positions, again, corrupted_run(plain, of))
    assert distance(slope, torch.autograd.grad(expected.square().sum(), again)[0]) < 1e-6


def test_weights_that_nothing_brings_are_refused() -> None:
    with torch.device("meta"):
        empty = make_model(CONFIGS["gpt2"]())
    with pytest.raises(UnsupportedModel, match=r"hold nothing.*wte.*device_map"):
        ew.load(empty)
    outer = make_model(CONFIGS["gpt2"]())
    hook = accelerate.hooks.AlignDevicesHook(CPU, offload=True, place_submodules=True)
    accelerate.hooks.add_hook_to_module(outer.get_submodule("transformer.h.1"), hook)
    with pytest.raises(UnsupportedModel, match="no hook of their own"):
        ew.load(outer)


def test_a_layer_that_is_split_is_refused() -> None:
    layer = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    accelerate.hooks.add_hook_to_module(layer[1], accelerate.hooks.AlignDevicesHook())
    layer[1]._hf_hook.execution_device = "cuda:1"  # type: ignore[union-attr]
    with pytest.raises(UnsupportedModel, match=r"layer 0 .* split over cpu, cuda:1; give each layer one device"):
        check_placement(layer, [layer])
