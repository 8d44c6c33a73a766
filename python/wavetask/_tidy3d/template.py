"""Arrays in the place of those that a simulation has."""

from __future__ import annotations

from typing import Any

import numpy as np

from wavetask._reference.arguments import refuse

from . import build, model
from .pack import arrays_of

__all__ = ["dimensions", "filled"]


def dimensions(simulation: Any, path: str) -> tuple[str, ...]:
    """The dimensions of the array at a path. Raises `errors.Usage` if there is none, saying which there are."""
    text = model.json_text(simulation)
    groups = {place.rpartition("/")[0]: None for place, _ in arrays_of(simulation, text)}
    if path not in groups:
        there = ", ".join(list(groups)[:8]) + (", …" if len(groups) > 8 else "")
        raise refuse(f"the simulation has no array at `{path}`", f"there is: {there or 'none'}")
    value = simulation
    for key in path.split("/"):
        value = (
            value[int(key)]
            if isinstance(value, (list, tuple))
            else value[key]
            if isinstance(value, dict)
            else getattr(value, key)
        )
    return tuple(value.dims)


def filled(simulation: Any, values: dict[str, Any]) -> Any:
    """The simulation, validated anew, with these arrays at their paths."""
    text = model.json_text(simulation)
    arrays = {
        place: array for place, array in arrays_of(simulation, text) if place.rpartition("/")[0] not in values
    }
    for path, value in values.items():
        arrays[f"{path}/{model.VALUES}"] = np.asarray(value.values)
        for dimension in value.dims:
            arrays[f"{path}/{dimension}"] = value.coords[dimension].values
    return build.build(text, arrays.__getitem__, arrays)
