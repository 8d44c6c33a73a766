"""The simulation of a task whose arrays are elsewhere: as tidy3d's object, of which the arrays are references."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .node import Leaf
from .reference import Reference

__all__ = ["SimulationReference", "array_of"]


class SimulationReference:
    """The simulation of a task, or a part of it, as tidy3d's object of which the arrays are references: what
    ``task.simulation`` is where this process does not have the object itself.

    >>> task.simulation.structures[0].medium.permittivity   # a `wavetask.Reference`; no value of it is fetched
    >>> task.simulation.run_time, task.simulation.sources    # tidy3d's own
    >>> wt.replace(other, "structures[0].medium.permittivity", task.simulation.structures[0].medium.permittivity)
    >>> wt.replace(task.simulation, "sources[0].rate", …)    # what is not replaced stays where it is, too
    >>> task.simulation.load()                               # tidy3d's object with all arrays

    Fields of tidy3d's object that have no arrays below them are its own; those that have are references, tuples, or
    objects of this class. Methods and properties that are computed (``simulation.grid``) fetch the arrays first.
    """

    __slots__ = ("__weakref__", "_place", "_task")

    def __init__(self, task: Any, place: tuple[str, ...] = ()) -> None:
        self._task = task
        self._place = place

    def load(self) -> Any:
        """Fetches the arrays that are not here, and gives tidy3d's object. Waits where the simulation is made of results
        that are not there yet. Raises what keeps them from being there."""
        from wavetask import _adaptor

        return _adaptor.module("template").at(self._task._whole_simulation(), self._place)

    @property
    def arrays(self) -> dict[str, Reference]:
        """References to all arrays below this, by the paths that `wavetask.replace` takes."""
        held = self._task._held_simulation()
        within = len(self._place)
        return {
            "/".join(field.place[within:]): array_of(self._task, held, path)
            for path, field in held.fields.items()
            if field.place[:within] == self._place and not field.mesh
        }

    def _absent(self) -> tuple[Any, dict[str, Reference]]:
        """tidy3d's object, and references to those arrays that are not here, by their paths below it."""
        from wavetask import _adaptor

        held = self._task._held_simulation()
        node = _adaptor.module("template").at(held.object, self._place)
        prefix = "".join(f"{key}/" for key in self._place)
        return node, {path: each for path, each in self.arrays.items() if prefix + path in held.absent}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"a simulation reference has no attribute `{name}`")
        node = self._node()
        if name in _fields(node):
            return self._below((*self._place, name), getattr(node, name))
        if hasattr(type(node), name):
            return getattr(self.load(), name)
        raise AttributeError(f"`{type(node).__name__}` has no `{name}`")

    def _node(self) -> Any:
        from wavetask import _adaptor

        return _adaptor.module("template").at(self._task._held_simulation().object, self._place)

    def _below(self, place: tuple[str, ...], value: Any) -> Any:
        held = self._task._held_simulation()
        path = "/".join(place)
        if path in held.fields:
            return array_of(self._task, held, path)
        if not held.children(path):
            return value
        if isinstance(value, (list, tuple)):
            return tuple(self._below((*place, str(index)), each) for index, each in enumerate(value))
        if isinstance(value, Mapping):
            return {name: self._below((*place, str(name)), each) for name, each in value.items()}
        return SimulationReference(self._task, place)

    def __eq__(self, other: object) -> Any:
        return self.load() == (other.load() if isinstance(other, SimulationReference) else other)

    __hash__ = None  # type: ignore[assignment]

    def __dir__(self) -> list[str]:
        node = self._node()
        return sorted({*object.__dir__(self), *dir(type(node)), *_fields(node)})

    def __reduce__(self) -> tuple[Any, ...]:
        return SimulationReference, (self._task, self._place)

    def __repr__(self) -> str:
        what = f"task `{self._task.name}`"
        if not self._task._is_described():
            return f"wavetask.SimulationReference({'/'.join(self._place) or 'simulation'} of {what})"
        arrays = ", ".join(self.arrays)
        place = f"{'/'.join(self._place)} of " if self._place else ""
        return f"wavetask.SimulationReference({type(self._node()).__name__}: {place}{what}; {arrays})"


def array_of(task: Any, held: Any, path: str) -> Reference:
    """A reference to an array of a task's simulation, of which this is here."""
    field = held.fields[path]
    return Reference(Leaf(task, field.place, simulation=True, known=field), field.dims, field.mesh)


def _fields(node: Any) -> Any:
    """The fields of one of tidy3d's objects, whatever generation its models are of."""
    return getattr(type(node), "model_fields", None) or getattr(type(node), "__fields__", {})
