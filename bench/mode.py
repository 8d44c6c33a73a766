"""Modes: our solver beside the client's local one, on the same staircased plane.

Each solve is a process of its own. The client's is timed from the grid on to the fields (its imports are not part of
it), with one thread for its linear algebra; ours is the whole `wavetask solve`: start, reading the file, grid,
permittivity, modes, writing the result.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from machine import hold, peak_memory, processor_seconds, table

ROOT = pathlib.Path(__file__).parents[1]
FREQUENCY = 2.99792458e14 / 1.55
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


def solver(frequencies: int):
    """A silicon strip on a plane of about 150 x 110 cells; of many frequencies, with the group index at each."""
    import numpy as np
    import tidy3d as td
    from tidy3d.plugins.mode import ModeSolver

    strip = td.Structure(
        geometry=td.Box(size=(0.493, td.inf, 0.213)), medium=td.Medium(permittivity=3.4777**2)
    )
    simulation = td.Simulation(
        size=(3.0, 1.0, 2.2),
        grid_spec=td.GridSpec.uniform(dl=0.02),
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


def solve_locally(frequencies: int) -> dict:
    """The client's own solver, in this process."""
    from machine import current_memory

    problem = solver(frequencies)
    # What it loads at first use is not part of the solve.
    problem.updated_copy(mode_spec=problem.mode_spec.updated_copy(num_modes=1), freqs=[FREQUENCY]).solve()
    before, started, processor = current_memory(), time.perf_counter(), processor_seconds(os.getpid())
    data = problem.solve()
    return {
        "wall": time.perf_counter() - started,
        "cpu": processor_seconds(os.getpid()) - processor,
        "memory": peak_memory(os.getpid()) - before,
        "index": [float(value) for value in data.n_eff.values.ravel()],
    }


def locally(frequencies: int) -> dict:
    command = [sys.executable, __file__, str(frequencies)]
    answer = subprocess.run(
        command, env={**os.environ, **ONE_THREAD}, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(answer.stdout.splitlines()[-1])


def by_wavetask(frequencies: int, threads: int, folder: pathlib.Path) -> dict:
    """`wavetask solve` on the file that the client would upload."""
    import tidy3d as td

    binary = os.environ.get("WAVETASK_TEST_BINARY", str(ROOT / "target/release/wavetask"))
    place, result = folder / f"solver-{frequencies}.hdf5", folder / f"result-{frequencies}.hdf5"
    solver(frequencies).to_file(str(place))
    started = time.perf_counter()
    child = subprocess.Popen(
        [binary, "solve", "--kind", "MODE_SOLVER", "--input", str(place), "--output", str(result),
         "--threads", str(threads), "--memory", str(8 << 30)],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    # It stops when its worker does, which it learns from its input.
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, child.returncode
    data = td.ModeSolverData.from_file(str(result))
    return {
        "wall": wall,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * 1024,
        "index": [float(value) for value in data.n_eff.values.ravel()],
    }


def compare() -> str:
    """One frequency on one core, then a sweep on two."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for frequencies, threads, bar in ((1, 1, 3.0), (21, 2, 6.0)):
            ours = [by_wavetask(frequencies, threads, pathlib.Path(name)) for _ in range(3)]
            theirs = [locally(frequencies) for _ in range(3 if frequencies == 1 else 1)]
            ours, theirs = (min(runs, key=lambda run: run["wall"]) for runs in (ours, theirs))
            apart = max(abs(a / b - 1) for a, b in zip(ours["index"], theirs["index"], strict=True))
            ratio, memory = theirs["wall"] / ours["wall"], ours["memory"] / theirs["memory"]
            what = "one solve, one core" if frequencies == 1 else "21 frequencies with group index, two cores"
            for whose, figures in (("tidy3d's local solver", theirs), ("wavetask", ours)):
                rows.append([
                    what, whose, f"{figures['wall']:.2f} s", f"{figures['cpu']:.2f} s", f"{figures['memory'] / 1e6:.0f} MB",
                    f"{ratio:.1f}x" if figures is ours else "", f"{apart:.1e}" if figures is ours else "",
                ])  # fmt: skip
            hold(f"modes, {what}", f"{ratio:.1f}x", f"at least {bar:.0f}x", ratio >= bar)
            hold(
                f"modes, {what}, memory to the local solver's", f"{memory:.2f}", "at most 0.5", memory <= 0.5
            )
            hold(f"modes, {what}, effective indices apart", f"{apart:.1e}", "at most 1e-6", apart <= 1e-6)
    method = (
        "A silicon strip of 493 x 213 nm in glass on 150 x 110 cells, 4 modes, double precision, no subpixel averaging. "
        "The best of three runs (the local solver's sweep: one). Its memory is what the solve added to the process; "
        "ours is all of the process.\n"
    )
    return (
        table(
            "Modes on the same plane",
            ["what", "solver", "wall", "CPU", "memory", "ratio", "effective indices apart"],
            rows,
        )
        + "\n"
        + method
    )


if __name__ == "__main__":
    print(json.dumps(solve_locally(int(sys.argv[1]))))
