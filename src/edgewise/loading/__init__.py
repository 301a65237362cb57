"""Loading: a name, a folder or a model becomes a checked Subject."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgewise.arguments import typed
from edgewise.engine.self_check import checked, self_check
from edgewise.errors import EdgewiseError, InvalidValue, UnknownName, UnsupportedModel
from edgewise.loading.device_maps import DeviceMap, checked_map, loaded_by
from edgewise.loading.model_places import EMBEDDED, KNOWN, Place, located, unknown
from edgewise.loading.reload import Reload
from edgewise.models import FAMILIES, Family, KeyValues, Subject
from edgewise.models.adapters import ACTIVE, base_of, unwrapped, with_adapter
from edgewise.models.compiled import compiled
from edgewise.models.compiled import tokenizer as compiled_tokenizer
from edgewise.models.identity import Origin
from edgewise.models.subject import DTYPES
from edgewise.programs import PROGRAMS, Program
from edgewise.progress import Track, shown
from edgewise.surroundings import neutrally


@typed
@neutrally
def load(  # noqa: PLR0913  a public verb: keyword arguments
    model: str | Path | nn.Module,
    *,
    tokenizer: Any = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    device_map: DeviceMap | None = None,
    revision: str | None = None,
    kv: KeyValues = "native",
    family: Family | None = None,
    adapter: str | Path | None = None,
    track: Track | None = None,
) -> Subject:
    """Load a model and check that edgewise reproduces it.

    `model`: "nano" (shipped with edgewise); a model compiled from a program ("reverse", "fraction",
    "induction-hidden"); "smollm2" (a real language model that pip brings); a Hugging Face hub id; a local folder; a
    GGUF file, or a folder with one; or a loaded model, which is never changed.
    `tokenizer`: the tokenizer of a loaded model, which tasks and text need; by default the one beside the model.
    `dtype`: "float32", "bfloat16", "float16" or "float64"; by default the checkpoint's own, or float32, with a warning,
    where that is float16 and too narrow for the model.
    `device`: by default an accelerator if there is one, and the CPU for the small models that come with edgewise.
    `device_map`: instead of a device, for a model that is larger than one: "auto" spreads it over all accelerators and, where
    they do not suffice, the CPU's memory and the disk; or a mapping, as accelerate takes it (docs/devices.md).
    `revision`: the revision of a model on the hub.
    `kv`: "ungrouped" gives every query head a k and a v reader of its own where the model shares them between heads, at
    the price of repeated weights. The score of a shared reader is the sum of theirs.
    `family`: where a class that edgewise does not know keeps its parts (docs/families.md).
    `adapter`: "active" studies a loaded model with the peft adapters that are switched on in it; a folder or hub id
    puts that adapter on the named model, unmerged.
    `track`: shows how far a long load has come, by default with a bar in a terminal or a notebook. A GGUF file is
    converted to float32 and kept in a cache (`edgewise cache`), so only its first load is long.

    Returns a Subject: the model seen through its graph. Raises UnknownName for a model that cannot be found,
    UnsupportedModel for an architecture or configuration that is not handled, FileError for a damaged file. Code from
    the hub is never run.
    """
    if isinstance(model, nn.Module):
        if not all(told is None for told in (dtype, device, device_map, revision)):
            raise InvalidValue(
                "dtype, device, device_map and revision are for models loaded by name; convert, move or dispatch the loaded "
                "model yourself"
            )
        model, word = unwrapped(model, adapter and str(adapter)), adapter and str(adapter)
        family = _family(type(model).__name__, family)
        name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
        return Subject(model, tokenizer, family, name, kv, origin=Origin(word)).hold_to(self_check)
    name, adapter = _base_and_adapter(model, adapter)
    with _named(name):
        wanted, spread = _dtype(dtype), checked_map(device_map, device)
        chosen = _device(device, name) if spread is None else None
        told_all = tokenizer is None and family is None
        rest: dict[str, Any] = {"revision": revision, "kv": kv, "adapter": adapter}
        again = Reload.of(name, _word(wanted), chosen or spread, **rest) if told_all else None
        if name in PROGRAMS:
            if adapter is not None:
                raise InvalidValue(f"{name} is built from its program, and takes no adapter; leave {adapter} out")
            if chosen is None:
                raise InvalidValue(f"{name} is built from its program, on one device; leave device_map out")
            built = _from_program(PROGRAMS[name], wanted, revision).to(chosen)
            words = tokenizer or compiled_tokenizer(PROGRAMS[name])
            return Subject(built, words, FAMILIES["toy"], name, kv, origin=Origin(again=again)).hold_to(self_check)
        telling = shown() if track is None else nullcontext(track)
        with telling as told, located(name, revision, lambda kind: _family(kind, family), told) as place:
            tokenizer = tokenizer or _tokenizer(place)

            def build(wanted: torch.dtype | None) -> Subject:
                loaded, found = _from_pretrained(name, place, wanted, family, spread)
                loaded = loaded if adapter is None else with_adapter(loaded, adapter)
                loaded = loaded if chosen is None else loaded.to(chosen)
                return Subject(loaded, tokenizer, found, name, kv, origin=Origin(adapter, place.origin, again))

            return checked(build, wanted)


def _base_and_adapter(model: str | Path, adapter: str | Path | None) -> tuple[str, str | None]:
    """The model to load, and the adapter to put on it; a folder that holds an adapter stands for both."""
    if str(adapter) == ACTIVE:
        raise InvalidValue("adapter=\"active\" is for loaded models; beside a model's name, give the adapter's folder")
    if (base := base_of(Path(model))) is None:
        return str(model), None if adapter is None else str(adapter)
    if adapter is not None:
        raise InvalidValue(f"{model} is an adapter itself; name the model that {adapter} is for ({base})")
    return base, str(model)


def family_of(architecture: str) -> Family:
    """The family that handles a model class; UnsupportedModel with the list of those that are handled."""
    for family in FAMILIES.values():
        if architecture in family.architectures:
            return family
    known = sorted(name for family in FAMILIES.values() for name in family.architectures)
    raise UnsupportedModel(f"{architecture} is not supported; supported: {', '.join(known)}")


def _family(architecture: str, family: Family | None) -> Family:
    """The family that was given, if it is one for this class, or else the one that handles it."""
    if family is None:
        return family_of(architecture)
    if not isinstance(family, Family):
        raise InvalidValue(f"family={family!r}: it must be an edgewise.Family (docs/families.md)")
    if architecture not in family.architectures:
        raise UnsupportedModel(
            f"family {family.name!r} is for architectures={family.architectures!r}, not for {architecture}"
        )
    return family


def _architecture(config: Any) -> str:
    """The name of the model class: as the config says, or else the one that transformers takes for such a config."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if names := getattr(config, "architectures", None):
        return names[0]
    kinds: Any = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), type(config))
    return (kinds[0] if isinstance(kinds, tuple) else kinds).__name__


