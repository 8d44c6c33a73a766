"""Expressions computed by the server: as tasks of their own, whose results are stored and known like all others.

A user sees no tasks for them: they are members of batches that carry a tag by which they are left out of lists.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from wavetask import _native, errors

from .node import VERSION, Expression, Leaf, json_text, leaves, plain

__all__ = ["begin", "computable", "computed", "groups", "here", "output", "recipe"]


def computable(expression: Expression) -> bool:
    """Whether the server computes this: not fields of symmetric simulations of kinds whose whole it does not know (on
    surfaces, for one)."""
    return not any(leaf.known is not None and leaf.known.symmetric for leaf in leaves(expression))


OUTPUTS, NODES, LITERALS, CHARACTERS = 256, 4000, 1_000_000, 8 << 20
"""How much is put into one recipe at most, within what servers take: outputs, operations, numbers, and text."""


def groups(expressions: Mapping[str, Expression]) -> list[dict[str, Expression]]:
    """Expressions, which are named by what `here` says of them, in as many recipes as they need."""
    found: list[dict[str, Expression]] = []
    room: tuple[int, ...] = ()
    for name, expression in expressions.items():
        needed = (1, *_size(plain(expression, _nowhere)), len(name))
        if not room or any(each > left for each, left in zip(needed, room, strict=True)):
            found.append({})
            room = (OUTPUTS, NODES, LITERALS, CHARACTERS)
        room = tuple(left - each for each, left in zip(needed, room, strict=True))
        found[-1][name] = expression
    return found


def here(expression: Expression) -> str:
    """What names an expression in this process: equal ones alike."""
    return json_text(
        expression,
        lambda leaf: {"task": leaf.task if isinstance(leaf.task, str) else f"{id(leaf.task)}"},
    )


def _nowhere(_: Leaf) -> dict[str, str]:
    return {}


def _size(form: Any) -> tuple[int, int]:
    """At least as many operations and numbers as an expression in its JSON form has."""
    if isinstance(form, dict):
        sizes = [_size(value) for value in form.values()]
        return 1 + sum(nodes for nodes, _ in sizes), sum(literals for _, literals in sizes)
    if isinstance(form, list):
        inner = [_size(value) for value in form if isinstance(value, (dict, list))]
        return sum(nodes for nodes, _ in inner), len(form) + sum(literals for _, literals in inner)
    return 1, 0


def recipe(expressions: Iterable[Expression]) -> tuple[str, list[Any]]:
    """The document of an evaluation, and the handles that it names by their places in this list."""
    tasks: list[Any] = []

    def source(leaf: Leaf) -> dict[str, str]:
        if isinstance(leaf.task, str):
            return {"task": leaf.task}
        place = next((place for place, task in enumerate(tasks) if task is leaf.task), len(tasks))
        if place == len(tasks):
            tasks.append(leaf.task)
        return {"task": f"handle-{place}"}

    outputs = [plain(expression, source) for expression in expressions]
    text = json.dumps({"type": "Evaluation", "version": VERSION, "outputs": outputs}, allow_nan=False)
    return text, tasks


def computed(expression: Expression) -> Any:
    """Has the server of its tasks compute an expression, waits, and gives its value; ``NotImplemented`` where no server
    can. Raises as `Task.result`."""
    from wavetask._task import Task

    text, tasks = recipe([expression])
    clients = {id(task._client): task._client for task in tasks}
    if len(clients) != 1 or not computable(expression):
        return NotImplemented
    [client] = clients.values()
    client = client._in_this_process()
    if not client._native.evaluates():
        return NotImplemented
    name = hashlib.sha256(json_text(expression, _lasting).encode()).hexdigest()
    submission = begin(client, f"reference {name[:32]}", lazy=False)
    native, pending = submission.add("output", None, {})
    pending.evaluate(text, [task._handle() for task in tasks])
    submission.finish()
    task = Task(native, client, progress=False)
    return output(task.document(), 0)


def begin(
    client: Any,
    name: str | None,
    lazy: bool,
    program: str | None = None,
    after: Sequence[str] = (),
    **more: Any,
) -> _native.Submission:
    """A submission of evaluations, which run after tasks of these ids, too."""
    settings = {"folder": "default", "priority": 0, **more}
    submission: _native.Submission = client._native.submit(
        name=name,
        tags=[_native.REFERENCES],
        cache=True,
        hold=False,
        lazy=lazy,
        after=list(after),
        program=program,
        **settings,
    )
    return submission


def _lasting(leaf: Leaf) -> dict[str, str]:
    """What a task is called that is the same in every process."""
    task = leaf.task
    if isinstance(task, str):
        return {"task": task}
    # Its place in its batch is known before its id is, and still the same when the script is run again.
    return {"task": f"{task.batch_name}/{task.key}" if task.batch_name else task.id}


def output(document: Any, number: int) -> Any:
    """The value of an output of an evaluation, as tidy3d or xarray has it."""
    import xarray

    described = json.loads(document.json)
    outline = described["outputs"][number]
    if outline["kind"] != "array":
        raise errors.Internal(f"an output of the kind {outline['kind']}", code="reference.kind")
    dims = outline["dims"]
    place = f"outputs/{number}"
    values = np.asarray(document.array(f"{place}/__xarray_dataarray_variable__"))
    if outline.get("dtype") == "bool":
        values = values.astype(bool)
    labels = {dim: document.array(f"{place}/{dim}") for dim in dims}
    array = xarray.DataArray(values, coords={**labels, **outline.get("scalars", {})}, dims=dims)
    if dims == ["x", "y", "z"]:
        from wavetask import _adaptor

        return _adaptor.module("field").spatial(array)
    return array
