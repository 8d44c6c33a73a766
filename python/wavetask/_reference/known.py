"""What is known of an expression without its values: labels, element type and bytes, as the server infers them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import numpy as np

from wavetask import _native

from .node import Expression, Leaf, json_text, leaves

__all__ = ["Known", "known"]


class Known(NamedTuple):
    """What is known of an expression."""

    coordinates: dict[str, Any]
    """The labels along each dimension, in their order."""
    scalars: dict[str, Any]
    """The labels at which dimensions were selected that are there no more."""
    dtype: np.dtype[Any]
    byte_length: int
    mesh: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(labels) for labels in self.coordinates.values())


def known(expression: Expression, look: bool = True) -> Known | None:
    """What is known of an expression; ``None`` if that takes a result that is not there yet. Never waits for a task;
    ``look`` asks tasks that are done for labels.

    Raises `errors.Usage` if the expression means nothing for what its fields are.
    """
    sources: dict[Any, str] = {}

    def source(leaf: Leaf) -> dict[str, str]:
        task = leaf.task
        # Names that are good enough here: a task need not have an id yet.
        key = task if isinstance(task, str) else id(task)
        return {"task": sources.setdefault(key, f"task-{len(sources)}")}

    text = json_text(expression, source)
    fields: dict[tuple[str, bool, tuple[str, ...]], dict[str, Any]] = {}
    unsure = False
    for leaf in leaves(expression):
        place = (source(leaf)["task"], leaf.simulation, leaf.path)
        if place in fields:
            continue
        found = _of_field(leaf, look)
        if found is not None:
            dimensions, data_type, mesh, sure = found
            unsure = unsure or not sure
            part = {"part": "simulation"} if leaf.simulation else {}
            described = {"source": source(leaf), **part, "path": list(leaf.path)}
            fields[place] = {
                "field": described, "dimensions": dimensions, "data_type": data_type, "mesh": mesh
            }  # fmt: skip
    answer = _native.expression_type(text, json.dumps(list(fields.values())))
    if answer is None:
        return None
    inferred = json.loads(answer)
    if inferred["mesh"] and unsure:
        return None
    return Known(
        {each["name"]: each["coordinate"] for each in inferred["dimensions"]},
        inferred["scalars"],
        np.dtype(inferred["data_type"]),
        inferred["byte_length"],
        inferred["mesh"],
    )


def _of_field(leaf: Leaf, look: bool) -> tuple[list[dict[str, Any]], str, bool, bool] | None:
    """Dimensions, element type, whether it is on a mesh, and whether that is so for sure, of a field."""
    task, field = leaf.task, leaf.known
    # What a simulation has is known before anything is computed.
    certain = leaf.simulation and field is not None and all(dim in field.labels for dim in field.dims)
    if look and not certain and not isinstance(task, str):
        there = task._simulation_labels(leaf.path) if leaf.simulation else task._field_labels(leaf.path)
        if there is not None:
            labels, is_complex, mesh = there
            return _dimensions(labels), "complex" if is_complex else "float", mesh, True
    if field is None or field.is_complex is None:
        return None
    if field.mesh:
        # How many points there will be is not known; what is interpolated to a grid does not depend on it.
        return _dimensions({dim: (0,) for dim in field.dims}), "float", True, False
    if any(dim not in field.labels for dim in field.dims):
        return None
    labels = {dim: field.labels[dim] for dim in field.dims}
    return _dimensions(labels), "complex" if field.is_complex else "float", False, True


def _dimensions(labels: Any) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "coordinate": [label if isinstance(label, str) else float(label) for label in values],
        }
        for name, values in labels.items()
    ]
