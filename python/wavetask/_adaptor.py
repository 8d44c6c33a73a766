"""Importing the adaptor to tidy3d, and what else is large, on whatever thread first needs it.

A fork in the middle of an import would leave the child with a module that is locked by a thread it does not have; so
an import and a fork wait for each other.
"""

from __future__ import annotations

import importlib
import os
import threading
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from types import ModuleType

_PATIENCE = 30.0
"""Seconds that a fork waits for an import: tidy3d's takes some."""

_importing = threading.RLock()
_held = False


def packer() -> ModuleType:
    """`wavetask._tidy3d.pack`. Raises `ImportError` without tidy3d."""
    with _importing:
        from wavetask._tidy3d import pack
    return pack


def module(name: str) -> ModuleType:
    """Another module of `wavetask._tidy3d`. Raises `ImportError` without tidy3d."""
    with _importing:
        return importlib.import_module(f"wavetask._tidy3d.{name}")


def reader() -> ModuleType:
    """`wavetask._file`, which needs no tidy3d."""
    with _importing:
        from wavetask import _file
    return _file


def h5py() -> ModuleType:
    """The package h5py. Raises `ImportError` without it."""
    with _importing:
        import h5py
    return cast("ModuleType", h5py)


def _before_fork() -> None:
    global _held
    _held = _importing.acquire(timeout=_PATIENCE)


def _after_in_parent() -> None:
    global _held
    if _held:
        _held = False
        _importing.release()


def _after_in_child() -> None:
    global _importing, _held
    _importing = threading.RLock()
    _held = False


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
