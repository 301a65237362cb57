"""The laws, run on what is your own: a model and its family, a method, a task, a metric, an ablation.

    from edgewise.testing import check_family, check_method
    print(check_family(model, family))
    print(check_method(MyMethod))

A tiny random model of the class is the one to give `check_family`: laws are about its code, and every edge of it is tried.
"""

from edgewise.testing.family_report import check_family, family_report
from edgewise.testing.functions import check_ablation, check_metric
from edgewise.testing.law_report import Finding, LawReport
from edgewise.testing.laws import random_pairs
from edgewise.testing.method_laws import check_method
from edgewise.testing.task_laws import check_task

__all__ = [
    "Finding",
    "LawReport",
    "check_ablation",
    "check_family",
    "check_method",
    "check_metric",
    "check_task",
    "family_report",
    "random_pairs",
]
