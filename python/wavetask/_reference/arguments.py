"""What users write as labels, places and operands, as expressions have it; what has no meaning there is refused."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wavetask import errors

from .node import Node

__all__ = ["array", "dimension_names", "fill", "indexer", "named", "number", "places", "refuse", "selector"]


def refuse(what: str, hint: str | None = None, code: str = "reference.argument") -> errors.Usage:
    return errors.Usage(what, code=code, hint=hint)


def named(positional: Mapping[str, Any] | None, by_name: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by dimension, as xarray takes them: a mapping, or keywords."""
    if positional is None:
        return dict(by_name)
    if by_name:
        raise refuse("dimensions are given as a mapping or by keyword, not both")
    return dict(positional)


def dimension_names(dim: Any) -> list[str] | None:
    """The dimensions that a reduction goes over; ``None`` for all of them."""
    if dim is None or dim is ...:
        return None
    return [dim] if isinstance(dim, str) else [str(name) for name in dim]


def _finite(value: float, what: str) -> float:
    if not math.isfinite(value):
        raise refuse(f"{value} as {what}: literals of expressions are finite numbers")
    return value


def number(value: Any) -> Node | None:
    """A number as an expression; ``None`` for what is none."""
    if isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, numbers.Real):
        return Node("number", value=_finite(float(value), "a number"))
    if isinstance(value, numbers.Complex):
        parts = complex(value)
        real, imaginary = _finite(parts.real, "a number"), _finite(parts.imag, "a number")
        return Node("number", value=real, imaginary=imaginary)
    return None


def array(value: Any) -> tuple[Node, tuple[str, ...]] | None:
    """An array with labels (xarray's) as an expression, and its dimensions; ``None`` for what is none."""
    if not (hasattr(value, "dims") and hasattr(value, "coords") and hasattr(value, "values")):
        return None
    values = np.asarray(value.values)
    if values.dtype.kind not in "biufc":
        raise refuse(f"an array of {values.dtype} is no operand")
    dimensions = []
    for name in value.dims:
        if name not in value.coords:
            raise refuse(
                f"the array has no labels along `{name}`", "give it coordinates, by which arrays are matched"
            )
        dimensions.append({"name": str(name), "coordinate": _labels(np.asarray(value.coords[name].values))})
    if not np.all(np.isfinite(values)):
        raise refuse("the array has values that are not finite numbers")
    flat = values.reshape(-1)
    imaginary = flat.imag.astype(float).tolist() if values.dtype.kind == "c" else None
    node = Node("array", dimensions=dimensions, values=flat.real.astype(float).tolist(), imaginary=imaginary)
    return node, tuple(str(name) for name in value.dims)


def _labels(values: np.ndarray[Any, Any]) -> list[float] | list[str]:
    if values.dtype.kind in "UO" and all(isinstance(value, str) for value in values.flat):
        return [str(value) for value in values.flat]
    if values.dtype.kind not in "biuf":
        raise refuse(f"labels of {values.dtype}: they are numbers or texts")
    if not np.all(np.isfinite(values)):
        raise refuse("a label is not a finite number")
    return [float(value) for value in values.reshape(-1)]


def _coordinate_of(value: Any) -> dict[str, Any] | None:
    of = getattr(value, "_wavetask_coordinate", None)
    if of is None:
        return None
    expression, dimension = of
    return {"coordinate_of": {"expression": expression, "dimension": dimension}}


def _scalar(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0:
        return value.item()
    return value.item() if hasattr(value, "dims") and value.dims == () else value


def selector(dimension: str, value: Any) -> tuple[dict[str, Any], bool]:
    """What `sel` takes along a dimension, and whether the dimension remains."""
    if isinstance(value, slice):
        step = None if value.step is None else int(value.step)
        if step is not None and step < 1:
            raise refuse(f"the step of the slice along `{dimension}` is {step}; it is 1 or more")
        bounds = {"start": _bound(value.start), "stop": _bound(value.stop), "step": step}
        return {"slice": {name: bound for name, bound in bounds.items() if bound is not None}}, True
    of = _coordinate_of(value)
    if of is not None:
        return of, True
    value = _scalar(value)
    if isinstance(value, str):
        return {"value": value}, False
    if isinstance(value, numbers.Real):
        return {"value": _finite(float(value), f"a label along `{dimension}`")}, False
    return {"values": _labels(_one_dimensional(dimension, value))}, True


def _bound(value: Any) -> float | None:
    return None if value is None else _finite(float(value), "the bound of a slice")


def indexer(dimension: str, value: Any) -> tuple[dict[str, Any], bool]:
    """What `isel` takes along a dimension, and whether the dimension remains."""
    if isinstance(value, slice):
        bounds = {"start": value.start, "stop": value.stop, "step": value.step}
        return {"slice": {name: int(bound) for name, bound in bounds.items() if bound is not None}}, True
    value = _scalar(value)
    if isinstance(value, numbers.Integral):
        return {"index": int(value)}, False
    values = _one_dimensional(dimension, value)
    if values.dtype.kind not in "iu" and values.size:
        raise refuse(f"places along `{dimension}` are integers, not {values.dtype}")
    return {"indices": [int(index) for index in values]}, True


def places(dimension: str, value: Any) -> tuple[dict[str, Any], bool]:
    """Where `interp` wants values along a dimension, and whether the dimension remains."""
    of = _coordinate_of(value)
    if of is not None:
        return of, True
    value = _scalar(value)
    if isinstance(value, numbers.Real):
        return {"value": _finite(float(value), f"a place along `{dimension}`")}, False
    labels = _labels(_one_dimensional(dimension, value))
    if labels and isinstance(labels[0], str):
        raise refuse(f"there is nothing between texts along `{dimension}`")
    return {"values": labels}, True


def _one_dimensional(dimension: str, value: Any) -> np.ndarray[Any, Any]:
    if isinstance(value, Sequence) and not len(value):
        return np.empty(0)
    if hasattr(value, "dims") and len(value.dims) == 1 and value.dims[0] != dimension:
        raise refuse(
            f"labels along `{dimension}` that lie along `{value.dims[0]}`: pointwise selections are not there",
            f"pass `{dimension}=array.values`",
        )
    values = np.asarray(value)
    if values.ndim != 1:
        raise refuse(f"what is given along `{dimension}` has {values.ndim} dimensions, not one")
    return values


def fill(value: Any) -> dict[str, float] | str | None:
    """What lies outside of the coordinates."""
    if value is None:
        return None
    if isinstance(value, str):
        if value != "extrapolate":
            raise refuse(f"fill_value {value!r}: it is a number or 'extrapolate'")
        return value
    if math.isnan(float(value)):
        return "nan"
    return {"value": _finite(float(value), "fill_value")}
