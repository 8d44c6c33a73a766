"""Which server: connecting, and finding again what was submitted."""

from __future__ import annotations

import atexit
import os
import re
import sys
import threading
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavetask import _bridge, _command, _native, _progress, errors

if TYPE_CHECKING:
    from wavetask._batch import Batch
    from wavetask._task import Task

__all__ = ["Client", "connect", "current", "open"]

Where = tuple[str, str]
"""A server without its key: ``("url", address)``, or ``("data", folder)`` of the embedded one."""


class Client:
    """A connection to a server: `connect` makes it. `wavetask.submit` and `wavetask.open` use the current one."""

    def __init__(self, native: _native.Client, where: Where, secret: str | None) -> None:
        self._native = native
        self._secret = secret
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
            found = client._native.open(name_or_id)
            if isinstance(found, _native.Task):
                return Task(found, client)
            batch = _batch.opened(found, client)
        # What was submitted by itself comes back by itself.
        return batch[_shape.ROOT] if list(batch) == [_shape.ROOT] else batch

    def _batch(self, name: str) -> Batch:
        from wavetask import _batch

        found = self._batches.get(name)
        return _batch.opened(self._native.open_batch(name), self) if found is None else found

    def batches(self, name: str | None = None, tag: str | None = None) -> list[dict[str, Any]]:
        """The batches of this account, the last touched first: name, tags, members, and how many are in which
        state."""
        return self._in_this_process()._native.batches(name, tag)

    def tasks(self, where: str | None = None, **filters: Any) -> list[dict[str, Any]]:
        """Tasks, newest first: by ``state``, ``folder``, ``name`` (a part of it), ``tag``, ``batch``, and by
        parameters with ``where="I>=0.004,width=0.5"``."""
        return self._in_this_process()._native.tasks(where, **filters)

    def _in_this_process(self) -> Client:
        """This client, or in a forked child one to the same server."""
        return self if self._process == os.getpid() else _client_of(self._where)

    def _native_task(self, batch: str, key: str, task_id: str | None) -> _native.Task:
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
_clients: dict[Where, Client] = {}


def connect(
    url: str | None = None,
    key: str | None = None,
    *,
    data: str | os.PathLike[str] | None = None,
    current: bool = True,
) -> Client:
    """Connects, and makes it the server that `wavetask.submit` and `wavetask.open` use.

    Without an address: that of ``WAVETASK_URL``, with the key of ``WAVETASK_KEY``; else those of the file
    ``wavetask/config.toml`` in the user's configuration folder (``url = "…"``, ``key = "…"``); else the embedded
    server on the user's data folder (``data``, ``WAVETASK_DATA``), which is started if it does not run and is shared
    by all processes of the user.

    Raises `errors.ConnectionLost` or `errors.Unauthorized`.
    """
    where, secret = _locate(url, key, data)
    with _lock:
        client = _connect(where, secret)
        if current:
            _make_current(client)
    return client


def current() -> Client:
    """The current connection; connects if there is none."""
    with _lock:
        if _current is not None:
            return _current
        where, secret = _locate(None, None, None)
        client = _connect(where, secret)
        _make_current(client)
        return client


def open(name_or_id: str) -> Task | Batch:
    """A batch by name, or a task by id or by the name that it was submitted with by itself: from any process, at
    any time.

    Raises `errors.NotFound`.
    """
    return current().open(name_or_id)


def _make_current(client: Client) -> None:
    global _current
    _current = client


def _connect(where: Where, secret: str | None) -> Client:
    found = _clients.get(where)
    if found is not None and secret in (None, found._secret):
        return found
    if not _clients:
        atexit.register(_at_exit)
    kind, place = where
    packaged = _command.binary()
    native = _native.Client(
        url=place if kind == "url" else None,
        key=secret,
        data=place if kind == "data" else None,
        binary=None if packaged is None else str(packaged),
    )
    client = _clients[where] = Client(native, where, secret)
    return client


