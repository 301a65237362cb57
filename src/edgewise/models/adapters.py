"""Adapters of peft: whether a model has any, putting one on, and what provenance says of those that are on.

An adapter changes what a model computes without changing its weights, so it is studied only on an explicit word. Its matrices
stay beside the model's own (models/kinds.py); they are never merged here.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from edgewise.errors import InvalidValue, UnsupportedModel
from edgewise.models.family import Family
from edgewise.models.placement import is_away
from edgewise.models.weights import is_linear

# The word that says: with the adapters that are switched on.
ACTIVE = "active"
CONFIG = "adapter_config.json"


def unwrapped(model: nn.Module, adapter: str | None) -> nn.Module:
    """The model that has the adapters inside it, out of peft's shell. They are refused unless `adapter` is "active"."""
    adapted = any(map(_of_peft, model.modules()))
    if adapter not in (None, ACTIVE):
        raise InvalidValue(
            f"adapter {adapter!r} cannot be put on a loaded model, which is never changed; put it on with peft, and give "
            'adapter="active"'
        )
    if adapted and adapter is None:
        raise UnsupportedModel(
            f"{type(model).__name__} has adapters that are not merged: merge them (merge_and_unload of peft), or say "
            'adapter="active" to study it with those that are switched on'
        )
    if adapter == ACTIVE and not adapted:
        raise InvalidValue(f'adapter="active", and {type(model).__name__} has no adapter: leave it out')
    if adapter == ACTIVE:
        _check_methods(getattr(model, "peft_config", {}))
    while _of_peft(model):
        model = model.get_base_model() if hasattr(model, "get_base_model") else model.model  # type: ignore[assignment, operator]
    return model


def check_adapters(model: Any, family: Family) -> None:
    """UnsupportedModel, by class and place, for parts of peft inside the blocks that are no adapters of linear maps."""
    paths = (f"{family.blocks}.", f"{family.final_norm}.")
    for path, part in _outside_linear(model, ""):
        if _of_peft(part) and f"{path}.".startswith(paths):
            raise UnsupportedModel(
                f"{type(part).__name__} of peft at {path} is not supported; only LoRA adapters of linear layers are; "
                "merge it into the model"
            )


def with_adapter(model: Any, folder: str) -> Any:
    """The model with the adapter of a folder, or hub id, put on and switched on; refused if it was made for another."""
    try:
        import peft
    except ImportError:
        raise InvalidValue("adapters need peft, which is not installed: pip install 'edgewise[adapters]'") from None
    if is_away(model):
        raise UnsupportedModel(
            f"the adapter {folder} cannot be put on a model of which parts are kept in memory or on disk; "
            "merge it into the model, or give the model a device map of GPUs alone"
        )
    known = dict(model.named_parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            adapted = peft.PeftModel.from_pretrained(model, folder, is_trainable=False)
            loaded = adapted.load_adapter(folder, adapter_name="default", is_trainable=False)
        except Exception as error:
            raise _refusal(folder, model, _first_line(error)) from error
    _check_methods(adapted.peft_config)
    if missing := [name for name in loaded.missing_keys if name.removeprefix("base_model.model.") not in known]:
        raise _refusal(folder, model, f"it holds no weights for {missing[0]} ({len(missing)} such)")
    if loaded.unexpected_keys:
        many = len(loaded.unexpected_keys)
        raise _refusal(folder, model, f"the model has no place for {loaded.unexpected_keys[0]} ({many} such)")
    return adapted.get_base_model().eval()


def base_of(folder: Path) -> str | None:
    """The model that the adapter in a folder was made for; None if the folder holds a model of its own, or no adapter."""
    if not (folder / CONFIG).is_file() or (folder / "config.json").is_file():
        return None
    try:
        base = json.loads((folder / CONFIG).read_text()).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UnsupportedModel(f"{folder / CONFIG} cannot be read: {_first_line(error)}") from error
    if not base:
        raise UnsupportedModel(
            f"{folder} holds an adapter that does not say which model it is for; name the model, and the adapter with "
            f"--adapter {folder}"
        )
    return str(base)


def adapter_facts(model: nn.Module) -> dict[str, Any]:
    """What provenance says of the adapters that are on: their names, and a hash of how each layer applies them."""
    layers: dict[str, Any] = {name: part for name, part in model.named_modules() if _is_layer(part)}
    if not layers:
        return {}
    names, digest = set(), hashlib.sha256()
    for path, part in sorted(layers.items()):
        off = part.disable_adapters
        active = [] if off else [name for name in part.active_adapters if name in part.lora_A]
        merged = [] if off else list(part.merged_adapters)
        names.update(active, merged)
        scales = {name: float(part.scaling[name]) for name in active}
        digest.update(json.dumps([path, scales, merged], sort_keys=True).encode())
    return {"adapters": sorted(names), "adapters_applied": "sha256:" + digest.hexdigest()}


def _is_layer(part: Any) -> bool:
    return _of_peft(part) and hasattr(part, "lora_A") and hasattr(part, "active_adapters")


def _outside_linear(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """A module and its parts, by path, but for linear maps and what they are made of."""
    if is_linear(module):
        return
    yield path, module
    for name, part in module.named_children():
        yield from _outside_linear(part, f"{path}.{name}" if path else name)


def _check_methods(configs: dict[str, Any]) -> None:
    for name, config in configs.items():
        kind = str(getattr(config.peft_type, "value", config.peft_type))
        if kind != "LORA":
            raise UnsupportedModel(
                f"the adapter {name!r} is of the kind {kind}, and only LORA is supported; merge it into the model"
            )


def _refusal(folder: str, model: Any, why: str) -> UnsupportedModel:
    return UnsupportedModel(f"the adapter {folder} does not fit {type(model).__name__}: {why}")


def _first_line(error: Exception) -> str:
    lines = (str(error).strip() or type(error).__name__).splitlines()
    # Of several sizes that do not fit, torch tells the first in the second line.
    return lines[1].strip() if len(lines) > 1 and lines[0].startswith("Error(s) in loading") else lines[0]


def _of_peft(module: nn.Module) -> bool:
    return any(kind.__module__.partition(".")[0] == "peft" for kind in type(module).__mro__)
