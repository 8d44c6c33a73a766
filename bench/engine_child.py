"""One side of a comparison, in a process of its own: the engine, or the unmodified client, on the same server.

    python bench/engine_child.py {engine|unmodified} {tiny|shared|large|ticking|packing|fetch} SETTINGS-AS-JSON

Where the server is comes from the environment (`wavetask env` and `WAVETASK_URL`). Prints one JSON object: wall
time, processor time of this process, peak memory (of the case alone, and of the whole process), and what the case
adds. `fetch` takes the results of a batch that `large` made, as a process that knows only its name
(the engine) or its file (the unmodified client).
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import resource
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

import tidy3d as td
from machine import current_memory, processor_seconds
from scenes import heated, noise, slab


class Peak(threading.Thread):
    """Samples this process's resident memory: the peak while the case ran, above what it began with."""

    def __init__(self):
        super().__init__(daemon=True)
        self.begin = self.peak = current_memory()
        self.over = threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.01):
            self.peak = max(self.peak, current_memory())

    def stop(self) -> int:
        self.over.set()
        self.join()
        return self.peak - self.begin


def tiny(count: int, first: int = 0) -> dict:
    """Simulations that take milliseconds to solve, each different."""
    return {f"tiny {n}": one(n) for n in range(first, first + count)}


def one(number: int) -> td.HeatSimulation:
    """The tiny simulation of this number."""
    return slab(rate=(number + 1) * 1e-6, mesh_size=0.25)


def with_arrays(count: int, megabytes: float, shared: bool, seed: int = 0) -> dict:
    """Simulations with a large array each, or all with the same one and one number different."""
    if shared:
        values = noise(megabytes, seed)
        first = heated(values, 300.0)

        def boundary(number: int):
            condition = td.TemperatureBC(temperature=300.0 + number)
            return first.boundary_spec[0].updated_copy(condition=condition)

        return {f"shared {n}": first.updated_copy(boundary_spec=[boundary(n)]) for n in range(count)}
    return {f"large {n}": heated(noise(megabytes, seed + n), 300.0) for n in range(count)}


def run_engine(simulations, settings: dict) -> dict:
    """Submits, and takes each result into memory as it comes."""
    import wavetask as wt

    started = time.perf_counter()
    batch = wt.submit(simulations, name=settings.get("name"), progress=False)
    moments = {"returned": time.perf_counter() - started}
    results = 0
    for task in batch.as_completed():
        task.result()
        results += 1
        moments.setdefault("first_result", time.perf_counter() - started)
        if "first_result_uploaded" not in moments:
            placed = sum(task.status not in ("packing", "waiting", "uploading") for task in batch.tasks)
            moments["first_result_uploaded"] = placed
    moments["wall"] = time.perf_counter() - started
    assert results == settings.get("count", 1)
    if "results" in settings:
        # Another process's to take: see `fetch`.
        pathlib.Path(settings["results"]).write_text(batch.name)
    if settings.get("table"):
        started = time.perf_counter()
        assert len(batch.table()) == results
        moments["table"] = time.perf_counter() - started
    return moments


def run_ticking(simulations, settings: dict) -> dict:
    """Submits within an event loop, and measures by how much a tick of 100 ms is late until all has arrived, and how
    many cores are at work while it is packed: those of this process, and with the `beside` ones (those that take what
    it sends meanwhile)."""
    import asyncio

    import wavetask as wt

    beside = settings["beside"]

    async def submitting() -> dict:
        late: list[float] = []
        over = asyncio.Event()

        async def tick():
            while not over.is_set():
                began = time.perf_counter()
                await asyncio.sleep(0.1)
                late.append(time.perf_counter() - began - 0.1)

        ticking = asyncio.ensure_future(tick())
        await asyncio.sleep(0.3)
        others = sum(map(processor_seconds, beside))
        started, used = time.perf_counter(), time.process_time()
        batch = wt.submit(simulations, name=settings.get("name"), hold=True, progress=False)
        moments = {}
        while any(task.status in ("packing", "waiting", "uploading") for task in batch.tasks):
            if "cores" not in moments and all(task.status != "packing" for task in batch.tasks):
                moments["packed"] = time.perf_counter() - started
                moments["cores"] = (time.process_time() - used) / moments["packed"]
                others = sum(map(processor_seconds, beside)) - others
                moments["all_cores"] = moments["cores"] + others / moments["packed"]
            await asyncio.sleep(0.02)
        moments["wall"] = time.perf_counter() - started
        over.set()
        await ticking
        assert {task.status for task in batch.tasks} == {"held"}, batch
        return {**moments, "late": max(late), "ticks": len(late)}

    return asyncio.run(submitting())


