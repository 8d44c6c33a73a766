"""A task's simulation without its large arrays: tidy3d's own object, in which one value of an array stands for all.

What a simulation says of itself is in its text and in arrays of a few bytes; what makes it large are arrays whose values
somebody may want a part of. So its text is fetched, the labels of all arrays, and the values of small ones; of a large
array one block, whose first value is put everywhere. That value has passed tidy3d's validation where it is, so it passes
it anywhere. Such an array takes no memory: its strides are zero.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from tidy3d.components.data.unstructured.base import UnstructuredGridDataset

from wavetask import errors
from wavetask._reference.kinds import Field
from wavetask._reference.known import known

from . import build, model
from .template import arrays, at

__all__ = ["Document", "Held", "Part", "array", "of_document", "of_object", "of_template", "whole"]

SMALL = 1 << 16
"""Bytes of an array that is fetched as it is: a block would come for one value of it, too."""

_SHAPES = frozenset(("CellDataArray", "PointDataArray", "TriangleMeshDataArray"))
"""Classes of arrays that are the shape of something: no value of theirs stands for the others."""


class Document(Protocol):
    """A document whose arrays are fetched when they are asked for."""

    @property
    def json(self) -> str: ...
    def paths(self) -> list[str]: ...
    def shape(self, path: str) -> list[int]: ...
    def array(self, path: str, ranges: Any = None) -> build.Loaded: ...


class Part:
    """What is below a key of a document, as a document."""

    def __init__(self, document: Document, key: str) -> None:
        self._document = document
        self._prefix = f"{key}/"
        self.json = json.dumps(json.loads(document.json)[key])

    def paths(self) -> list[str]:
        """The paths of its arrays."""
        prefix = self._prefix
        return [path[len(prefix) :] for path in self._document.paths() if path.startswith(prefix)]

    def shape(self, path: str) -> list[int]:
        """The shape of an array, without fetching it."""
        return self._document.shape(self._prefix + path)

    def array(self, path: str, ranges: Any = None) -> build.Loaded:
        """The array at a path, or a part of it."""
        if ranges is None:
            return self._document.array(self._prefix + path)
        return self._document.array(self._prefix + path, ranges)


class Held(NamedTuple):
    """A simulation as far as it is here."""

    object: Any
    """tidy3d's object."""
    fields: Mapping[str, Field]
    """What is known of its arrays, and of its values on meshes as a whole, by their paths."""
    absent: Collection[str]
    """The paths of arrays whose values are not the simulation's."""

    def children(self, place: str) -> bool:
        """Whether there are arrays below a path."""
        prefix = f"{place}/" if place else ""
        return any(path.startswith(prefix) for path in self.fields)


def of_object(simulation: Any, absent: Collection[str] = ()) -> Held:
    """A simulation that is here, without the arrays at these paths."""
    fields: dict[str, Field] = {}
    for path, array in arrays(simulation).items():
        keys = tuple(path.split("/"))
        labels = {dim: _labels(array, dim) for dim in array.dims}
        fields[path] = Field(keys, tuple(array.dims), False, array.dtype.kind == "c", labels=labels)
        if keys[-1] == "values" and isinstance(at(simulation, keys[:-1]), UnstructuredGridDataset):
            fields["/".join(keys[:-1])] = Field(keys[:-1], tuple(array.dims), True, array.dtype.kind == "c")
    return Held(simulation, fields, frozenset(absent))


def of_template(simulation: Any, slots: Mapping[str, Any]) -> Held:
    """A simulation in whose arrays at these paths references belong: what is known of the references is known of it."""
    held = of_object(simulation, slots)
    fields = dict(held.fields)
    for path, slot in slots.items():
        try:
            found = known(slot._expression, look=False)
        except errors.WavetaskError:
            found = None  # said when it is computed
        if found is None:
            fields[path] = fields[path]._replace(labels={}, is_complex=None)
        else:
            labels = {name: tuple(values) for name, values in found.coordinates.items()}
            fields[path] = fields[path]._replace(labels=labels, is_complex=found.dtype.kind == "c")
    return held._replace(fields=fields)


def of_document(document: Document) -> Held:
    """A simulation of which this is the document. Of large arrays one block each is fetched."""
    paths = frozenset(document.paths())
    text = json.loads(document.json)
    absent = set()

    def load(path: str) -> build.Loaded:
        group, _, dataset = path.rpartition("/")
        shape = document.shape(path)
        small = 16 * math.prod(shape) <= SMALL
        if dataset != model.VALUES or small or _class_at(text, group) in _SHAPES:
            return document.array(path)
        absent.add(group)
        first = document.array(path, [(0, 1)] * len(shape))
        return np.broadcast_to(np.asarray(first), shape)

    return of_object(build.build(document.json, load, paths), absent)


def whole(document: Document) -> Any:
    """tidy3d's object with all its arrays."""
    return build.build(document.json, document.array, frozenset(document.paths()))


def array(held: Held, keys: tuple[str, ...]) -> Any:
    """An array of a simulation that is here, or values on a mesh; ``None`` if it is not here."""
    place = "/".join(keys)
    if place in held.absent or f"{place}/values" in held.absent:
        return None
    return at(held.object, keys)


def _labels(array: Any, dim: str) -> tuple[Any, ...]:
    return tuple(array.coords[dim].values.tolist() if dim in array.coords else range(array.sizes[dim]))


def _class_at(text: Any, path: str) -> str:
    for key in path.split("/"):
        text = text[int(key)] if isinstance(text, list) else text[key]
    return str(text)
