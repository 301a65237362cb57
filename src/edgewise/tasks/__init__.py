"""The tasks, by name."""

from edgewise.errors import UnknownName
from edgewise.tasks.base import Prompt, Task
from edgewise.tasks.docstring import DOCSTRING
from edgewise.tasks.greater_than import GREATER_THAN
from edgewise.tasks.induction import INDUCTION
from edgewise.tasks.ioi import IOI

__all__ = ["TASKS", "Prompt", "Task", "task"]

TASKS = {"ioi": IOI, "greater-than": GREATER_THAN, "docstring": DOCSTRING, "induction": INDUCTION}


def task(name: str) -> Task:
    """The task of that name; UnknownName, with the nearest known one, if there is none."""
    if name not in TASKS:
        raise UnknownName.of("task", name, TASKS)
    return TASKS[name]
