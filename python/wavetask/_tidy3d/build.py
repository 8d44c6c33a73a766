"""From a result's document to tidy3d's own data object, without a file in between.

The client's loader opens an HDF5 file, puts arrays in place of their class names and validates everything, the
echoed simulation included. Here arrays come from `load`, wherever they are, and a simulation that the caller still
has is put in as it is when the result echoes exactly its text: its arrays are not fetched back and nothing in it is
validated twice, which is most of the time that a small result costs.

The object that is reused is shared, as is everything in tidy3d's immutable models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from . import model

Loaded = np.ndarray | list[str]
Load = Callable[[str], Loaded]
"""Loads the array at a path such as `data/0/flux/f`: numbers in C order, or strings."""

_ECHOES = ("simulation", "modeler")
"""The fields of results that hold what was submitted."""


def build(
    document_json: str, load: Load, paths: Collection[str], submitted: Any = None, submitted_json: str = ""
) -> Any:
    """The object that `tidy3d` would load from the result's file.

    `paths` are the arrays that the document has. `submitted` is the simulation that was run, if the caller has it, and
    `submitted_json` the text it was packed to; both are used where the result echoes them and ignored otherwise.

    Raises `KeyError` if an array is missing and whatever `load` and the client's validation raise.
    """
    values = json.loads(document_json)
    kept = _kept_echo(values, submitted, submitted_json)
    if kept is not None:
        del values[kept[0]]
    _fill(values, "", load, _Paths(paths))
    if kept is not None:
        values[kept[0]] = kept[1]
    return model.validate(values)


def build_monitor(document_json: str, name: str, load: Load, paths: Collection[str]) -> Any:
    """What `build(…)[name]` gives, loading only the arrays of that monitor.

    Raises `KeyError`, naming those that exist, if there is no data of a monitor of this name.
    """
    values = json.loads(document_json)
    data = values.get("data") or ()
    for index, entry in enumerate(data):
        if _name(entry) == name:
            _fill(entry, f"data/{index}/", load, _Paths(paths))
            return model.validate(entry).symmetry_expanded_copy
    names = ", ".join(f"`{_name(entry)}`" for entry in data) or "none"
    raise KeyError(f"no monitor `{name}` in this result; there is {names}")


def fill(values: dict[str, Any], place: str, load: Load, paths: Collection[str]) -> None:
    """Puts arrays where an object at this place of a document has the names of their classes."""
    _fill(values, place, load, _Paths(paths))


def monitor_names(document_json: str) -> list[str]:
    """The names of the monitors that have data, in the document's order; empty for results without monitors."""
    return [_name(entry) for entry in json.loads(document_json).get("data") or ()]


def monitor_of_path(document_json: str, path: str) -> str | None:
    """The name of the monitor whose data the array at `data/<index>/…` belongs to."""
    parts = path.split("/")
    if len(parts) < 2 or parts[0] != "data" or not parts[1].isdigit():
        return None
    names = monitor_names(document_json)
    return names[int(parts[1])] if int(parts[1]) < len(names) else None


def _name(entry: Any) -> str:
    return str(entry["monitor"]["name"])


def _kept_echo(values: dict[str, Any], submitted: Any, submitted_json: str) -> tuple[str, Any] | None:
    """Which field echoes the submitted object, and the object to put there."""
    if submitted is None or not submitted_json:
        return None
    for field in _ECHOES:
        echo = values.get(field)
        if not isinstance(echo, dict):
            continue
        sent = json.loads(submitted_json)
        if sent == echo:
            return field, submitted
        # What a mesher or a mode solver was given is what its result echoes.
        inner = sent.get(field)
        if inner == echo and hasattr(submitted, field):
            return field, getattr(submitted, field)
    return None


class _Paths:
    """The coordinates of each array, by the array's place."""

    def __init__(self, paths: Collection[str]):
        self.below: dict[str, list[str]] = {}
        for path in paths:
            group, _, dataset = path.rpartition("/")
            self.below.setdefault(group, []).append(dataset)


def _fill(node: Any, path: str, load: Load, paths: _Paths) -> None:
    """Puts an array in place of each class name that has one."""
    children = node.items() if type(node) is dict else enumerate(node)
    found = []
    for key, child in children:
        kind = type(child)
        if kind is str:
            array_class = model.DATA_ARRAY_MAP.get(child)
            if (
                array_class is not None
                and (array := _array(array_class, f"{path}{key}", load, paths)) is not None
            ):
                found.append((key, array))
        elif kind is dict or kind is list:
            _fill(child, f"{path}{key}/", load, paths)
    for key, array in found:
        node[key] = array


def _array(array_class: Any, place: str, load: Load, paths: _Paths) -> Any:
    datasets = paths.below.get(place)
    if datasets is None:
        return None  # a name that happens to be a class's; a true gap fails the client's validation
    coordinates = {
        dimension: load(f"{place}/{dimension}") for dimension in array_class._dims if dimension in datasets
    }
    return array_class(load(f"{place}/{model.VALUES}"), coords=coordinates, dims=array_class._dims)
