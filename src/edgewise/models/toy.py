"""A tiny transformer with or without norms and MLPs, for weights set by hand and numbers checked by eye.

Its modules are laid out like Llama's, so that the engine meets nothing special: separate q, k, v projections, an output
projection, and `nn.Identity` in the place of the norms where there are none. Token and position embeddings are added; with
`separate_inputs` they are two writers.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, final

import torch
from torch import Tensor, nn

from edgewise.models.family import Family
from edgewise.models.norms import NormKind
from edgewise.models.projections import Separate


@final
@dataclass(frozen=True)
class ToyConfig:
    """Shape of a toy transformer. `activation` is the MLP's: "gelu", "relu" or "linear"."""

    vocab_size: int = 16
    hidden_size: int = 8
    num_hidden_layers: int = 2
    num_attention_heads: int = 2
    num_key_value_heads: int = 2
    head_dim: int = 4
    intermediate_size: int = 16
    n_positions: int = 16
    norms: bool = True
    mlps: bool = True
    causal: bool = True
    activation: str = "gelu"
    uniform_attention: bool = False
    separate_inputs: bool = False
    model_type: str = "edgewise-toy"

    def to_dict(self) -> dict[str, Any]:
        """The config as plain values."""
        return dict(vars(self))


@final
class ToyAttention(nn.Module):
    """Multi-head attention; with `uniform_attention` every token attends evenly, which makes the model linear."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        width, kv = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=False)
        self.k_proj = nn.Linear(config.hidden_size, kv, bias=False)
        self.v_proj = nn.Linear(config.hidden_size, kv, bias=False)
        self.o_proj = nn.Linear(width, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        q, k, v = (
            p(hidden_states).unflatten(-1, (-1, self.config.head_dim)) for p in (self.q_proj, self.k_proj, self.v_proj)
        )
        group = q.shape[2] // k.shape[2]
        k, v = (x.repeat_interleave(group, dim=2) for x in (k, v))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / self.config.head_dim**0.5
        if self.config.uniform_attention:
            scores = scores * 0
        if self.config.causal:
            future = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(future, -torch.inf)
        mixed = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(dim=-1), v)
        return self.o_proj(mixed.flatten(-2))


@final
class ToyBlock(nn.Module):
    """Attention and, unless the model has none, an MLP, each behind its norm."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.attention_norm, self.attention = _norm(config), ToyAttention(config)
        if config.mlps:
            self.mlp_norm = _norm(config)
            act = {"gelu": nn.GELU, "relu": nn.ReLU, "linear": nn.Identity}[config.activation]()
            width = config.intermediate_size
            self.mlp = nn.Sequential(nn.Linear(config.hidden_size, width), act, nn.Linear(width, config.hidden_size))

    def forward(self, hidden_states: Tensor) -> Tensor:
        hidden_states = hidden_states + self.attention(self.attention_norm(hidden_states))
        return hidden_states + self.mlp(self.mlp_norm(hidden_states)) if hasattr(self, "mlp") else hidden_states


@final
class ToyTransformer(nn.Module):
    """The toy model: called like a Hugging Face causal language model."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.n_positions, config.hidden_size)
        self.layers = nn.ModuleList(ToyBlock(config) for _ in range(config.num_hidden_layers))
        self.norm = _norm(config)
        self.unembed = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def forward(self, input_ids: Tensor, use_cache: bool = False, logits_to_keep: int | Tensor = 0) -> Any:
        x = self.embed(input_ids) + self.positions(torch.arange(input_ids.shape[1], device=input_ids.device))
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        kept = x[:, logits_to_keep] if isinstance(logits_to_keep, Tensor) else x[:, -logits_to_keep:]
        return SimpleNamespace(logits=self.unembed(kept))

    def get_output_embeddings(self) -> nn.Module:
        """The unembedding, under the name Hugging Face models give it."""
        return self.unembed


def _norm(config: ToyConfig) -> nn.Module:
    return nn.LayerNorm(config.hidden_size) if config.norms else nn.Identity()


TOY = Family(
    name="toy",
    architectures=("ToyTransformer",),
    blocks="layers",
    final_norm="norm",
    attention_norm="attention_norm",
    attention="attention",
    mlp_norm="mlp_norm",
    mlp="mlp",
    projections=Separate,
    projection_names=("q_proj", "k_proj", "v_proj"),
    output="o_proj",
    norm=NormKind.LAYER,
    inputs=("embed", "positions"),
    native=("activation", "causal", "mlps", "norms", "separate_inputs", "uniform_attention"),
)
