"""The labels of what is not here yet, as places for something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .known import known
from .node import Expression

if TYPE_CHECKING:
    from .reference import Reference

__all__ = ["Coordinate"]


class Coordinate:
    """The labels of a reference along a dimension, as places for another: ``field.interp(x=other.x)``. Its own values
    are fetched when they are asked for."""

    __slots__ = ("_dimension", "_reference")

    def __init__(self, reference: Reference, dimension: str) -> None:
        self._reference = reference
        self._dimension = dimension

    @property
    def _wavetask_coordinate(self) -> tuple[Expression, str]:
        return self._reference._expression, self._dimension

    def load(self) -> Any:
        """The labels. Waits if they are not known before there is a result."""
        found = known(self._reference._expression)
        of = self._reference if found is not None and not found.mesh else self._reference.load()
        return of.coords[self._dimension]

    @property
    def values(self) -> np.ndarray[Any, Any]:
        """The labels as NumPy has them. Waits as `load`."""
        return np.asarray(self.load().values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.values, dtype=dtype) if copy else np.asarray(self.values, dtype=dtype)

    def __len__(self) -> int:
        return len(self.values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"a coordinate has no attribute `{name}`")
        return getattr(self.load(), name)

    def __getitem__(self, key: Any) -> Any:
        return self.load()[key]

    def __repr__(self) -> str:
        return f"<labels along {self._dimension} of {self._reference!r}>"
