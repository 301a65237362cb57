"""Gemma, the first: Llama's layout with a gain of 1 + weight in the norms. The embedding scales itself."""

from dataclasses import replace

from edgewise.models.llama import LLAMA
from edgewise.models.norms import NormKind

GEMMA = replace(
    LLAMA,
    name="gemma",
    architectures=("GemmaForCausalLM",),
    norm=NormKind.RMS_PLUS_ONE,
    handled={"use_bidirectional_attention": (None, False)},
)
