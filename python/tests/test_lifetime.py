"""Ends: of loops, of processes, of their children. Nothing crashes, nothing hangs, nothing is lost without a word."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time

import pytest

HERE = pathlib.Path(__file__).parent
EXITS = int(os.environ.get("WAVETASK_TEST_EXITS", "100"))

IN_FLIGHT = """
import asyncio, sys, threading
import wavetask as wt
from wavetask import _bridge, _native
client = wt.connect()
submission = client._native.submit(name=None, tags=[], cache=True, hold=False, lazy=False, folder="default",
                                   priority=0, after=[], program="exit")
tasks = []
for number in range(200):
    task, pending = submission.add(str(number), None, {})
    pending.push(_native.pack("HEAT", '{"n": %d}' % number, []))
    tasks.append(task)
submission.finish()
def block():
    for task in tasks:
        task.wait(0.5)
for _ in range(4):
    threading.Thread(target=block, daemon=True).start()
watcher = _bridge.watcher()
async def main():
    waits = [asyncio.ensure_future(_bridge.finished(task.watch)) for task in tasks]
    for task in tasks:
        watcher.when_finished(task.watch, lambda: None)
    await asyncio.sleep(float(sys.argv[1]))
    assert not all(wait.done() for wait in waits)
how = sys.argv[2]
if how == "loop":
    asyncio.run(main())
elif how == "open loop":
    asyncio.new_event_loop().run_until_complete(main())
elif how == "error":
    asyncio.run(main())
    raise SystemExit(3)
"""


class Silent(socketserver.ThreadingTCPServer):
    """A server that says who it is and never answers anything else."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    class RequestHandlerClass(socketserver.StreamRequestHandler):
        def handle(self):
            head = b""
            while line := self.rfile.readline():
                head += line
                if line in (b"\r\n", b"\n"):
                    if not head.startswith(b"GET /api/v1/status "):
                        self.server.ended.wait()
                        return
                    head = b""
                    body = json.dumps(STATUS).encode()
                    self.wfile.write(
                        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                        b"content-length: %d\r\n\r\n%s" % (len(body), body)
                    )

    def __init__(self):
        self.ended = threading.Event()
        super().__init__(("127.0.0.1", 0), self.RequestHandlerClass)

    def handle_error(self, request, client_address):
        """Clients that are killed leave their connections broken."""


STATUS = {
    "version": "0.1.0",
    "now_milliseconds": 0,
    "started_milliseconds": 0,
    "disk_free_bytes": 0,
    "key": "key-0",
    "key_name": "nobody",
    "administrator": False,
    "tasks": [],
    "workers": [],
}


@pytest.fixture
def silence():
    """The address of such a server."""
    with Silent() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.ended.set()
        server.shutdown()


def environment(tmp_path, url, **more):
    return {
        **os.environ,
        "WAVETASK_URL": url,
        "WAVETASK_KEY": "a-key-that-nobody-checks",
        "WAVETASK_DATA": str(tmp_path / "data"),
        "WAVETASK_EXIT_WAIT": "0",
        **more,
    }


