"""Evaluates expressions with xarray: what each operation of the JSON form means, in its own words.

Called with a folder that holds `cases.json` (fields and expressions) and `arrays.bin` (the fields' values); writes
`results.json` and `results.bin` beside them. One process answers all cases.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import pandas as pd
import xarray as xr

warnings.simplefilter("ignore")

UNARY = {
    "negative": lambda a: -a,
    "absolute": abs,
    "real": lambda a: a.real,
    "imaginary": lambda a: a.imag,
    "conjugate": np.conj,
    "angle": lambda a: xr.apply_ufunc(np.angle, a),
}
BINARY = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
    "equal": lambda a, b: a == b,
    "not_equal": lambda a, b: a != b,
    "less": lambda a, b: a < b,
    "less_or_equal": lambda a, b: a <= b,
    "greater": lambda a, b: a > b,
    "greater_or_equal": lambda a, b: a >= b,
}


class Evaluation:
    """One expression; remembers the largest number on the way, to which rounding is relative."""

    def __init__(self, fields):
        self.fields = fields
        self.largest = 0.0

    def __call__(self, node):
        ((operation, body),) = node.items()
        result = getattr(self, operation)(**body)
        values = np.abs(np.asarray(result.values, dtype=complex)).ravel()
        values = values[np.isfinite(values)]
        if values.size:
            self.largest = max(self.largest, float(values.max()))
        return result

    def number(self, value, imaginary=None):
        return xr.DataArray(float(value) if imaginary is None else complex(value, imaginary))

    def array(self, dimensions, values, imaginary=None):
        values = np.array(values, dtype=float)
        if imaginary is not None:
            values = values + 1j * np.array(imaginary, dtype=float)
        coords = {dimension["name"]: dimension["coordinate"] for dimension in dimensions}
        shape = [len(coordinate) for coordinate in coords.values()]
        return xr.DataArray(values.reshape(shape), coords=coords, dims=list(coords))

    def field(self, source, part, path):
        return self.fields[path[0]]

    def coordinate(self, expression, dimension):
        return self(expression)[dimension].values

    def sel(self, of, selectors, method=None):
        def selected(selector):
            ((kind, body),) = selector.items()
            if kind == "slice":
                return slice(body.get("start"), body.get("stop"), body.get("step"))
            return self.coordinate(**body) if kind == "coordinate_of" else body

        return self(of).sel({name: selected(selector) for name, selector in selectors}, method=method)

    def isel(self, of, indexers):
        def indexed(indexer):
            ((kind, body),) = indexer.items()
            return slice(body.get("start"), body.get("stop"), body.get("step")) if kind == "slice" else body

        return self(of).isel({name: indexed(indexer) for name, indexer in indexers})

    def interp(self, of, places, method="linear", fill=None):
        def wanted(places):
            ((kind, body),) = places.items()
            return self.coordinate(**body) if kind == "coordinate_of" else body

        kwargs = {}
        if fill is not None:
            words = {"extrapolate": "extrapolate", "nan": np.nan}
            kwargs["fill_value"] = words[fill] if isinstance(fill, str) else fill["value"]
        places = {name: wanted(places) for name, places in places}
        return self(of).interp(places, method=method, kwargs=kwargs)

    def unary(self, function, of):
        return UNARY[function](self(of))

    def binary(self, function, left, right):
        return BINARY[function](self(left), self(right))

    def reduce(self, function, of, dimensions=None, skip_nan=True):
        of = self(of)
        if function == "argmax":
            return of.argmax(dimensions[0] if dimensions else of.dims[0], skipna=skip_nan)
        return getattr(of, function)(dimensions, skipna=skip_nan)

    def where(self, of, condition, otherwise=None):
        if otherwise is None:
            return self(of).where(self(condition))
        return self(of).where(self(condition), self(otherwise))

    def lookup(self, table, at, method="linear"):
        table, at = self(table), {name: self(each) for name, each in at}
        places = xr.broadcast(*xr.align(*at.values(), join="exact"))
        result = sum(places[1:], places[0]).astype(table.dtype)
        points = {}
        for name, each in zip(at, places, strict=True):
            labels = table[name].values
            if labels.size == 1:
                table = table.isel({name: 0}, drop=True)
            else:
                points[name] = ("place", np.clip(each.values.ravel(), labels.min(), labels.max()))
        values = np.full(result.size, table.values) if not points else np.empty(0, table.dtype)
        if points and result.size:
            values = table.interp(points, method=method).values
        missing = np.isnan([np.asarray(each.values, dtype=float).ravel() for each in places]).any(axis=0)
        # SciPy leaves the imaginary part at zero along several dimensions and not along one: here it is nothing, too.
        nothing = complex(np.nan, np.nan) if np.iscomplexobj(values) else np.nan
        return result.copy(data=np.where(missing, nothing, values).reshape(result.shape))

    def concat(self, parts, dimension, coordinate=None):
        parts = [self(part) for part in parts]
        if coordinate is None:
            coordinate = [part.coords[dimension].item() for part in parts]
            parts = [part.drop_vars(dimension) for part in parts]
        index = pd.Index(coordinate, name=dimension)
        return xr.concat(parts, dim=index, join="exact", coords="different", compat="equals")

    def transpose(self, of, dimensions):
        return self(of).transpose(*dimensions)

    def squeeze(self, of, dimensions=None):
        return self(of).squeeze(dimensions)


def main(folder):
    task = json.loads((folder / "cases.json").read_text())
    numbers = np.fromfile(folder / "arrays.bin", dtype=complex)
    fields = {}
    for name, field in task["fields"].items():
        coords = {dimension["name"]: dimension["coordinate"] for dimension in field["dimensions"]}
        shape = [len(coordinate) for coordinate in coords.values()]
        # An empty list has no type of its own.
        coords = {dim: np.asarray(c, dtype=float if len(c) == 0 else None) for dim, c in coords.items()}
        values = numbers[field["start"] : field["start"] + int(np.prod(shape))].reshape(shape)
        if field["type"] != "complex":
            values = values.real.astype({"integer": np.int64, "float": float}[field["type"]])
        fields[name] = xr.DataArray(values, coords=coords, dims=list(coords))
    answers, values, start = [], [], 0
    for expression in task["cases"]:
        evaluation = Evaluation(fields)
        try:
            result = evaluation(expression)
        except Exception as error:
            answers.append({"error": f"{type(error).__name__}: {error}"})
            continue
        coords = {dim: result.coords[dim].values.tolist() for dim in result.dims}
        scalars = {name: c.item() for name, c in result.coords.items() if c.ndim == 0}
        kind = {"b": "boolean", "i": "integer", "f": "float", "c": "complex"}[result.dtype.kind]
        flat = np.ascontiguousarray(result.values, dtype=complex).ravel()
        answers.append(
            {
                "dimensions": [[dim, coords[dim]] for dim in result.dims],
                "scalars": scalars,
                "type": kind,
                "largest": evaluation.largest,
                "start": start,
                "count": flat.size,
            }
        )
        values.append(flat)
        start += flat.size
    (folder / "results.json").write_text(json.dumps(answers))
    np.concatenate([np.empty(0, complex), *values]).tofile(folder / "results.bin")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
