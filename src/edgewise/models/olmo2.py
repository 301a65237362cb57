"""OLMo-2 and OLMo-3: norms after attention and MLP instead of before, and norms over all queries and all keys of a layer.

What enters a sublayer is the residual stream itself. A head's write is its share of the normed sum of its layer, as in
Gemma-2. The norms of queries and keys couple the heads of a layer: an edge into the queries (or keys) of one head changes the
scale of all queries (or keys) of its layer, and with it what the other heads write. That is part of what the edge does: a
replaced edge means the run of the native attention in which that one projection output is another and the others stay. A
head on no path from the input to the logits has the projections it has in the replaced run.
"""

from dataclasses import replace

from edgewise.models.gemma2 import GEMMA2
from edgewise.models.norms import NormKind
from edgewise.models.projections import SeparateSpanned

OLMO2 = replace(
    GEMMA2,
    name="olmo2",
    architectures=("Olmo2ForCausalLM",),
    attention_norm="",
    mlp_norm="",
    projections=SeparateSpanned,
    norm=NormKind.RMS,
    logit_cap="",
    exact="a head's write is its share of the normed sum; edges into queries and keys rescale those of their whole layer",
    # A bias inside the post-normed sum would be a share that belongs to no head and changes with every token.
    handled={"attention_bias": (False,)},
)
OLMO3 = replace(OLMO2, name="olmo3", architectures=("Olmo3ForCausalLM",))
