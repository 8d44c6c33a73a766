"""How completions reach an event loop, and how Python code runs beside the caller.

Engine threads never attach to the interpreter. They put a token into a `_native.Port`; an event loop watches the
port's descriptor as it watches its sockets. Each loop has a port of its own, made when the first coroutine waits in
it, gone with it: a loop may close and a process may end with any number of operations in flight.

Loops that cannot watch a descriptor (Windows' Proactor) are woken by one Python thread through
``call_soon_threadsafe``. It is an ordinary Python thread, which the interpreter knows how to end.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import itertools
import os
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from wavetask import _native

T = TypeVar("T")

_tokens = itertools.count(1)


class LoopPort:
    """The port of one event loop: calls back, within the loop, for each token that arrives."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.native = _native.Port()
        self._calls: dict[int, Callable[[], None]] = {}
        try:
            loop.add_reader(self.native.fileno(), self._drain)
        except NotImplementedError:
            reference = weakref.ref(loop)
            thread = threading.Thread(
                target=_pump, args=(reference, self.native, self._deliver), name="wavetask-loop", daemon=True
            )
            thread.start()

    def expect(self, call: Callable[[], None]) -> int:
        """A new token; when it arrives, ``call`` is called once, within the loop."""
        token = next(_tokens)
        self._calls[token] = call
        return token

    def forget(self, token: int) -> None:
        """Nobody waits for this token any more."""
        self._calls.pop(token, None)

    def _drain(self) -> None:
        self._deliver(self.native.drain())

    def _deliver(self, tokens: list[int]) -> None:
        for token in tokens:
            call = self._calls.pop(token, None)
            if call is not None:
                call()


def _pump(
    reference: weakref.ref[asyncio.AbstractEventLoop],
    native: _native.Port,
    deliver: Callable[[list[int]], None],
) -> None:
    """Wakes a loop that cannot watch descriptors; ends with the loop."""
    while True:
        tokens = native.wait(1.0)
        loop = reference()
        if loop is None or loop.is_closed():
            return
        if tokens:
            # The loop may close between the look and the call.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(deliver, tokens)
        del loop


_ports: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopPort] = weakref.WeakKeyDictionary()
_ports_lock = threading.Lock()


def port() -> LoopPort:
    """The port of the running event loop."""
    loop = asyncio.get_running_loop()
    with _ports_lock:
        found = _ports.get(loop)
        if found is None:
            found = _ports[loop] = LoopPort(loop)
    return found


async def finished(watch: Callable[[_native.Port, int], None]) -> None:
    """Returns when what is watched has ended.

    Cancelling this stops waiting and nothing else.
    """
    loop = asyncio.get_running_loop()
    here = port()
    future: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not future.done():
            future.set_result(None)

    token = here.expect(settle)
    try:
        watch(here.native, token)
        await future
    finally:
        here.forget(token)


class Background:
    """A few daemon threads for what must run beside the caller: building results, calling back.

    Unlike those of ``ThreadPoolExecutor`` nobody waits for them at exit: a fetch from a server that is gone must not
    keep a process from ending.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._limit = threads
        self._name = name
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    def submit(self, function: Callable[[], T]) -> concurrent.futures.Future[T]:
        """Calls the function soon; the future tells what came of it."""
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._work.put(lambda: run_into(future, function))
        with self._lock:
            if self._idle == 0 and self._threads < self._limit:
                self._threads += 1
                threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        return future

    def _serve(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            work = self._work.get()
            with self._lock:
                self._idle -= 1
            work()
            del work


def run_into(future: concurrent.futures.Future[T], function: Callable[[], T]) -> None:
    """Calls the function and puts what comes of it into the future."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        value = function()
    except BaseException as error:  # whoever asks the future gets it
        future.set_exception(error)
    else:
        future.set_result(value)


class Watcher:
    """Calls back on background threads when watched tasks end: for futures and callbacks, which have no loop."""

    def __init__(self) -> None:
        self._native = _native.Port()
        self._calls: dict[int, Callable[[], None]] = {}
        self._lock = threading.Lock()
        self._started = False

    def when_finished(self, watch: Callable[[_native.Port, int], None], call: Callable[[], None]) -> None:
        """Calls ``call`` on a background thread once what is watched has ended."""
        token = next(_tokens)
        with self._lock:
            self._calls[token] = call
            if not self._started:
                self._started = True
                threading.Thread(target=self._serve, name="wavetask-watch", daemon=True).start()
        watch(self._native, token)

    def _serve(self) -> None:
        while True:
            for token in self._native.wait(None):
                with self._lock:
                    call = self._calls.pop(token, None)
                if call is not None:
                    background().submit(call)


_background: Background | None = None
_watcher: Watcher | None = None


def background() -> Background:
    """The process's background threads."""
    global _background
    if _background is None:
        _background = Background(max(2, min(8, os.cpu_count() or 2)), "wavetask-background")
    return _background


def watcher() -> Watcher:
    """The process's watcher."""
    global _watcher
    if _watcher is None:
        _watcher = Watcher()
    return _watcher


async def in_background(function: Callable[[], T]) -> T:
    """Runs a function beside the event loop."""
    return await asyncio.wrap_future(background().submit(function))


def _after_fork() -> None:
    """In a forked child: the threads and descriptors are the parent's."""
    global _background, _watcher, _ports_lock, _ports
    _background = None
    _watcher = None
    _ports_lock = threading.Lock()
    _ports = weakref.WeakKeyDictionary()


def register_after_fork(call: Callable[[], Any]) -> None:
    """Calls this in every forked child, where there is such a thing."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


register_after_fork(_after_fork)
