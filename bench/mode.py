"""Modes: our solver beside the client's local one, on the same staircased plane, and a batch through the engine.

Each solve is a process of its own. The client's is timed from the grid on to the fields (its imports are not part of
it); ours is the whole `wavetask solve`: start, reading the file, grid, permittivity, modes, writing the result.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import subprocess
import sys
import time

from machine import engine_variables, hold, peak_memory, processor_seconds, table

ROOT = pathlib.Path(__file__).parents[1]
FREQUENCY = 2.99792458e14 / 1.55

# The plane's cells, in micrometres: about 150 x 110 of them. And so large ones that solving takes next to no memory.
STEP = 0.02
COARSE = 0.2
SWEEP = 21
BATCH = 50


def solver(frequencies: int = 1, width: float = 0.493, step: float | None = None):
    """A silicon strip; of many frequencies, with the group index at each."""
    import numpy as np
    import tidy3d as td
    from tidy3d.plugins.mode import ModeSolver

    strip = td.Structure(
        geometry=td.Box(size=(width, td.inf, 0.213)), medium=td.Medium(permittivity=3.4777**2)
    )
    simulation = td.Simulation(
        size=(3.0, 1.0, 2.2),
        grid_spec=td.GridSpec.uniform(dl=step or STEP),
        structures=[strip],
        medium=td.Medium(permittivity=1.444**2),
        run_time=1e-12,
        subpixel=False,
    )
    many = frequencies > 1
    return ModeSolver(
        simulation=simulation,
        plane=td.Box(size=(3.0, 0, 2.2)),
        mode_spec=td.ModeSpec(num_modes=4, precision="double", group_index_step=many),
        freqs=list(FREQUENCY * np.linspace(0.95, 1.05, frequencies)) if many else [FREQUENCY],
    )


def run_child(case: str, count: int, **environment: str) -> dict:
    """One case of `main` in a process of its own."""
    command = [sys.executable, __file__, case, json.dumps({"count": count, "step": STEP})]
    answer = subprocess.run(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(answer.stdout.splitlines()[-1])


def solve_locally(frequencies: int) -> dict:
    """The client's own solver, in this process."""
    problem = solver(frequencies)
    # What it loads at first use is not part of the solve.
    solver(frequencies, step=COARSE).solve()
    before, started, processor = peak_memory(os.getpid()), time.perf_counter(), processor_seconds(os.getpid())
    data = problem.solve()
    return {
        "wall": time.perf_counter() - started,
        "cpu": processor_seconds(os.getpid()) - processor,
        "memory": peak_memory(os.getpid()),
        "added": peak_memory(os.getpid()) - before,
        "n_eff": data.n_eff.values.ravel().tolist(),
        "n_group": [] if data.n_group_raw is None else data.n_group_raw.values.ravel().tolist(),
    }


def locally(frequencies: int, threads: int) -> dict:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return run_child("local", frequencies, **{name: str(threads) for name in names})


