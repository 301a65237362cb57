"""Model families: which Hugging Face classes are supported, and where they keep their parts."""

from edgewise.models.family import Block, Family
from edgewise.models.gemma2 import GEMMA2
from edgewise.models.gpt2 import GPT2
from edgewise.models.gptj import GPT_J, PHI
from edgewise.models.gptneo import GPT_NEO
from edgewise.models.llama import LLAMA, MISTRAL, QWEN2, QWEN3
from edgewise.models.neox import NEOX
from edgewise.models.opt import OPT
from edgewise.models.phi3 import PHI3
from edgewise.models.stablelm import STABLELM
from edgewise.models.subject import Subject
from edgewise.models.toy import TOY
from edgewise.models.ungrouped import KeyValues

KNOWN = (GPT2, GPT_NEO, GPT_J, NEOX, OPT, LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA2, PHI, PHI3, STABLELM, TOY)
FAMILIES = {family.name: family for family in KNOWN}

__all__ = ["FAMILIES", "Block", "Family", "KeyValues", "Subject"]
