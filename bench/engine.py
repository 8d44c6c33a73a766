"""The engine beside the unmodified client, on the same server, in the same run.

Called by `bench/run.py engine`. Each side of each case is a process of its own (`engine_child.py`); requests are
counted in the server's log, bytes on a wire between client and server (`tests/wire.py`).
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from harness import Server, answered
from machine import hold, peak_memory, processor_seconds, table
from wire import Wire

ROOT = pathlib.Path(__file__).parents[1]
COUNTED = {"WAVETASK_LOG": "wavetask_server::connection=debug,warn"}

# Longest wait for one side, in seconds: what takes longer is stopped, and its row says so.
LONGEST = float(os.environ.get("WAVETASK_BENCH_LONGEST", "600"))

# The newest client writes its batch file anew after every step of every heat task: a batch of 100 takes it a quarter
# of an hour. Set WAVETASK_BENCH_NEWEST=100 to wait for it.
NEWEST = int(os.environ.get("WAVETASK_BENCH_NEWEST", "20"))


def python(variable: str, folder: str) -> str:
    return os.environ.get(variable, str(ROOT / folder / "bin/python"))


NEW, OLD = python("WAVETASK_TEST_PYTHON", ".venv"), python("WAVETASK_TEST_PYTHON_OLD", ".venv-old")


class Side:
    """A server of its own for one side, reached over a wire."""

    def __init__(self, folder: pathlib.Path, rate: float | None = None):
        folder.mkdir(parents=True)
        self.folder = folder
        self.server = Server(folder / "data", environment=COUNTED).start()
        self.wire = Wire(self.server.port, rate)
        self.answered = 0

    def requests(self) -> int:
        """Requests answered since the last time this was asked."""
        before, self.answered = self.answered, answered(self.server)
        return self.answered - before

    def measure(
        self, who: str, case: str, interpreter: str = NEW, port: int | None = None, **settings
    ) -> dict:
        """Runs one side of a case; adds requests, bytes and the server's processor time. `port` is where the
        client finds the server, if not at the wire. What is not done after `LONGEST` is stopped: then `unfinished`
        is set, and the figures are those of that moment."""
        self.requests()
        sent, received = self.wire.sent, self.wire.received
        server_cpu = processor_seconds(self.server.process.pid)
        port = port or self.wire.port
        variables = {
            name: value.replace(str(self.server.port), str(port)) if value.startswith("http") else value
            for name, value in self.server.variables().items()
        }
        environment = {
            **os.environ,
            **variables,
            "WAVETASK_URL": f"http://127.0.0.1:{port}",
            "WAVETASK_KEY": variables["SIMCLOUD_APIKEY"],
            "WAVETASK_DATA": str(self.folder / "client"),
            "TIDY3D_BASE_DIR": str(self.folder / "tidy3d"),
        }
        command = [interpreter, str(ROOT / "bench/engine_child.py"), who, case, json.dumps(settings)]
        figures = finish(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        figures["requests"] = self.requests()
        figures["sent"], figures["received"] = self.wire.sent - sent, self.wire.received - received
        figures["server_cpu"] = processor_seconds(self.server.process.pid) - server_cpu
        figures["server_memory"] = peak_memory(self.server.process.pid)
        return figures

    def stop(self):
        self.wire.close()
        self.server.stop()


def finish(child: subprocess.Popen) -> dict:
    """What a child measured, or what there is to say of it when it has to be stopped."""
    try:
        output, _ = child.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        cpu, memory = processor_seconds(child.pid), peak_memory(child.pid)
        child.kill()
        child.communicate()
        return {"wall": LONGEST, "cpu": cpu, "memory": memory, "unfinished": True}
    if child.returncode != 0:
        raise subprocess.CalledProcessError(child.returncode, child.args)
    return json.loads(output.splitlines()[-1])


def wall(figures: dict) -> str:
    """Seconds, or that it was stopped after so many."""
    return f"stopped after {figures['wall']:.0f} s" if "unfinished" in figures else f"{figures['wall']:.2f} s"


def ratio(theirs: dict, ours: dict) -> str:
    more = "> " if "unfinished" in theirs else ""
    return f"{more}{theirs['wall'] / ours['wall']:.1f}x"


def tiny_rows(folder: pathlib.Path, count: int, count_newest: int) -> list[list[str]]:
    """Tiny tasks, cold: a new server, nothing known."""
    rows, sides, measured = [], {}, {}
    for name, who, interpreter, number in (
        ("unmodified 2.10.2", "unmodified", OLD, count),
        ("unmodified 2.12.1", "unmodified", NEW, count_newest),
        ("engine", "engine", NEW, count),
        ("engine, again (all known)", "engine", NEW, count),
    ):
        key = "engine" if who == "engine" else name
        if key not in sides:
            sides[key] = Side(folder / f"tiny-{len(sides)}")
        figures = sides[key].measure(who, "tiny", interpreter, count=number, warm=True, name="bench tiny")
        each = {what: figures[what] / number for what in ("wall", "cpu", "requests", "server_cpu")}
        measured[name] = each
        rows.append([
            name, f"{number}", wall(figures), f"{1e3 * each['wall']:.1f} ms",
            f"{1e3 * each['cpu']:.1f} ms", f"{each['requests']:.2f}", f"{1e3 * each['server_cpu']:.1f} ms",
        ])  # fmt: skip
    for side in sides.values():
        side.stop()
    ours = measured["engine"]
    for name in ("unmodified 2.10.2", "unmodified 2.12.1"):
        times = {what: measured[name][what] / ours[what] for what in ("wall", "cpu")}
        hold(
            f"tiny heat tasks, wall, {name} to engine",
            f"{times['wall']:.1f}x",
            "at least 10x",
            times["wall"] >= 10,
        )
        hold(
            f"tiny heat tasks, client CPU, {name} to engine",
            f"{times['cpu']:.1f}x",
            "at least 10x",
            times["cpu"] >= 10,
        )
    hold("tiny heat tasks, requests per task", f"{ours['requests']:.2f}", "at most 2", ours["requests"] <= 2)
    return rows


def shared_rows(folder: pathlib.Path, megabytes: float) -> list[list[str]]:
    """Eight simulations that share one array, then one more of the same scan."""
    rows = []
    old, new, ours = Side(folder / "old"), Side(folder / "new"), Side(folder / "ours")
    try:
        older = old.measure("unmodified", "shared", OLD, count=8, megabytes=megabytes, warm=True)
        newest = new.measure("unmodified", "shared", count=8, megabytes=megabytes, warm=True)
        engine = ours.measure(
            "engine", "shared", count=8, megabytes=megabytes, warm=True, name="bench shared"
        )
        again = ours.measure("engine", "shared", count=9, megabytes=megabytes, warm=True, name="bench shared")
        known = ours.measure("engine", "shared", count=9, megabytes=megabytes, warm=True, name="bench shared")
    finally:
        for side in (old, new, ours):
            side.stop()
    unique = megabytes * 1e6
    for name, figures in (
        ("unmodified 2.10.2", older),
        ("unmodified 2.12.1", newest),
        ("engine", engine),
        ("engine, one new member", again),
        ("engine, all nine known", known),
    ):
        rows.append([
            name, wall(figures), ratio(older, figures), ratio(newest, figures), f"{figures['cpu']:.2f} s",
            f"{figures['sent'] / 1e6:.1f} MB", f"{figures['sent'] / unique:.3f}",
            f"{1 + figures['memory'] / unique:.2f}", f"{figures['requests']}",
        ])  # fmt: skip
    case, sent, memory = "shared array", engine["sent"] / unique, 1 + engine["memory"] / unique
    hold(f"{case}, bytes sent to unique bytes", f"{sent:.3f}", "at most 1.05", sent <= 1.05)
    hold(
        f"{case}, wall, 2.12.1 to engine",
        ratio(newest, engine),
        "at least 20x",
        newest["wall"] >= 20 * engine["wall"],
    )
    hold(
        f"{case}, client memory, the user's array included, to one array",
        f"{memory:.2f}",
        "at most 1.5",
        memory <= 1.5,
    )
    hold(f"{case}, one new member", wall(again), "under 1 s", again["wall"] < 1)
    hold(
        f"{case}, one new member, bytes sent to unique bytes",
        f"{again['sent'] / unique:.4f}",
        "at most 0.01",
        again["sent"] <= 0.01 * unique,
    )
    return rows


def many_rows(folder: pathlib.Path, count: int) -> list[list[str]]:
    """A tenth of them, then all: what grows with their number shows. A generator makes them."""
    rows = []
    for number in (count // 10, count):
        side = Side(folder / f"many-{number}")
        try:
            figures = side.measure(
                "engine", "tiny", count=number, name="bench many", table=True, one_by_one=True
            )
        finally:
            side.stop()
        rows.append([
            f"{number:,}", f"{figures['wall']:.1f} s", f"{number / figures['wall']:.0f} /s", f"{figures['memory'] / 1e6:.0f} MB",
            f"{figures['resident'] / 1e6:.0f} MB", f"{figures['server_memory'] / 1e6:.0f} MB", f"{figures['table']:.2f} s",
            f"{figures['requests'] / number:.3f}", f"{1e3 * figures['cpu'] / number:.1f} ms",
        ])  # fmt: skip
    case = f"{count:,} tiny tasks"
    for what, bar in (("resident", 400e6), ("server_memory", 1e9)):
        whose = "client" if what == "resident" else "server"
        hold(
            f"{case}, {whose} memory",
            f"{figures[what] / 1e6:.0f} MB",
            f"under {bar / 1e6:.0f} MB",
            figures[what] < bar,
        )
    hold(f"{case}, table()", f"{figures['table']:.2f} s", "under 1 s", figures["table"] < 1)
    return rows


def first_rows(folder: pathlib.Path) -> list[list[str]]:
    side = Side(folder / "first", rate=12.5e6)
    try:
        figures = side.measure("engine", "large", count=200, megabytes=1.0, name="bench first")
    finally:
        side.stop()
    uploaded = figures["first_result_uploaded"]
    hold(
        "first result of 200 tasks",
        f"{uploaded} of 200 uploaded",
        "most are still to be uploaded",
        uploaded < 100,
    )
    return [[
        "200 x 1 MB at 100 Mbit/s", f"{figures['first_result']:.2f} s", f"{figures['first_result_uploaded']} of 200",
        f"{figures['wall']:.1f} s",
    ]]  # fmt: skip


def loop_rows(folder: pathlib.Path, megabytes: float) -> list[list[str]]:
    """An event loop while a gigabyte is packed and sent; and the packing alone, while nothing may leave.

    Members leave as soon as they are packed, so in the first case sending, the wire and the server have a part of the
    cores that pack: how well packing uses the cores shows in the second.
    """
    batch = {"count": 10, "megabytes": megabytes, "warm": True}
    side = Side(folder / "loop")
    try:
        beside = [os.getpid(), side.server.process.pid]
        figures = side.measure("engine", "ticking", **batch, name="bench ticking", beside=beside)
        # Other arrays: nothing of them is known.
        alone = side.measure("engine", "packing", **batch, name="bench packing", seed=100)
    finally:
        side.stop()
    late, cores = figures["late"], alone["spent"] / alone["wall"]
    hold(
        "event loop during submit, a 100 ms tick is late by",
        f"{1e3 * late:.1f} ms",
        "at most 10 ms",
        late <= 0.010,
    )
    hold("packing, cores at work", f"{cores:.2f} of {os.cpu_count()}", "more than 1.5", cores > 1.5)
    name = f"10 x {megabytes:.0f} MB"
    return [
        [
            f"{name}, packed and sent", f"{1e3 * late:.1f} ms of {figures['ticks']} ticks", f"{figures['packed']:.2f} s",
            f"{figures['cores']:.2f} ({figures['all_cores']:.2f})", "", f"{figures['wall']:.2f} s",
        ],
        [
            f"{name}, packed alone", "", f"{alone['wall']:.2f} s", f"{cores:.2f}",
            f"{alone['spent']:.2f} s / {alone['packer']:.2f} s", "",
        ],
    ]  # fmt: skip


def import_rows() -> list[list[str]]:
    """Fresh processes, of which none loads tidy3d; the first may find its files outside of the page cache."""
    program = (
        "import sys, time; began = time.perf_counter(); import wavetask; took = time.perf_counter() - began; "
        "assert 'tidy3d' not in sys.modules and 'numpy' not in sys.modules; print(took)"
    )
    run = [subprocess.run([NEW, "-c", program], check=True, capture_output=True, text=True) for _ in range(7)]
    times = sorted(float(each.stdout) for each in run)
    middle = times[len(times) // 2]
    hold("import wavetask", f"{middle:.3f} s", "under 0.2 s", middle < 0.2)
    return [["import wavetask", f"{middle:.3f} s", f"{times[-1]:.3f} s"]]


def compare(folder: pathlib.Path, small: bool = False) -> str:
    """All tables; `small` is for a quick look."""
    parts = [
        table(
            "Tiny heat tasks: submit to last result in memory, cold",
            ["client", "tasks", "wall", "wall per task", "client CPU per task", "requests per task", "server CPU per task"],
            tiny_rows(folder, 20 if small else 100, 5 if small else NEWEST),
        ),
        table(
            f"8 simulations that share one array of {10 if small else 100} MB of noise, one number different",
            ["client", "wall", "2.10.2's to this", "2.12.1's to this", "client CPU", "sent", "sent / unique", "memory / array", "requests"],
            shared_rows(folder / "shared", 10 if small else 100),
        ),
        table(
            "Many tiny tasks in one batch",
            ["tasks", "wall", "rate", "client memory", "whole process", "server memory (peak)", "table()", "requests per task", "client CPU per task"],
            many_rows(folder, 200 if small else 10_000),
        ),
        table(
            "First result of a batch while the rest is being uploaded",
            ["batch", "first result after", "members uploaded by then", "all results after"],
            first_rows(folder),
        ),
        table(
            "An event loop while a batch is packed and sent",
            ["batch", "a 100 ms tick is late by at most", "packed after", "cores of the client meanwhile (with server and wire)", "processor time of packing / of that its first thread", "all sent after"],
            loop_rows(folder, 10 if small else 100),
        ),
        table("Importing the package", ["what", "median of seven processes", "slowest"], import_rows()),
    ]  # fmt: skip
    method = (
        "Each side is a process of its own on a fresh server on the same machine, whose two cores client, server and "
        "solvers share. Wall and CPU are from submit to the last result as a tidy3d object in memory, after the imports "
        "and one task for warming up; memory is the peak above what the process had before, with the shared array counted "
        "once (making the simulations, tidy3d itself takes nine such arrays for a moment); requests are counted in the "
        "server's log, bytes on a wire between the two, which costs both sides some of the same processors.\n"
    )
    return "\n".join(parts) + "\n" + method


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))
    with tempfile.TemporaryDirectory() as name:
        print(compare(pathlib.Path(name), small="--small" in sys.argv))
