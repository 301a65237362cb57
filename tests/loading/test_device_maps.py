"""Models spread by a device map: refused before anything is loaded where the map makes no sense, else as on one device."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command_line import SMALL, edgewise, make_model, refused

import edgewise as ew
from edgewise.errors import InvalidValue, UnsupportedModel
from edgewise.models.placement import is_away
from edgewise.runs.recipe import Recipe

pytest.importorskip("accelerate")
# Half of a GPT-2 with two layers; the rest stays on the disk until it is called.
HALF: dict[str, int | str] = {"transformer.wte": "cpu", "transformer.wpe": "cpu", "transformer.ln_f": "cpu"}
HALF |= {"lm_head": "cpu", "transformer.h.0": "cpu", "transformer.h.1": "disk"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("spread") / "model")


def test_a_spread_model_is_the_same_model(model: Path) -> None:
    spread, plain = ew.load(model, device_map=HALF), ew.load(model, device="cpu")
    assert [is_away(block.output) for block in spread.blocks] == [False, True]
    assert spread.identity == plain.identity
    pairs = ew.task("ioi").pairs(plain.tokenizer, n=4)
    scores = [ew.attribute(on, pairs).values for on in (spread, plain)]
    torch.testing.assert_close(*scores, rtol=0, atol=1e-6)
    again = pickle.loads(pickle.dumps(spread))  # noqa: S301  what a worker is sent
    assert [is_away(block.output) for block in again.blocks] == [False, True]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_a_map_and_a_dtype(model: Path, dtype: str) -> None:
    assert ew.load(model, device_map=HALF, dtype=dtype).identity == ew.load(model, device="cpu", dtype=dtype).identity


@pytest.mark.parametrize(
    ("device_map", "message"),
    [
        ("atuo", "device_map='atuo' is not usable: write auto, balanced, .*there is no such device"),
        ("meta", "nothing lies there"),
        ({}, "device_map={} is not usable: write auto"),
        (3, "device_map must be text or a mapping or none, not 3"),
        ({1: "cpu"}, "parts are named as in the model"),
        ({"": 99}, r"device_map\[''\]=99 is not usable: there are \d+ accelerators here"),
        ({"": True}, "is not usable"),
        ({"transformer.h": "cpu"}, "says nothing of transformer.wte.weight"),
        ({"": "cpu", "decoder": "disk"}, "does not fit the model: .*'decoder'"),
    ],
)
def test_maps_that_make_no_sense_are_refused(model: Path, device_map: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        ew.load(model, device_map=device_map)


def test_a_map_is_no_use_beside_a_device_or_for_what_is_there(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidValue, match="not both"):
        ew.load(model, device="cpu", device_map="auto")
    with pytest.raises(InvalidValue, match="dispatch the loaded model yourself"):
        ew.load(ew.load("nano").model, device_map="auto")
    with pytest.raises(InvalidValue, match="leave device_map out"):
        ew.load("reverse", device_map="auto")
    monkeypatch.setattr("edgewise.loading.device_maps.find_spec", lambda name: None)
    with pytest.raises(InvalidValue, match=r"pip install \"edgewise\[split\]\""):
        ew.load(model, device_map="auto")


def test_an_adapter_is_not_put_on_what_is_away(model: Path) -> None:
    pytest.importorskip("peft")
    with pytest.raises(UnsupportedModel, match="cannot be put on a model of which parts are kept in memory or on disk"):
        ew.load(model, adapter="adapter", device_map=HALF)


def test_a_run_keeps_its_map(model: Path, tmp_path: Path) -> None:
    told = ("discover", "--model", model, *SMALL, "--quiet", "--curve", "0")
    for name, more in (("plain", ("--device", "cpu")), ("spread", ("--device-map", json.dumps(HALF)))):
        assert (done := edgewise(*told, *more, "--out", tmp_path / name)).exit_code == 0, done.output
    assert ew.open(tmp_path / "spread" / "circuit.json") == ew.open(tmp_path / "plain" / "circuit.json")
    recipe = Recipe.read(tmp_path / "spread" / "recipe.json")
    assert (recipe.device, recipe.device_map) == (None, HALF)
    assert edgewise("evaluate", tmp_path / "spread", "--quiet").exit_code == 0
    assert edgewise("evaluate", tmp_path / "spread", "--quiet", "--device", "cpu").exit_code == 0
    assert recipe.with_changes(device="cpu").device_map is None
    assert Recipe.of(device="cpu").with_changes(device_map="auto").device is None


def test_mistakes_on_the_command_line(model: Path) -> None:
    told = ("discover", "--model", model, *SMALL)
    refused(edgewise(*told, "--device-map", "auto", "--device", "cpu"), message="not both")
    refused(edgewise(*told, "--device-map", "{'': 0}"), message="is no JSON object")
    refused(edgewise(*told, "--device-map", "automatic"), message="there is no such device")
    refused(edgewise(*told, "--device-map", '{"": [1]}'), message="device_map")
