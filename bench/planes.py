"""Planes of a result of a gibibyte: what a process that wants one reads, moves and waits for.

Called by `bench/run.py planes`. The result is computed by a real worker (`planes_child.py`); every plane is fetched by a
process of its own over a wire that counts bytes (`tests/wire.py`), the result's document included.

What the server reads is counted by the kernel: ``rchar`` of the server's process, all bytes that it has read from files,
in the page cache or not; SQLite's reads are among them, what comes from sockets is not (they are read by ``recv``). Cold
is a server that has just started, with none of its files in the page cache; warm is the next process with another plane
in the same bricks.
"""

from __future__ import annotations

import http.client
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

from driver import Driver
from harness import Server
from machine import hold, peak_memory, table
from wire import Wire

ROOT = pathlib.Path(__file__).parents[1]
EXTENT = int(os.environ.get("WAVETASK_BENCH_EXTENT", "512"))
"""Elements along each axis: 512 makes a gibibyte."""

PLANES = {"x-y": 2, "x-z": 1, "y-z": 0}
PLACE = EXTENT // 2 + 7


def read_bytes(server: Server) -> tuple[int, int]:
    """Bytes that the server's process has read from files so far, and those of them that came from the disk."""
    lines = pathlib.Path(f"/proc/{server.process.pid}/io").read_text().splitlines()
    fields = dict(line.split(": ") for line in lines)
    return int(fields["rchar"]), int(fields["read_bytes"])


def forget_files(folder: pathlib.Path) -> None:
    """Takes the files below a folder out of the page cache, as far as they are on the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fdatasync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


class Bench:
    """A server with the result, reached over a wire."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.server = Server(folder / "planes").start()
        self.wire = Wire(self.server.port)
        self.children = 0

    def child(self, what: str, **settings) -> dict:
        """Runs a process of its own with a client of its own; adds bytes on the line and bytes read by the server."""
        self.children += 1
        environment = {
            **os.environ,
            "WAVETASK_URL": self.wire.url,
            "WAVETASK_KEY": self.server.variables()["SIMCLOUD_APIKEY"],
            "WAVETASK_DATA": str(self.folder / f"client-{self.children}"),
        }
        received, (read, from_disk) = self.wire.received, read_bytes(self.server)
        python = os.environ.get("WAVETASK_TEST_PYTHON", str(ROOT / ".venv/bin/python"))
        command = [python, str(ROOT / "bench/planes_child.py"), what, json.dumps(settings)]
        answer = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        figures = json.loads(answer.stdout.splitlines()[-1])
        after, disk_after = read_bytes(self.server)
        figures["read"], figures["from_disk"] = after - read, disk_after - from_disk
        figures["received"] = self.wire.received - received
        return figures

    def cold(self) -> None:
        """Starts the server anew, with none of its files in the page cache."""
        self.server.stop()
        forget_files(self.server.data)
        self.server.start()

    def first_byte(self, task: str, axis: int, place: int) -> tuple[float, float]:
        """Seconds from sending the request for a plane to the first byte of it, and to the last; without a wire."""
        ranges = [[0, EXTENT]] * 3
        ranges[axis] = [place, place + 1]
        path = "outputs/0/__xarray_dataarray_variable__"
        body = json.dumps({"task": task, "path": path, "ranges": ranges, "compress": False})
        key = self.server.variables()["SIMCLOUD_APIKEY"]
        line = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        line.connect()
        started = time.perf_counter()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        line.request("POST", "/api/v1/results/part", body, headers)
        answer = line.getresponse()
        assert answer.status == 200 and answer.read(1)
        first = time.perf_counter() - started
        answer.read()
        last = time.perf_counter() - started
        line.close()
        return first, last

    def download(self, task: str) -> dict:
        """The result's file as the unmodified client fetches it: by boto3, ten ranges at once, without a wire."""
        client, bucket, key = Driver(self.server).s3(task, "output/simulation_data.hdf5")
        target = self.folder / "downloaded.hdf5"
        read, from_disk = read_bytes(self.server)
        started = time.perf_counter()
        client.download_file(bucket, key, str(target))
        figures = {"wall": time.perf_counter() - started, "bytes": target.stat().st_size}
        after, disk_after = read_bytes(self.server)
        figures |= {"read": after - read, "from_disk": disk_after - from_disk, "received": figures["bytes"]}
        target.unlink()
        return figures

    def stop(self) -> None:
        self.wire.close()
        self.server.stop()


