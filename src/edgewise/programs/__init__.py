"""Programs by name: transformers whose weights are set by hand and whose circuits are known."""

from edgewise.programs.base import Head, Neurons, Program, Read
from edgewise.programs.fraction import FRACTION
from edgewise.programs.induction import INDUCTION_HIDDEN
from edgewise.programs.reverse import REVERSE

PROGRAMS = {program.name: program for program in (REVERSE, FRACTION, INDUCTION_HIDDEN)}

__all__ = ["PROGRAMS", "Head", "Neurons", "Program", "Read"]
