"""From a tidy3d object to its document: JSON text, and its arrays as views at their paths.

The client itself writes a temporary HDF5 file, compresses it, hashes it, and before each of these looks at every
element of every array for a tracer of `autograd`. Here the text comes from the model's compiled serializer, and only
the arrays that the text mentions are visited, each for its address. Nothing is copied unless an array does not lie in
memory as a document keeps it (C order, little-endian, a type that documents know).

Objects that carry tracers are refused by name, for the gradient would be lost without a word. Looking for them costs
one look at the type of each field; arrays are not looked into unless they hold Python objects.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pathlib
import re
import sys
from typing import Any, NamedTuple

import numpy as np
import xarray

from wavetask import errors

from . import model

KINDS = {
    "HeatSimulation": "HEAT",
    "HeatChargeSimulation": "HEAT_CHARGE",
    "VolumeMesher": "VOLUME_MESH",
    "Simulation": "FDTD",
    "ModeSimulation": "MODE",
    "ModeSolver": "MODE_SOLVER",
    "EMESimulation": "EME",
    "ModalComponentModeler": "MODAL_CM",
    "TerminalComponentModeler": "TERMINAL_CM",
}
"""The task kind of each class that can be run, by its name in JSON."""


class CannotPack(errors.InvalidSimulation):
    """An object cannot be made into a document; `hint` says what to do."""

    def __init__(self, what: str, hint: str):
        super().__init__(what, code="pack.refused", hint=hint)


Arrays = list[tuple[str, np.ndarray | list[str]]]
"""Arrays by path, in the order of the text."""


class Packed(NamedTuple):
    """A document: the task kind, the JSON text, and the arrays by path."""

    kind: str
    """As `TaskKind` writes it: `HEAT_CHARGE`, `FDTD`, …"""
    json: str
    """The whole model; a word such as `SpatialDataArray` stands where an array belongs."""
    arrays: Arrays
    """`structures/0/medium/permittivity/x` and its numbers in C order, or its strings."""


def pack(simulation: Any) -> Packed:
    """The document of a tidy3d object, or of a file that tidy3d wrote (`.json`, `.yaml`, `.hdf5`, `.hdf5.gz`).

    Raises `CannotPack` if it has no document: not a simulation, tracers within a gradient, element types that
    documents do not have, arrays lost in a JSON file; `OSError` if a file cannot be read.
    """
    if isinstance(simulation, (str, os.PathLike)):
        return _pack_file(pathlib.Path(simulation))
    if not isinstance(simulation, model.Tidy3dBaseModel):
        raise CannotPack(
            f"a {type(simulation).__name__} is not a simulation",
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
    raise _not_runnable(type(simulation).__name__)


def _not_runnable(name: str) -> CannotPack:
    return CannotPack(f"`{name}` is not a class that can be run", f"these are: {', '.join(KINDS)}")


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


_VERBATIM = frozenset("<" + code for code in ("f8", "f4", "i8", "i4", "c16", "c8")) | {"|u1"}
_WIDENED = {"i1": "<i4", "i2": "<i4", "u2": "<i4", "u4": "<i8", "u8": "<i8"}


def as_stored(values: np.ndarray, path: str) -> np.ndarray | list[str]:
    """An array as documents keep it: the array itself wherever possible.

    Booleans are unsigned bytes, integers that documents do not have are widened: what reading the client's file
    gives.
    """
    kind = values.dtype.kind
    if kind == "U" or (kind == "O" and all(isinstance(value, str) for value in values.flat)):
        if values.ndim != 1:
            raise CannotPack(
                f"the strings at `{path}` have {values.ndim} dimensions", "only lists of strings are stored"
            )
        return [str(value) for value in values]
    if kind == "O":
        static = np.array([_static(value) for value in values.flat]).reshape(values.shape)
        if static.dtype.kind == "O":
            raise _unknown_type(values, path)
        return as_stored(static, path)
    if kind == "b":
        values = values.view(np.uint8) if values.flags.c_contiguous else values.astype(np.uint8)
    code = values.dtype.str
    if code not in _VERBATIM:
        wanted = _WIDENED.get(code[1:]) or ("<" + code[1:] if "<" + code[1:] in _VERBATIM else None)
        if wanted is None:
            raise _unknown_type(values, path)
        if code[1:] == "u8" and values.size and int(values.max()) > np.iinfo(np.int64).max:
            raise CannotPack(f"an integer at `{path}` exceeds 2^63 - 1", "store it as a float")
        return values.astype(wanted, order="C")
    return values if values.flags.c_contiguous else values.copy(order="C")


def _unknown_type(values: np.ndarray, path: str) -> CannotPack:
    return CannotPack(
        f"the array at `{path}` has elements of type {values.dtype}",
        "use floats or complex numbers of 32 or 64 bits a part, integers, booleans or strings",
    )


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


def _pack_file(path: pathlib.Path) -> Packed:
    name = path.name.lower()
    if name.endswith(".json"):
        return _pack_json(path.read_text(encoding="utf-8"), path)
    if name.endswith((".yaml", ".yml")):
        return pack(model.Tidy3dBaseModel.from_yaml(str(path)))
    if name.endswith(".hdf5.gz"):
        with gzip.open(path, "rb") as compressed:
            return _pack_hdf5(io.BytesIO(compressed.read()), path)
    if name.endswith((".hdf5", ".h5")):
        return _pack_hdf5(path, path)
    raise CannotPack(
        f"`{path}` has no extension that tidy3d writes", "use .json, .yaml, .hdf5, .h5 or .hdf5.gz"
    )


def _pack_json(text: str, path: pathlib.Path) -> Packed:
    kind = _kind_in(text, path)
    if _mentions_arrays(text):
        raise CannotPack(
            f"`{path}` names arrays, which JSON files do not hold", "write the simulation as .hdf5"
        )
    return Packed(kind, text, [])


def _kind_in(text: str, path: pathlib.Path) -> str:
    try:
        name = json.loads(text)["type"]
    except (ValueError, TypeError, KeyError):
        raise CannotPack(
            f"`{path}` holds no simulation", "write one with `simulation.to_file(path)`"
        ) from None
    if name not in KINDS:
        raise _not_runnable(str(name))
    return KINDS[name]


def _pack_hdf5(source: Any, path: pathlib.Path) -> Packed:
    import h5py

    arrays: Arrays = []
    with h5py.File(source, "r") as file:
        parts = sorted(
            (name for name in file if name.startswith("JSON_STRING")), key=lambda name: (len(name), name)
        )
        if not parts:
            raise CannotPack(f"`{path}` holds no simulation", "write one with `simulation.to_file(path)`")
        text = b"".join(file[name][()] for name in parts).decode()

        def visit(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and name not in parts:
                values = np.asarray(item[()])
                if values.dtype.kind == "O":
                    values = np.array([value.decode() for value in values.flat], dtype=object)
                arrays.append((name, as_stored(values, name)))

        file.visititems(visit)
    return Packed(_kind_in(text, path), text, arrays)


if sys.byteorder != "little":
    raise ImportError("documents are little-endian, and this machine is not")