def handing_over(server: Server, task: str) -> float:
    """Seconds from the end of computing to the result that can be fetched: from the log of events."""
    _, page = server.native("GET", "/api/v1/events?after=0")
    at = {}
    for event in page["events"]:
        if event["task"]["task"] == task:
            at[event["state"]] = event["at_milliseconds"]
    begun = at.get("publishing", at.get("postprocess", at["success"]))
    return (at["success"] - begun) / 1e3


def compare(folder: pathlib.Path) -> str:
    """The tables; the bars are noted."""
    bench = Bench(folder)
    try:
        return measured(bench)
    finally:
        bench.stop()


def measured(bench: Bench) -> str:
    size = 8 * EXTENT**3
    made = bench.child("make", extent=EXTENT)
    task = made["task"]
    handed = handing_over(bench.server, task)
    rows = []

    def row(what: str, how: str, figures: dict) -> None:
        times = (
            f"{1e3 * figures['open']:.0f} + {1e3 * figures['plane']:.0f} ms"
            if "open" in figures
            else f"{figures['wall']:.2f} s"
        )
        rows.append([
            what, how, f"{figures['read'] / 1e6:.1f} MB", f"{100 * figures['read'] / size:.2f} %",
            f"{figures['from_disk'] / 1e6:.1f} MB", f"{figures['received'] / 1e6:.2f} MB",
            f"{figures['received'] / figures['bytes']:.3f}x", times,
        ])  # fmt: skip

    for name, axis in PLANES.items():
        bench.cold()
        cold = bench.child("plane", task=task, axis=axis, place=PLACE)
        row(f"{name} plane", "cold", cold)
        row(f"{name} plane", "warm", bench.child("plane", task=task, axis=axis, place=PLACE + 1))
        if name == "x-y":
            share = cold["read"] / size
            wire = cold["received"] / cold["bytes"]
            hold(
                "x-y plane of a 1 GiB result: read by the server",
                f"{100 * share:.2f} %",
                "at most 3 %",
                share <= 0.03,
            )
            hold(
                "x-y plane of a 1 GiB result: on the wire, with its document",
                f"{wire:.3f}x",
                "at most 1.2x",
                wire <= 1.2,
            )
    bench.cold()
    row("the whole", "cold", bench.child("whole", task=task))
    row("the whole", "warm", bench.child("whole", task=task))
    row("the whole as a file", "warm", bench.child("save", task=task, path=str(bench.folder / "saved.hdf5")))

    row("the whole as a file (boto3)", "warm", bench.download(task))

    waits = []
    for name, axis in PLANES.items():
        bench.cold()
        # The key is looked up, and the connection's thread is there, as in any server that is in use.
        bench.server.native("GET", "/api/v1/status")
        cold_first, cold_last = bench.first_byte(task, axis, PLACE)
        warm = [bench.first_byte(task, axis, place) for place in range(PLACE + 1, PLACE + 10)]
        firsts, lasts = ([1e3 * times[part] for times in warm] for part in (0, 1))
        waits.append([
            f"{name} plane", f"{1e3 * cold_first:.1f} ms", f"{1e3 * cold_last:.1f} ms",
            f"{statistics.median(firsts):.1f} ({max(firsts):.1f}) ms", f"{statistics.median(lasts):.1f} ms",
        ])  # fmt: skip
        if name == "x-y":
            figure = f"{1e3 * cold_first:.1f} ms cold, {max(firsts):.1f} ms warm"
            hold(
                "x-y plane of a 1 GiB result: first byte on loopback",
                figure,
                "under 50 ms",
                max(1e3 * cold_first, *firsts) < 50,
            )
    head = ["what", "server", "read by the server", "of the result", "from the disk", "received", "against what it is",
            "document + plane"]  # fmt: skip
    method = (
        f"A result of {EXTENT}^3 floats ({size / 1e6:.0f} MB), computed and handed over by a worker in {made['wall']:.1f} s, "
        f"of which the server took {handed:.1f} s to take it apart and make it durable. Each row is a process of its own; "
        "read is `rchar` of the server's process, received all that the process got, the result's document included. The "
        f"server's peak memory was {peak_memory(bench.server.process.pid) / 1e6:.0f} MB since its last start.\n"
    )
    first_head = ["what", "first byte, cold", "last byte, cold", "first byte, warm (most)", "last byte, warm"]
    return (
        table("Planes of a large result", head, rows)
        + "\n"
        + method
        + "\n"
        + table("Waiting for a plane", first_head, waits)
    )


if __name__ == "__main__":
    sys.exit("run it by bench/run.py planes")
