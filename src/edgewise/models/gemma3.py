"""Gemma-3: Gemma-2's block, with norms of q and k on each head alone, and other angles in layers with a window.

Norms after attention and MLP mean what they mean in Gemma-2: a head's write is its share of the normed sum.
"""

from dataclasses import replace

from edgewise.models.gemma2 import GEMMA2

GEMMA3 = replace(GEMMA2, name="gemma3", architectures=("Gemma3ForCausalLM",))
