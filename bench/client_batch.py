"""What one task costs the server under the unmodified client: a `web.Batch` of tiny heat tasks.

Run by `bench/run.py` in a process of its own, with the client pointed at the server by environment
variables; arguments: the server's process id and the number of simulations. Every request of `requests` and `boto3` is timed from the client's side. Prints one JSON object.
"""

from __future__ import annotations

import json
import pathlib
import re
import resource
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

import botocore.httpsession
import requests.adapters
import tidy3d as td
import tidy3d.web as web
from machine import percentiles, processor_seconds
from scenes import slab

KINDS = {
    "detail": re.compile(r"GET .*/detail$"),
    "token": re.compile(r"GET .*/py/tasks/[^/]+/file"),
}


def main() -> None:
    server_pid, count = int(sys.argv[1]), int(sys.argv[2])
    calls: list[tuple[str, float]] = []
    lock = threading.Lock()

    def timed(owner, name, describe):
        original = getattr(owner, name)

        def send(self, request, *arguments, **options):
            started = time.perf_counter()
            try:
                return original(self, request, *arguments, **options)
            finally:
                with lock:
                    calls.append((describe(request), time.perf_counter() - started))

        setattr(owner, name, send)

    timed(
        requests.adapters.HTTPAdapter,
        "send",
        lambda request: f"{request.method} {request.url.partition('?')[0]}",
    )
    timed(botocore.httpsession.URLLib3Session, "send", lambda request: f"S3 {request.method}")

    simulations = {f"tiny {n}": slab(rate=(n + 1) * 1e-6, mesh_size=0.25) for n in range(count)}
    server_before, client_before = processor_seconds(server_pid), resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        batch = web.Batch(simulations=simulations, verbose=False, folder_name="bench")
        results = batch.run(path_dir=folder)
        assert len(dict(results.items())) == count
    wall = time.perf_counter() - started
    client = resource.getrusage(resource.RUSAGE_SELF)
    answer = {
        "wall": wall,
        "requests": len(calls),
        "s3": sum(what.startswith("S3") for what, _ in calls),
        "server_cpu": processor_seconds(server_pid) - server_before,
        "client_cpu": client.ru_utime + client.ru_stime - client_before.ru_utime - client_before.ru_stime,
    }
    for kind, pattern in KINDS.items():
        answer[kind] = percentiles([seconds for what, seconds in calls if pattern.match(what)])
    answer["client"] = td.__version__
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
