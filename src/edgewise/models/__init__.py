"""Model families: which Hugging Face classes are supported, and where they keep their parts."""

from edgewise.models.family import Block, Family
from edgewise.models.gemma2 import GEMMA2
from edgewise.models.gpt2 import GPT2
from edgewise.models.llama import LLAMA, MISTRAL, QWEN2, QWEN3
from edgewise.models.neox import NEOX
from edgewise.models.norms import NormKind
from edgewise.models.projections import FusedBlocks, FusedHeads, Projections, Separate
from edgewise.models.subject import Subject
from edgewise.models.toy import TOY
from edgewise.models.ungrouped import KeyValues

FAMILIES = {family.name: family for family in (GPT2, LLAMA, MISTRAL, QWEN2, QWEN3, NEOX, GEMMA2, TOY)}

__all__ = [
    "FAMILIES",
    "Block",
    "Family",
    "FusedBlocks",
    "FusedHeads",
    "KeyValues",
    "NormKind",
    "Projections",
    "Separate",
    "Subject",
]
