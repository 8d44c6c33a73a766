"""One array of a result, or a part of it, without the rest of the result."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray

from wavetask import _native
from wavetask._reference.evaluate import select

from . import build, fields, model

Ranges = Sequence[tuple[int, int]]
LoadPart = Callable[..., build.Loaded]
"""Loads the array at a path, or the part of it within ranges along each dimension."""

__all__ = ["build_field", "class_of", "labels", "of_built", "spatial"]


def build_field(
    document_json: str,
    path: Sequence[str],
    selections: list[Any],
    load: LoadPart,
    paths: Collection[str],
) -> Any:
    """What tidy3d has at a path in a result (a monitor's name and a field, or keys), after selections: expressions, the
    innermost first. Of an array only what they take is loaded.

    ``None`` if the result has no data there. Raises `KeyError` if there is no such place.
    """
    place, child, data = _located(document_json, path)
    if data is not None:
        # What a symmetry stands for, and what is computed of fields, is said by the other fields, too.
        if path[0] in build.monitor_names(document_json):
            return select(_at(build.build_monitor(document_json, path[0], load, paths), path[1:]), selections)
        return select(_at(build.build(document_json, load, paths), path), selections)
    if isinstance(child, str) and child in model.DATA_ARRAY_MAP:
        return _part(model.DATA_ARRAY_MAP[child], place, selections, load, paths)
    if isinstance(child, dict):
        build.fill(child, f"{place}/", load, paths)
        return select(model.validate(child), selections)
    return None


def labels(
    document_json: str,
    path: Sequence[str],
    load: LoadPart,
    paths: Collection[str],
    shape: Callable[[str], list[int]],
) -> tuple[dict[str, Any], bool, bool] | None:
    """The labels along the dimensions of an array of a result, whether its values are complex, and whether they are at
    the points of a mesh: loading labels alone. ``None`` where they cannot be told so, or there is no data.

    Raises `KeyError` if there is no such place.
    """
    if path[-1] == _FLUX and (field := _of_flux(document_json, path)) is not None:
        of_field = labels(document_json, field, load, paths, shape)
        if of_field is None:
            return None
        return {dim: each for dim, each in of_field[0].items() if dim not in "xyz"}, False, False
    place, child, data = _located(document_json, path)
    mesh = isinstance(child, dict) and str(child.get("type")).endswith("GridDataset")
    if mesh:
        place, child = f"{place}/values", child["values"]
    if child not in model.DATA_ARRAY_MAP or (mesh and data is not None):
        return None
    values = f"{place}/{model.VALUES}"
    dims = model.DATA_ARRAY_MAP[child]._dims
    extents = dict(zip(dims, shape(values), strict=True))
    found = {
        dim: load(f"{place}/{dim}") if dim != "index" and f"{place}/{dim}" in paths else range(extent)
        for dim, extent in extents.items()
    }
    if data is not None:
        whole = _whole(data, path[-1], found)
        if whole is None:
            return None
        found = whole
    nothing = np.asarray(load(values, [(0, 0)] * len(dims)))
    return found, nothing.dtype.kind == "c", mesh


def class_of(document_json: str, path: Sequence[str]) -> Any:
    """The class of the object at a path in a result."""
    return fields.class_named(_located(document_json, path).child["type"])


def _whole(data: dict[str, Any], name: str, stored: dict[str, Any]) -> dict[str, Any] | None:
    """The labels of the whole of a field of a symmetric simulation; ``None`` if they are not known here."""
    dimensions = [{"name": dim, "coordinate": np.asarray(labels).tolist()} for dim, labels in stored.items()]
    found = _native.whole_labels(json.dumps(data), name, json.dumps(dimensions))
    if found is None:
        return None
    whole = {each["name"]: each["coordinate"] for each in json.loads(found)}
    return {dim: whole[dim] if dim in "xyz" else labels for dim, labels in stored.items()}


class _Located(NamedTuple):
    """Where something is in a document."""

    place: str
    """In the document's arrays."""
    child: Any
    """What the document's text has there."""
    data: dict[str, Any] | None
    """What it belongs to, if that is needed: if it is of a symmetric simulation, and the whole of it is asked for, or
    computed of other fields."""


_EXPANDED = ("symmetry_expanded_copy", "symmetry_expanded")
_FLUX = "flux"


def _of_flux(document_json: str, path: Sequence[str]) -> list[str] | None:
    """A field that the flux is computed of; ``None`` if it is stored."""
    holder = _located(document_json, path).data
    if holder is None or _FLUX in holder:
        return None
    names = (f"E{axis}" for axis in "xyz")
    return next(([*path[:-1], name] for name in names if isinstance(holder.get(name), str)), None)


def _located(document_json: str, path: Sequence[str]) -> _Located:
    node: Any = json.loads(document_json)
    keys, place = list(path), ""
    names = build.monitor_names(document_json)
    expanded = keys[0] in names
    if expanded:
        index = names.index(keys.pop(0))
        node, place = node["data"][index], f"data/{index}/"
    holder = node
    for key in keys:
        if key in _EXPANDED:
            expanded = True
            continue
        if key == _FLUX and isinstance(node, dict) and _FLUX not in node:
            return _Located(place.rstrip("/"), None, node)
        below = node[int(key) if isinstance(node, list) else key]
        holder, node, place = node, below, f"{place}{key}/"
    symmetric = expanded and isinstance(holder, dict) and any(holder.get("symmetry") or ())
    return _Located(place.rstrip("/"), node, holder if symmetric else None)


def of_built(result: Any, path: Sequence[str], selections: list[Any]) -> Any:
    """As `build_field`, of a result that is there. Raises `KeyError` if there is no such place."""
    keys = list(path)
    if keys[0] in {data.monitor.name for data in getattr(result, "data", ())}:
        result = result[keys.pop(0)]
    try:
        value = _at(result, keys)
    except AttributeError as error:
        raise KeyError(*keys) from error
    return None if value is None else select(value, selections)


def spatial(array: Any) -> Any:
    """An array along x, y and z as tidy3d has it."""
    return model.DATA_ARRAY_MAP["SpatialDataArray"](array)


def _at(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        value = getattr(value, key)
    return value


def _part(array_class: Any, place: str, selections: list[Any], load: LoadPart, paths: Collection[str]) -> Any:
    """The part of an array that selections take."""
    dims = array_class._dims
    labels = {dim: load(f"{place}/{dim}") for dim in dims if f"{place}/{dim}" in paths}
    taken = {dim: _taken(dim, labels[dim], selections) for dim in dims if dim in labels}
    if len(labels) < len(dims):
        return select(array_class(load(f"{place}/{model.VALUES}"), coords=labels, dims=dims), selections)
    ranges = [_range(np.atleast_1d(taken[dim]), len(labels[dim])) for dim in dims]
    values = load(f"{place}/{model.VALUES}", ranges)
    within = {dim: labels[dim][low:high] for dim, (low, high) in zip(dims, ranges, strict=True)}
    array = array_class(values, coords=within, dims=dims)
    return array.isel(
        {
            dim: taken[dim] - low
            for dim, (low, _) in zip(dims, ranges, strict=True)
            if not _is_range(taken[dim], low)
        }
    )


def _taken(dim: str, labels: Any, selections: list[Any]) -> Any:
    """The places along a dimension that selections take: an array of them, or one of no dimension."""
    places = xarray.DataArray(np.arange(len(labels)), coords={dim: labels}, dims=[dim])
    return select(places, selections, {dim}).values


def _range(places: Any, extent: int) -> tuple[int, int]:
    if not places.size:
        return 0, min(1, extent)
    return int(places.min()), int(places.max()) + 1


def _is_range(places: Any, low: int) -> bool:
    """Whether these are all places from one on, in their order."""
    return places.ndim == 1 and bool(np.array_equal(places, np.arange(low, low + places.size)))
