"""Gemma-3: Gemma-2's block, with norms of q and k on each head alone, and other angles in layers with a window.

Norms after attention and MLP mean what they mean in Gemma-2: a head's write is its share of the normed sum. Of checkpoints
that read images too the text tower is taken, run on text alone, so that no token looks ahead as those of an image do.
"""

from dataclasses import replace

from edgewise.models.gemma2 import GEMMA2

GEMMA3 = replace(GEMMA2, name="gemma3", architectures=("Gemma3ForCausalLM",))
# This class puts no cap on its logits, whatever the config of its text tower says.
GEMMA3_TOWER = replace(
    GEMMA3,
    name="gemma3-tower",
    architectures=("Gemma3ForConditionalGeneration",),
    blocks="model.language_model.layers",
    final_norm="model.language_model.norm",
    logit_cap="",
    part="text tower",
    # About images alone, whose tower and marks have no part in a run on text.
    native=("mm_tokens_per_image", "image_token_index", "boi_token_index", "eoi_token_index"),
)