def solve_file(place: pathlib.Path, result: pathlib.Path, threads: int) -> tuple[int, float]:
    """`wavetask solve` on a file that the client would upload: peak memory and processor time."""
    from harness import BINARY

    child = subprocess.Popen(
        [str(BINARY), "solve", "--kind", "MODE_SOLVER", "--input", str(place), "--output", str(result),
         "--threads", str(threads), "--memory", str(8 << 30)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    # It stops when its worker does, which it learns from its input. The peak that its parent is told at its end would
    # count what this process had when it was started.
    memory, ended = 0, 0
    while not ended:
        memory = max(memory, peak_memory(child.pid))
        time.sleep(0.002)
        ended, status, usage = os.wait4(child.pid, os.WNOHANG)
    child.stdin.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, child.returncode
    return memory, usage.ru_utime + usage.ru_stime


def read_values(result: pathlib.Path, name: str) -> list[float]:
    """Real parts of one array of a result file."""
    import h5py

    with h5py.File(result) as file:
        return file[f"data/0/{name}/__xarray_dataarray_variable__"][()].real.ravel().tolist()


def by_wavetask(frequencies: int, threads: int, folder: pathlib.Path) -> dict:
    """One process from the file to the file."""
    place, result = folder / f"solver-{frequencies}.hdf5", folder / f"result-{frequencies}.hdf5"
    solver(frequencies, step=COARSE).to_file(str(place))
    before, _ = solve_file(place, result, threads)
    solver(frequencies).to_file(str(place))
    started = time.perf_counter()
    memory, cpu = solve_file(place, result, threads)
    return {
        "wall": time.perf_counter() - started,
        "cpu": cpu,
        "memory": memory,
        "added": memory - before,
        "n_eff": read_values(result, "n_complex"),
        "n_group": read_values(result, "n_group_raw") if frequencies > 1 else [],
    }


def apart(ours: list[float], theirs: list[float]) -> float:
    """The greatest relative difference."""
    return max((abs(a / b - 1) for a, b in zip(ours, theirs, strict=True)), default=0.0)


def compare_solves(folder: pathlib.Path) -> list[list[str]]:
    """One frequency on one core, then a sweep on two."""
    rows = []
    for frequencies, threads, bar in ((1, 1, 3.0), (SWEEP, 2, 6.0)):
        once = frequencies == 1
        ours = [by_wavetask(frequencies, threads, folder) for _ in range(5 if once else 2)]
        theirs = [locally(frequencies, threads) for _ in range(3 if once else 1)]
        ours, theirs = (min(runs, key=lambda run: run["wall"]) for runs in (ours, theirs))
        index, group = (apart(ours[name], theirs[name]) for name in ("n_eff", "n_group"))
        ratio, memory = theirs["wall"] / ours["wall"], ours["memory"] / theirs["memory"]
        added = ours["added"] / theirs["added"]
        what = "one solve, one core" if once else f"{frequencies} frequencies with group index, two cores"
        for whose, figures in (("tidy3d's local solver", theirs), ("wavetask", ours)):
            last = [f"{ratio:.1f}x", f"{index:.1e}", "" if once else f"{group:.1e}"]
            rows.append([
                what, whose, f"{figures['wall']:.2f} s", f"{figures['cpu']:.2f} s",
                f"{figures['memory'] / 1e6:.0f} MB", f"{figures['added'] / 1e6:.0f} MB", *(last if figures is ours else [""] * 3),
            ])  # fmt: skip
        hold(f"modes, {what}", f"{ratio:.1f}x", f"at least {bar:.0f}x", ratio >= bar)
        hold(
            f"modes, {what}, memory to the local solver's",
            f"{added:.2f} of what the plane adds to a process, {memory:.2f} of the whole process",
            "at most 0.5",
            max(added, memory) <= 0.5,
        )
        hold(f"modes, {what}, effective indices apart", f"{index:.1e}", "at most 1e-6", index <= 1e-6)
        if not once:
            hold(f"modes, {what}, group indices apart", f"{group:.1e}", "at most 1e-5", group <= 1e-5)
    return rows


def tree_seconds(server) -> float:
    """Processor time of a server, of all processes below it, and of those that they have waited for."""
    ticks = 0
    for pid in [server.process.pid, *(pid for pid, _ in server.descendants())]:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended, and its time is its parent's now
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def run_batch(count: int) -> dict:
    """Different strips through the engine, in this process."""
    from engine_child import run_engine

    solvers = {f"strip {number}": solver(width=0.453 + 0.002 * number) for number in range(count)}
    # Workers are there and everything is loaded.
    run_engine({"first": solver(width=0.4)}, {})
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    before = resource.getrusage(resource.RUSAGE_SELF)
    figures = run_engine(solvers, {"count": count})
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": figures["wall"], "cpu": cpu}


def compare_batch(folder: pathlib.Path) -> list[str]:
    """A batch through the engine: how busy it keeps all cores from the call to the last result."""
    from harness import Server

    server = Server(folder / "server").start()
    try:
        environment = engine_variables(server, folder / "client")
        command = [sys.executable, __file__, "batch", json.dumps({"count": BATCH, "step": STEP})]
        with subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert "ready" in child.stdout.readline()
            before = tree_seconds(server)
            child.stdin.write("\n")
            child.stdin.flush()
            figures = json.loads(child.stdout.readline())
            cpu = figures["cpu"] + tree_seconds(server) - before
        assert child.returncode == 0, child.returncode
    finally:
        server.stop()
    busy = cpu / (figures["wall"] * os.cpu_count())
    hold(f"modes, a batch of {BATCH} through the engine, cores busy", f"{busy:.0%}", "above 90 %", busy > 0.9)
    return [
        f"{BATCH} planes", f"{figures['wall']:.2f} s", f"{1e3 * figures['wall'] / BATCH:.0f} ms",
        f"{cpu:.1f} s", f"{figures['cpu']:.1f} s", f"{busy:.0%} of {os.cpu_count()}",
    ]  # fmt: skip


def compare(folder: pathlib.Path) -> str:
    """Both tables."""
    folder = folder / "modes"
    folder.mkdir()
    head = [
        "what",
        "solver",
        "wall",
        "CPU",
        "memory of the process",
        "added by the plane",
        "ratio",
        "effective indices apart",
        "group indices apart",
    ]
    solves = table("Modes on the same plane", head, compare_solves(folder))
    method = (
        "A silicon strip of 493 x 213 nm in glass on 150 x 110 cells, 4 modes, double precision, no subpixel averaging, "
        "as many threads for both. The best of five runs (three of the local solver; of the sweep two, and one). "
        "Memory is the peak of the process, and by how much it is above that of a process which solves the same on cells "
        "ten times as large, everything loaded.\n"
    )
    head = ["batch", "wall", "wall per plane", "CPU", "CPU of the client", "cores busy"]
    batch = table("Modes through the engine", head, [compare_batch(folder)])
    engine = (
        "Strips of different widths on the same plane, from the call to the last result in memory; the processor time is "
        "that of client, server, workers and solvers.\n"
    )
    return "\n".join([solves, method, batch, engine])


def main() -> None:
    """A case in this process: `local` or `batch`, and its settings."""
    global STEP
    sys.path.insert(0, str(ROOT / "tests"))
    case, settings = sys.argv[1], json.loads(sys.argv[2])
    STEP = settings["step"]
    print(json.dumps({"local": solve_locally, "batch": run_batch}[case](settings["count"])))


if __name__ == "__main__":
    main()
