"""Note which channels of a network's maps must have one factor, and which must keep theirs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: A channel is an integer; 0 is the factor 1.
Variables = NDArray[np.int64]


class Channels:
    """Give every channel of every map a variable, and join those that must be equal.

    Maps are given by their names. The variables are joined in a forest of sets (union-find).
    """

    def __init__(self) -> None:
        self._of: dict[str, Variables] = {}
        self._parent: list[int] = [0]

    @property
    def count(self) -> int:
        """How many variables there are."""
        return len(self._parent)

    def of(self, name: str, count: int) -> Variables:
        """Return the variables of a map's channels, ``(count,)``, which are made when it is first asked for."""
        if name not in self._of:
            self._of[name] = np.arange(self.count, self.count + count)
            self._parent.extend(self._of[name].tolist())
        return self._of[name]

    def tie(self, one: Variables, other: Variables) -> None:
        """Let channels have one factor, pair by pair."""
        for pair in zip(one.tolist(), other.tolist(), strict=True):
            first, second = map(self._root, pair)
            self._parent[max(first, second)] = min(first, second)  # so 0 stays a root

    def fix(self, variables: Variables) -> None:
        """Let channels keep the factor 1."""
        self.tie(variables, np.zeros_like(variables))

    def groups(self, variables: Variables) -> Variables:
        """Return the smallest variable that each one is tied to: 0 where it keeps the factor 1."""
        roots = [self._root(variable) for variable in variables.ravel().tolist()]
        return np.array(roots, np.int64).reshape(variables.shape)

    def free(self) -> dict[str, Variables]:
        """Return the maps with a channel whose factor may be chosen, with the groups of their channels."""
        found = {name: self.groups(variables) for name, variables in self._of.items()}
        return {name: groups for name, groups in found.items() if groups.any()}

    def _root(self, variable: int) -> int:
        while self._parent[variable] != variable:
            self._parent[variable] = self._parent[self._parent[variable]]
            variable = self._parent[variable]
        return variable
