"""How fast a server and its workers solve many tiny heat tasks, from queued to success.

    task_rate.py --binary target/release/wavetask --queue target/release/examples/queue_tasks --tasks 1000

Prints one line of JSON: tasks per second, the server's peak memory, and the time of the solving alone (the sum of
what the tasks' logs say, divided by the cores).
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))


def simulation() -> str:
    import h5py
    from scenes import slab

    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "slab.hdf5")
        slab().to_file(path)
        with h5py.File(path) as file:
            return file["JSON_STRING"][()].decode()


def peak_bytes(process: int) -> int:
    text = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--simulation", help="its JSON; made by the tidy3d client if not given")
    parser.add_argument("--folder", help="where the data folder goes")
    arguments = parser.parse_args()
    os.environ["WAVETASK_TEST_BINARY"] = str(pathlib.Path(arguments.binary).resolve())
    from harness import Server

    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        data = pathlib.Path(folder) / "data"
        server = Server(data, "--no-worker").start()
        key = server.variables()["SIMCLOUD_APIKEY"]
        server.stop()
        path = arguments.simulation
        if path is None:
            path = pathlib.Path(folder) / "simulation.json"
            path.write_text(simulation())
        queued = subprocess.run(
            [arguments.queue, str(data), str(path), str(arguments.tasks)],
            check=True,
            capture_output=True,
            text=True,
        )
        server = Server(data)
        began = time.monotonic()
        server.start()
        try:
            states: dict[str, int] = {}
            while states.get("success", 0) + states.get("error", 0) < arguments.tasks:
                time.sleep(0.05)
                status = server.request("GET", "/api/v1/status", key=key)[1]
                states = {count["state"]: count["count"] for count in status["tasks"]}
            seconds = time.monotonic() - began
            peak = peak_bytes(server.process.pid)
        finally:
            server.stop()
        print(
            json.dumps(
                {
                    "tasks": arguments.tasks,
                    "states": states,
                    "queued": queued.stdout.strip(),
                    "seconds": round(seconds, 3),
                    "tasks_per_second": round(arguments.tasks / seconds, 1),
                    "server_peak_megabytes": round(peak / 1e6),
                    "cores": os.cpu_count(),
                    "load": os.getloadavg()[0],
                }
            )
        )


if __name__ == "__main__":
    main()
