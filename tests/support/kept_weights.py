"""Models whose projections keep their matrices otherwise than plainly: adapters, 8 and 4 bits, subclasses."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from support.families import gpt2_config, llama_config, make_model, neox_config, qwen2_config
from torch import nn

import edgewise as ew
from edgewise.models import Subject

# Blocks of 64 weights share a scale in 4 bits, and rows are packed by 32.
WIDE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96}


@contextmanager
def calm() -> Iterator[None]:
    """What libraries say about themselves while they are imported and used is not what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def with_lora(model: nn.Module, targets: list[str], **config: Any) -> Any:
    """A PeftModel with one adapter, nothing of which is zero."""
    with calm(), torch.random.fork_rng():
        import peft

        torch.manual_seed(5)
        lora = peft.LoraConfig(
            **{"r": 3, "lora_alpha": 5, "init_lora_weights": False, **config}, target_modules=targets
        )
        return peft.get_peft_model(model, lora).eval()


def _lora() -> Any:
    targets = ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"]
    return with_lora(make_model(qwen2_config()), targets, lora_dropout=0.3, use_rslora=True)


def _lora_conv() -> Any:
    return with_lora(make_model(gpt2_config()), ["c_attn", "c_proj"], fan_in_fan_out=True, lora_bias=True)


def _lora_fused() -> Any:
    return with_lora(make_model(neox_config()), ["query_key_value", "dense"])


def _dora() -> Any:
    return with_lora(make_model(llama_config()), ["q_proj", "k_proj", "o_proj", "up_proj"], use_dora=True)


def _two_adapters() -> Any:
    model = with_lora(make_model(llama_config()), ["q_proj", "o_proj"])
    with calm(), torch.random.fork_rng():
        import peft

        torch.manual_seed(6)
        model.add_adapter("more", peft.LoraConfig(r=2, target_modules=["o_proj", "v_proj"], init_lora_weights=False))
        model.base_model.set_adapter(["default", "more"])
    return model.eval()


def _torchao(config: str, dtype: torch.dtype = torch.float32, **options: Any) -> nn.Module:
    with calm():
        from torchao import quantization

        model = make_model(llama_config(**WIDE), dtype=dtype)
        quantization.quantize_(model, getattr(quantization, config)(**options))
    return model


def _bitsandbytes(make: Callable[[Any, nn.Linear], nn.Module], dtype: torch.dtype = torch.float32) -> nn.Module:
    """Every linear layer of the blocks replaced, as transformers does when it loads a model."""
    with calm():
        import bitsandbytes

        model: Any = make_model(llama_config(**WIDE), dtype=dtype)
        for block in model.model.layers:
            for name, linear in list(block.named_modules()):
                if type(linear) is nn.Linear:
                    replaced = make(bitsandbytes.nn, linear)
                    replaced.load_state_dict({"weight": linear.weight.data.clone()})
                    block.set_submodule(name, replaced)
        model.to("cpu")
    return model.eval()


def _in_8_bits(layers: Any, like: nn.Linear) -> nn.Module:
    # Outliers beyond the threshold are not rounded, as transformers has it.
    sizes = (like.in_features, like.out_features)
    return layers.Linear8bitLt(*sizes, bias=False, has_fp16_weights=False, threshold=6.0)


def _in_4_bits(layers: Any, like: nn.Linear) -> nn.Module:
    sizes = (like.in_features, like.out_features)
    return layers.Linear4bit(*sizes, bias=False, quant_type="nf4", compute_dtype=like.weight.dtype)


class Scaled(nn.Linear):
    """A subclass with a forward of its own, which is the plain one all the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(2 * x) - super().forward(x) + (0 if self.bias is None else self.bias)


def _subclass() -> nn.Module:
    model: Any = make_model(qwen2_config())
    for block in model.model.layers:
        for name in ("k_proj", "o_proj"):
            old = block.self_attn.get_submodule(name)
            new = Scaled(old.in_features, old.out_features, bias=old.bias is not None)
            new.load_state_dict(old.state_dict())
            block.self_attn.set_submodule(name, new)
    return model.requires_grad_(False).eval()


KINDS: dict[str, Callable[[], nn.Module]] = {
    "lora": _lora,
    "lora-conv1d": _lora_conv,
    "lora-fused": _lora_fused,
    "dora": _dora,
    "two-adapters": _two_adapters,
    "torchao-int8": lambda: _torchao("Int8WeightOnlyConfig"),
    "torchao-int4": lambda: _torchao("IntxWeightOnlyConfig", weight_dtype=torch.int4),
    "torchao-int4-bf16": lambda: _torchao("IntxWeightOnlyConfig", torch.bfloat16, weight_dtype=torch.int4),
    "bitsandbytes-8": lambda: _bitsandbytes(_in_8_bits),
    "bitsandbytes-4": lambda: _bitsandbytes(_in_4_bits),
    "bitsandbytes-4-bf16": lambda: _bitsandbytes(_in_4_bits, torch.bfloat16),
    "lora-on-torchao": lambda: with_lora(_torchao("Int8WeightOnlyConfig"), ["q_proj", "o_proj"]),
    "lora-on-bitsandbytes": lambda: with_lora(_bitsandbytes(_in_4_bits), ["q_proj", "o_proj", "up_proj"]),
    "subclass": _subclass,
}
ADAPTED = tuple(kind for kind in KINDS if "lora" in kind or kind in ("dora", "two-adapters"))
# How far edgewise's sums may be from the kernels': those of "bitsandbytes-8" round what they read to 8 bits.
NEAR = {"bitsandbytes-8": 0.06, "torchao-int4-bf16": 0.06, "bitsandbytes-4-bf16": 0.06}


def near(kind: str) -> float:
    return NEAR.get(kind, 2e-5)


@cache
def kept_subject(kind: str) -> Subject:
    """The shared Subject of a kind, which tests leave as it is."""
    return load_kind(KINDS[kind](), kind)


def load_kind(model: nn.Module, kind: str, **options: Any) -> Subject:
    with calm():
        return ew.load(model, adapter="active" if kind in ADAPTED else None, **options)
