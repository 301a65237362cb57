"""Model families: which Hugging Face classes are supported, and where they keep their parts."""

from edgewise.errors import InvalidValue
from edgewise.models.block import Block
from edgewise.models.family import Family
from edgewise.models.gemma import GEMMA
from edgewise.models.gemma2 import GEMMA2
from edgewise.models.gemma3 import GEMMA3, GEMMA3_TOWER
from edgewise.models.gpt2 import GPT2
from edgewise.models.gptj import GPT_J, PHI
from edgewise.models.gptneo import GPT_NEO
from edgewise.models.granite import GRANITE
from edgewise.models.llama import LLAMA, MISTRAL, QWEN2, QWEN3, SMOLLM3
from edgewise.models.mixtures import MIXTRAL, QWEN3_MOE
from edgewise.models.neox import NEOX
from edgewise.models.norms import NormKind
from edgewise.models.olmo2 import OLMO2, OLMO3
from edgewise.models.opt import OPT
from edgewise.models.phi3 import PHI3
from edgewise.models.projections import FusedBlocks, FusedHeads, Projections, Separate
from edgewise.models.stablelm import STABLELM
from edgewise.models.starcoder2 import STARCODER2
from edgewise.models.subject import Subject
from edgewise.models.toy import TOY
from edgewise.models.ungrouped import KeyValues
from edgewise.plugins import Members


def _checked(member: object) -> Family:
    if not isinstance(member, Family):
        raise InvalidValue(f"{member!r} is not an edgewise.Family")
    return member


_ALL = {
    family.name: family
    for family in (
        *(GPT2, GPT_NEO, GPT_J, NEOX, OPT, PHI, PHI3, STABLELM, STARCODER2),
        *(LLAMA, MISTRAL, MIXTRAL, QWEN2, QWEN3, QWEN3_MOE, SMOLLM3, GRANITE, OLMO2, OLMO3),
        *(GEMMA, GEMMA2, GEMMA3, GEMMA3_TOWER),
        TOY,
    )
}
FAMILIES: Members[Family] = Members("family", "families", _ALL, _checked)

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
