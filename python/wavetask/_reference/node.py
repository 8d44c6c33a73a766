"""Expressions as Python holds them: trees of the operations that the server knows, over fields of tasks.

A `Node` has the shape of its JSON, which `wavetask-document` defines (``expression``): a word for the operation, and its
arguments, some of which are nodes again. Only leaves differ: here they hold the task's handle, which may not have an id
yet; the id is asked for when the JSON is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .kinds import Field

__all__ = ["VERSION", "Leaf", "Node", "json_text", "leaves"]

VERSION = 1
"""The version of the JSON form."""


class Leaf:
    """An array of a task's result, or of its simulation."""

    __slots__ = ("known", "path", "simulation", "task")

    def __init__(
        self, task: Any, path: tuple[str, ...], simulation: bool = False, known: Field | None = None
    ) -> None:
        self.known = known
        """What is known of it without its data."""
        self.task = task
        """A `wavetask.Task`, or a task's id."""
        self.path = path
        """Where: the monitor's name and the field, or the keys down to the array in a result without monitors."""
        self.simulation = simulation

    def __repr__(self) -> str:
        return "/".join(("simulation", *self.path) if self.simulation else self.path)


class Node:
    """One operation."""

    __slots__ = ("arguments", "operation")

    def __init__(self, operation: str, **arguments: Any) -> None:
        self.operation = operation
        self.arguments = {name: value for name, value in arguments.items() if value is not None}


Expression = Leaf | Node


def leaves(expression: Any) -> Iterator[Leaf]:
    """The fields that an expression refers to, each place where it does."""
    for value in _within(expression):
        if isinstance(value, Leaf):
            yield value


def _within(expression: Any) -> Iterator[Leaf | Node]:
    """The fields and operations of an expression."""
    open_: list[Any] = [expression]
    while open_:
        value = open_.pop()
        if isinstance(value, (Leaf, Node)):
            yield value
        if isinstance(value, Node):
            open_.extend(value.arguments.values())
        elif isinstance(value, Mapping):
            open_.extend(value.values())
        elif isinstance(value, (list, tuple)) and not (value and isinstance(value[0], (int, float))):
            open_.extend(value)


def plain(expression: Any, source: Callable[[Leaf], Mapping[str, str]]) -> Any:
    """The JSON form as plain objects; ``source`` names each field's task, as ``{"task": id}``."""
    if isinstance(expression, Leaf):
        part = {"part": "simulation"} if expression.simulation else {}
        return {"field": {"source": dict(source(expression)), **part, "path": list(expression.path)}}
    if isinstance(expression, Node):
        return {
            expression.operation: {name: plain(value, source) for name, value in expression.arguments.items()}
        }
    if isinstance(expression, Mapping):
        return {name: plain(value, source) for name, value in expression.items()}
    if isinstance(expression, (list, tuple)):
        return [plain(value, source) for value in expression]
    return expression


def json_text(expression: Expression, source: Callable[[Leaf], Mapping[str, str]]) -> str:
    """The JSON text of an expression by itself."""
    return json.dumps({"version": VERSION, "expression": plain(expression, source)}, allow_nan=False)
