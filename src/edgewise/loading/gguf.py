"""GGUF files: found, looked through, and converted once to a folder like any other.

Weights come out as float32 (what a block stands for is a product and a sum of a few bits) and are stored in the narrowest
kind of number that holds each tensor exactly.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgewise.errors import EdgewiseError, FileError, InvalidValue, UnsupportedModel
from edgewise.loading import cache
from edgewise.loading.angles import FACTORS
from edgewise.loading.config import settle
from edgewise.loading.header import Header, read_header
from edgewise.progress import Track, staged

SUFFIX = ".gguf"
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
NEEDED = ("gguf", "accelerate")
INSTALL_GGUF = 'pip install "edgewise[gguf]"'
CHUNK = 1 << 24
# Vocabularies that keep every digit apart, by the name of what cuts text for them; the conversion would cut as GPT-2 does.
DIGITS_APART = ("smollm", "starcoder", "refact", "command-r")


def gguf_file(name: str) -> Path | None:
    """The GGUF file that a name means: itself, or the only one in a folder without other weights; else None."""
    path = Path(name)
    if path.suffix.lower() == SUFFIX and not path.is_dir():
        if not path.is_file():
            raise FileError(f"{name}: no such file")
        return path
    if not path.is_dir() or any(True for pattern in WEIGHTS for _ in path.glob(pattern)):
        return None
    found = sorted(file for file in path.iterdir() if file.suffix.lower() == SUFFIX)
    if len(found) > 1:
        raise InvalidValue(f"the folder {name} holds {len(found)} GGUF files: name one ({', '.join(map(str, found))})")
    return found[0] if found else None


@contextmanager
def gguf_folder(path: Path, accepts: Callable[[str], object], track: Track) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with what the file holds, and what to say of where it came from; converted now if it never was.

    `accepts` raises for a model class that is not supported, before anything long is begun.
    """
    header = read_header(path)
    digest = _sha256(path, track)
    facts = {"file": path.name, "source": str(path.resolve()), "architecture": header.architecture}
    make = partial(_convert, path, header, accepts, track)
    with cache.converted(digest, facts, make, track) as folder:
        yield folder, {"gguf": path.name, "gguf_sha256": digest}


def missing_packages() -> list[str]:
    """Those that reading a GGUF file needs and that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def _sha256(path: Path, track: Track) -> str:
    digest, size = hashlib.sha256(), path.stat().st_size
    with open(path, "rb") as file:
        for chunk in track(iter(partial(file.read, CHUNK), b""), -(-size // CHUNK), f"hashing {path.name}"):
            digest.update(chunk)
    return digest.hexdigest()


def _convert(path: Path, header: Header, accepts: Callable[[str], object], track: Track) -> cache.Writer:
    """Reads the file; what is returned writes it as a folder."""
    if missing := missing_packages():
        raise FileError(f"{path} needs the packages {' and '.join(missing)} to be read: {INSTALL_GGUF}")
    try:
        config = staged(track, f"reading {path.name}", partial(_config, path, header, accepts))
        model = staged(track, "dequantising its weights", partial(_model, path, header, config))
        tokenizer = staged(track, "converting its tokenizer", partial(_tokenizer, path, header))
    except EdgewiseError:
        raise
    except Exception as error:  # whatever the libraries raise
        raise UnsupportedModel(f"{path} cannot be loaded as a model: {_first_line(error)}") from error
    return lambda folder: staged(track, "writing it to the cache", partial(_write, folder, model, config, tokenizer))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _config(path: Path, header: Header, accepts: Callable[[str], object]) -> Any:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
    if config.model_type == "mistral":
        config = _as_llama(config)
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise UnsupportedModel(
            f"{path} holds a {header.architecture}, which is not a language model that edgewise can read"
        )
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    config.architectures = [model_class.__name__]
    accepts(config.architectures[0])
    settle(config, header, path)
    return config


def _as_llama(config: Any) -> Any:
    """The same as a Llama: transformers takes a file that is called "mistral" for one, and then knows no such files."""
    from transformers import LlamaConfig

    own = LlamaConfig().to_dict().keys() - {"model_type", "architectures", "transformers_version"}
    return LlamaConfig(**{name: value for name, value in config.to_dict().items() if name in own})


def _model(path: Path, header: Header, config: Any) -> Any:
    from transformers import AutoModelForCausalLM

    how = {"gguf_file": path.name, "dtype": torch.float32, "trust_remote_code": False}
    loaded: Any = AutoModelForCausalLM.from_pretrained(path.parent, config=config, output_loading_info=True, **how)
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise UnsupportedModel(f"{path} lacks {len(missing)} of the weights of its model, the first being {missing[0]}")
    weights = sum(parameter.numel() for parameter in model.parameters())
    held = header.weights - sum(math.prod(header.tensors.get(name, (0,))) for name in FACTORS)
    if weights != held:
        raise UnsupportedModel(
            f"{path} holds {held:,} numbers and its {type(model).__name__} has room for {weights:,}: "
            "the conversion of GGUF files leaves some of them out"
        )
    return model


def _tokenizer(path: Path, header: Header) -> Any:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    if "tokenizer.ggml.model" not in header.metadata:
        return None
    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
    except Exception as error:  # whatever the libraries raise
        warnings.warn(
            f"the tokenizer in {path} cannot be converted ({_first_line(error)}): token ids work, tasks and text do not",
            stacklevel=2,
        )
        return None
    if header.metadata.get("tokenizer.ggml.pre") in DIGITS_APART:
        cuts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(cuts)
    return tokenizer


def _write(folder: Path, model: Any, config: Any, tokenizer: Any) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    config.dtype = torch.float32
    try:
        save_file(_stored(model), folder / "model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        raise cache.unwritable(error) from None


def _stored(model: Any) -> dict[str, Tensor]:
    """The weights, each once, in the narrowest numbers that hold them exactly."""
    seen: set[int] = set()
    kept = {}
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept[name] = _narrowest(tensor.contiguous())
    return kept


def _narrowest(tensor: Tensor) -> Tensor:
    for dtype in (torch.bfloat16, torch.float16):
        if torch.equal((narrow := tensor.to(dtype)).to(tensor.dtype), tensor):
            return narrow
    return tensor
