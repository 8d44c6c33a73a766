"""The data of a monitor, or a whole result, before it is there: what its fields are called, and what else needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wavetask import errors

from .kinds import Data, Field
from .node import Expression, Leaf, Node
from .reference import Reference

__all__ = ["DataReference"]

_EXPANDED = ("symmetry_expanded_copy", "symmetry_expanded")
"""What stands in tidy3d's classes for the whole of symmetric data."""


class DataReference:
    """The data of a monitor (``task["temperature"]``), or a whole result (``task.data``), of a task that need not have
    begun: as tidy3d's data object, of which the arrays are references.

    >>> task["temperature"].temperature       # a `wavetask.Reference`: at once, nothing is fetched
    >>> task["temperature"].plot(…)           # everything else of tidy3d's class waits and fetches
    >>> task.data.n_eff                       # of a mode solver's result, which has no monitors
    >>> task.data.symmetry_expanded_copy.Ex   # on the whole plane, where a symmetric part of it was solved
    """

    __slots__ = ("__weakref__", "_data", "_task")

    def __init__(self, task: Any, data: Data) -> None:
        self._task = task
        self._data = data

    def load(self) -> Any:
        """Waits, and gives tidy3d's object. Raises as `Task.result`."""
        place = self._data.place
        if not place:
            return self._task.result()
        if place[0] in _EXPANDED:
            return getattr(self._task.result(), place[0])
        return self._task._monitor_data(place[0])

    @property
    def fields(self) -> dict[str, Reference]:
        """References to all of its arrays, by their names."""
        return {name: self._reference(field) for name, field in self._data.fields.items()}

    def _reference(self, field: Field) -> Reference:
        expression: Expression = Leaf(self._task, (*self._data.place, *field.place), known=field)
        if field.function is not None:
            expression = Node("unary", function=field.function, of=expression)
        return Reference(expression, field.dims, field.mesh)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"a data reference has no attribute `{name}`")
        data = self._data
        if name in data.fields:
            return self._reference(data.fields[name])
        if name in data.attributes:
            if name in _EXPANDED:
                # A monitor's data is the whole already.
                return self if data.place else DataReference(self._task, data._replace(place=(name,)))
            return getattr(self.load(), name)
        there = ", ".join(data.fields) or ", ".join(f'["{each}"]' for each in data.monitors) or "none"
        raise AttributeError(f"{data.kind} has no `{name}`; its fields: {there}")

    def __getitem__(self, monitor: str) -> Any:
        if self._data.place:
            return self.load()[monitor]
        return DataReference(self._task, found(self._data.monitors, monitor, self._task))

    def __eq__(self, other: object) -> Any:
        mine = self.load()
        return mine == (other.load() if isinstance(other, DataReference) else other)

    __hash__ = None  # type: ignore[assignment]

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._data.fields, *self._data.attributes})

    def __reduce__(self) -> tuple[Any, ...]:
        return DataReference, (self._task, self._data)

    def __repr__(self) -> str:
        data = self._data
        of = f"`{data.place[0]}` of " if data.place else ""
        names = ", ".join((*data.fields, *(f'["{name}"]' for name in data.monitors)))
        return f"wavetask.DataReference({data.kind}: {of}task `{self._task.name}`; {names})"


def found(monitors: Mapping[str, Data], name: str, task: Any) -> Data:
    """The data of a monitor of this name. Raises `errors.NotFound`, saying which names there are."""
    data = monitors.get(name)
    if data is None:
        names = ", ".join(monitors)
        raise errors.NotFound(
            f"there is no data of a monitor `{name}`",
            code="result.no_such_monitor",
            hint=f"there is: {names}" if names else None,
            task=task,
        )
    return data