def run_packing(simulations, settings: dict) -> dict:
    """Packs while next to nothing may leave: what this process does is packing and nothing else.

    `packer` is the processor time of the thread that walks the simulations and takes part in hashing; half of all
    of it, on two cores, is an even division. On a machine that others use, that says more than the wall time does.
    """
    import wavetask as wt

    wt.connect(bandwidth="1 kB/s", memory="4 GB")
    # Looking on takes a little, too, which is none of the packing.
    started, used = time.perf_counter(), time.process_time() - time.thread_time()
    batch = wt.submit(simulations, name=settings.get("name"), hold=True, progress=False)
    packer = next(thread for thread in threading.enumerate() if thread.name == "wavetask-pack")
    on_processors = pathlib.Path(f"/proc/self/task/{packer.native_id}/schedstat")
    on_it = 0.0
    while any(task.status == "packing" for task in batch.tasks):
        with contextlib.suppress(OSError):  # it has just ended
            on_it = int(on_processors.read_text().split()[0]) / 1e9
        time.sleep(0.001)
    wall, spent = time.perf_counter() - started, time.process_time() - time.thread_time() - used
    batch.cancel()
    batch.wait()
    return {"wall": wall, "spent": spent, "packer": on_it}


def run_unmodified(simulations: dict, settings: dict) -> dict:
    """`web.Batch`, as the client's users do it."""
    import tidy3d.web as web

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        batch = web.Batch(simulations=simulations, verbose=False, folder_name="bench")
        results = batch.run(path_dir=folder)
        assert len(dict(results.items())) == len(simulations)
        if "results" in settings:
            batch.to_file(settings["results"])
    return {"wall": time.perf_counter() - started}


def fetch_engine(settings: dict) -> dict:
    """Every result, each with its simulation, into memory, in a process that has neither."""
    import wavetask as wt

    started = time.perf_counter()
    batch = wt.open(pathlib.Path(settings["results"]).read_text())
    results = 0
    for task in batch.as_completed():
        task.result()
        results += 1
    assert results == settings["count"]
    return {"wall": time.perf_counter() - started}


def fetch_unmodified(settings: dict) -> dict:
    """The same from the batch's file, into an empty folder."""
    import tidy3d.web as web

    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        batch = web.Batch.from_file(settings["results"])
        results = batch.load(path_dir=folder)
        assert len(dict(results.items())) == settings["count"]
    return {"wall": time.perf_counter() - started}


def main() -> None:
    side, case, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    count = settings["count"]
    simulations: dict = {}
    if settings.get("one_by_one"):
        # Made when they are asked for, as one would make so many.
        simulations = (one(number) for number in range(count))
    elif case == "tiny":
        simulations = tiny(count, settings.get("first", 0))
    elif case != "fetch":
        simulations = with_arrays(count, settings["megabytes"], case == "shared", settings.get("seed", 0))
    run = {"engine": run_engine, "unmodified": run_unmodified}[side]
    if settings.get("warm"):
        run(tiny(1, first=1_000_000), {})
    before, peak = resource.getrusage(resource.RUSAGE_SELF), Peak()
    if case == "fetch":
        answer = {"engine": fetch_engine, "unmodified": fetch_unmodified}[side](settings)
    elif case in ("ticking", "packing"):
        answer = {"ticking": run_ticking, "packing": run_packing}[case](simulations, settings)
    else:
        answer = run(simulations, settings)
    after = resource.getrusage(resource.RUSAGE_SELF)
    answer["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    answer["memory"] = peak.stop()
    answer["resident"] = peak.peak
    answer["client"] = td.__version__
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
