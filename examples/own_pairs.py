"""Your own prompts, your own model: pairs from text or from token ids, and a metric that needs no wrong answer."""

import torch

import edgewise as ew

subject = ew.load("nano")  # a hub id, a folder, or load(model, tokenizer=...) for a model at hand

clean = ew.task("induction").pairs(subject.tokenizer, n=16)
pairs = ew.Pairs.from_tokens(clean.clean, clean.corrupted, correct=clean.correct, positions=clean.positions)

scores = ew.attribute(subject, pairs, method="eap-ig", metric="nll")
for edges in (10, 20, 40, 80):
    circuit = scores.top(edges).without_dangling()
    kept = ew.evaluate(subject, circuit, pairs, metrics=["nll"], random=None)["nll"]
    print(f"{len(circuit):3d} edges keep {kept.faithfulness:7.1%} of the answer's log-likelihood")

strongest = torch.topk(scores.values.abs().max(dim=1).values, 3).indices
print("strongest writers:", ", ".join(scores.graph.writers[i] for i in strongest.tolist()))
