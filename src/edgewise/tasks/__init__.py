"""The tasks, by name."""

from edgewise.arguments import typed
from edgewise.errors import InvalidValue
from edgewise.plugins import Members
from edgewise.tasks.base import Prompt, Task
from edgewise.tasks.capitals import CAPITALS
from edgewise.tasks.docstring import DOCSTRING
from edgewise.tasks.fraction import FRACTION
from edgewise.tasks.greater_than import GREATER_THAN
from edgewise.tasks.induction import INDUCTION
from edgewise.tasks.induction_hidden import INDUCTION_HIDDEN
from edgewise.tasks.ioi import IOI
from edgewise.tasks.pronoun import GENDERED_PRONOUN
from edgewise.tasks.reverse import REVERSE
from edgewise.tasks.subject_verb_agreement import SUBJECT_VERB_AGREEMENT

__all__ = ["TASKS", "Prompt", "Task", "task"]

_LANGUAGE = (IOI, GREATER_THAN, DOCSTRING, INDUCTION, SUBJECT_VERB_AGREEMENT, CAPITALS, GENDERED_PRONOUN)
_ALL = (*_LANGUAGE, REVERSE, FRACTION, INDUCTION_HIDDEN)


def _checked(member: object) -> Task:
    if not isinstance(member, Task):
        raise InvalidValue(f"{member!r} is not an edgewise.tasks.Task")
    return member


TASKS: Members[Task] = Members("task", "tasks", {task.name: task for task in _ALL}, _checked)


@typed
def task(name: str) -> Task:
    """Get a task by its name.

    `name`: one of the names that `edgewise list tasks` shows, such as "ioi".

    Returns the Task, which writes pairs for a tokenizer (`Task.pairs`). Raises UnknownName, with the nearest known
    name, if there is no such task.

    >>> task("ioi").metric
    'logit_diff'
    """
    return TASKS.named(name)
