"""References beside one another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import arguments
from .arguments import refuse
from .node import Node
from .reference import Reference

__all__ = ["concat"]


def concat(
    references: Iterable[Reference] | Mapping[Any, Reference], dim: str, coordinate: Any = None
) -> Reference:
    """References of equal dimensions and coordinates beside one another along a new dimension, the outermost one.

    ``coordinate`` has the labels along it; without it they are the keys, if the references come as a mapping, else those
    at which each was selected along a dimension of that name::

        wt.concat({I: task["T"].temperature.max() for I, task in zip(currents, heat.tasks)}, "I")

    Raises `errors.Usage` for what does not go together.
    """
    if isinstance(references, Mapping):
        coordinate = list(references) if coordinate is None else coordinate
        parts = list(references.values())
    else:
        parts = list(references)
    if not parts:
        raise refuse("`concat` of nothing")
    for part in parts:
        if not isinstance(part, Reference):
            raise refuse(
                f"`concat` takes references, not a {type(part).__name__}",
                'name a field of each task: {key: task["monitor"].field for key, task in batch.items()}',
            )
        part._on_a_grid("concat", [])
        if sorted(part._dims) != sorted(parts[0]._dims):
            raise refuse(f"`concat` of dimensions {list(parts[0]._dims)} and {list(part._dims)}")
        if dim in part._dims:
            raise refuse(f"`{dim}` is a dimension already; `concat` makes a new one")
    labels = None if coordinate is None else arguments.selector(dim, list(coordinate))[0]["values"]
    if labels is not None and len(labels) != len(parts):
        raise refuse(f"`concat` of {len(parts)} references with {len(labels)} labels")
    node = Node("concat", parts=[part._expression for part in parts], dimension=dim, coordinate=labels)
    return Reference(node, (dim, *parts[0]._dims))
