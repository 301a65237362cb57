"""Phi-3, 3.5 and 4: Llama's block with q, k and v in one projection, gate and up in another, and perhaps a window."""

from dataclasses import replace

from edgewise.models.llama import LLAMA
from edgewise.models.projections import FusedUneven

PHI3 = replace(
    LLAMA,
    name="phi3",
    architectures=("Phi3ForCausalLM",),
    projections=FusedUneven,
    projection_names=("qkv_proj",),
    handled={},
)
