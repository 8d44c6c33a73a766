"""What differs between the generations of tidy3d's models: one function each, chosen once.

The client's models are pydantic models of version 2 from tidy3d 2.11 on and of version 1 (`pydantic.v1`) before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from autograd.extend import Box
from tidy3d.components.base import Tidy3dBaseModel
from tidy3d.components.data.data_array import DATA_ARRAY_MAP, DATA_ARRAY_VALUE_NAME, DataArray

VALUES = DATA_ARRAY_VALUE_NAME
"""The name of the dataset that holds an array's values, beside one per coordinate."""

IS_VERSION_2 = hasattr(Tidy3dBaseModel, "model_fields")

HIDDEN_STATE = (
    ("__pydantic_fields_set__", "__pydantic_private__", "__pydantic_extra__")
    if IS_VERSION_2
    else ("__fields_set__", "_cached_properties")
)
"""What a model keeps beside its dictionary."""

__all__ = [
    "DATA_ARRAY_MAP",
    "HIDDEN_STATE",
    "IS_VERSION_2",
    "VALUES",
    "Box",
    "DataArray",
    "Tidy3dBaseModel",
    "array_classes",
    "json_text",
    "validate",
]


def _json_text_version_2(model: Any) -> str:
    # The serializer itself: the client's `model_dump_json` adds a pass over every character, in Python.
    written: bytes = type(model).__pydantic_serializer__.to_json(model)
    return written.decode()


def _json_text_version_1(model: Any) -> str:
    return str(model._json())


def _json_text_built(model: Any) -> str:
    """As version 2, for a class whose serializer may still have to be built."""
    serializer = type(model).__pydantic_serializer__
    if not hasattr(serializer, "to_json") or type(serializer).__name__ == "MockValSer":
        type(model).model_rebuild()
    return _json_text_version_2(model)


json_text: Callable[[Any], str] = _json_text_built if IS_VERSION_2 else _json_text_version_1
"""A model's JSON text, equal after parsing to what the client writes into a file."""


@functools.cache
def array_classes() -> frozenset[str]:
    """The words that stand for an array in a model's JSON: the names of the array classes."""
    names = set(DATA_ARRAY_MAP)
    waiting = [DataArray]
    while waiting:
        subclasses = waiting.pop().__subclasses__()
        names.update(subclass.__name__ for subclass in subclasses)
        waiting.extend(subclasses)
    return frozenset(names)


def validate(values: dict[str, Any]) -> Any:
    """The object that the client's own loader makes of a parsed document with its arrays in place.

    The class is the one that `type` names. Where the client offers it, checks that the server's results have passed
    already are left out; the object is the same.
    """
    if IS_VERSION_2:
        return Tidy3dBaseModel._validate_model_dict(values, **_quick())
    return Tidy3dBaseModel._parse_model_dict(values)


@functools.cache
def _quick() -> dict[str, str]:
    from tidy3d.components import base

    return {"validate": "fast"} if hasattr(base, "fast_validation") else {}
