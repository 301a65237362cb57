"""One tiny random model of every family, and pairs that fit them all: what contract tests run over.

Weights are perturbed, biases and norm gains included, so that nothing vanishes and no two parts are alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor, nn

from edgewise.circuit import Circuit
from edgewise.engine.record import record
from edgewise.engine.replacement import Replacement
from edgewise.loading import family_of
from edgewise.models import Subject
from edgewise.models.toy import ToyConfig, ToyTransformer
from edgewise.pairs import Pairs

VOCAB, WIDTH, LAYERS, HEADS = 50, 32, 3, 4
EXAMPLES, TOKENS = 5, 7

ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 48,
    "max_position_embeddings": 32,
    **ENDS,
}
GROUPED = {**SHAPE, "num_key_value_heads": 2}
TOY = ToyConfig(
    vocab_size=VOCAB,
    hidden_size=WIDTH,
    num_hidden_layers=LAYERS,
    num_attention_heads=HEADS,
    num_key_value_heads=2,
    head_dim=8,
    intermediate_size=48,
)
# Nothing in it but sums and products with constants: the logits are a linear function of every writer.
LINEAR = replace(TOY, norms=False, activation="linear", uniform_attention=True)


def toy_config(**changes: Any) -> ToyConfig:
    return replace(TOY, **changes)


def gpt2_config(**changes: Any) -> Any:
    from transformers import GPT2Config

    shape = {"vocab_size": VOCAB, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 32}
    return GPT2Config(**{**shape, **ENDS, **changes})


def llama_config(**changes: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(**{**GROUPED, **changes})


def mistral_config(**changes: Any) -> Any:
    from transformers import MistralConfig

    return MistralConfig(**{**GROUPED, "sliding_window": 4, **changes})


def qwen2_config(**changes: Any) -> Any:
    from transformers import Qwen2Config

    return Qwen2Config(**{**GROUPED, **changes})


def qwen3_config(**changes: Any) -> Any:
    from transformers import Qwen3Config

    return Qwen3Config(**{**GROUPED, "head_dim": 16, **changes})


def neox_config(**changes: Any) -> Any:
    from transformers import GPTNeoXConfig

    return GPTNeoXConfig(**{**SHAPE, **changes})


def gemma2_config(**changes: Any) -> Any:
    from transformers import Gemma2Config

    # Caps so low, and windows so narrow, that both bend what is computed.
    caps = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 16}
    return Gemma2Config(**{**GROUPED, "head_dim": 16, "sliding_window": 4, **caps, **changes})


def opt_config(**changes: Any) -> Any:
    from transformers import OPTConfig

    return OPTConfig(**{**SHAPE, "ffn_dim": 48, **changes})


def gpt_neo_config(**changes: Any) -> Any:
    from transformers import GPTNeoConfig

    windows = {"attention_types": [[["global", "local"], 1], [["local"], 1]], "window_size": 3}
    shape = {"vocab_size": VOCAB, "hidden_size": WIDTH, "num_layers": LAYERS, "num_heads": HEADS}
    return GPTNeoConfig(
        **{**shape, "intermediate_size": 48, "max_position_embeddings": 32, **windows, **ENDS, **changes}
    )


def gptj_config(**changes: Any) -> Any:
    from transformers import GPTJConfig

    shape = {"vocab_size": VOCAB, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 32}
    return GPTJConfig(**{**shape, "n_inner": 48, "rotary_dim": 4, **ENDS, **changes})


def phi_config(**changes: Any) -> Any:
    from transformers import PhiConfig

    return PhiConfig(**{**SHAPE, **changes})


def phi3_config(**changes: Any) -> Any:
    from transformers import Phi3Config

    return Phi3Config(**{**GROUPED, "partial_rotary_factor": 0.5, "sliding_window": 4, **changes})


def stablelm_config(**changes: Any) -> Any:
    from transformers import StableLmConfig

    return StableLmConfig(**{**GROUPED, "partial_rotary_factor": 0.5, **changes})


def gemma_config(**changes: Any) -> Any:
    from transformers import GemmaConfig

    return GemmaConfig(**{**GROUPED, "head_dim": 16, **changes})


def gemma3_config(**changes: Any) -> Any:
    from transformers import Gemma3TextConfig

    # Two layers with a window and angles of their own, the last with neither; a cap that bends the logits.
    turns = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1000.0},
    }
    windows = {"sliding_window": 4, "sliding_window_pattern": 3, "rope_parameters": turns}
    caps = {"final_logit_softcapping": 3.0, "query_pre_attn_scalar": 20}
    return Gemma3TextConfig(**{**GROUPED, "head_dim": 16, **windows, **caps, **changes})


def smollm3_config(**changes: Any) -> Any:
    from transformers import SmolLM3Config

    # The layer without rotary positions is the one with a window.
    windows = {"no_rope_layer_interval": 2, "use_sliding_window": True, "sliding_window": 4}
    return SmolLM3Config(**{**GROUPED, **windows, **changes})


def starcoder2_config(**changes: Any) -> Any:
    from transformers import Starcoder2Config

    return Starcoder2Config(**{**GROUPED, "sliding_window": 4, **changes})


def granite_config(**changes: Any) -> Any:
    from transformers import GraniteConfig

    scales = {
        "embedding_multiplier": 1.5,
        "attention_multiplier": 0.3,
        "residual_multiplier": 0.4,
        "logits_scaling": 3.0,
    }
    return GraniteConfig(**{**GROUPED, **scales, **changes})


def olmo2_config(**changes: Any) -> Any:
    from transformers import Olmo2Config

    return Olmo2Config(**{**GROUPED, **changes})


def olmo3_config(**changes: Any) -> Any:
    from transformers import Olmo3Config

    kinds = {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
    return Olmo3Config(**{**GROUPED, **kinds, **changes})


def mixtral_config(**changes: Any) -> Any:
    from transformers import MixtralConfig

    return MixtralConfig(
        **{**GROUPED, "sliding_window": 4, "num_local_experts": 3, "num_experts_per_tok": 2, **changes}
    )


def qwen3_moe_config(**changes: Any) -> Any:
    from transformers import Qwen3MoeConfig

    # The layer in the middle has an ordinary MLP.
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "mlp_only_layers": [1]}
    return Qwen3MoeConfig(**{**GROUPED, "head_dim": 16, **experts, **changes})


CONFIGS: dict[str, Callable[[], Any]] = {
    "toy": toy_config,
    "toy-without-norms": lambda: toy_config(norms=False),
    "toy-attention-only": lambda: toy_config(mlps=False),
    "toy-separate-inputs": lambda: toy_config(separate_inputs=True),
    "toy-separate-bare": lambda: toy_config(separate_inputs=True, norms=False, mlps=False),
    "gpt2": gpt2_config,
    "llama": llama_config,
    "mistral": mistral_config,
    "qwen2": qwen2_config,
    "qwen3": qwen3_config,
    "neox-parallel": neox_config,
    "neox-serial": lambda: neox_config(use_parallel_residual=False),
    "gemma2": gemma2_config,
    "opt": opt_config,
    "gpt-neo": gpt_neo_config,
    "gpt-j": gptj_config,
    "phi": phi_config,
    "phi3": phi3_config,
    "stablelm": lambda: stablelm_config(use_qkv_bias=True),
    # Of the kind of the 12-billion model: one norm for attention and MLP, and one for each head's queries and keys.
    "stablelm-parallel": lambda: stablelm_config(use_parallel_residual=True, qk_layernorm=True),
    "gemma": gemma_config,
    "gemma3": gemma3_config,
    "smollm3": smollm3_config,
    "starcoder2": starcoder2_config,
    "granite": granite_config,
    "olmo2": olmo2_config,
    "olmo3": olmo3_config,
    "mixtral": mixtral_config,
    "qwen3-moe": qwen3_moe_config,
}
# A router's choice of experts jumps, and an integral does not see jumps: here it chooses them all.
WITHOUT_JUMPS: dict[str, Callable[[], Any]] = {
    **CONFIGS,
    "mixtral": lambda: mixtral_config(num_experts_per_tok=3),
    "qwen3-moe": lambda: qwen3_moe_config(num_experts_per_tok=4),
}
FAMILIES = tuple(CONFIGS)
# Those whose parts are put together as in another one that is tested: what is long runs on them in `make test-all` alone.
SIBLINGS = ("mistral", "qwen2", "gemma", "smollm3", "starcoder2", "olmo3", "stablelm", "qwen3-moe", "toy-separate-bare")
# With a norm over what all heads of a layer write.
POST_NORMED = ("gemma2", "gemma3", "olmo2", "olmo3")
HUGGING_FACE = tuple(name for name in FAMILIES if not name.startswith("toy"))
GROUPED_FAMILIES = (
    *("toy", "toy-attention-only", "toy-separate-inputs", "llama", "mistral", "qwen2", "qwen3", "gemma2"),
    *("gemma", "gemma3", "smollm3", "starcoder2", "granite", "olmo2", "olmo3", "mixtral", "qwen3-moe"),
    *("phi3", "stablelm", "stablelm-parallel"),
)


def make_model(config: Any, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Module:
    """A fresh random model, in evaluation mode."""
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        toy = isinstance(config, ToyConfig)
        model = ToyTransformer(config) if toy else AutoModelForCausalLM.from_config(config)
        model.requires_grad_(False)
        for parameter in model.parameters():
            parameter += 0.15 * torch.randn(parameter.shape)
    if dtype == torch.float64 and getattr(config, "_experts_implementation", None) == "grouped_mm":
        model.set_experts_implementation("eager")  # type: ignore[operator]
    return model.to(dtype).eval()


def make_subject(config: Any, **options: Any) -> Subject:
    """A Subject around a fresh random model, without the self-check of `load`."""
    return subject_of(make_model(config, **options))


def subject_of(model: nn.Module) -> Subject:
    name = type(model).__name__
    return Subject(model, None, family_of(name), f"tiny {name}")


@cache
def subject(family: str, dtype: torch.dtype = torch.float32) -> Subject:
    """The shared Subject of a family. Tests that could harm it make their own."""
    return make_subject(CONFIGS[family](), dtype=dtype)


@cache
def without_jumps(family: str) -> Subject:
    """The subject of a family in float64, of one whose experts are all chosen where it has any."""
    if WITHOUT_JUMPS[family] is CONFIGS[family]:
        return subject(family, torch.float64)
    return make_subject(WITHOUT_JUMPS[family](), dtype=torch.float64)


def multiplier(on: Subject) -> float:
    """What a layer multiplies all it writes by."""
    return getattr(on.model.config, "residual_multiplier", 1.0)


@cache
def pairs() -> Pairs:
    """Five pairs whose answers stand at different positions; some have two answers on a side."""
    generator = torch.Generator().manual_seed(1)
    clean = torch.randint(VOCAB, (EXAMPLES, TOKENS), generator=generator)
    corrupted = torch.where(torch.rand(clean.shape, generator=generator) < 0.4, (clean + 7) % VOCAB, clean)
    corrupted[:, 1] = (clean[:, 1] + 11) % VOCAB
    return Pairs.from_tokens(
        clean,
        corrupted,
        correct=torch.tensor([[3, 9], [4, -1], [30, -1], [12, 8], [49, -1]]),
        wrong=torch.tensor([[5, -1], [7, 2], [1, -1], [11, -1], [20, 6]]),
        positions=torch.tensor([6, 3, 5, 6, 4]),
    )


def corrupted_run(on: Subject, of: Pairs) -> Replacement:
    return Replacement.of_run(record(on, of.corrupted, of.positions))


def random_circuit(on: Subject, density: float, seed: int) -> Circuit:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(on.graph.edge_mask.shape, generator=generator) < density
    return Circuit(on.graph, drawn & on.graph.edge_mask)


def random_mask(on: Subject, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Every edge kept to a different degree."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(on.graph.edge_mask.shape, generator=generator, dtype=dtype) * on.graph.edge_mask


def ungrouped(model: Any) -> nn.Module:
    """The same model with a k and a v projection of its own for every query head."""
    heads, kv_heads = model.config.num_attention_heads, model.config.num_key_value_heads
    # The norm that OLMo has over all keys has a gain for each of them.
    shared = ("k_proj", "v_proj", *(("k_norm",) if "Olmo" in type(model).__name__ else ()))
    parts = (_apart(name, tensor, heads, kv_heads, shared) for name, tensor in model.state_dict().items())
    state = dict(item for some in parts for item in some)
    if isinstance(model.config, ToyConfig):
        config = replace(model.config, num_key_value_heads=heads)
    else:
        config = type(model.config)(**{**model.config.to_dict(), "num_key_value_heads": heads})
    twin = make_model(config, dtype=next(model.parameters()).dtype)
    twin.load_state_dict(state)
    return twin


def _apart(name: str, tensor: Tensor, heads: int, kv_heads: int, shared: tuple[str, ...]) -> list[tuple[str, Tensor]]:
    """A weight as the ungrouped model has it; the norms that StableLM has for each k head are several."""
    times = heads // kv_heads
    if "k_layernorm.norms." in name:
        before, _, after = name.partition("norms.")
        number, _, end = after.partition(".")
        return [(f"{before}norms.{int(number) * times + copy}.{end}", tensor) for copy in range(times)]
    if "qkv_proj" in name:
        queries, keys_values = tensor.unflatten(0, (heads + 2 * kv_heads, -1)).split([heads, 2 * kv_heads])
        return [(name, torch.cat([queries, keys_values.repeat_interleave(times, dim=0)]).flatten(0, 1))]
    if any(part in name for part in shared):
        return [(name, tensor.unflatten(0, (kv_heads, -1)).repeat_interleave(times, dim=0).flatten(0, 1))]
    return [(name, tensor)]


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the largest value of `b`."""
    return float((a.double() - b.double()).abs().max() / b.double().abs().max().clamp(min=1e-30))