def _from_pretrained(
    name: str, place: Place, dtype: torch.dtype | None, family: Family | None, device_map: DeviceMap | None
) -> tuple[Any, Family]:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(place.source, **place.options, trust_remote_code=False)
    family = _family(_architecture(config), family)
    wanted = dtype or getattr(config, "dtype", None) or torch.float32
    told = {**place.options, "trust_remote_code": False, "dtype": wanted, "output_loading_info": True}
    model, info = loaded_by(
        lambda of_map: AutoModelForCausalLM.from_pretrained(place.source, **told, **of_map), device_map
    )
    if missing := sorted(info["missing_keys"]):
        raise UnsupportedModel(
            f"{name} lacks {len(missing)} of the weights its config asks for, the first being {missing[0]}; "
            "they would be random numbers"
        )
    if wanted == torch.float64 and getattr(config, "num_local_experts", None):
        model.set_experts_implementation("eager")  # the usual kernel knows no float64
    return model.eval(), family


def _from_program(program: Program, dtype: torch.dtype | None, revision: str | None) -> nn.Module:
    if revision is not None:
        raise InvalidValue(f"{program.name} is built from its program and has no revisions; leave revision out")
    return compiled(program).to(dtype or torch.float32)


def _device(device: str | torch.device | None, name: str) -> torch.device:
    if device is None:
        best = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        small = name in EMBEDDED or name in PROGRAMS
        # Sums are kept in float64, which "mps" does not know.
        return torch.device("cpu") if best is None or best.type == "mps" or small else best
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        first = str(error).splitlines()[0].partition(". ")[0]
        raise InvalidValue(f"device {str(device)!r}: {first}") from None


def _tokenizer(place: Place) -> Any:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(place.source, **place.options, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # token ids still work; tasks and text say that a tokenizer is missing
    # Where the files are missing, transformers makes a tokenizer that knows special tokens and no text.
    return tokenizer if tokenizer.get_vocab().keys() - tokenizer.get_added_vocab().keys() else None


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise UnknownName.of("dtype", dtype, DTYPES)
    return DTYPES[dtype]


def _word(dtype: torch.dtype | None) -> str | None:
    return None if dtype is None else str(dtype).removeprefix("torch.")


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turns what the libraries raise while loading into one sentence that names the model."""
    try:
        yield
    except EdgewiseError:
        raise
    except Exception as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        if name in KNOWN or Path(name).exists():
            what = "the folder " if Path(name).is_dir() else ""
            raise UnsupportedModel(f"{what}{name} cannot be loaded as a model: {first}") from error
        if isinstance(error, (OSError, ValueError)) and "trust_remote_code" not in str(error):
            raise unknown(name, first) from error
        raise UnsupportedModel(f"{name} cannot be loaded: {first}") from error
