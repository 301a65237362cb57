"""GPT-2: fused q, k, v in a Conv1D, LayerNorm with bias, learnt positions."""

from edgewise.models.family import Family
from edgewise.models.norms import NormKind
from edgewise.models.projections import FusedBlocks

GPT2 = Family(
    name="gpt2",
    architectures=("GPT2LMHeadModel",),
    blocks="transformer.h",
    final_norm="transformer.ln_f",
    attention_norm="ln_1",
    attention="attn",
    mlp_norm="ln_2",
    mlp="mlp",
    projections=FusedBlocks,
    projection_names=("c_attn",),
    output="c_proj",
    norm=NormKind.LAYER,
    counts=("split_size",),
    # Scaling by layer and upcasting happen inside the native attention module, so both values are handled.
    handled={"add_cross_attention": (False,)},
)
