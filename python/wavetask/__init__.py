"""Simulations on a server of your own: submitted, tracked and fetched hundreds at once.

>>> import wavetask as wt
>>> scan = wt.submit(sims, name="heater sweep")     # a list, dict, nested containers, a generator; returns at once
>>> for task in scan.as_completed():                # results while the rest still run
...     print(task.key, task.result()["temperature"])
>>> data = await scan["I=4mA"]                      # the same handle in async code and in a notebook
>>> wt.open("heater sweep").table()                 # tomorrow, in another process

Nothing is imported before it is used, so that ``import wavetask`` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wavetask import errors as errors
    from wavetask import web as web
    from wavetask._batch import Batch as Batch
    from wavetask._client import Client as Client
    from wavetask._client import connect as connect
    from wavetask._client import open as open
    from wavetask._map import map as map
    from wavetask._reference import DataReference as DataReference
    from wavetask._reference import Reference as Reference
    from wavetask._reference import SimulationReference as SimulationReference
    from wavetask._reference import Template as Template
    from wavetask._reference import concat as concat
    from wavetask._reference import perturb as perturb
    from wavetask._reference import replace as replace
    from wavetask._submit import submit as submit
    from wavetask._task import Task as Task
    from wavetask.errors import WavetaskError as WavetaskError

__all__ = [
    "Batch",
    "Client",
    "DataReference",
    "Reference",
    "SimulationReference",
    "Task",
    "Template",
    "WavetaskError",
    "__version__",
    "concat",
    "connect",
    "errors",
    "map",
    "open",
    "perturb",
    "replace",
    "submit",
    "web",
]

__version__: str

_HOMES = {
    "Batch": "_batch",
    "Client": "_client",
    "DataReference": "_reference",
    "Reference": "_reference",
    "SimulationReference": "_reference",
    "Task": "_task",
    "Template": "_reference",
    "WavetaskError": "errors",
    "__version__": "_native",
    "concat": "_reference",
    "connect": "_client",
    "map": "_map",
    "open": "_client",
    "perturb": "_reference",
    "replace": "_reference",
    "submit": "_submit",
}


def __getattr__(name: str) -> Any:
    if name in ("errors", "web"):
        return importlib.import_module(f"wavetask.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'wavetask' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"wavetask.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