def test_a_hundred_processes_end_with_two_hundred_operations_in_flight(silence, tmp_path):
    running: list[tuple[subprocess.Popen, int]] = []
    statuses = []

    def reap(keep):
        while len(running) > keep:
            process, expected = running.pop(0)
            output = process.communicate(timeout=60)[0]
            assert process.returncode == expected, f"exit {process.returncode}\n{output}"
            statuses.append(process.returncode)

    for number in range(EXITS):
        how = ("loop", "open loop", "error")[number % 3]
        words = [sys.executable, "-c", IN_FLIGHT, str((number % 7) / 100), how]
        process = subprocess.Popen(
            words,
            env=environment(tmp_path / str(number % 4), silence),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running.append((process, 3 if how == "error" else 0))
        reap(3)
    reap(0)
    assert len(statuses) == EXITS


FORK = """
import os, sys, warnings
warnings.simplefilter("ignore")
import wavetask as wt
from wavetask import _native, _bridge, _client
client = wt.connect()
submission = client._native.submit(name="forked", tags=[], cache=True, hold=False, lazy=False, folder="default",
                                   priority=0, after=[], program=None)
task, pending = submission.add("0", None, {})
other, unpacked = submission.add("1", None, {})
child = os.fork()
if child == 0:
    for touch in (task.status, task.wait, task.ended, task.cancel, submission.finish, lambda: client._native.submit):
        try:
            touch()
        except RuntimeError as error:
            assert "forked child" in str(error)
    del task, pending, other, unpacked, submission
    assert _client._current is None
    again = client._in_this_process()
    assert again is not client and again.url == client.url
    more = again._native.submit(name="child", tags=[], cache=True, hold=False, lazy=False, folder="default",
                                priority=0, after=[], program=None)
    one, pending = more.add("0", None, {})
    pending.push(_native.pack("HEAT", "{}", []))
    assert one.status().phase in ("packing", "waiting", "uploading"), one.status().phase
    assert one.wait(0.2) is False
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
pending.push(_native.pack("HEAT", "{}", []))
assert task.wait(0.2) is False
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_gets_engines_of_its_own(silence, tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", FORK],
        env=environment(tmp_path, silence),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr


WAIT = """
import asyncio, concurrent.futures, sys
import wavetask as wt
from wavetask import _native
from wavetask._batch import Batch
from wavetask._task import Task
client = wt.connect()
submission = client._native.submit(name="long scan", tags=[], cache=True, hold=False, lazy=False, folder="default",
                                   priority=0, after=[], program=None)
batch = Batch(submission.name, client, native=submission.batch)
native, pending = submission.add("0", None, {})
pending.push(_native.pack("HEAT", "{}", []))
batch._add(Task(native, client))
batch._close()
submission.finish()
async def awaiting(awaited):
    await awaited
async def iterating(batch):
    async for task in batch:
        pass
async def wrapping(task):
    await asyncio.wrap_future(task.to_future())
print("waiting", flush=True)
exec(sys.argv[1])
"""


@pytest.mark.parametrize(
    "how",
    [
        "batch.results()",
        "batch['0'].result()",
        "next(batch.as_completed())",
        "batch.wait()",
        "batch['0'].wait()",
        "asyncio.run(awaiting(batch))",
        "asyncio.run(awaiting(batch['0']))",
        "asyncio.new_event_loop().run_until_complete(awaiting(batch))",
        "asyncio.run(iterating(batch))",
        "asyncio.run(wrapping(batch['0']))",
        "batch['0'].to_future().result()",
        "concurrent.futures.wait([batch['0'].to_future()])",
        "list(wt.map(lambda number: batch['0'].result(), range(3)))",
        "wt.map(lambda number: batch.results(), range(3)).results()",
        "next(wt.map(lambda number: batch.results(), range(3)).as_completed())",
    ],
)
def test_ctrl_c_stops_waiting_and_says_how_to_come_back(how, silence, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT, how],
        env=environment(tmp_path, silence),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    # A second one, whenever it comes, does nothing worse.
    threading.Timer(0.15, lambda: process.poll() is None and process.send_signal(signal.SIGINT)).start()
    _, said = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    assert process.returncode in (1, -signal.SIGINT, 130), said
    assert said.count("Come back with: wavetask.open('long scan')") == 1, said
    assert "KeyboardInterrupt" in said


GIVING_UP = """
async def patient(awaited):
    for again in range(2):
        try:
            await asyncio.wait_for(awaited.as_future() if hasattr(awaited, "as_future") else waited(awaited), 0.1)
        except asyncio.TimeoutError:
            print("not yet", flush=True)
async def waited(batch):
    await batch
asyncio.run(patient(batch))
asyncio.run(patient(batch['0']))
"""


def test_a_wait_that_is_given_up_says_nothing(silence, tmp_path):
    answer = subprocess.run(
        [sys.executable, "-c", WAIT, GIVING_UP],
        env=environment(tmp_path, silence),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("not yet") == 4
    assert "Come back" not in answer.stderr, answer.stderr


def test_a_script_that_ends_at_once_waits_for_what_it_submitted_and_says_what_it_leaves(silence, tmp_path):
    code = WAIT + "import wavetask._submit; wavetask._submit._submitted.add(batch)"
    began = time.monotonic()
    answer = subprocess.run(
        [sys.executable, "-c", code, "pass"],
        env=environment(tmp_path, silence, WAVETASK_EXIT_WAIT="1.5", WAVETASK_PROGRESS="plain"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert time.monotonic() - began > 1.5
    assert "run the script again" in answer.stderr


class Slow(socketserver.ThreadingTCPServer):
    """Passes on what a client says to a server, a few bytes a second."""

    daemon_threads = True
    allow_reuse_address = True

    class RequestHandlerClass(socketserver.BaseRequestHandler):
        def handle(self):
            with socket.create_connection(("127.0.0.1", self.server.port)) as there:
                back = threading.Thread(target=self.pass_on, args=(there, self.request, None), daemon=True)
                back.start()
                self.pass_on(self.request, there, self.server.rate)
                back.join()

        def pass_on(self, source, target, rate):
            with contextlib.suppress(OSError):
                while data := source.recv(16384):
                    target.sendall(data)
                    if rate is not None:
                        time.sleep(len(data) / rate)
                target.shutdown(socket.SHUT_WR)

    def __init__(self, port, rate):
        self.port, self.rate = port, rate
        super().__init__(("127.0.0.1", 0), self.RequestHandlerClass)

    def get_request(self):
        request, address = super().get_request()
        request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        return request, address


ONE_LARGE = """
import numpy as np, sys
import wavetask as wt
import models
values = np.random.default_rng(1).random((110, 110, 110))
wt.submit(models.slab(rate=models.spatial(110, 110, 110) * values), name=sys.argv[1], progress=False)
"""


def test_a_large_upload_that_makes_headway_is_not_given_up_at_the_end(server, tmp_path):
    import harness

    with Slow(server.port, 1.5e6) as slow:
        threading.Thread(target=slow.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{slow.server_address[1]}"
        settings = environment(tmp_path, url, WAVETASK_KEY=server.variables()["SIMCLOUD_APIKEY"])
        settings.update(WAVETASK_EXIT_WAIT="2", WAVETASK_PROGRESS="plain")
        settings["PYTHONPATH"] = os.pathsep.join([str(HERE), settings.get("PYTHONPATH", "")])
        began = time.monotonic()
        answer = subprocess.run(
            [sys.executable, "-c", ONE_LARGE, "large at the end"],
            env=settings,
            capture_output=True,
            text=True,
            timeout=120,
        )
        slow.shutdown()
    assert answer.returncode == 0, answer.stderr
    assert "have not left" not in answer.stderr, answer.stderr
    assert time.monotonic() - began > 5, "the upload was not slow enough to tell"
    (task,) = harness.members(server, "large at the end")
    assert task["state"] not in ("draft", "error"), task


def test_importing_is_quick_and_imports_nothing_that_is_large():
    code = (
        "import sys, time; began = time.perf_counter(); import wavetask; took = time.perf_counter() - began;"
        "large = {'numpy', 'pandas', 'tidy3d', 'asyncio', 'IPython', 'xarray'} & set(sys.modules);"
        "print(took, *large)"
    )
    best = 9.0
    for _ in range(5):
        took, *large = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
        assert not large
        best = min(best, float(took))
    assert best < 0.2
