"""Attribution methods: a score for every edge at once."""

from __future__ import annotations

from dataclasses import is_dataclass

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
from edgewise.errors import InvalidValue, UnknownName
from edgewise.plugins import Members

GRADIENTS = (EAP, EAPIG, EAPIGActivations, CleanCorrupted, MaskIG, RelP, GIM, AtPQK)
OTHERS = (AtPGradDrop, HISP, InformationFlow, Exact, Random)
ATTRIBUTIONS: dict[str, type[ScoringMethod]] = {method.name: method for method in (*GRADIENTS, *OTHERS)}
__all__ = ["ATTRIBUTIONS", "ScoringMethod", "attribution"]


def _scoring(member: object) -> type[ScoringMethod]:
    if not (isinstance(member, type) and issubclass(member, ScoringMethod) and is_dataclass(member)):
        raise InvalidValue("it does not score edges: it is no dataclass below edgewise.attribution.ScoringMethod")
    return member


_KNOWN: Members[type[ScoringMethod]] = Members(
    "attribution", "methods", ATTRIBUTIONS, _scoring, spelled=lambda name: name.replace("_", "-")
)


def attribution(name: str) -> type[ScoringMethod]:
    """The class of the method of that name that scores edges, of this package or another; UnknownName if there is none."""
    key = name.replace("_", "-")
    if key not in _KNOWN:
        # Those of other packages may search, and are not looked at for a guess.
        raise UnknownName.of("attribution", name, ATTRIBUTIONS)
    return _KNOWN[key]
