"""A wire between client and server that counts what passes, and can be made slow, broken, cut or wrong."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

REQUEST = b" HTTP/1.1\r\n"
"""How the first line of a request ends."""


class Wire:
    """Forwards TCP connections to a port; `sent` and `received` are bytes towards and from the server,
    `most_connections` how many were open at once. With `count_requests`, `requests` are those that were sent."""

    def __init__(self, port: int, bytes_per_second: float | None = None, count_requests: bool = False):
        self.target = port
        self.rate = bytes_per_second
        self.requests = 0
        self._counts_requests = count_requests
        # Called with each piece that comes from the server, which it may change.
        self.damage: Callable[[memoryview], None] | None = None
        self.sent = self.received = self.connections = self.most_connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._free_at = {True: 0.0, False: 0.0}
        self._cut = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _accept(self):
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._cut:
                    raise ConnectionRefusedError
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self.connections += 1
                self._open |= {near, far}
                self.most_connections = max(self.most_connections, (len(self._open) + 1) // 2)
            for source, sink, towards in ((near, far, True), (far, near, False)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._carry, args=(source, sink, towards), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, towards: bool):
        buffer = memoryview(bytearray(1 << 16))
        end = b""
        try:
            while count := source.recv_into(buffer):
                if self.damage and not towards:
                    self.damage(buffer[:count])
                if towards and self._counts_requests:
                    text = end + bytes(buffer[:count])
                    with self._lock:
                        self.requests += text.count(REQUEST)
                    end = text[1 - len(REQUEST) :]
                self._wait(count, towards)
                sink.sendall(buffer[:count])
                with self._lock:
                    if towards:
                        self.sent += count
                    else:
                        self.received += count
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for end in (source, sink):
                end.close()
        with self._lock:
            self._open -= {source}

    def _wait(self, count: int, towards: bool):
        if self.rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at[towards] = max(now, self._free_at[towards]) + count / self.rate
            wait = self._free_at[towards] - now
        time.sleep(wait)

    def reset(self):
        """Breaks all connections; new ones are carried."""
        with self._lock:
            broken, self._open = self._open, set()
        for end in broken:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def cut(self, seconds: float):
        """Breaks all connections and carries no new ones for a while."""
        self._cut = True
        self.reset()
        time.sleep(seconds)
        self._cut = False

    def close(self):
        self._listener.close()
        self.reset()
