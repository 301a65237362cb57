"""Mixtral and Qwen3-MoE: Mistral's and Qwen3's layouts with a mixture of experts in the place of the MLP.

The whole block is one writer, and its router is live: it chooses experts for what the MLP is given, masked or not. Where the
choice flips, what the model computes jumps, and no gradient sees that.
"""

from dataclasses import replace

from edgewise.models.llama import MISTRAL, QWEN3

MIXTRAL = replace(
    MISTRAL,
    name="mixtral",
    architectures=("MixtralForCausalLM",),
    exact="exact per head; a mixture of experts is one MLP",
)
QWEN3_MOE = replace(
    QWEN3,
    name="qwen3-moe",
    architectures=("Qwen3MoeForCausalLM",),
    exact="exact per head; a mixture of experts is one MLP",
)
