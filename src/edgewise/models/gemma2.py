"""Gemma-2: norms also after attention and MLP, soft-capped scores and logits, alternating windows, grouped k and v.

The norm after attention acts on the sum of the heads. A head's write is its share of the normed sum: its own output times
the gain, times the scale that the sum of that run has at that token. The MLP's write is the normed MLP output.
"""

from edgewise.models.family import Family
from edgewise.models.norms import NormKind
from edgewise.models.projections import Separate

GEMMA2 = Family(
    name="gemma2",
    architectures=("Gemma2ForCausalLM",),
    blocks="model.layers",
    final_norm="model.norm",
    attention_norm="input_layernorm",
    attention="self_attn",
    attention_post="post_attention_layernorm",
    mlp_norm="pre_feedforward_layernorm",
    mlp="mlp",
    mlp_post="post_feedforward_layernorm",
    projections=Separate,
    projection_names=("q_proj", "k_proj", "v_proj"),
    output="o_proj",
    norm=NormKind.RMS_PLUS_ONE,
    logit_cap="final_logit_softcapping",
    exact="a head's write is its share of the normed sum",
    # A bias inside the post-normed sum would be a share that belongs to no head and changes with every token.
    handled={"attention_bias": (False,), "use_bidirectional_attention": (None, False)},
)
