"""Files of jobs and batches, as the client reads and writes them, with every array in them once."""

from __future__ import annotations

import json
import os
import pathlib
from os import PathLike
from typing import Any

import numpy as np

from wavetask._tidy3d import model
from wavetask._tidy3d.pack import arrays_of

_PART = 1_000_000_000
"""Characters of JSON in one dataset; the client reads any number of them."""


def write(
    path: str | PathLike[str],
    thing: Any,
    text: str,
    values: dict[str, Any],
    links: dict[str, str] | None = None,
) -> None:
    """Writes a model as ``.json``, ``.yaml``, ``.hdf5`` or ``.hdf5.gz``, whole or not at all.

    ``text`` is the model's own JSON, which says where its arrays are; ``values`` is what is written for it.
    ``links`` are second places of parts of it: what lies below ``from`` is found below ``to``, too.
    """
    place = pathlib.Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    kind = "".join(place.suffixes[-2:]).lower()
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        if kind.endswith(".json"):
            warn = getattr(model.Tidy3dBaseModel, "_warn_if_contains_data", None)
            if warn is not None:
                warn(text)
            part.write_text(json.dumps(values, indent=4), encoding="utf-8")
        elif kind.endswith((".yaml", ".yml")):
            import yaml  # type: ignore[import-untyped, unused-ignore]

            part.write_text(yaml.dump(values, indent=4), encoding="utf-8")
        elif kind.endswith(".hdf5.gz"):
            import gzip
            import io

            buffer = io.BytesIO()
            _write_hdf5(buffer, thing, text, values, links or {})
            part.write_bytes(gzip.compress(buffer.getvalue(), 1))
        else:
            _write_hdf5(part, thing, text, values, links or {})
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def _write_hdf5(target: Any, thing: Any, text: str, values: dict[str, Any], links: dict[str, str]) -> None:
    import h5py

    written = json.dumps(values)
    with h5py.File(target, "w") as file:
        for index in range(0, len(written), _PART):
            name = "JSON_STRING" if index == 0 else f"JSON_STRING_{index // _PART}"
            file[name] = written[index : index + _PART]
        known: dict[Any, Any] = {}
        kept = []
        for path, array in arrays_of(thing, text):
            if isinstance(array, list):
                file[path] = array
                continue
            interface = array.__array_interface__
            identity = (interface["data"][0], array.shape, array.dtype.str) if array.size else path
            if identity in known:
                file[path] = known[identity]  # a hard link
            else:
                file[path] = np.asarray(array)
                known[identity] = file[path]
                kept.append(array)  # so that its address is not used again
        for source, target_path in links.items():
            if source in file and target_path not in file:
                file[target_path] = file[source]
