"""GPT-NeoX and Pythia: q, k, v interleaved head by head, partial rotary positions, parallel attention and MLP."""

from edgewise.models.family import Family
from edgewise.models.norms import NormKind
from edgewise.models.projections import FusedHeads

NEOX = Family(
    name="gpt-neox",
    architectures=("GPTNeoXForCausalLM",),
    blocks="gpt_neox.layers",
    final_norm="gpt_neox.final_layer_norm",
    attention_norm="input_layernorm",
    attention="attention",
    mlp_norm="post_attention_layernorm",
    mlp="mlp",
    projections=FusedHeads,
    projection_names=("query_key_value",),
    output="dense",
    norm=NormKind.LAYER,
    parallel="use_parallel_residual",
    native=("is_decoder",),
)
