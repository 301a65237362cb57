"""Where heads attend, as a page keeps it: what `look` says, in bytes, and no more than a page can hold."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from support.families import pairs, random_circuit, subject

import edgewise as ew
from edgewise.errors import FileError, GraphMismatch
from edgewise.evaluation import attention_patterns
from edgewise.evaluation.attention_patterns import attention_of
from edgewise.formats.reading import attention_json, find
from edgewise.graph import Graph
from edgewise.viewer import Finding, page
from edgewise.viewer.document import AttentionEntry


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_page_keeps_what_look_says(family: str) -> None:
    on, of = subject(family), pairs()
    circuit = random_circuit(on, 0.4, 1)
    kept, seen = attention_of(on, circuit, of), ew.look(on, circuit, of, prompts=3)
    assert kept is not None
    assert list(kept.heads) == [one.node for one in seen.nodes if one.patterns]
    for head, texts in kept.heads.items():
        for text, prompt, pattern in zip(texts, kept.prompts, seen[head].patterns, strict=True):
            assert (tuple(prompt.tokens), prompt.answer) == (pattern.tokens, pattern.answer)
            wanted = [255 * weight for row, weights in enumerate(pattern.weights) for weight in weights[: row + 1]]
            assert list(base64.b64decode(text)) == pytest.approx(wanted, abs=0.6)


def test_only_heads_and_prompts_that_a_page_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    on, of = subject("gpt2"), pairs()
    circuit = random_circuit(on, 0.4, 1)
    everything = attention_of(on, circuit, of)
    assert everything is not None
    weights = sum(len(prompt.tokens) * (len(prompt.tokens) + 1) // 2 for prompt in everything.prompts)
    monkeypatch.setattr(attention_patterns, "MOST_WEIGHTS", 2 * weights)
    two = attention_of(on, circuit, of)
    assert two is not None
    writes = circuit.without_dangling().mask.sum(dim=1).tolist()
    counts = {head: writes[on.graph.writer_index[head]] for head in everything.heads}
    assert sorted(counts[head] for head in two.heads) == sorted(counts.values())[-2:]
    monkeypatch.setattr(attention_patterns, "LONGEST", 1)
    assert attention_of(on, circuit, of) is None


def test_a_circuit_without_heads_has_nothing_to_show() -> None:
    on = subject("gpt2")
    assert attention_of(on, ew.Circuit.from_edges(on.graph, ["input->logits"]), pairs()) is None


def test_a_run_folder_gives_it_back(tmp_path: Path) -> None:
    on = subject("gpt2")
    circuit = random_circuit(on, 0.4, 1)
    kept = attention_of(on, circuit, pairs())
    assert kept is not None
    ew.save(circuit, tmp_path / "circuit.json")
    (tmp_path / "attention.json").write_text(attention_json(kept))
    assert find(tmp_path).attention == kept
    (tmp_path / "attention.json").write_text(attention_json(kept).replace('"answer": ', '"answer": 99'))
    with pytest.raises(FileError, match="its answer is read after its end"):
        find(tmp_path)


def test_weights_of_other_heads_or_prompts_are_refused() -> None:
    prompts = [{"tokens": ["a", "b"], "answer": 1}]
    for heads in ({"m0": ["/zPM"]}, {"a0.h0": ["/zM="]}, {"a0.h0": []}, {"a0.h0": ["?"]}):
        with pytest.raises(ValueError, match="are not"):
            AttentionEntry.model_validate({"prompts": prompts, "heads": heads})
    far = AttentionEntry.model_validate({"prompts": prompts, "heads": {"a7.h0": ["/zPM"]}})
    with pytest.raises(GraphMismatch, match=r"a7\.h0 is no head"):
        page(Finding(ew.Circuit.from_edges(Graph(1, 2, 2), ["input->logits"]), attention=far))
