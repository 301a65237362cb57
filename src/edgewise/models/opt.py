"""OPT: norms before, learnt positions, and a layer that calls the two maps of its MLP itself, on all tokens in one row.

The smallest of the family with norms behind (350m) also has embeddings of another width: it is refused.
"""

from edgewise.models.family import Family
from edgewise.models.norms import NormKind
from edgewise.models.projections import Separate

OPT = Family(
    name="opt",
    architectures=("OPTForCausalLM",),
    blocks="model.decoder.layers",
    final_norm="model.decoder.final_layer_norm",
    attention_norm="self_attn_layer_norm",
    attention="self_attn",
    mlp_norm="final_layer_norm",
    mlp=("fc1", "activation_fn", "fc2"),
    projections=Separate,
    projection_names=("q_proj", "k_proj", "v_proj"),
    output="out_proj",
    norm=NormKind.LAYER,
    counts=("num_heads",),
    handled={"do_layer_norm_before": (True,), "_remove_final_layer_norm": (False,)},
    native=("layer_norm_elementwise_affine",),
    equal={"word_embed_proj_dim": "hidden_size"},
)
