"""StarCoder2: Llama's layout with LayerNorm, biases everywhere, an MLP without a gate and windows."""

from dataclasses import replace

from edgewise.models.llama import LLAMA
from edgewise.models.norms import NormKind

STARCODER2 = replace(
    LLAMA, name="starcoder2", architectures=("Starcoder2ForCausalLM",), norm=NormKind.LAYER, handled={}
)
