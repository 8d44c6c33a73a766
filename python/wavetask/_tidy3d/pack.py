"""From a tidy3d object to its document: JSON text, and its arrays as views at their paths.

The client itself writes a temporary HDF5 file, compresses it, hashes it, and before each of these looks at every
element of every array for a tracer of `autograd`. Here the text comes from the model's compiled serializer, and only
the arrays that the text mentions are visited, each for its address. Nothing is copied unless an array does not lie in
memory as a document keeps it (C order, little-endian, a type that documents know).

Objects that carry tracers are refused by name, for the gradient would be lost without a word. Looking for them costs
one look at the type of each field; arrays are not looked into unless they hold Python objects.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

import numpy as np
import xarray

from wavetask import _file
from wavetask._file import KINDS, Arrays, CannotPack, Packed, not_runnable, pack_file

from . import model

__all__ = ["KINDS", "CannotPack", "Packed", "arrays_of", "as_stored", "model", "pack", "refuse_tracers"]


def pack(simulation: Any) -> Packed:
    """The document of a tidy3d object, or of a file that tidy3d wrote (`.json`, `.yaml`, `.hdf5`, `.hdf5.gz`).

    Raises `CannotPack` if it has no document: not a simulation, tracers within a gradient, element types that
    documents do not have, arrays lost in a JSON file; `OSError` if a file cannot be read.
    """
    if isinstance(simulation, (str, os.PathLike)):
        return pack_file(simulation)
    if not isinstance(simulation, model.Tidy3dBaseModel):
        raise CannotPack(
            f"what is of type `{type(simulation).__name__}` is not a simulation",
            "pass a tidy3d simulation, or the path of a file that holds one",
        )
    kind = _kind(simulation)
    refuse_tracers(simulation)
    text = model.json_text(simulation)
    return Packed(kind, text, arrays_of(simulation, text))


def refuse_tracers(simulation: Any) -> None:
    """Raises `CannotPack` if a value of the simulation is traced by autograd."""
    traced = _traced(simulation, "")
    if traced is not None:
        raise CannotPack(
            f"`{traced}` is traced by autograd, and gradients through wavetask are not supported",
            "take `simulation.to_static()` if the gradient is not needed",
        )


def arrays_of(root: Any, text: str) -> Arrays:
    """The arrays that the JSON text of a model stands for, by path."""
    if not _mentions_arrays(text):
        return []
    arrays: Arrays = []
    _collect(json.loads(text), root, "", arrays)
    return arrays


def _kind(simulation: Any) -> str:
    for ancestor in type(simulation).__mro__:
        kind = KINDS.get(ancestor.__name__)
        if kind is not None:
            return kind
    raise not_runnable(type(simulation).__name__)


_pattern: re.Pattern[str] | None = None


def _mentions_arrays(text: str) -> bool:
    global _pattern
    if _pattern is None:
        _pattern = re.compile('"(?:' + "|".join(sorted(map(re.escape, model.array_classes()))) + ')"')
    return _pattern.search(text) is not None


def _collect(node: Any, value: Any, path: str, arrays: Arrays) -> None:
    """Walks the text and the model side by side: what the text does not mention does not exist."""
    if type(node) is list:
        if not isinstance(value, (list, tuple)):
            return  # numbers of an in-line array
        children: Any = zip(map(str, range(len(node))), node, value, strict=False)
    else:
        if isinstance(value, dict):
            fields = (
                value if all(type(key) is str for key in value) else {str(k): v for k, v in value.items()}
            )
        elif isinstance(value, model.Tidy3dBaseModel):
            fields = value.__dict__
        else:
            return
        children = ((key, child, fields.get(key)) for key, child in node.items())
    for key, child, below in children:
        if type(child) is str:
            if isinstance(below, xarray.DataArray):
                _append(f"{path}{key}", below, arrays)
        elif type(child) is dict or type(child) is list:
            _collect(child, below, f"{path}{key}/", arrays)


def _append(path: str, array: xarray.DataArray, arrays: Arrays) -> None:
    values = _static(array.data)
    if not isinstance(values, np.ndarray):
        values = np.asarray(values)
    arrays.append((f"{path}/{model.VALUES}", as_stored(values, path)))
    coordinates = array.coords
    for dimension in getattr(type(array), "_dims", array.dims):
        if dimension in coordinates:
            place = f"{path}/{dimension}"
            arrays.append((place, as_stored(np.asarray(coordinates[dimension].variable.values), place)))


def _static(data: Any) -> Any:
    while isinstance(data, model.Box):
        data = data._value
    return data


def as_stored(values: np.ndarray, path: str) -> np.ndarray | list[str]:
    """As `_file.as_stored`, also of values that autograd traces."""
    if values.dtype.kind == "O" and any(isinstance(value, model.Box) for value in values.flat):
        values = np.array([_static(value) for value in values.flat]).reshape(values.shape)
    return _file.as_stored(values, path)


_PLAIN = frozenset((str, float, int, bool, type(None), complex, np.float64))


def _traced(value: Any, path: str) -> str | None:
    """The path of a value that carries a tracer; ``None`` if there is none."""
    if isinstance(value, model.Tidy3dBaseModel):
        children: Any = value.__dict__.items()
    elif isinstance(value, dict):
        children = value.items()
    elif isinstance(value, (list, tuple)):
        children = enumerate(value)
    elif isinstance(value, model.Box):
        return path
    elif isinstance(value, xarray.DataArray):
        data = value.variable._data
        return path if isinstance(data, model.Box) or _holds_tracers(data) else None
    else:
        return path if isinstance(value, np.ndarray) and _holds_tracers(value) else None
    for name, below in children:
        if type(below) not in _PLAIN:
            found = _traced(below, f"{path}/{name}" if path else str(name))
            if found is not None:
                return found
    return None


def _holds_tracers(data: Any) -> bool:
    return getattr(data, "dtype", None) == np.dtype(object) and any(
        isinstance(element, model.Box) for element in np.asarray(data).flat
    )
