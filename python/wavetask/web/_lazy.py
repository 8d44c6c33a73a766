"""Lazy results: tidy3d's own objects in class and behaviour, whose data stays at the server until it is touched.

The client's lazy objects stand for a file that was fetched whole. These stand for the result at the server:

    data["temperature"]                     # nothing is fetched
    data["temperature"].temperature         # nothing, for values on a mesh; a field on a grid is fetched alone
    ….interp(x=xs, y=0, z=zs)               # interpolated by the server; only what is asked for is fetched

Everything else that is touched makes the object what it stands for, once: the whole result (whose file is written
then), the data of a monitor, or a field. They are instances of the classes that they stand for, as the client's are, so
that nothing that takes results has to know them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from wavetask._reference.node import Leaf
from wavetask._tidy3d import fields, model
from wavetask._tidy3d.field import class_of

if TYPE_CHECKING:
    from wavetask import Task
    from wavetask._reference import DataReference, Reference

__all__ = ["result"]

Known = Mapping[str, Callable[[], Any]]
"""What is answered without loading, by the attribute's name."""

_NEVER_LOADS = frozenset(
    ("__class__", "__dict__", "__weakref__", "__post_root_validators__", "__pydantic_decorators__")
)


def result(task: Task, load: Callable[[], Any]) -> Any:
    """The lazy result of a task that has succeeded; `load` gives the whole, once something else is touched."""
    data = task.data

    def monitor(name: str) -> Any:
        return _monitor(task, data[name])

    def copy(**changes: Any) -> Any:
        return load().copy(**changes) if changes else result(task, load)

    known = {**_fields(task, data), "copy": lambda: copy}
    return _lazy(fields.class_named(data._data.kind), load, known, monitor, frozenset(data._data.monitors))


def _monitor(task: Task, data: DataReference) -> Any:
    return _lazy(fields.class_named(data._data.kind), data.load, _fields(task, data))


def _fields(task: Task, data: DataReference) -> Known:
    """The fields of a result, or of a monitor's data, each fetched alone; what is computed of several is not among them,
    because the objects' own methods give it in the class that it has there."""
    stored = {name: field for name, field in data.fields.items() if not _is_computed(field)}
    return {name: functools.partial(_field, task, field) for name, field in stored.items()}


def _is_computed(field: Reference) -> bool:
    leaf = field._expression
    return isinstance(leaf, Leaf) and leaf.known is not None and leaf.known.computed


def _field(task: Task, field: Reference) -> Any:
    leaf = field._expression
    if not field._mesh or not isinstance(leaf, Leaf):
        return field.load()
    kind = class_of(task.document().json, leaf.path)
    return _lazy(kind, field.load, {"interp": lambda: functools.partial(_interpolated, field)})


def _interpolated(field: Reference, x: Any, y: Any, z: Any, fill_value: Any = None, **more: Any) -> Any:
    """What the dataset's own `interp` gives, computed by the server where that knows all that is asked for."""
    method = more.pop("method", "linear")
    if more or method not in ("linear", "nearest"):
        return field.load().interp(x, y, z, fill_value=fill_value, method=method, **more)
    return field.interp(x=x, y=y, z=z, method=method, fill_value=fill_value).load()


def _lazy(
    target_class: Any,
    load: Callable[[], Any],
    known: Known,
    monitor: Callable[[str], Any] | None = None,
    monitors: frozenset[str] = frozenset(),
) -> Any:
    """An instance of a class that becomes what `load` gives when it is touched, but for what is known."""
    lazy_class = _lazy_class(target_class)
    instance = lazy_class.__new__(lazy_class)
    state = {"load": load, "known": known, "monitor": monitor, "monitors": monitors}
    object.__setattr__(instance, "_wavetask_lazy", state)
    return instance


@functools.cache
def _lazy_class(target_class: Any) -> Any:
    """A subclass whose instances load when they are touched."""

    def attribute(self: Any, name: str) -> Any:
        if name in _NEVER_LOADS or name == "_wavetask_lazy":
            return object.__getattribute__(self, name)
        state = object.__getattribute__(self, "__dict__").get("_wavetask_lazy")
        if state is not None:
            if name in state["known"]:
                return state["known"][name]()
            _become(self, state["load"]())
        return getattr(self, name) if state is not None else object.__getattribute__(self, name)

    def item(self: Any, key: Any) -> Any:
        state = object.__getattribute__(self, "__dict__").get("_wavetask_lazy")
        if state is not None:
            if key in state["monitors"]:
                return state["monitor"](key)
            _become(self, state["load"]())
        return self[key]

    def text(self: Any) -> str:
        return f"<{target_class.__name__}, at the server until it is touched>"

    def loaded_first(name: str) -> Callable[..., Any]:
        # Looked up on the class by the interpreter, without a look at the instance.
        def call(self: Any, *arguments: Any) -> Any:
            _become(self, object.__getattribute__(self, "_wavetask_lazy")["load"]())
            return getattr(type(self), name)(self, *arguments)

        return call

    # Without annotations of its own it would be the parent's that the client's models write their type into.
    body: dict[str, Any] = {"__annotations__": {}, "__module__": __name__}
    body.update({"__getattribute__": attribute, "__repr__": text, "__str__": text})
    if hasattr(target_class, "__getitem__"):
        body["__getitem__"] = item
    for name in _OPERATORS:
        if getattr(target_class, name, None) not in (None, getattr(object, name, None)):
            body[name] = loaded_first(name)
    return type(target_class)(f"{target_class.__name__}Proxy", (target_class,), body)


_OPERATORS = (
    "__eq__", "__ne__", "__hash__", "__lt__", "__iter__", "__len__", "__contains__", "__reduce__", "__reduce_ex__",
    "__copy__", "__deepcopy__", "__getstate__", "__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__",
    "__truediv__", "__rtruediv__", "__pow__", "__neg__", "__abs__", "__array__", "__array_ufunc__",
)  # fmt: skip


def _become(instance: Any, target: Any) -> None:
    """Makes a lazy object what it stands for, in place."""
    own = object.__getattribute__(instance, "__dict__")
    own.clear()
    own.update(target.__dict__)
    object.__setattr__(instance, "__class__", type(target))
    for name in model.HIDDEN_STATE:
        if hasattr(target, name):
            object.__setattr__(instance, name, getattr(target, name))
