"""In place of `tidy3d.web`: ``import wavetask.web as web``.

The same names, signatures, return types and container shapes as the installed client's `tidy3d.web`, on wavetask's
engine: uploads, runs and downloads overlap, nothing is sent twice, one failing member never sinks the rest, and
heat simulations are one task. Errors of tasks are the client's `WebError`, with wavetask's own as ``__cause__``.

What the engine has no business in is the client's: `configure`, `tidy3d_cli`, `refresh_licenses` and
`diagnose_connection` speak to the server that the client is configured for.
"""

from __future__ import annotations

try:
    import tidy3d.web as _original
except ImportError as error:
    raise ImportError("wavetask.web needs tidy3d (pip install tidy3d); wavetask.submit does not") from error

from ._batch import Batch, BatchData
from ._functions import (
    abort,
    account,
    configure,
    delete,
    delete_old,
    download,
    download_json,
    download_log,
    estimate_cost,
    get_info,
    get_run_info,
    get_tasks,
    load,
    load_simulation,
    monitor,
    real_cost,
    run,
    run_async,
    start,
    test,
    tidy3d_cli,
    upload,
)
from ._job import Job

__all__ = [
    "Batch",
    "BatchData",
    "Job",
    "abort",
    "account",
    "configure",
    "delete",
    "delete_old",
    "download",
    "download_json",
    "download_log",
    "estimate_cost",
    "get_info",
    "get_run_info",
    "get_tasks",
    "load",
    "load_simulation",
    "monitor",
    "real_cost",
    "run",
    "run_async",
    "start",
    "test",
    "tidy3d_cli",
    "upload",
]
__all__ += [name for name in _original.__all__ if name not in __all__]


def __getattr__(name: str) -> object:
    """What the installed client has beyond this is the client's own."""
    return getattr(_original, name)
