"""Attribution methods: a score for every edge at once."""

from __future__ import annotations

from edgewise.attribution.atp_graddrop import AtPGradDrop
from edgewise.attribution.atp_qk import AtPQK
from edgewise.attribution.base import ScoringMethod
from edgewise.attribution.clean_corrupted import CleanCorrupted
from edgewise.attribution.eap import EAP
from edgewise.attribution.eap_ig import EAPIG
from edgewise.attribution.eap_ig_activations import EAPIGActivations
from edgewise.attribution.exact import Exact
from edgewise.attribution.gim import GIM
from edgewise.attribution.hisp import HISP
from edgewise.attribution.information_flow import InformationFlow
from edgewise.attribution.mask_ig import MaskIG
from edgewise.attribution.random import Random
from edgewise.attribution.relp import RelP

GRADIENTS = (EAP, EAPIG, EAPIGActivations, CleanCorrupted, MaskIG, RelP, GIM, AtPQK)
OTHERS = (AtPGradDrop, HISP, InformationFlow, Exact, Random)
ATTRIBUTIONS: dict[str, type[ScoringMethod]] = {method.name: method for method in (*GRADIENTS, *OTHERS)}


__all__ = ["ATTRIBUTIONS", "ScoringMethod"]
