"""Prints the benchmark tables: heat throughput, modes, their errors, what a task costs the server, transfers, the engine,
planes of large results.

    make bench            (or: python bench/run.py [--check] [heat] [mode] [guides] [tasks] [transfer] [planes] [engine] [line]
                                                   [chain])

Everything is measured in this one run, side by side, on this machine; the tables are also written to
bench-output/tables.md. The last table holds the figures against the bars that they have to meet; with `--check` the
exit status is 1 if one is not met.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from driver import Driver
from harness import Server
from machine import BARS, bars, machine, table

ROOT = pathlib.Path(__file__).parents[1]
os.environ.setdefault("TIDY3D_LOCAL_CACHE__ENABLED", "false")


# The newest client writes its batch file anew after every step of every heat task, which makes 100 of them
# minutes of its own work; the older one, with one step per task, loads the server more.
BATCHES = (
    (".venv-old", "WAVETASK_TEST_PYTHON_OLD", 100, 10),
    (".venv-old", "WAVETASK_TEST_PYTHON_OLD", 100, 10_000),
    (".venv", "WAVETASK_TEST_PYTHON", 10, 10_000),
)


def tasks_table(folder: pathlib.Path) -> str:
    """Tiny tasks through the unmodified clients, with few and with many tasks stored before."""
    server = Server(folder / "tasks").start()
    rows = []
    try:
        driver = Driver(server)
        for environment, variable, count, stored in BATCHES:
            fill(driver, stored)
            python = os.environ.get(variable, str(ROOT / environment / "bin/python"))
            answer = subprocess.run(
                [python, str(ROOT / "bench/client_batch.py"), str(server.process.pid), str(count)],
                env={**os.environ, **server.variables()}, check=True, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            figures = json.loads(answer.stdout.splitlines()[-1])
            rows.append([
                figures["client"], f"{count}", f"{stored:,}", f"{figures['wall']:.1f} s",
                f"{figures['requests'] / count:.1f}", f"{1e3 * figures['server_cpu'] / count:.1f} ms",
                f"{1e3 * figures['client_cpu'] / count:.0f} ms",
                f"{100 * figures['server_cpu'] / figures['wall']:.1f} %",
                "{:.1f} / {:.1f} ms".format(*figures["detail"]), "{:.1f} / {:.1f} ms".format(*figures["token"]),
            ])  # fmt: skip
    finally:
        server.stop()
    head = ["client", "simulations", "tasks stored before", "wall", "requests per simulation",
            "server CPU per simulation", "client CPU per simulation", "server's share of one core",
            "detail median / 99 %", "token median / 99 %"]  # fmt: skip
    method = (
        "Unmodified tidy3d client, one `web.Batch` of tiny heat simulations, solved for real on the same cores (the "
        "server's CPU is that of the server process alone); calls are timed from the client, whose Python lock is part "
        "of the figures; a detail call is held by the server while nothing changes, so its figure contains waiting.\n"
    )
    return table("Cost of a task under the unmodified client", head, rows) + "\n" + method


def fill(driver: Driver, count: int) -> None:
    """Stores this many draft tasks."""
    folder = driver.folder("filler")
    stored = len(driver.call("GET", f"/tidy3d/projects/{folder}/tasks"))
    for number in range(stored, count):
        driver.create(folder, f"stored {number}")


def transfer_table(folder: pathlib.Path) -> str:
    """1 GiB up and down."""
    import transfer

    server = Server(folder / "transfer").start()
    try:
        figures = transfer.measure(server, folder)
    finally:
        server.stop()
    size = figures["bytes"] / 1e6

    def row(what: str, seconds: float) -> list[str]:
        return [what, f"{seconds:.2f} s", f"{size / seconds:.0f} MB/s", f"{seconds / figures['copy']:.2f}x"]

    rows = [
        row("plain copy with fsync", figures["copy"]),
        row("upload (boto3, multipart)", figures["upload"]),
        row("taking apart and validating", figures["validate"]),
        row("first download (boto3, ranges)", figures["download_cold"]),
        row("second download", figures["download_warm"]),
    ]
    method = (
        f"1 GiB of noise in one array; the server's peak memory was {figures['peak_memory'] / 1e6:.0f} MB.\n"
    )
    return (
        table("1 GiB through the server", ["step", "time", "rate", "against the copy"], rows) + "\n" + method
    )


def heat_table(folder: pathlib.Path) -> str:
    """The same problem by our solver and by SciPy on a mesh of the same size."""
    import heat

    return heat.compare(folder)


def mode_table(folder: pathlib.Path) -> str:
    """The same planes by our solver and by the client's local one."""
    import mode

    return mode.compare(folder)


def guides_table(folder: pathlib.Path) -> str:
    """Errors of indices against exact ones."""
    import convergence

    return convergence.compare(folder, ROOT / "bench-output/guides.png")


def planes_table(folder: pathlib.Path) -> str:
    """One plane of a gibibyte."""
    import planes

    return planes.compare(folder)


def engine_table(folder: pathlib.Path) -> str:
    """The engine beside the unmodified client."""
    import engine

    return engine.compare(folder)


def line_table(folder: pathlib.Path) -> str:
    """The engine over a slow, far and unreliable line."""
    import line

    return line.compare(folder)


def chain_table(folder: pathlib.Path) -> str:
    """Chained tasks, and how busy they keep the cores."""
    import chain

    return chain.compare(folder)


TABLES = {
    "heat": heat_table,
    "mode": mode_table,
    "guides": guides_table,
    "tasks": tasks_table,
    "transfer": transfer_table,
    "planes": planes_table,
    "engine": engine_table,
    "line": line_table,
    "chain": chain_table,
}


def main() -> None:
    wanted = [name for name in sys.argv[1:] if name != "--check"] or list(TABLES)
    output = ROOT / "bench-output"
    output.mkdir(exist_ok=True)
    parts = [f"Machine: {machine()}\n"]
    print(parts[0], flush=True)
    with tempfile.TemporaryDirectory(prefix="wavetask-bench-", dir=output) as name:
        for what in wanted:
            started = time.monotonic()
            part = TABLES[what](pathlib.Path(name))
            parts.append(part)
            print(part, f"({time.monotonic() - started:.0f} s)\n", sep="\n", flush=True)
    if BARS:
        parts.append(bars())
        print(parts[-1])
    (output / "tables.md").write_text("\n".join(parts))
    if "--check" in sys.argv and not all(met for *_, met in BARS):
        sys.exit(1)


if __name__ == "__main__":
    main()
