"""One array of a result, or a part of it, without the rest of the result."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import xarray

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
    place, child, symmetric = _located(document_json, path)
    if symmetric:
        # What a symmetry stands for is said by the monitor's other fields, too.
        data = build.build_monitor(document_json, path[0], load, paths)
        return select(_at(data, path[1:]), selections)
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
    place, child, symmetric = _located(document_json, path)
    mesh = isinstance(child, dict) and str(child.get("type")).endswith("GridDataset")
    if mesh:
        place, child = f"{place}/values", child["values"]
    if symmetric or child not in model.DATA_ARRAY_MAP:
        return None
    values = f"{place}/{model.VALUES}"
    dims = model.DATA_ARRAY_MAP[child]._dims
    extents = dict(zip(dims, shape(values), strict=True))
    found = {
        dim: load(f"{place}/{dim}") if dim != "index" and f"{place}/{dim}" in paths else range(extent)
        for dim, extent in extents.items()
    }
    nothing = np.asarray(load(values, [(0, 0)] * len(dims)))
    return found, nothing.dtype.kind == "c", mesh


def class_of(document_json: str, path: Sequence[str]) -> Any:
    """The class of the object at a path in a result."""
    return fields.class_named(_located(document_json, path)[1]["type"])


def _located(document_json: str, path: Sequence[str]) -> tuple[str, Any, bool]:
    """Where in the document's arrays something is, what its text has there, and whether it is data of a symmetric
    simulation."""
    node: Any = json.loads(document_json)
    keys, place, symmetric = list(path), "", False
    names = build.monitor_names(document_json)
    if keys[0] in names:
        index = names.index(keys.pop(0))
        node, place = node["data"][index], f"data/{index}/"
        symmetric = any(node.get("symmetry") or ())
    for key in keys:
        node, place = node[key], f"{place}{key}/"
    return place.rstrip("/"), node, symmetric


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
            if not _whole(taken[dim], low)
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


def _whole(places: Any, low: int) -> bool:
    return places.ndim == 1 and bool(np.array_equal(places, np.arange(low, low + places.size)))
