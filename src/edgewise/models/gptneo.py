"""GPT-Neo (TinyStories too): layers in turn with a window and without, scores that are not scaled, learnt positions.

Windows are masks inside the native attention, and only the output projection of attention has a bias.
"""

from edgewise.models.family import Family
from edgewise.models.norms import NormKind
from edgewise.models.projections import Counted

GPT_NEO = Family(
    name="gpt-neo",
    architectures=("GPTNeoForCausalLM",),
    blocks="transformer.h",
    final_norm="transformer.ln_f",
    attention_norm="ln_1",
    attention="attn.attention",
    mlp_norm="ln_2",
    mlp="mlp",
    projections=Counted,
    projection_names=("q_proj", "k_proj", "v_proj"),
    output="out_proj",
    norm=NormKind.LAYER,
)
