"""Which server: connecting, and finding again what was submitted."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wavetask import _bridge, _command, _native, _progress, _wait, errors

if TYPE_CHECKING:
    from wavetask._batch import Batch
    from wavetask._task import Task

__all__ = ["Client", "connect", "current", "open"]

_PAGE = 1_000
"""Tasks or batches that are asked for at once: servers give no more."""

_Page = tuple[list[dict[str, Any]], bool]
"""A page of a list, and whether more follow."""

Limits = tuple[str | None, str | None]
"""Bandwidth and memory as they were given to `connect`."""

Where = tuple[str, str]
"""A server without its key: ``("url", address)``, or ``("data", folder)`` of the embedded one."""


class Client:
    """A connection to a server: `connect` makes it. `wavetask.submit` and `wavetask.open` use the current one."""

    def __init__(
        self, native: _native.Client, where: Where, secret: str | None, limits: Limits = (None, None)
    ) -> None:
        self._native = native
        self._secret = secret
        self._limits = limits
        self._where = where
        self._process = os.getpid()
        self._batches: weakref.WeakValueDictionary[str, Batch] = weakref.WeakValueDictionary()

    @property
    def url(self) -> str:
        """Where the server answers."""
        return self._native.url

    def submit(self, simulations: Any, name: str | None = None, **options: Any) -> Any:
        """As `wavetask.submit`, to this server."""
        from wavetask._submit import submit

        return submit(simulations, name, client=self, **options)

    def open(self, name_or_id: str) -> Task | Batch:
        """As `wavetask.open`, from this server."""
        from wavetask import _batch, _shape
        from wavetask._task import Task

        client = self._in_this_process()
        batch = client._batches.get(name_or_id)
        if batch is None:
            try:
                found = client._native.open(name_or_id)
            except errors.NotFound as error:
                raise errors.NotFound(
                    f"there is no batch and no task `{name_or_id}` at {client.url}",
                    code=error.code,
                    hint="`batches()` and `tasks()` of what `wavetask.connect` gave list what there is",
                ) from error
            if isinstance(found, _native.Task):
                return Task(found, client)
            batch = _batch.opened(found, client)
        # What was submitted by itself comes back by itself.
        return batch[_shape.ROOT] if list(batch) == [_shape.ROOT] else batch

    def _batch(self, name: str) -> Batch:
        from wavetask import _batch

        found = self._batches.get(name)
        return _batch.opened(self._native.open_batch(name), self) if found is None else found

    def batches(
        self, name: str | None = None, tag: str | None = None, *, limit: int | None = None
    ) -> list[dict[str, Any]]:
        """The batches of this account, the last touched first, all of them or at most ``limit``: name, tags, members, and
        how many are in which state."""
        native = self._in_this_process()._native
        hidden = _native.REFERENCES if name is None and tag is None else None

        def page(after: str | None, most: int) -> _Page:
            return native.batches(name=name, tag=tag, without_tag=hidden, after=after, limit=most)

        return _all(page, "name", limit)

    def tasks(
        self, where: str | None = None, *, limit: int | None = None, **filters: Any
    ) -> list[dict[str, Any]]:
        """Tasks, newest first, all of them or at most ``limit``: by ``state``, ``folder``, ``name`` (a part of it),
        ``tag``, ``batch``, and by parameters with ``where="I>=0.004,width=0.5"``."""
        native = self._in_this_process()._native
        asked_for = filters.get("tag") is not None or filters.get("batch") is not None
        hidden = None if asked_for else _native.REFERENCES

        def page(after: str | None, most: int) -> _Page:
            return native.tasks(where, without_tag=hidden, after=after, limit=most, **filters)

        return _all(page, "id", limit)

    def _in_this_process(self) -> Client:
        """This client, or in a forked child one to the same server."""
        return self if self._process == os.getpid() else _client_of(self._where)

    def _native_task(self, batch: str, key: str, task_id: str | None) -> _native.Task:
        """A task as this process finds it; raises `errors.NotFound` for one that has not left its process yet."""
        try:
            return self._found_task(batch, key, task_id)
        except errors.NotFound as error:
            error.hint = (
                f"{error.hint + '; ' if error.hint else ''}if the process that submitted it has not sent it yet, "
                "ask again a little later"
            )
            raise

    def _found_task(self, batch: str, key: str, task_id: str | None) -> _native.Task:
        if task_id is not None:
            found = self._native.open(task_id)
            if isinstance(found, _native.Task):
                return found
        opened = self._native.open(batch)
        if isinstance(opened, _native.Task):
            return opened
        task = opened.get(key)
        if task is None:
            raise errors.NotFound(f"the batch `{batch}` has no task `{key}`", code="batch.no_such_key")
        return task

    def __reduce__(self) -> tuple[Any, ...]:
        return _client_of, (self._where,)

    def __repr__(self) -> str:
        # wavetask.Client('http://127.0.0.1:8600')
        return f"wavetask.Client({self.url!r})"


_lock = threading.Lock()
_current: Client | None = None
_where: Where | None = None
_clients: dict[Where, Client] = {}
_routes: dict[Where, tuple[str | None, str | os.PathLike[str] | None, Limits]] = {}
"""Key, data folder and limits of each server that was connected to: a forked child needs them again."""


def connect(
    url: str | None = None,
    key: str | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    bandwidth: str | float | None = None,
    memory: str | float | None = None,
    current: bool = True,
) -> Client:
    """Connects, and makes it the server that `wavetask.submit` and `wavetask.open` use.

    Without an address: that of ``WAVETASK_URL``, with the key of ``WAVETASK_KEY``; else those of the file
    ``wavetask/config.toml`` in the user's configuration folder (``url = "…"``, ``key = "…"``); else the embedded
    server on the user's data folder (``data``, ``WAVETASK_DATA``), which is started if it does not run and is shared
    by all processes of the user.

    ``bandwidth`` limits what is sent, and what is fetched, in bytes a second: a number, or a text such as
    ``"10 MB/s"`` or ``"100 Mbit/s"``. ``memory`` limits what simulations that wait to be sent and results that came
    back take, in bytes: a number, or a text such as ``"2 GB"``; a generator is asked for no more while it is used up.
    Without them: ``WAVETASK_BANDWIDTH`` and ``WAVETASK_MEMORY``, else ``bandwidth`` and ``memory`` of the file. To
    connect again with other limits makes another connection; what was submitted before keeps to those it had.

    Raises `errors.ConnectionLost`, `errors.Unauthorized`, or `errors.Usage` for a limit that is none.
    """
    where = _native.locate(url, key, data)
    with _lock:
        client = _connect(where, url, key, data, (_amount(bandwidth), _amount(memory)))
        if current:
            _make_current(client)
    return client


def current() -> Client:
    """The current connection; connects if there is none."""
    with _lock:
        if _current is not None:
            return _current
        # A forked child goes on with the server of its parent.
        client = _connect(_native.locate(), None, None, None) if _where is None else _reconnect(_where)
        _make_current(client)
        return client


def open(name_or_id: str) -> Task | Batch:
    """A batch by name, or a task by id or by the name that it was submitted with by itself: from any process, at
    any time.

    Raises `errors.NotFound`.
    """
    return current().open(name_or_id)


def _make_current(client: Client) -> None:
    global _current, _where
    _current = client
    _where = client._where


def _amount(given: str | float | None) -> str | None:
    """An amount in the words of the native half: numbers count bytes."""
    if given is None or isinstance(given, str):
        return given
    return f"{given:.0f}"


def _connect(
    where: Where,
    url: str | None,
    key: str | None,
    data: str | os.PathLike[str] | None,
    limits: Limits = (None, None),
) -> Client:
    found = _clients.get(where)
    # What is not given may stay as it is.
    if (
        found is not None
        and key in (None, found._secret)
        and _same_folder(data, _routes[where][1])
        and all(new in (None, old) for new, old in zip(limits, found._limits, strict=True))
    ):
        return found
    if not _clients:
        atexit.register(_at_exit)
        _at_exit_of_a_worker()
    bandwidth, memory = limits
    native = _native.Client(
        url=url, key=key, data=data, bandwidth=bandwidth, memory=memory, binary=_command.binary()
    )
    client = _clients[where] = Client(native, where, key, limits)
    # An embedded server's key lies in its folder, and may be another after a restart.
    _routes[where] = (native.key if where[0] == "url" else None, data, limits)
    return client


def _same_folder(data: str | os.PathLike[str] | None, before: str | os.PathLike[str] | None) -> bool:
    """Whether a connection with this data folder is that with the one before; what is not given may stay as it is."""
    return data is None or (before is not None and os.fspath(data) == os.fspath(before))


def _reconnect(where: Where) -> Client:
    """The client to a server that this process, or its parent before a fork, was connected to. The lock is held."""
    kind, place = where
    key, data, limits = _routes.get(where, (None, None, (None, None)))
    return _connect(where, place if kind == "url" else None, key, place if kind == "data" else data, limits)


def _all(page: Callable[[str | None, int], _Page], key: str, limit: int | None) -> list[dict[str, Any]]:
    """A list from its pages, each asked for from behind the last row of the one before; at most ``limit`` rows."""
    found: dict[str, dict[str, Any]] = {}
    places: list[str] = []
    more = limit is None or limit > 0
    while more:
        most = _PAGE if limit is None else min(_PAGE, limit - len(found))
        try:
            rows, more = page(places[-1] if places else None, most)
        except errors.NotFound:
            if not places:
                raise
            # Somebody deleted that one meanwhile: the page is asked for from the one before it.
            places.pop()
            continue
        places += (row[key] for row in rows)
        found.update((row[key], row) for row in rows)
        more = more and bool(rows) and (limit is None or len(found) < limit)
    return list(found.values())


def _client_of(where: Where) -> Client:
    """The client to a server that was named without its key: for handles from other processes."""
    with _lock:
        found = _clients.get(where)
        return _reconnect(where) if found is None else found


def _reopen_task(where: Where, identity: tuple[str, str, dict[str, Any]], task_id: str | None) -> Task:
    from wavetask._task import Task

    client = _client_of(where)
    batch, key, _ = identity
    return Task(client._native_task(batch, key, task_id), client, identity=identity)


def _reopen_batch(where: Where, name: str) -> Batch:
    return _client_of(where)._batch(name)


def _at_exit() -> None:
    submitting = sys.modules.get("wavetask._submit")
    _wait.tell_at_exit(() if submitting is None else list(submitting._submitted))
    if submitting is None:
        return
    try:
        patience = float(os.environ.get("WAVETASK_EXIT_WAIT", "10"))
    except ValueError:
        patience = 10.0
    if patience > 0:
        renderer = _progress.renderer()
        submitting.finish(patience, renderer.say if renderer.mode(None) != "off" else lambda text: None)


def _at_exit_of_a_worker() -> None:
    """Children of `multiprocessing` end without what is registered with `atexit`."""
    util: Any = sys.modules.get("multiprocessing.util")
    process: Any = sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        util.Finalize(None, _at_exit, exitpriority=100)


def _after_fork() -> None:
    """In a forked child: the parent's connections stay the parent's, and handles find their way by new ones."""
    global _lock, _current
    _lock = threading.Lock()
    _current = None
    for client in _clients.values():
        for reference in client._batches.valuerefs():
            batch = reference()
            if batch is not None:
                batch._forked()
    # Kept, but out of reach: letting go of them would wait for threads that are not here.
    _inherited.append(dict(_clients))
    _clients.clear()
    _native.adopt()
    atexit.unregister(_at_exit)


_inherited: list[dict[Where, Client]] = []

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_native.before_fork, after_in_parent=_native.after_fork)
_bridge.register_after_fork(_after_fork)
