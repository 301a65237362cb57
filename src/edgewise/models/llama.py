"""Llama, Mistral, Qwen2, Qwen3 and SmolLM3: separate projections, RMSNorm, rotary positions, grouped k and v.

Qwen3's norms of q and k act on each head alone, inside the native attention module, so heads stay independent. SmolLM3's
layers without rotary positions leave them out inside that module too.
"""

from dataclasses import replace

from edgewise.models.family import Family
from edgewise.models.norms import NormKind
from edgewise.models.projections import Separate

LLAMA = Family(
    name="llama",
    architectures=("LlamaForCausalLM",),
    blocks="model.layers",
    final_norm="model.norm",
    attention_norm="input_layernorm",
    attention="self_attn",
    mlp_norm="post_attention_layernorm",
    mlp="mlp",
    projections=Separate,
    projection_names=("q_proj", "k_proj", "v_proj"),
    output="o_proj",
    norm=NormKind.RMS,
)
MISTRAL = replace(LLAMA, name="mistral", architectures=("MistralForCausalLM",), handled={})
QWEN2 = replace(LLAMA, name="qwen2", architectures=("Qwen2ForCausalLM",), handled={})
QWEN3 = replace(LLAMA, name="qwen3", architectures=("Qwen3ForCausalLM",), handled={})
SMOLLM3 = replace(LLAMA, name="smollm3", architectures=("SmolLM3ForCausalLM",), handled={})
