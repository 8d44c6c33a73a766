"""A result, or what is computed of results, before its data is there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from wavetask import errors

from . import arguments
from .arguments import refuse
from .coordinate import Coordinate
from .known import known
from .node import Expression, Leaf, Node, json_text, leaves
from .operators import Operators

__all__ = ["Reference"]

_SPACE = ("x", "y", "z")
_INDEX = "index"

_UFUNCS = {
    "add": "add",
    "subtract": "subtract",
    "multiply": "multiply",
    "divide": "divide",
    "true_divide": "divide",
    "power": "power",
    "equal": "equal",
    "not_equal": "not_equal",
    "less": "less",
    "less_equal": "less_or_equal",
    "greater": "greater",
    "greater_equal": "greater_or_equal",
}
_UNARY_UFUNCS = {"negative": "negative", "absolute": "absolute", "conjugate": "conjugate"}


class Reference(Operators):
    """An array of a task's result or simulation, or an expression over such arrays: named, typed, and not fetched.

    >>> field = task["temperature"].temperature           # the task need not have begun
    >>> line = field.interp(x=xs, y=0, z=0.2, fill_value=300) - 300
    >>> line.max(), abs(line), line.sel(x=slice(-1, 1))    # references again
    >>> line.values                                        # waits for the task, and fetches

    It has the methods that tidy3d's data has for what can be computed (`sel`, `isel`, `interp`, arithmetic, comparisons,
    `abs`, `real`, `imag`, `conj`, `angle`, `sum`, `mean`, `max`, `min`, `argmax`, `argmin`, `std`, `var`, `where`,
    `fillna`, `squeeze`, `transpose`), each of which gives another reference. Everything else (`values`, `plot`, `item`, ``float(…)``, ``numpy.asarray(…)``) waits
    for the data. ``==`` compares element by element, as ``<`` does. References can be pickled and used wherever their
    tasks can be reached.
    """

    __slots__ = ("__weakref__", "_dims", "_expression", "_loaded", "_mesh")
    # NumPy's scalars and arrays leave operations to this class.
    __array_priority__ = 1000

    def __init__(self, expression: Expression, dims: tuple[str, ...], mesh: bool = False) -> None:
        self._expression = expression
        self._dims = dims
        self._mesh = mesh
        self._loaded: Any = None

    # What it is.

    @property
    def dims(self) -> tuple[str, ...]:
        """The dimensions, known before there is data. Values at the points of a mesh have `index`."""
        return self._dims

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self._dims)

    @property
    def coords(self) -> Any:
        """The labels of dimensions, as xarray has them, without fetching the values. Raises `errors.Usage` if they
        are not known before the result: the points of a mesh, and of what a solver chooses."""
        import xarray

        known = self._known("coords")
        size = np.broadcast_to(np.zeros((), known.dtype), known.shape)
        labels = {**known.coordinates, **known.scalars}
        return xarray.DataArray(size, coords=labels, dims=list(known.coordinates)).coords

    @property
    def shape(self) -> tuple[int, ...]:
        """The extent of each dimension, known as `coords` are."""
        return self._known("shape").shape  # type: ignore[no-any-return]

    @property
    def sizes(self) -> dict[str, int]:
        """The extent of each dimension by its name, known as `coords` are."""
        return dict(zip(self._dims, self.shape, strict=True))

    @property
    def size(self) -> int:
        """The number of values, known as `coords` are."""
        return math.prod(self._known("size").shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the values, known as `coords` are."""
        return self._known("dtype").dtype  # type: ignore[no-any-return]

    @property
    def nbytes(self) -> int:
        """Bytes of the values: what `load` would move if they are computed on the server. Known as `coords` are."""
        return self._known("nbytes").byte_length  # type: ignore[no-any-return]

    @property
    def tasks(self) -> list[Any]:
        """The tasks of whose results it is made, each once."""
        found: dict[int | str, Any] = {}
        for leaf in leaves(self._expression):
            task = leaf.task
            found.setdefault(task if isinstance(task, str) else id(task), task)
        return list(found.values())

    def json(self, source: Callable[[Leaf], Mapping[str, str]] | None = None) -> str:
        """The expression as the server has it. Raises `errors.Usage` while a task has no id yet."""
        return json_text(self._expression, source or _identified)

    # Parts.

    def sel(
        self,
        indexers: Mapping[str, Any] | None = None,
        method: str | None = None,
        tolerance: None = None,
        drop: bool = False,
        **indexers_kwargs: Any,
    ) -> Reference:
        """What lies at labels: one (the dimension disappears), several, or a slice with both ends. ``method`` is
        ``None`` or ``"nearest"``."""
        if tolerance is not None or drop:
            raise refuse("`sel` with `tolerance` or `drop` is not computed on the server", _LOAD_FIRST)
        if method not in (None, "nearest"):
            raise refuse(f"`sel` with method {method!r}: it is None or 'nearest'", _LOAD_FIRST)
        return self._select(
            "sel", "selectors", arguments.named(indexers, indexers_kwargs), arguments.selector, method=method
        )

    def isel(
        self, indexers: Mapping[str, Any] | None = None, drop: bool = False, **indexers_kwargs: Any
    ) -> Reference:
        """What lies at places along dimensions, counted from 0, or from -1 at the end."""
        if drop:
            raise refuse("`isel` with `drop` is not computed on the server", _LOAD_FIRST)
        return self._select("isel", "indexers", arguments.named(indexers, indexers_kwargs), arguments.indexer)

    def _select(
        self,
        operation: str,
        name: str,
        wanted: dict[str, Any],
        convert: Callable[[str, Any], tuple[dict[str, Any], bool]],
        **more: Any,
    ) -> Reference:
        if not wanted:
            return self
        selected, gone = [], set()
        for dimension, value in wanted.items():
            if self._mesh and dimension in (*_SPACE, _INDEX):
                raise refuse(
                    f"`{operation}` along {dimension} of a field on an unstructured mesh",
                    "interpolate it to a grid with .interp(x=…, y=…, z=…)",
                )
            self._check(dimension)
            argument, remains = convert(dimension, value)
            selected.append([dimension, argument])
            if not remains and not self._mesh:
                gone.add(dimension)
        node = Node(operation, of=self._expression, **{name: selected}, **more)
        return Reference(node, tuple(each for each in self._dims if each not in gone), self._mesh)

    def interp(
        self,
        coords: Mapping[str, Any] | None = None,
        method: str = "linear",
        assume_sorted: bool = False,
        kwargs: Mapping[str, Any] | None = None,
        fill_value: Any = None,
        **coords_kwargs: Any,
    ) -> Reference:
        """Values between the coordinates, ``"linear"`` or ``"nearest"``: at numbers, arrays, or the coordinates of
        another reference (``other.x``). ``fill_value`` is what lies outside, a number or ``"extrapolate"``; without it
        that is NaN, and on an unstructured mesh the nearest point. On such a mesh x, y and z are given together, and
        the result lies on a rectangular grid."""
        if method not in ("linear", "nearest"):
            raise refuse(f"`interp` with method {method!r}: it is 'linear' or 'nearest'", _LOAD_FIRST)
        more = dict(kwargs or {})
        fill_value = more.pop("fill_value", fill_value)
        if more:
            raise refuse(
                f"`interp` with {', '.join(sorted(more))} is not computed on the server", _LOAD_FIRST
            )
        wanted = arguments.named(coords, coords_kwargs)
        if not wanted:
            return self
        spatial = [name for name in _SPACE if name in wanted]
        if self._mesh and spatial and len(spatial) < 3:
            raise refuse(
                f"a field on an unstructured mesh is interpolated along x, y and z together, not {' and '.join(spatial)}",
                "give the plane's own coordinate, too",
            )
        located, gone = [], set()
        for dimension, value in wanted.items():
            if not (self._mesh and dimension in _SPACE):
                self._check(dimension)
            argument, remains = arguments.places(dimension, value)
            located.append([dimension, argument])
            if not remains and not self._mesh:
                gone.add(dimension)
        node = Node(
            "interp",
            of=self._expression,
            places=located,
            method=method,
            fill=arguments.fill(fill_value),
        )
        if self._mesh and spatial:
            return Reference(node, (*_SPACE, *(each for each in self._dims if each != _INDEX)))
        return Reference(node, tuple(each for each in self._dims if each not in gone), self._mesh)

    def squeeze(self, dim: str | Iterable[str] | None = None) -> Any:
        """Without these dimensions, which have one place each. Which have is known with the data only, so that
        without ``dim`` this waits."""
        names = arguments.dimension_names(dim)
        if names is None:
            return self.load().squeeze()
        self._on_a_grid("squeeze", names)
        node = Node("squeeze", of=self._expression, dimensions=names)
        return Reference(node, tuple(each for each in self._dims if each not in names))

    def transpose(self, *dim: str) -> Reference:
        """With its dimensions in this order, in reverse without any."""
        order = list(dim) or list(reversed(self._dims))
        self._on_a_grid("transpose", order)
        if sorted(order) != sorted(self._dims):
            raise refuse(f"`transpose` names {order}; the dimensions are {list(self._dims)}")
        return Reference(Node("transpose", of=self._expression, dimensions=order), tuple(order))

    # Functions of each element.

    def _unary(self, function: str) -> Reference:
        return Reference(Node("unary", function=function, of=self._expression), self._dims, self._mesh)

    @property
    def real(self) -> Reference:
        """The real part."""
        return self._unary("real")

    @property
    def imag(self) -> Reference:
        """The imaginary part."""
        return self._unary("imaginary")

    @property
    def abs(self) -> Reference:
        """The absolute value."""
        return self._unary("absolute")

    @property
    def angle(self) -> Reference:
        """The argument in radians."""
        return self._unary("angle")

    def conj(self) -> Reference:
        """The complex conjugate."""
        return self._unary("conjugate")

    conjugate = conj

    # Functions of two.

    def _binary(self, function: str, other: Any, reflected: bool = False) -> Any:
        operand = _operand(other)
        if operand is None:
            return NotImplemented
        left, right = (operand, self) if reflected else (self, operand)
        if left._mesh != right._mesh and (right._dims if left._mesh else left._dims):
            raise refuse(
                "a field on an unstructured mesh with one on a grid",
                "interpolate it to the grid with .interp(x=…, y=…, z=…)",
            )
        dims = (*left._dims, *(each for each in right._dims if each not in left._dims))
        node = Node("binary", function=function, left=left._expression, right=right._expression)
        return Reference(node, dims, left._mesh or right._mesh)

    __hash__ = object.__hash__

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = _UFUNCS.get(ufunc.__name__)
        if method == "__call__" and not options:
            if ufunc.__name__ in _UNARY_UFUNCS:
                return self._unary(_UNARY_UFUNCS[ufunc.__name__])
            if ufunc.__name__ == "square":
                return self._binary("power", 2)
            if function is not None:
                left, right = inputs
                return (
                    left._binary(function, right)
                    if isinstance(left, Reference)
                    else self._binary(function, left, True)
                )
        loaded = (each.load() if isinstance(each, Reference) else each for each in inputs)
        return getattr(ufunc, method)(*loaded, **options)

    # One number of many.

    def _reduce(self, function: str, dim: Any, skipna: bool | None) -> Reference:
        names = arguments.dimension_names(dim)
        self._on_a_grid(function, names or [])
        skip = None if skipna is None else bool(skipna)
        node = Node("reduce", function=function, of=self._expression, dimensions=names, skip_nan=skip)
        return Reference(
            node, () if names is None else tuple(each for each in self._dims if each not in names)
        )

    def sum(self, dim: Any = None, *, skipna: bool | None = None) -> Reference:
        """The sum along dimensions, all without any."""
        return self._reduce("sum", dim, skipna)

    def mean(self, dim: Any = None, *, skipna: bool | None = None) -> Reference:
        """The mean along dimensions, all without any."""
        return self._reduce("mean", dim, skipna)

    def max(self, dim: Any = None, *, skipna: bool | None = None) -> Reference:
        """The largest along dimensions, all without any."""
        return self._reduce("max", dim, skipna)

    def min(self, dim: Any = None, *, skipna: bool | None = None) -> Reference:
        """The smallest along dimensions, all without any."""
        return self._reduce("min", dim, skipna)

    def argmax(self, dim: str | None = None, *, skipna: bool | None = None) -> Reference:
        """The place of the first largest along a dimension."""
        if dim is None and len(self._dims) != 1:
            raise refuse(f"`argmax` goes along one of {list(self._dims)}; say which")
        return self._reduce("argmax", dim or self._dims[0], skipna)

    def argmin(self, dim: str | None = None, *, skipna: bool | None = None) -> Reference:
        """The place of the first smallest along a dimension."""
        return (-self).argmax(dim, skipna=skipna)  # type: ignore[no-any-return]

    def var(self, dim: Any = None, *, skipna: bool | None = None, ddof: int = 0) -> Any:
        """The mean of the squared distance from the mean along dimensions, all without any; other ``ddof`` fetch."""
        if ddof != 0:
            return self.load().var(dim, skipna=skipna, ddof=ddof)
        return (abs(self - self.mean(dim, skipna=skipna)) ** 2).mean(dim, skipna=skipna)

    def std(self, dim: Any = None, *, skipna: bool | None = None, ddof: int = 0) -> Any:
        """The square root of `var`."""
        return self.var(dim, skipna=skipna, ddof=ddof) ** 0.5

    def fillna(self, value: Any) -> Reference:
        """With this in the place of NaN."""
        return self.where(self == self, value)

    def where(self, cond: Any, other: Any = None) -> Reference:
        """This where a comparison holds, ``other`` (NaN without it) elsewhere."""
        condition = _operand(cond)
        otherwise = None if other is None else _operand(other)
        if condition is None or (other is not None and otherwise is None):
            raise refuse("`where` takes references, numbers and labelled arrays")
        operands = [self, condition, *([] if otherwise is None else [otherwise])]
        for operand in operands:
            operand._on_a_grid("where", [])
        dims = tuple(dict.fromkeys(name for operand in operands for name in operand._dims))
        node = Node(
            "where",
            of=self._expression,
            condition=condition._expression,
            otherwise=None if otherwise is None else otherwise._expression,
        )
        return Reference(node, dims)

    # Its data.

    def load(self) -> Any:
        """Waits for what it is made of, and gives the data: tidy3d's own object, or xarray's array."""
        if self._loaded is None:
            from . import evaluate, remote

            value = NotImplemented
            if not evaluate.is_part_of_a_field(self._expression):
                value = remote.computed(self._expression)
            self._loaded = evaluate.evaluate(self._expression) if value is NotImplemented else value
        return self._loaded

    compute = load

    @property
    def values(self) -> Any:
        """The values as NumPy has them; on a mesh those at its points, labelled. Waits."""
        return self.load().values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.values, dtype=dtype) if copy else np.asarray(self.values, dtype=dtype)

    def __float__(self) -> float:
        return float(self.load())

    def __int__(self) -> int:
        return int(self.load())

    def __complex__(self) -> complex:
        return complex(self.load())

    def __bool__(self) -> bool:
        return bool(self.load())

    def __len__(self) -> int:
        if not self._dims:
            raise TypeError("a single number has no length")
        return len(self.load())

    def __iter__(self) -> Any:
        return iter(self.load())

    def __getitem__(self, key: Any) -> Any:
        return self.load()[key]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in _NOT_PASSED_ON:
            raise AttributeError(f"a reference has no attribute `{name}`")
        if name in self._dims and name != _INDEX:
            return Coordinate(self, name)
        return getattr(self.load(), name)

    # Inside.

    def _known(self, what: str) -> Any:
        """What is known without the values."""
        found = known(self._expression)
        if found is None or (found.mesh and what == "coords"):
            raise errors.Usage(
                f"`{what}` of {self!r} is not known before there is a result",
                code="reference.not_known",
                hint="wait for the task, or interpolate to a grid with .interp(x=…, y=…, z=…)",
            )
        return found

    def _check(self, dimension: str) -> None:
        if dimension not in self._dims:
            there = ", ".join(self._dims) or "none"
            raise refuse(f"there is no dimension `{dimension}`", f"its dimensions: {there}")

    def _on_a_grid(self, operation: str, dimensions: Iterable[str]) -> None:
        if self._mesh:
            raise refuse(
                f"`{operation}` of a field on an unstructured mesh",
                "interpolate it to a grid with .interp(x=…, y=…, z=…)",
            )
        for dimension in dimensions:
            self._check(dimension)

    def __reduce__(self) -> tuple[Any, ...]:
        return Reference, (self._expression, self._dims, self._mesh)

    def __repr__(self) -> str:
        names = ", ".join(
            dict.fromkeys(f"{leaf!r} of {_named(leaf.task)}" for leaf in leaves(self._expression))
        )
        what = names if isinstance(self._expression, Leaf) else f"computed of {names}"
        on = ", at the points of a mesh" if self._mesh else ""
        return f"wavetask.Reference(({', '.join(self._dims)}){on}: {what}{self._cost()})"

    def _cost(self) -> str:
        """What fetching it would move, as far as that is known here."""
        if self._loaded is not None:
            return ", fetched"
        try:
            found = known(self._expression, look=False)
        except errors.WavetaskError:
            return ""
        if found is None:
            return "; its size is known from the result"
        return f"; {found.dtype} {found.shape}, {found.byte_length} bytes to fetch"


_LOAD_FIRST = "take .load() first, which fetches the data"
# Asked for by libraries that find out what an object is: what they would do with it is not done by accident.
_NOT_PASSED_ON = frozenset(("variable", "to_dataset"))


def _operand(value: Any) -> Reference | None:
    if isinstance(value, Reference):
        return value
    number = arguments.number(value)
    if number is not None:
        return Reference(number, ())
    labelled = arguments.array(value)
    if labelled is not None:
        return Reference(*labelled)
    if isinstance(value, (np.ndarray, list, tuple)):
        raise refuse(
            "an array without labels as an operand of a reference",
            "make it an xarray.DataArray with coordinates, by which arrays are matched",
        )
    return None


def _identified(leaf: Leaf) -> dict[str, str]:
    if isinstance(leaf.task, str):
        return {"task": leaf.task}
    if leaf.task.id is None:
        raise errors.Usage(
            f"`{leaf.task.name}` is not on the server yet, so it has no id",
            code="reference.no_id",
            hint="wait until its status is `queued`",
            task=leaf.task,
        )
    return {"task": leaf.task.id}


def _named(task: Any) -> str:
    return f"task {task}" if isinstance(task, str) else f"`{task.name}`"
