"""Define ``Progress`` and ``StepProgress``: how a long function reports to its caller how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Called with (done, total), in a unit that the function which takes it names.
Progress: TypeAlias = Callable[[int, int], None]

#: Called with (step, done, total), where one call has several steps, each with a total of its own.
StepProgress: TypeAlias = Callable[[str, int, int], None]
