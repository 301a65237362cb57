"""GPT-J and Phi (1, 1.5, 2): attention and MLP in parallel behind one norm, a bias on the unembedding.

Phi's optional norms of queries and keys have one set of weights for all heads and act on each alone, inside the native
attention.
"""

from edgewise.models.family import Family
from edgewise.models.norms import NormKind
from edgewise.models.projections import Counted, Separate

GPT_J = Family(
    name="gpt-j",
    architectures=("GPTJForCausalLM",),
    blocks="transformer.h",
    final_norm="transformer.ln_f",
    attention_norm="ln_1",
    attention="attn",
    mlp_norm="ln_1",
    mlp="mlp",
    projections=Counted,
    projection_names=("q_proj", "k_proj", "v_proj"),
    output="out_proj",
    norm=NormKind.LAYER,
    parallel=True,
)
PHI = Family(
    name="phi",
    architectures=("PhiForCausalLM",),
    blocks="model.layers",
    final_norm="model.final_layernorm",
    attention_norm="input_layernorm",
    attention="self_attn",
    mlp_norm="input_layernorm",
    mlp="mlp",
    projections=Separate,
    projection_names=("q_proj", "k_proj", "v_proj"),
    output="dense",
    norm=NormKind.LAYER,
    parallel=True,
)
