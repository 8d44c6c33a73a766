"""What a document is made of, and documents from files that tidy3d wrote: none of this needs tidy3d itself.

JSON files need nothing, HDF5 files h5py. Only YAML files are read by tidy3d.
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

from wavetask import _adaptor, errors

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


def not_runnable(name: str) -> CannotPack:
    """The error for a class that no task can be made of."""
    return CannotPack(f"`{name}` is not a class that can be run", f"these are: {', '.join(KINDS)}")


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
        plain = np.array(list(values.flat)).reshape(values.shape)
        if plain.dtype.kind == "O":
            raise _unknown_type(values, path)
        return as_stored(plain, path)
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


_ARRAY_CLASS = re.compile('"[A-Za-z0-9_]+DataArray"')
"""What stands for an array in the JSON text of any version of tidy3d."""


def pack_file(file: str | os.PathLike[str]) -> Packed:
    """The document of a file that tidy3d wrote (`.json`, `.yaml`, `.hdf5`, `.hdf5.gz`).

    Raises `CannotPack` if it holds no simulation or has lost its arrays, `errors.Usage` if h5py is missing, `OSError`
    if it cannot be read.
    """
    path = pathlib.Path(file)
    name = path.name.lower()
    if name.endswith(".json"):
        return _pack_json(path.read_text(encoding="utf-8"), path)
    if name.endswith((".yaml", ".yml")):
        pack = _adaptor.packer()
        packed: Packed = pack.pack(pack.model.Tidy3dBaseModel.from_yaml(str(path)))
        return packed
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
    if _ARRAY_CLASS.search(text) is not None:
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
        raise not_runnable(str(name))
    return KINDS[name]


def _pack_hdf5(source: Any, path: pathlib.Path) -> Packed:
    try:
        h5py = _adaptor.h5py()
    except ImportError as error:
        raise errors.Usage(
            f"`{path}` is read by h5py, which cannot be imported: {error}",
            code="client.no_h5py",
            hint="pip install h5py, or submit it with the command: wavetask submit FILE",
        ) from error

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
