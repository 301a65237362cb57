"""Circuits of nodes and of neurons beside one of edges, at MIB's sizes, in the embedded model."""

import edgewise as ew
from edgewise.evaluation import benchmark

subject = ew.load("nano")
pairs = ew.task("ioi").pairs(subject.tokenizer, n=32, seed=0)
nodes = ew.attribute_nodes(subject, pairs, method="eap-ig")
neurons = nodes.neuron_scores
circuit = neurons.top(len(neurons) // 2).without_dangling()
print(circuit)
print(ew.evaluate(subject, circuit, pairs, metrics=["logit_diff", "kl"]))
for scores in (ew.attribute(subject, pairs, method="eap-ig"), nodes, neurons):
    print(benchmark(subject, scores, pairs))
ew.save(circuit, "neurons.json")
ew.save(nodes, "nodes.safetensors")