def _locate(
    url: str | None, key: str | None, data: str | os.PathLike[str] | None
) -> tuple[Where, str | None]:
    """Which server is meant, and the key to show it."""
    variables = os.environ
    settled = url.rstrip("/") if url else None
    if settled is None and data is None:
        named = variables.get("WAVETASK_URL", "").strip()
        settings = {} if named else _settings()
        settled = (named or settings.get("url", "")).rstrip("/") or None
        key = key or variables.get("WAVETASK_KEY", "").strip() or settings.get("key")
    elif settled is not None and key is None:
        # The key of an address is the one that is configured for it, and no other's.
        named = variables.get("WAVETASK_URL", "").strip().rstrip("/")
        settings = _settings()
        if named in ("", settled) and variables.get("WAVETASK_KEY", "").strip():
            key = variables["WAVETASK_KEY"].strip()
        elif settings.get("url", "").rstrip("/") == settled:
            key = settings.get("key")
    if settled is not None:
        if not key:
            raise errors.Unauthorized(
                f"there is no key for {settled}",
                code="client.no_key",
                hint="set WAVETASK_KEY, or pass it: wavetask.connect(url, key)",
            )
        return ("url", settled), key
    folder = os.fspath(data) if data is not None else _native.default_data_folder()
    return ("data", os.path.abspath(folder)), key  # noqa: PTH100


def _settings() -> dict[str, str]:
    """What the configuration file says."""
    path = configuration_file()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return {}
    settings = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = re.fullmatch(r"""(url|key)\s*=\s*(?:"([^"\\]*)"|'([^']*)')\s*(?:#.*)?""", stripped)
        if match is None:
            raise errors.Usage(
                f"line {number} of {path} is not understood",
                code="client.configuration",
                hint='it takes lines such as url = "http://localhost:8600" and key = "…"',
            )
        settings[match[1]] = match[2] if match[2] is not None else match[3]
    return settings


def configuration_file() -> Path:
    """Where the configuration file is, if there is one."""
    named = os.environ.get("WAVETASK_CONFIG")
    if named:
        return Path(named)
    if os.name == "nt":
        base = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        named = os.environ.get("XDG_CONFIG_HOME", "")
        base = Path(named) if os.path.isabs(named) else Path.home() / ".config"  # noqa: PTH117
    return base / "wavetask" / "config.toml"


def _client_of(where: Where) -> Client:
    """The client to a server that was named without its key: for handles from other processes."""
    with _lock:
        found = _clients.get(where)
        if found is not None:
            return found
    kind, place = where
    located, secret = _locate(place if kind == "url" else None, None, place if kind == "data" else None)
    with _lock:
        return _connect(located, secret)


def _reopen_task(where: Where, identity: tuple[str, str, dict[str, Any]], task_id: str | None) -> Task:
    from wavetask._task import Task

    client = _client_of(where)
    batch, key, _ = identity
    return Task(client._native_task(batch, key, task_id), client, identity=identity)


def _reopen_batch(where: Where, name: str) -> Batch:
    return _client_of(where)._batch(name)


def _at_exit() -> None:
    submitting = sys.modules.get("wavetask._submit")
    if submitting is None:
        return
    try:
        patience = float(os.environ.get("WAVETASK_EXIT_WAIT", "10"))
    except ValueError:
        patience = 10.0
    if patience > 0:
        renderer = _progress.renderer()
        submitting.finish(patience, renderer.say if renderer.mode(None) != "off" else lambda text: None)


def _after_fork() -> None:
    """In a forked child: the parent's connections stay the parent's."""
    global _lock, _current
    _lock = threading.Lock()
    _current = None
    # Kept, but out of reach: letting go of them would wait for threads that are not here.
    _inherited.append(dict(_clients))
    _clients.clear()
    _native.adopt()
    atexit.unregister(_at_exit)


_inherited: list[dict[Where, Client]] = []

_bridge.register_after_fork(_after_fork)
