"""What `Job`, `Batch` and `BatchData` have in common: they are subclasses of the client's models.

Handles live beside the fields, in the place where the client keeps what it derives from them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

from tidy3d.components import base

from wavetask._tidy3d import model

PathLikeString = str | PathLike[str]

_registered = dict(base.TYPE_TO_CLASS_MAP)


def keep_registered() -> None:
    """Our classes have the client's names, but files read by the client itself stay the client's: to be called after
    one of ours was defined."""
    base.TYPE_TO_CLASS_MAP.update(_registered)


def state(thing: Any) -> dict[str, Any]:
    """What we keep beside the fields of a model."""
    kept: dict[str, Any] = thing._cached_properties.setdefault("wavetask", {})
    return kept


def from_file(cls: Any, fname: PathLikeString, group_path: str | None = None, **keywords: Any) -> Any:
    """The client's loader, for the class itself: the client would give its own class, which has the same name."""
    values = cls.dict_from_file(fname=str(fname), group_path=group_path)
    if model.IS_VERSION_2:
        return cls._validate_model_dict(values, **keywords)
    return cls.parse_obj(values, **keywords)


def task_id_of(job: Any) -> str | None:
    """The task's id in a job that was read from a file."""
    if job.task_id_cached:
        return str(job.task_id_cached)
    cached = getattr(job, "state_cached", None)
    known = [task_id for task_id in cached.task_ids.values() if task_id] if cached is not None else []
    return known[-1] if known else None


def place_of(containers: Any, member: Any) -> tuple[str, ...]:
    """Where in nested containers an object is."""
    for path, found in _leaves(containers, ()):
        if found is member:
            return path
    raise KeyError("the simulation is not in the batch")


def _leaves(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(node, Mapping):
        for key, below in node.items():
            yield from _leaves(below, (*path, str(key)))
    elif isinstance(node, (list, tuple)):
        for index, below in enumerate(node):
            yield from _leaves(below, (*path, str(index)))
    else:
        yield path, node


def below(values: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        values = values[int(part)] if isinstance(values, list) else values[part]
    return values
