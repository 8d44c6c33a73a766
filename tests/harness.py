"""A real server process for the tests: started, killed and restarted as a user or a power cut would."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

BINARY = pathlib.Path(
    os.environ.get("WAVETASK_TEST_BINARY", pathlib.Path(__file__).parents[1] / "target/release/wavetask")
)
READY_WITHIN = 60.0


def needed(there: object, what: str) -> None:
    """Skips a test whose tool is not there; where all tools have been promised (`make test`, CI), fails instead."""
    import pytest

    if there:
        return
    if os.environ.get("CI") or os.environ.get("WAVETASK_TEST_PYTHON"):
        pytest.fail(f"{what}: nothing may be skipped here")
    pytest.skip(what)


def needed_module(name: str):
    """A module that a test needs, on the same terms."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        needed(False, f"{name} cannot be imported ({error})")


class Server:
    """`wavetask serve` on a data folder; the same port again after a restart."""

    def __init__(self, data: pathlib.Path, *options: str, port: int = 0, environment: dict | None = None):
        self.data = pathlib.Path(data)
        self.options = options
        self.port = port
        self.environment = environment or {}
        self.process: subprocess.Popen | None = None
        self._variables: dict[str, str] | None = None
        self.log = self.data.with_name(self.data.name + ".log")

    def start(self) -> Server:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(BINARY),
                    "serve",
                    "--listen",
                    f"127.0.0.1:{self.port}",
                    "--data",
                    str(self.data),
                    *self.options,
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **self.environment},
            )
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.append(self.process.stdout.readline()), daemon=True)
        reader.start()
        reader.join(READY_WITHIN)
        if not lines or not lines[0]:
            self.kill()
            raise AssertionError(f"the server did not become ready; its log:\n{self.log.read_text()[-4000:]}")
        self.port = int(re.search(r":(\d+)\b", lines[0])[1])
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def variables(self) -> dict[str, str]:
        """What `wavetask env` says: it points the unmodified client here."""
        if self._variables is None:
            self._variables = json.loads(self.command("env", "--json"))
        return self._variables

    def command(self, *words: str, check: bool = True, **options) -> str:
        """Runs the command line against this server and returns what it prints."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("WAVETASK_")}
        answer = subprocess.run(
            [str(BINARY), *words, "--data", str(self.data)],
            capture_output=True,
            text=True,
            env=environment,
            **options,
        )
        if check and answer.returncode != 0:
            raise AssertionError(
                f"wavetask {words}: exit {answer.returncode}\n{answer.stdout}{answer.stderr}"
            )
        return answer.stdout

    def native(self, method: str, path: str, body=None, key: str | None = None, timeout: float = 60):
        """One request to the native API: (status, parsed JSON or text)."""
        authorization = f"Bearer {key or self.variables()['SIMCLOUD_APIKEY']}"
        return self._request(method, path, body, {"authorization": authorization}, timeout)

    def request(self, method: str, path: str, body=None, key: str | None = None, timeout: float = 60):
        """One REST request as the client sends it: (status, parsed JSON or text)."""
        headers = {"simcloud-api-key": key or self.variables()["SIMCLOUD_APIKEY"]}
        return self._request(method, path, body, headers, timeout)

    def _request(self, method: str, path: str, body, headers: dict, timeout: float):
        headers["content-type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def kill(self) -> None:
        """SIGKILL to the server process alone, as a crash would end it."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)

    def stop(self, within: float = 30) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def restart(self) -> Server:
        self.kill()
        return self.start()

    def descendants(self) -> list[tuple[int, str]]:
        """Processes below the server: (process id, command line), workers first."""
        children: dict[int, list[int]] = {}
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                children.setdefault(int(fields[1]), []).append(int(entry.name))
        found, queue = [], list(children.get(self.process.pid, []))
        while queue:
            pid = queue.pop(0)
            try:
                found.append(
                    (pid, pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
                )
            except OSError:
                continue
            queue.extend(children.get(pid, []))
        return found

    def workers(self) -> list[int]:
        return [pid for pid, line in self.descendants() if " worker" in line]

    def solvers(self) -> list[int]:
        return [pid for pid, line in self.descendants() if " solve" in line]


def wait_until(condition, within: float, what: str, every: float = 0.05):
    """Waits for a condition and returns its value; fails with `what` when time runs out."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {within} s still not: {what}")
        time.sleep(every)


def members(server: Server, batch: str) -> list[dict]:
    """The tasks of a batch as the server knows them; none if it knows no such batch."""
    status, answer = server.native("GET", f"/api/v1/batches/{urllib.parse.quote(batch, safe='')}/members")
    assert status in (200, 404), answer
    return [member["task"] for member in answer["members"]] if status == 200 else []


def answered(server: Server) -> int:
    """Requests that the server has answered to clients, if it logs `wavetask_server::connection=debug`; those of
    workers are not counted."""
    lines = server.log.read_text(errors="replace").splitlines()
    return sum("answered" in line and "/api/v1/worker" not in line for line in lines)


def stop_embedded(data: pathlib.Path) -> None:
    """Stops the server that was started on a data folder, before the folder goes away."""
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"serve" in words and str(data).encode() in words:
                os.kill(int(entry.name), signal.SIGTERM)
                wait_until(lambda entry=entry: not entry.exists(), 30, "the server has stopped")
