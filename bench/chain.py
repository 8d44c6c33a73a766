"""A chain of three stages, submitted at once: how busy the scheduler keeps all cores.

Heat, modes of a guide that is perturbed by each temperature, and a reduction of each; the temperatures go from one to the
other by an expression that the server evaluates, so that there are four tasks a member and one over all. Each solver
takes some tenths of a second on one core, short enough that what lies between the tasks is seen.

Busy is the processor time of server, workers and solvers from the first start of a task to the last end, by that time
and the idle time of the machine together: time that other programs take is neither given to us nor held against us. On
a machine that does nothing else it is the share of all cores.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

from machine import engine_variables, hold, table
from mode import FREQUENCY, tree_seconds

ROOT = pathlib.Path(__file__).parents[1]
MEMBERS = int(os.environ.get("WAVETASK_BENCH_CHAIN", "200"))
MESH = 0.0075
STEP = 0.021


def heat(number: int):
    """A heated slab, different for each number."""
    import tidy3d as td
    from scenes import slab

    plane = td.TemperatureMonitor(size=(td.inf, 0, td.inf), name="plane", unstructured=True)
    return slab(rate=1e-6 * (1 + number / 200), mesh_size=MESH, monitors=[plane])


def guide():
    """A silicon strip whose index grows with the temperature."""
    import tidy3d as td
    from scenes import BASE
    from tidy3d.plugins.mode import ModeSolver

    rise = td.ParameterPerturbation(heat=td.LinearHeatPerturbation(temperature_ref=BASE, coeff=1.8e-4))
    silicon = td.PerturbationMedium(
        permittivity=12.1, perturbation_spec=td.IndexPerturbation(delta_n=rise, freq=FREQUENCY)
    )
    strip = td.Structure(geometry=td.Box(size=(0.493, td.inf, 0.213)), medium=silicon)
    simulation = td.Simulation(
        size=(3.0, 1.0, 2.2),
        grid_spec=td.GridSpec.uniform(dl=STEP),
        structures=[strip],
        medium=td.Medium(permittivity=1.444**2),
        run_time=1e-12,
        subpixel=False,
    )
    return ModeSolver(
        simulation=simulation,
        plane=td.Box(size=(3.0, 0, 2.2)),
        mode_spec=td.ModeSpec(num_modes=4, precision="double"),
        freqs=[FREQUENCY],
    )


def run(numbers: range, name: str) -> dict:
    """Submits the chain and waits for it, in this process; when it began and ended, as the server has it."""
    import numpy as np
    import wavetask as wt
    from scenes import BASE

    began = time.time()
    grid = {"x": np.linspace(-0.5, 0.5, 21), "y": [0.0], "z": np.linspace(-0.6, 0.6, 31)}
    options = {"progress": False, "lazy": True}
    heats = wt.submit({f"{n}": heat(n) for n in numbers}, name=f"{name} heat", **options)
    solver = guide()

    def perturbed(task):
        return wt.perturb(solver, temperature=task["plane"].temperature.interp(**grid, fill_value=BASE))

    modes = wt.submit({key: perturbed(task) for key, task in heats.items()}, name=f"{name} modes", **options)
    indices = {key: task.data.n_eff.isel(f=0) for key, task in modes.items()}
    means = wt.submit({key: each.mean() for key, each in indices.items()}, name=f"{name} means", **options)
    whole = wt.submit(
        {"all": wt.concat(indices.values(), "member", list(numbers))}, name=f"{name} whole", **options
    )
    submitted = time.time() - began
    stages = {"heat": heats, "modes": modes, "means": means, "whole": whole}
    took = {}
    starts, ends = [], []
    for stage, batch in stages.items():
        assert batch.wait().not_done == set() and batch.status == "done", (stage, batch)
        infos = [task.info for task in batch.tasks]
        starts += [info.started.timestamp() for info in infos]
        ends += [info.ended.timestamp() for info in infos]
        took[stage] = sum(info.seconds for info in infos) / len(infos)
    values = whole["all"].result()
    assert values.shape[0] == len(numbers) and np.all(np.diff(values.values[:, 0]) > 0), (
        "more heat, a higher index"
    )
    return {"submitted": submitted, "first": min(starts), "last": max(ends), "took": took}


class Samples(threading.Thread):
    """Processor time of a server's processes, and idle time of the machine, now and then."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server = server
        self.taken: list[tuple[float, float, float]] = []
        self.over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.wait(0.1):
            words = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()
            # Idle, and idle while a disk is waited for.
            idle = (int(words[4]) + int(words[5])) / os.sysconf("SC_CLK_TCK")
            self.taken.append((time.time(), tree_seconds(self.server), idle))

    def between(self, first: float, last: float) -> tuple[float, float]:
        """Ours, and idle, between two times."""
        import numpy as np

        times, ours, idle = (np.array(column) for column in zip(*self.taken, strict=True))
        spent = [np.interp(last, times, each) - np.interp(first, times, each) for each in (ours, idle)]
        return float(spent[0]), float(spent[1])


def compare(folder: pathlib.Path) -> str:
    """The table."""
    from harness import Server

    folder = folder / "chain"
    folder.mkdir()
    server = Server(folder / "server").start()
    try:
        environment = engine_variables(server, folder / "client")
        samples = Samples(server)
        command = [sys.executable, __file__, str(MEMBERS)]
        answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        samples.over.set()
        samples.join()
    finally:
        server.stop()
    figures = json.loads(answer.stdout.splitlines()[-1])
    wall = figures["last"] - figures["first"]
    ours, idle = samples.between(figures["first"], figures["last"])
    busy, tasks = ours / (ours + idle), 4 * MEMBERS + 1
    hold(f"chain of {MEMBERS} members in three stages, cores busy", f"{busy:.1%}", "above 90 %", busy > 0.9)
    took = figures["took"]
    head = ["members", "tasks", "submitted within", "first start to last end", "tasks per second",
            "heat, modes each", "CPU of server, workers, solvers", "idle", "others", "busy"]  # fmt: skip
    others = max(0.0, wall * os.cpu_count() - ours - idle)
    row = [
        f"{MEMBERS}", f"{tasks}", f"{figures['submitted']:.1f} s", f"{wall:.1f} s", f"{tasks / wall:.1f}",
        f"{took['heat']:.2f} s, {took['modes']:.2f} s", f"{ours:.1f} s", f"{idle:.1f} s", f"{others:.1f} s",
        f"{busy:.1%} of what others left of {os.cpu_count()} cores",
    ]  # fmt: skip
    method = (
        "Heat, modes perturbed by it, and a reduction of each member and of all, submitted before anything has run. The "
        "processor time of server, workers and solvers and the idle time of the machine, sampled ten times a second, from "
        "the first start of a task to the last end; busy is the first by both. The time of other programs, the "
        "client's among them, counts as neither.\n"
    )
    return table("A chain of three stages", head, [row]) + "\n" + method


def main() -> None:
    """The chain in this process, once everything is loaded and the workers are there."""
    sys.path.insert(0, str(ROOT / "tests"))
    members = int(sys.argv[1])
    # Other numbers, because what was solved before is not solved again.
    run(range(members, members + 2), "first")
    print(json.dumps(run(range(members), "chain")), flush=True)


if __name__ == "__main__":
    main()
