"""Expressions computed here, by the methods of tidy3d's and xarray's own objects on fetched data.

This is how a reference's data is had from a server that computes no expressions, as those of the plain protocol, and
what the server's own evaluation is compared with. Of a field of which only a part is asked for, that part is fetched.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from wavetask import errors

from .node import Expression, Leaf, Node

__all__ = ["evaluate", "select"]

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "power": operator.pow,
    # tidy3d's own `==` is whether arrays are equal as a whole.
    "equal": lambda left, right: ~(left != right),
    "not_equal": operator.ne,
    "less": operator.lt,
    "less_or_equal": operator.le,
    "greater": operator.gt,
    "greater_or_equal": operator.ge,
}

_SELECTIONS = {"sel": "selectors", "isel": "indexers"}


def evaluate(expression: Expression, load: Callable[[Leaf], Any] | None = None) -> Any:
    """The value of an expression: tidy3d's data of a field, else an array with labels.

    ``load`` gives a field's data; without it the field's task is asked. Raises as `Task.result`, and what the objects'
    own methods raise.
    """
    return _Evaluation(load).value(expression)


class _Evaluation:
    def __init__(self, load: Callable[[Leaf], Any] | None) -> None:
        self._load = load
        self._values: dict[int, Any] = {}

    def value(self, expression: Expression) -> Any:
        known = self._values.get(id(expression))
        if known is None:
            known = self._values[id(expression)] = self._computed(expression)
        return known

    def _computed(self, expression: Expression) -> Any:
        if isinstance(expression, Leaf):
            return _fetched(expression, []) if self._load is None else self._load(expression)
        steps, origin = _selections(expression)
        if steps and self._load is None and isinstance(origin, Leaf):
            return _fetched(origin, steps)
        arguments = expression.arguments
        if "of" in arguments:
            return getattr(self, f"_{expression.operation}")(self.value(arguments["of"]), arguments)
        return getattr(self, f"_{expression.operation}")(arguments)

    def _number(self, arguments: Mapping[str, Any]) -> Any:
        imaginary = arguments.get("imaginary")
        return arguments["value"] if imaginary is None else complex(arguments["value"], imaginary)

    def _array(self, arguments: Mapping[str, Any]) -> Any:
        import xarray

        dimensions = arguments["dimensions"]
        values = np.asarray(arguments["values"], dtype=float)
        if "imaginary" in arguments:
            values = values + 1j * np.asarray(arguments["imaginary"])
        return xarray.DataArray(
            values.reshape([len(each["coordinate"]) for each in dimensions]),
            coords={each["name"]: each["coordinate"] for each in dimensions},
            dims=[each["name"] for each in dimensions],
        )

    def _sel(self, of: Any, arguments: Mapping[str, Any]) -> Any:
        wanted = {name: self._selected(each) for name, each in arguments["selectors"]}
        return of.sel(method=arguments.get("method"), **wanted)

    def _isel(self, of: Any, arguments: Mapping[str, Any]) -> Any:
        return of.isel(**{name: self._selected(each) for name, each in arguments["indexers"]})

    def _selected(self, argument: Mapping[str, Any]) -> Any:
        [(kind, value)] = argument.items()
        if kind == "slice":
            return slice(value.get("start"), value.get("stop"), value.get("step"))
        if kind == "coordinate_of":
            return list(np.asarray(self.value(value["expression"]).coords[value["dimension"]].values))
        return value

    def _interp(self, of: Any, arguments: Mapping[str, Any]) -> Any:
        wanted = {name: self._selected(each) for name, each in arguments["places"]}
        fill = arguments.get("fill")
        fill = fill["value"] if isinstance(fill, Mapping) else math.nan if fill == "nan" else fill
        if _on_a_mesh(of):
            more = {} if fill is None else {"fill_value": fill}
            return of.interp(method=arguments["method"], **more, **wanted)
        for name, places in wanted.items():
            # One dimension after the other, as the expression says.
            more = {} if fill is None else {"kwargs": {"fill_value": fill}}
            of = of.interp({name: places}, method=arguments["method"], **more)
        return of

    def _unary(self, of: Any, arguments: Mapping[str, Any]) -> Any:
        function = arguments["function"]
        if function == "negative":
            return -of
        if function == "conjugate":
            return of.conj()
        if function == "absolute":
            return of.abs if _on_a_mesh(of) else abs(of)
        if function in ("real", "imaginary"):
            return of.real if function == "real" else of.imag
        if _on_a_mesh(of):
            return of.updated_copy(values=of.values.copy(data=np.angle(of.values.values)))
        return of.copy(data=np.angle(of.values))

    def _binary(self, arguments: Mapping[str, Any]) -> Any:
        with np.errstate(all="ignore"):
            return _BINARY[arguments["function"]](
                self.value(arguments["left"]), self.value(arguments["right"])
            )

    def _reduce(self, of: Any, arguments: Mapping[str, Any]) -> Any:
        names, skip = arguments.get("dimensions"), arguments.get("skip_nan")
        if arguments["function"] == "argmax":
            [names] = arguments["dimensions"]
        return getattr(of, arguments["function"])(dim=names, skipna=skip)

    def _where(self, of: Any, arguments: Mapping[str, Any]) -> Any:
        import xarray

        condition = self.value(arguments["condition"])
        if "otherwise" in arguments:
            chosen: Any = xarray.where
            return chosen(condition, of, self.value(arguments["otherwise"])).transpose(*of.dims, ...)
        return of.where(condition)

    def _concat(self, arguments: Mapping[str, Any]) -> Any:
        import xarray

        name, labels = arguments["dimension"], arguments.get("coordinate")
        parts = [self.value(each) for each in arguments["parts"]]
        if labels is None:
            labels = [each.coords[name].values.item() for each in parts]
        bare = [each.drop_vars(name, errors="ignore") for each in parts]
        order = bare[0].dims
        joined = [xarray.DataArray(each.transpose(*order)).expand_dims(name) for each in bare]
        return xarray.concat(joined, name, join="exact", coords="minimal", compat="override").assign_coords(
            {name: labels}
        )

    def _lookup(self, arguments: Mapping[str, Any]) -> Any:
        table = self._array(arguments["table"].arguments)
        at = {name: self.value(each) for name, each in arguments["at"]}
        order: Any = next(each for each in at.values() if hasattr(each, "dims"))
        clipped = {}
        for name, each in at.items():
            labels = table.coords[name].values
            values = each.values if hasattr(each, "dims") else np.full(order.shape, float(each))
            clipped[name] = (order.dims, np.clip(values, labels.min(), labels.max()))
        return order.copy(data=table.interp(clipped, method=arguments["method"]).values)

    def _transpose(self, of: Any, arguments: Mapping[str, Any]) -> Any:
        return of.transpose(*arguments["dimensions"])

    def _squeeze(self, of: Any, arguments: Mapping[str, Any]) -> Any:
        return of.squeeze(arguments.get("dimensions"))


def _on_a_mesh(value: Any) -> bool:
    return hasattr(value, "cells")


def is_part_of_a_field(expression: Expression) -> bool:
    """Whether it is a field or selections of one, so that fetching it moves what it is and little more."""
    origin = _selections(expression)[1]
    return isinstance(origin, Leaf) and not (origin.known is not None and origin.known.computed)


def _selections(expression: Expression) -> tuple[list[Node], Expression]:
    """The selections that are the last of an expression, innermost first, and of what."""
    steps = []
    while isinstance(expression, Node) and expression.operation in _SELECTIONS:
        taken = expression.arguments[_SELECTIONS[expression.operation]]
        if any("coordinate_of" in argument for _, argument in taken):
            break
        steps.append(expression)
        expression = expression.arguments["of"]
    return steps[::-1], expression


def select(value: Any, selections: list[Node], dimensions: Collection[str] | None = None) -> Any:
    """What selections, innermost first, take of data that is there; of these dimensions only, if any are given."""
    evaluation = _Evaluation(None)
    for node in selections:
        name = _SELECTIONS[node.operation]
        wanted = [each for each in node.arguments[name] if dimensions is None or each[0] in dimensions]
        if wanted:
            apply = evaluation._sel if node.operation == "sel" else evaluation._isel
            value = apply(value, {**node.arguments, name: wanted})
    return value


def _fetched(leaf: Leaf, selections: list[Node]) -> Any:
    """A field's data, or the part of it that these selections take."""
    task = leaf.task
    if isinstance(task, str):
        task = _opened(task)
    if leaf.simulation:
        value = task._simulation_field(leaf.path, selections)
    else:
        value = task._field(leaf.path, selections)
    if value is None:
        raise errors.NotFound(
            f"there is no data of {leaf!r}",
            code="result.no_data",
            hint="the monitor may lie where nothing is computed",
            task=task,
        )
    return _double(value)


def _double(value: Any) -> Any:
    """In double precision, in which references are named and computed; solvers may store less."""
    if _on_a_mesh(value):
        values = _double(value.values)
        return value if values is value.values else value.updated_copy(values=values)
    dtype = {"f": np.dtype(float), "c": np.dtype(complex)}.get(value.dtype.kind, value.dtype)
    # `astype` would forget the class.
    return value if value.dtype == dtype else value.copy(data=value.values.astype(dtype))


def _opened(task: str) -> Any:
    from wavetask import open as open_

    return open_(task)
