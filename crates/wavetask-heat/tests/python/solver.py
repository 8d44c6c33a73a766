"""Runs the heat solver's example program on simulations built with the client."""

from __future__ import annotations

import json
import logging
import pathlib
import subprocess
import sys
import tempfile

import h5py
import numpy as np

logging.getLogger("tidy3d").setLevel(logging.ERROR)
PROGRAM = sys.argv[1]


def upload(model, path: pathlib.Path) -> tuple[str, dict]:
    """The JSON text and the arrays of a model, as the client puts them into its upload."""
    model.to_file(str(path))
    arrays = {}
    with h5py.File(path, "r") as file:
        text = file["JSON_STRING"][()].decode()

        def visit(name, item):
            if isinstance(item, h5py.Dataset) and not name.startswith("JSON_STRING"):
                values = np.asarray(item[()], dtype=float)
                arrays[name] = {"shape": list(values.shape), "values": values.ravel().tolist()}

        file.visititems(visit)
    return text, arrays


def solve_to(model, folder: pathlib.Path) -> tuple[pathlib.Path, dict]:
    """The result file of a model and the solver's figures (or its error)."""
    text, arrays = upload(model, folder / "upload.hdf5")
    (folder / "simulation.json").write_text(text)
    (folder / "arrays.json").write_text(json.dumps(arrays))
    result = folder / "result.hdf5"
    answer = subprocess.run(
        [PROGRAM, folder / "simulation.json", result, folder / "arrays.json"],
        check=True,
        capture_output=True,
        text=True,
    )
    return result, json.loads(answer.stdout)


def solve(model, load) -> tuple[object, dict]:
    """The loaded result of a model and the solver's figures."""
    with tempfile.TemporaryDirectory() as folder:
        result, figures = solve_to(model, pathlib.Path(folder))
        assert "error" not in figures, figures
        return load(str(result)), figures


def at(data, points) -> np.ndarray:
    """Temperatures of a regular monitor's data at points, by linear interpolation along the axes it extends along."""
    data = data.squeeze(drop=True)
    return np.array(
        [
            float(
                data.interp(
                    {axis: value for axis, value in zip("xyz", point, strict=True) if axis in data.dims}
                ).values
            )
            for point in points
        ]
    )
