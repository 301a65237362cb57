"""Find, check, draw and save the circuit of indirect object identification in the embedded model."""

import edgewise as ew

subject = ew.load("nano")
pairs = ew.task("ioi").pairs(subject.tokenizer, n=64, seed=0)
unseen = ew.task("ioi").pairs(subject.tokenizer, n=128, apart_from=pairs)
scores = ew.attribute(subject, pairs, method="eap-ig", metric="logit_diff")
circuit = scores.top(48).without_dangling()
report = ew.evaluate(subject, circuit, unseen, metrics=["logit_diff", "kl", "accuracy"])
print(circuit)
print(report)
agreement = scores.agreement(ew.attribute(subject, pairs, method="exact"))
print({name: round(value, 3) for name, value in agreement.items()})
ew.save(circuit, "ioi.json")
ew.show(circuit, "ioi.svg", scores=scores)
