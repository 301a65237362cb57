"""The laws, run on a model and a family of one's own: what masks and scores mean must hold there too.

    from edgewise.testing import check_family
    print(check_family(model, family))

A tiny random model of the class is the one to give: laws are about its code, and every edge of it is tried.
"""

from edgewise.testing.family_report import Finding, LawReport, check_family, family_report
from edgewise.testing.laws import random_pairs

__all__ = ["Finding", "LawReport", "check_family", "family_report", "random_pairs"]
