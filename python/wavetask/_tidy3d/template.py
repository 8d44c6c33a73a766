"""Arrays in the place of those that a simulation has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from wavetask._reference.arguments import refuse

from . import build, model
from .pack import arrays_of

__all__ = ["array_at", "arrays", "at", "dimensions", "filled"]

_NAMED = 12
"""Arrays that an error names."""


def arrays(simulation: Any) -> dict[str, Any]:
    """The arrays with labels of a simulation by their paths (``structures/0/medium/permittivity``), in the order of its
    text."""
    text = model.json_text(simulation)
    places = dict.fromkeys(place.rpartition("/")[0] for place, _ in arrays_of(simulation, text))
    return {place: at(simulation, place.split("/")) for place in places}


def at(value: Any, keys: Iterable[str]) -> Any:
    """What is below an object at these keys: names of fields, places in lists, keys of mappings."""
    for key in keys:
        if isinstance(value, (list, tuple)):
            value = value[int(key)]
        else:
            value = value[key] if isinstance(value, dict) else getattr(value, key)
    return value


def array_at(held: dict[str, Any], path: str, shown: str) -> Any:
    """The array at a path. Raises `errors.Usage` if there is none, naming those that there are: those below the path, or
    whose paths have most in common with it."""
    if path in held:
        return held[path]
    below = [place for place in held if place.startswith(f"{path}/")]
    named = below or sorted(held, key=lambda place: -_in_common(place.split("/"), path.split("/")))
    there = ", ".join(named[:_NAMED])
    if len(named) > _NAMED:
        there += f" and {len(named) - _NAMED} more"
    what = f"`{shown}` is no array but has arrays below it" if below else f"there is no array at `{shown}`"
    raise refuse(what, f"there is: {there or 'no array in the whole simulation'}")


def _in_common(one: Sequence[str], other: Sequence[str]) -> int:
    """How many keys two paths begin with alike."""
    for count, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return count
    return min(len(one), len(other))


def dimensions(simulation: Any, paths: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """The dimensions of the arrays at these paths, each with how its user wrote it. Raises as `array_at`."""
    held = arrays(simulation)
    return {path: tuple(array_at(held, path, shown).dims) for path, shown in paths.items()}


def filled(simulation: Any, values: dict[str, Any]) -> Any:
    """The simulation, validated anew, with these arrays at their paths."""
    text = model.json_text(simulation)
    stored = {
        place: array for place, array in arrays_of(simulation, text) if place.rpartition("/")[0] not in values
    }
    for path, value in values.items():
        stored[f"{path}/{model.VALUES}"] = np.asarray(value.values)
        for dimension in value.dims:
            stored[f"{path}/{dimension}"] = value.coords[dimension].values
    return build.build(text, stored.__getitem__, stored)
