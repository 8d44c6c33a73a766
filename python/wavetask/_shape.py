"""Nested containers of simulations, flattened to keys and put together again.

The key of a simulation is the path to it, joined with ``/``: ``{"I=4mA": [a, b]}`` has the keys ``I=4mA/0`` and
``I=4mA/1``. Keys are what a batch is addressed by, here and on the server, tomorrow and in another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from wavetask import errors

T = TypeVar("T")

MAXIMUM_DEPTH = 32
"""Nesting of containers."""

MAXIMUM_KEY = 200
"""Characters of a whole key."""

ROOT = "."
"""The key of a simulation that was submitted by itself."""


class Leaf:
    """Where a simulation was."""

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key


def is_container(value: Any) -> bool:
    """Whether simulations are looked for inside."""
    return isinstance(value, (Mapping, list, tuple))


def is_stream(value: Any) -> bool:
    """Whether simulations are to be taken from it one by one."""
    return not is_container(value) and isinstance(value, Iterator)


def flatten(container: Any) -> tuple[list[tuple[str, Any]], Any]:
    """The simulations with their keys, in order, and the shape: the containers with leaves in their places.

    Raises `errors.Usage` for what cannot be a batch: an empty or repeated key, a container within itself.
    """
    members: list[tuple[str, Any]] = []
    seen: set[str] = set()
    shape = _flatten(container, "", 0, members, seen)
    return members, shape


def _flatten(value: Any, path: str, depth: int, members: list[tuple[str, Any]], seen: set[str]) -> Any:
    if depth > MAXIMUM_DEPTH:
        raise errors.Usage(
            f"containers are nested more than {MAXIMUM_DEPTH} deep at `{path}`", code="submit.nesting"
        )
    if isinstance(value, Mapping):
        return {
            name: _flatten(item, _join(path, name), depth + 1, members, seen) for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        items = [
            _flatten(item, _join(path, index), depth + 1, members, seen) for index, item in enumerate(value)
        ]
        if isinstance(value, list):
            return items
        if hasattr(value, "_fields"):
            return type(value)(*items)
        return tuple(items)
    if isinstance(value, (set, frozenset)) or is_stream(value):
        raise errors.Usage(
            f"`{path}` is a {type(value).__name__}: a batch is made of lists, tuples and dicts, "
            "or of one iterator by itself",
            code="submit.container",
        )
    check_key(path, seen)
    members.append((path, value))
    return Leaf(path)


def _join(path: str, name: Any) -> str:
    own = str(name)
    return f"{path}/{own}" if path else own


def check_key(key: str, seen: set[str]) -> None:
    """Refuses what cannot be a key, and remembers it.

    Raises `errors.Usage`.
    """
    if not key or key == ROOT or len(key) > MAXIMUM_KEY or not key.isprintable():
        raise errors.Usage(
            f"{key[:60]!r} cannot be the key of a simulation: it takes 1 to {MAXIMUM_KEY} printable characters, "
            f"and not `{ROOT}` alone",
            code="submit.key",
        )
    if key in seen:
        raise errors.Usage(f"two simulations have the key `{key}`", code="submit.key")
    seen.add(key)


def rebuild(shape: Any, leaf: Callable[[str], T]) -> Any:
    """The containers again, with what ``leaf`` gives for each key."""
    if isinstance(shape, Leaf):
        return leaf(shape.key)
    if isinstance(shape, dict):
        return {name: rebuild(item, leaf) for name, item in shape.items()}
    items = [rebuild(item, leaf) for item in shape]
    if isinstance(shape, list):
        return items
    return type(shape)(*items) if hasattr(shape, "_fields") else tuple(items)


def guess(keys: Iterable[str]) -> Any:
    """A shape for keys of which only the keys are known: dicts, and lists where the names are 0, 1, 2, …

    A key that is the beginning of another one stays whole, so that nothing is lost.
    """
    known = list(keys)
    taken = set(known)
    root: dict[str, Any] = {}
    for key in known:
        names = key.split("/")
        if any("/".join(names[:count]) in taken for count in range(1, len(names))) or "" in names:
            names = [key]
        below = root
        for name in names[:-1]:
            below = below.setdefault(name, {})
        below[names[-1]] = Leaf(key)
    return _lists(root)


def _lists(shape: Any) -> Any:
    if isinstance(shape, Leaf):
        return shape
    items = {name: _lists(item) for name, item in shape.items()}
    if items and list(items) == [str(index) for index in range(len(items))]:
        return list(items.values())
    return items
