"""One renderer per process shows how far things are, wherever this process writes to.

========== =========================== =====================================================================
mode       when                        what is shown
========== =========================== =====================================================================
live       a terminal                  a line per batch somebody waits for, redrawn in place
notebook   a Jupyter kernel            one summary per batch, updated in place, without widgets
plain      anything else, dumb         a line per batch now and then, and one at the end
           terminals
off        ``progress=False``, or      nothing
           ``WAVETASK_PROGRESS=off``
========== =========================== =====================================================================

Something is shown while somebody waits, and only if the wait is long enough to wonder. While the caller's own code
runs, the live view is gone from the screen, so that what it prints does not mix with ours. All output goes through
one lock: any number of batches in any number of threads do not garble each other.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import shutil
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol, TextIO

from wavetask import _bridge, _render
from wavetask._render import Snapshot

MODES = ("live", "notebook", "plain", "off")


class Shown(Protocol):
    """What can be watched: a batch, or a task by itself."""

    def _snapshot(self) -> Snapshot: ...


class _Watched:
    """A batch that somebody waits for."""

    def __init__(self, mode: str, now: float) -> None:
        self.mode = mode
        self.waiters = 0
        self.since = now
        self.last = now
        self.text = ""
        self.visible = False
        self.context = contextvars.copy_context()
        self.display: Any = None


_GRACE = {"live": 0.3, "notebook": 1.0, "plain": 3.0}
_INTERVAL = {"live": 0.1, "notebook": 1.0, "plain": 5.0}
_MOST_LINES = 8


class Renderer:
    """See the module. Give it a stream and a clock to test it."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        mode: str | None = None,
        environment: dict[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
        size: Callable[[], int] | None = None,
        ticking: bool = True,
    ) -> None:
        self._stream = stream
        self._environment = environment
        self._mode = mode
        self._clock = clock
        self._size = size or (lambda: shutil.get_terminal_size((80, 24)).columns)
        self._ticking = ticking
        self._lock = threading.RLock()
        # Weak: a batch that nobody waits for any more, and nobody holds, is not kept for its last line.
        self._watched: weakref.WeakKeyDictionary[Shown, _Watched] = weakref.WeakKeyDictionary()
        self._lines = 0
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()

    # What to do where.

    def _out(self) -> TextIO | None:
        return self._stream if self._stream is not None else sys.stderr

    def _variables(self) -> Any:
        return self._environment if self._environment is not None else os.environ

    def mode(self, wanted: bool | str | None) -> str:
        """The mode for a batch whose user wants this: ``None`` is the default, ``False`` off."""
        if wanted is False:
            return "off"
        if isinstance(wanted, str) and wanted in MODES:
            return wanted
        if self._mode is not None:
            return self._mode
        named = str(self._variables().get("WAVETASK_PROGRESS", "")).strip().lower()
        if named in MODES:
            return named
        if _in_kernel():
            return "notebook"
        stream = self._out()
        if stream is None or getattr(stream, "closed", False):
            return "off"
        try:
            terminal = stream.isatty()
        except (AttributeError, ValueError):
            terminal = False
        if terminal and self._variables().get("TERM", "") not in ("dumb", ""):
            return "live"
        # Windows terminals set no TERM.
        return "live" if terminal and os.name == "nt" else "plain"

    def _colour(self) -> bool:
        return not self._variables().get("NO_COLOR")

    def _unicode(self) -> bool:
        encoding = getattr(self._out(), "encoding", None) or "ascii"
        return encoding.lower().replace("-", "") == "utf8"

    # Watching.

    @contextlib.contextmanager
    def watch(self, shown: Shown, wanted: bool | str | None = None) -> Iterator[None]:
        """Somebody waits for this within the block."""
        mode = self.mode(wanted)
        if mode == "off":
            yield
            return
        self._enter(shown, mode)
        try:
            yield
        finally:
            self._leave(shown)

    def _enter(self, shown: Shown, mode: str) -> None:
        with self._lock:
            watched = self._watched.get(shown)
            if watched is None:
                watched = self._watched[shown] = _Watched(mode, self._clock())
            watched.waiters += 1
            if self._ticking and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wavetask-progress", daemon=True)
                self._thread.start()

    def _leave(self, shown: Shown) -> None:
        with self._lock:
            watched = self._watched[shown]
            watched.waiters -= 1
            if not watched.waiters:
                self._rest(shown, watched)

    def settle(self, shown: Shown) -> None:
        """Nobody will wait for this again: if it was shown, and ended while nobody waited, its last line is due."""
        with self._lock:
            watched = self._watched.get(shown)
            if watched is not None and not watched.waiters:
                self._rest(shown, watched)

    def _rest(self, shown: Shown, watched: _Watched) -> None:
        snapshot = shown._snapshot()
        if not snapshot.ended:
            # The caller's code runs now and will likely wait again: what is known of this batch stays.
            if watched.mode == "live":
                self._draw()
            return
        del self._watched[shown]
        if watched.mode == "live":
            self._erase()
            if watched.visible:
                self._write(_render.plain(snapshot) + "\n")
            self._draw()
        elif watched.visible:
            self._show(watched, snapshot)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not any(watched.waiters for watched in self._watched.values()):
                    self._thread = None
                    return
            self._wake.wait(0.1)
            self.tick()

    def tick(self) -> None:
        """Shows what is due."""
        with self._lock:
            now = self._clock()
            live = False
            for shown, watched in list(self._watched.items()):
                if not watched.waiters or now - watched.since < _GRACE[watched.mode]:
                    continue
                if watched.mode == "live":
                    live = True
                    watched.visible = True
                elif now - watched.last >= _INTERVAL[watched.mode] or not watched.visible:
                    watched.last = now
                    self._show(watched, shown._snapshot())
            if live:
                self._draw()

    def _show(self, watched: _Watched, snapshot: Snapshot) -> None:
        """Shows a batch in a notebook or a log, if it is not shown like that already."""
        watched.visible = True
        text = _render.plain(snapshot)
        if watched.mode == "plain":
            counts = _render.words(snapshot)
            if counts != watched.text:
                watched.text = counts
                self._write(text + "\n")
            return
        if text == watched.text:
            return
        watched.text = text
        data = {"text/plain": text, "text/html": _render.markup(snapshot)}
        with contextlib.suppress(Exception):  # a notebook that went away must not end what waits
            watched.context.run(self._display, watched, data)

    @staticmethod
    def _display(watched: _Watched, data: dict[str, str]) -> None:
        from IPython import display as ipython

        display: Any = ipython.display
        if watched.display is None:
            watched.display = display(data, raw=True, display_id=True)
        else:
            watched.display.update(data, raw=True)

    # The live view.

    def _draw(self) -> None:
        shown = [
            shown
            for shown, watched in list(self._watched.items())
            if watched.mode == "live" and watched.visible and watched.waiters
        ]
        # One column less than there is: a full last column makes some terminals wrap.
        width = max(10, self._size() - 1)
        colour, unicode = self._colour(), self._unicode()
        lines = [
            _render.line(one._snapshot(), width, colour=colour, unicode=unicode)
            for one in shown[:_MOST_LINES]
        ]
        if len(shown) > _MOST_LINES:
            lines.append(_render.cut(f"and {len(shown) - _MOST_LINES} more", width))
        text = self._erasure()
        if lines:
            text += "\n".join(lines) + "\r"
        self._lines = len(lines)
        if text:
            self._write(text)

    def _erasure(self) -> str:
        if not self._lines:
            return ""
        up = f"\x1b[{self._lines - 1}A" if self._lines > 1 else ""
        return f"\r{up}\x1b[J"

    def _erase(self) -> None:
        text = self._erasure()
        self._lines = 0
        if text:
            self._write(text)

    def say(self, text: str) -> None:
        """Prints a line of its own above the live view."""
        with self._lock:
            self._erase()
            self._write(text + "\n")
            self._draw()

    def _write(self, text: str) -> None:
        stream = self._out()
        if stream is None:
            return
        # A closed or broken stream must not end what waits.
        with contextlib.suppress(OSError, ValueError):
            try:
                stream.write(text)
            except UnicodeEncodeError:
                stream.write(text.encode("ascii", "replace").decode("ascii"))
            stream.flush()


def _in_kernel() -> bool:
    """Whether this is a Jupyter kernel, without importing IPython to find out."""
    module = sys.modules.get("IPython")
    if module is None:
        return False
    shell = getattr(module, "get_ipython", lambda: None)()
    return shell is not None and getattr(shell, "kernel", None) is not None


_renderer = Renderer()


def renderer() -> Renderer:
    """The process's renderer."""
    return _renderer


def _after_fork() -> None:
    global _renderer
    _renderer = Renderer()


_bridge.register_after_fork(_after_fork)
