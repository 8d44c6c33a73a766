"""What the client asks about tasks beside running them: listing, details, costs, deleting, by the plain protocol.

These calls are rare, one request each, and answered by any server of tidy3d's protocol; about many tasks at once, a
server that offers the native API is asked by that. The answers become the client's own objects.
"""

from __future__ import annotations

import concurrent.futures
import functools
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Literal

import tidy3d
from tidy3d.exceptions import WebError

from wavetask import errors

from . import _engine

TIMEOUT = 120.0
"""Seconds that one request may take."""

PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds before a request is made again that found nobody, as while a server is restarted. All of these requests may be
repeated: they ask, or delete."""


def request(method: str, path: str, body: Any = None) -> Any:
    """One request; the payload of its answer. Raises the client's `WebError`, or `errors.ConnectionLost`."""
    try:
        return _answer(method, path, body)
    except urllib.error.HTTPError as error:
        raise WebError(_explained(error, path)) from error


def _answer(method: str, path: str, body: Any = None) -> Any:
    """The same, raising `urllib.error.HTTPError`."""
    try:
        return _request(method, path, body)
    except errors.ConnectionLost:
        # The embedded server stops when it has nothing to do; asking through the engine starts it again.
        if not _revived():
            raise
    return _request(method, path, body)


def _revived() -> bool:
    """Whether the current server is an embedded one that answers again."""
    from wavetask import _client

    if not _is_embedded():
        return False
    _client.current().tasks(limit=1)
    return True


def _is_embedded() -> bool:
    """Whether the current server is one that the engine starts."""
    from wavetask import _client

    return _client.current()._where[0] == "data"


def _request(method: str, path: str, body: Any) -> Any:
    url, key = _address()
    message = urllib.request.Request(
        f"{url.rstrip('/')}/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "simcloud-api-key": key or "",
            "tidy3d-python-version": tidy3d.__version__,
            "content-type": "application/json",
            "source": "Python",
        },
        method=method,
    )
    text = _answered(message)
    payload = json.loads(text) if text else None
    return payload["data"] if isinstance(payload, dict) and "data" in payload else payload


def _answered(message: urllib.request.Request) -> bytes:
    """The text of the answer. What finds nobody, as while a server is restarted, is asked again for some seconds; nobody
    has to wait for an embedded server, which is started instead."""
    opener = _opener(_is_this_machine(message.host))
    pauses = iter(PAUSES)
    again = False
    while True:
        try:
            with opener.open(message, timeout=TIMEOUT) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            if again and message.method == "DELETE" and error.code == 404:
                return b""  # the answer that was lost had deleted it
            pause = next(pauses, None) if error.code in (502, 503, 504) else None
            if pause is None:
                raise
        except OSError as error:
            pause = None if not again and _is_embedded() else next(pauses, None)
            if pause is None:
                raise errors.ConnectionLost(
                    f"{message.host} does not answer",
                    code="web.no_answer",
                    hint="check the server's address and the network",
                ) from error
        again = True
        time.sleep(pause * random.uniform(0.5, 1.0))


@functools.cache
def _opener(direct: bool) -> urllib.request.OpenerDirector:
    """What opens addresses: of this machine never through a proxy."""
    return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if direct else []))


def _is_this_machine(host: str) -> bool:
    name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    return name in ("localhost", "::1") or name.startswith("127.")


def _address() -> tuple[str, str | None]:
    """Where the current server answers, and the key to show it."""
    from wavetask import _client

    client = _client.current()
    return client.url, client._native.key


def _explained(error: urllib.error.HTTPError, path: str) -> str:
    if error.code == 404:
        return f"Resource not found (HTTP 404): {path}"
    text = error.read().decode(errors="replace")
    try:
        answer = json.loads(text)
        text = answer.get("error") or answer.get("message") or text
    except (ValueError, AttributeError):
        pass  # not JSON: the text as it is
    return f"{text} [HTTP {error.code}]"


def parsed(kind: Any, values: Any) -> Any:
    """One of the client's objects from the server's answer, whichever generation of pydantic it is of."""
    return kind.model_validate(values) if hasattr(kind, "model_validate") else kind.parse_obj(values)


def dumped(thing: Any) -> dict[str, Any]:
    """Such an object as a dict, again."""
    return dict(thing.model_dump() if hasattr(thing, "model_dump") else thing.dict())


def detail(task_id: str) -> dict[str, Any]:
    """All that the server says of a task; the client's errors if there is none."""
    if not isinstance(task_id, str) or not task_id:
        raise ValueError("Task id not found.")
    return one("detail", task_id)


Part = Literal["detail", "progress"]
"""What can be asked about a task."""

_DETAILS = "api/v1/tasks/details"

_MANY = 1_000
"""Tasks that one request asks about."""

_AT_ONCE = 16
"""Requests about single tasks that are under way at once."""


def one(part: Part, task_id: str) -> dict[str, Any]:
    """What the server says of a task; the client's errors if there is none."""
    found = _told(part, task_id)
    if found is None:
        found = request("GET", f"tidy3d/tasks/{urllib.parse.quote(task_id, safe='')}/{part}")
    # Of its progress a server may have nothing to say yet.
    if not found and part == "detail":
        raise ValueError("Task not found.")
    return dict(found or {})


def _told(part: Part, task_id: str) -> dict[str, Any] | None:
    """The same of a task whose id is not the one that it goes by at the server: one that was submitted from here to a
    server of the plain protocol alone, which may have two tasks for it, or none yet. ``None`` for every other."""
    from wavetask import _client

    try:
        told = _client.current()._native.told(task_id, part)
    except errors.NotFound as error:
        raise WebError(f"Resource not found: task {task_id}") from error
    return None if told is None else dict(json.loads(told))


def delete(task_id: str) -> None:
    """Deletes a task, at the server and, if its id is one of ours, here."""
    if _told("detail", task_id) is None:
        request("DELETE", f"tidy3d/tasks/{urllib.parse.quote(task_id, safe='')}")
    else:
        task = _engine.find(task_id)
        with _engine.as_web_error(task):
            task.delete()


def each(ask: Callable[[str], Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """What a function of ours says of each task, by name, a request for each."""
    if not ids:
        return {}
    with concurrent.futures.ThreadPoolExecutor(min(_AT_ONCE, len(ids)), "wavetask-ask") as pool:
        return dict(zip(ids, pool.map(ask, ids.values()), strict=True))


def many(part: Part, ids: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """What the server says of each task, by name: one request for a thousand, or for each where the server speaks
    the plain protocol alone. The client's errors if there is no such task."""
    answers: list[Any] = []
    known = list(ids.values())
    for first in range(0, len(known), _MANY):
        try:
            told = _answer("POST", _DETAILS, {"tasks": known[first : first + _MANY]})
        except urllib.error.HTTPError as error:
            if error.code in (404, 405):
                return each(functools.partial(one, part), ids)
            raise WebError(_explained(error, _DETAILS)) from error
        answers += told["tasks"]
    return {
        name: one(part, task_id) if answer is None else answer[part]
        for (name, task_id), answer in zip(ids.items(), answers, strict=True)
    }


def folder(name: str) -> str | None:
    """The id of a folder; ``None`` if there is none of this name."""
    found = request("GET", "tidy3d/project?" + urllib.parse.urlencode({"projectName": name}))
    return found["projectId"] if found else None
