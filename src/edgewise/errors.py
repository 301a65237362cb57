"""Every error edgewise raises on purpose.

EdgewiseError
├── UnknownName        a model, task, method, metric, ablation, edge or format nobody knows; the nearest is offered
├── InvalidValue       an option whose value makes no sense (how many edges, batch size, an option no method has)
├── UnsupportedModel   an architecture, or a config attribute, that is not handled exactly
├── TaskError          a task cannot make its prompts with this tokenizer
│   └── TooFewHeldOut  … or not as many that circuits were not found on
├── PairsError         clean and corrupted prompts that are empty, misaligned, or whose answers are not single tokens
├── NumericalError     NaN or infinite logits, a metric whose gradient is zero
│   └── NothingScored  … and so every score is zero
├── GraphMismatch      scores, circuit and model that do not belong together
├── RankError          a process of several that work together is gone, or was given something else
├── WorkerError        a worker that was given a part of the work is gone, or a scheduler does not answer
└── FileError          a file that cannot be read, is damaged, of a newer schema, or may not be overwritten

The message says what is wrong, with which values, and the cure. The command line prints it and exits with code 2.
What edgewise goes on with, but is seldom meant, is an EdgewiseWarning.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgewiseError(Exception):
    """Every mistake that edgewise can name: catch this to catch them all."""


class EdgewiseWarning(UserWarning):
    """What edgewise notices and goes on with: the sentence says what to change."""


class UnknownName(EdgewiseError):
    """A name that is not known; the message offers the nearest one."""

    @classmethod
    def of(cls, kind: str, name: object, known: Iterable[str]) -> UnknownName:
        """The error for an unknown `name` of a `kind`, with the nearest of the `known` names.

        >>> UnknownName.of("metric", "logit-dif", ["logit_diff", "kl"])
        UnknownName("unknown metric 'logit-dif'; did you mean 'logit_diff'? known: kl, logit_diff")
        """
        names = sorted(known)
        near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else ";"
        shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        return cls(f"unknown {kind} {name!r}{hint} known: {shown}")


class InvalidValue(EdgewiseError, ValueError):
    """An option whose value makes no sense."""


class UnsupportedModel(EdgewiseError):
    """A model that edgewise does not reproduce exactly."""


class TaskError(EdgewiseError):
    """A task that cannot write its prompts for the given tokenizer."""


class TooFewHeldOut(TaskError):
    """Fewer prompts to hold out than were asked for: there are `found`."""

    def __init__(self, message: str, found: int = 0) -> None:
        super().__init__(message)
        self.found = found


class PairsError(EdgewiseError):
    """Clean and corrupted prompts that do not fit together, or whose answers are not single tokens."""


class NumericalError(EdgewiseError):
    """Logits or gradients that cannot be used: NaN, infinite, or zero everywhere."""


class NothingScored(NumericalError):
    """Scores that are zero for every edge."""


class GraphMismatch(EdgewiseError):
    """Scores, circuits and models that belong to different graphs."""


class RankError(EdgewiseError):
    """A process of several that work together is gone, or was given something else than the others."""


class WorkerError(EdgewiseError):
    """A worker that was given a part of the work is gone, or nobody is there to give it to."""


class FileError(EdgewiseError):
    """A file that cannot be read or written."""
