"""Loading: a name, a folder or a model becomes a checked Subject."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgewise.engine.check import self_check
from edgewise.errors import EdgewiseError, InvalidValue, UnknownName, UnsupportedModel
from edgewise.loading.places import EMBEDDED, KNOWN, Place, located, unknown
from edgewise.models import FAMILIES, Family, KeyValues, Subject
from edgewise.models.compiled import compiled
from edgewise.models.compiled import tokenizer as compiled_tokenizer
from edgewise.models.subject import DTYPES
from edgewise.programs import PROGRAMS, Program
from edgewise.progress import Track, silent


def load(
    model: str | Path | nn.Module,
    *,
    tokenizer: Any = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device | None = None,
    revision: str | None = None,
    kv: KeyValues = "native",
    track: Track = silent,
) -> Subject:
    """A model seen through its graph, checked to be reproduced exactly.

    `model`: "nano" (shipped with edgewise), a model compiled from a program ("reverse", "fraction", "induction-hidden"),
    "smollm2" (a real language model that pip brings), a Hugging Face hub id, a local folder, a GGUF file or a folder with
    one, or a loaded model (which is never changed, and needs `tokenizer` for tasks and text). `dtype`: "float32",
    "bfloat16" or "float64", default the checkpoint's own. `device`: default an accelerator where there is one, and the CPU
    for the small models that come with edgewise. `kv`: "ungrouped" gives every query head a k and a v reader of its own
    where the model shares them between heads, at the price of repeated weights; scores of a shared reader are the sums of
    theirs. A GGUF file is dequantised to float32 and kept converted in the user's cache (`edgewise cache`), so that only
    its first load is long: `track` tells where that stands (`edgewise.console.progress` draws it as bars).

    Raises UnknownName for a model that cannot be found, UnsupportedModel for one whose architecture or configuration is not
    handled, and FileError for a damaged file. Code from the hub is never run.
    """
    if isinstance(model, nn.Module):
        if dtype is not None or device is not None or revision is not None:
            raise InvalidValue(
                "dtype, device and revision are for models loaded by name; convert the loaded model yourself"
            )
        family = family_of(type(model).__name__)
        name = str(getattr(model.config, "_name_or_path", "") or type(model).__name__)
        return _checked(Subject(model, tokenizer, family, name, kv))
    name = str(model)
    with _named(name):
        if name in PROGRAMS:
            built = _from_program(PROGRAMS[name], _dtype(dtype), revision).to(_device(device, name))
            return _checked(Subject(built, tokenizer or compiled_tokenizer(PROGRAMS[name]), FAMILIES["toy"], name, kv))
        wanted, chosen = _dtype(dtype), _device(device, name)
        with located(name, revision, family_of, track) as place:
            loaded, family = _from_pretrained(name, place, wanted)
            tokenizer = tokenizer or _tokenizer(place)
        return _checked(Subject(loaded.to(chosen), tokenizer, family, name, kv, place.origin))


def family_of(architecture: str) -> Family:
    """The family that handles a model class; UnsupportedModel with the list of those that are handled."""
    for family in FAMILIES.values():
        if architecture in family.architectures:
            return family
    known = sorted(name for family in FAMILIES.values() for name in family.architectures)
    raise UnsupportedModel(f"{architecture} is not supported; supported: {', '.join(known)}")


def _from_pretrained(name: str, place: Place, dtype: torch.dtype | None) -> tuple[Any, Family]:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(place.source, **place.options, trust_remote_code=False)
    architectures = getattr(config, "architectures", None) or [type(config).__name__]
    family = family_of(architectures[0])
    wanted = dtype or getattr(config, "dtype", None) or torch.float32
    # Half precision with a narrow exponent overflows in our sums, so such checkpoints are read as float32.
    wanted = torch.float32 if wanted == torch.float16 else wanted
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        place.source, **place.options, trust_remote_code=False, dtype=wanted, output_loading_info=True
    )
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise UnsupportedModel(
            f"{name} lacks {len(missing)} of the weights its config asks for, the first being {missing[0]}; "
            "they would be random numbers"
        )
    return model.eval(), family


def _from_program(program: Program, dtype: torch.dtype | None, revision: str | None) -> nn.Module:
    if revision is not None:
        raise InvalidValue(f"{program.name} is built from its program and has no revisions; leave revision out")
    wanted = torch.float32 if dtype in (None, torch.float16) else dtype
    return compiled(program).to(wanted)


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


def _checked(subject: Subject) -> Subject:
    self_check(subject)
    return subject


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    if dtype is None or isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in DTYPES:
        raise UnknownName.of("dtype", dtype, DTYPES)
    return DTYPES[dtype]


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
