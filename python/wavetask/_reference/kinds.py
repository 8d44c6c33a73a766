"""What is known of a field without its data: what it is called, its dimensions, and labels that are known by now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Data", "Field"]


class Field(NamedTuple):
    """A field of a result."""

    place: tuple[str, ...]
    """Where its array is, below the data that it belongs to."""
    dims: tuple[str, ...]
    """Its dimensions; of values at the points of a mesh ``index`` and those that are not of space."""
    mesh: bool = False
    """Whether it is values at the points of a mesh of triangles or tetrahedra."""
    is_complex: bool | None = None
    """Whether its values are complex; ``None`` if that is known with the data only."""
    function: str | None = None
    """What makes it of the array: `n_eff` is the ``real`` part of `n_complex`."""
    symmetric: bool = False
    """Whether it is of a symmetric simulation, of which only a part is stored, and of a kind whose whole the server does
    not know."""
    labels: Mapping[str, tuple[Any, ...]] = {}
    """The labels along its dimensions, of those where they are known before it is computed."""
    computed: bool = False
    """Whether it is no array of the result, but computed of some: the flux of a field."""


class Data(NamedTuple):
    """The data of a monitor, or a whole result."""

    kind: str
    """The name of the class that tidy3d has for it."""
    fields: Mapping[str, Field]
    """Its fields."""
    attributes: frozenset[str]
    """What else tidy3d's class has, which needs the data itself."""
    monitors: Mapping[str, Any]
    """Of a whole result: the data of each monitor."""
    place: tuple[str, ...] = ()
    """Where it is in the result."""
