"""Granite: Llama's layout with constants: on the embedding, on attention scores, on all that layers write, and on logits."""

from dataclasses import replace

from edgewise.models.llama import LLAMA

GRANITE = replace(
    LLAMA,
    name="granite",
    architectures=("GraniteForCausalLM",),
    handled={},
    multiplier="residual_multiplier",
    logit_divisor="logits_scaling",
)
