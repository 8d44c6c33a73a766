"""A user's script for tidy3d's cloud with one line changed, on a machine where nothing was configured: every function of
`wavetask.web`, on the embedded server.

    drop_in_child.py FOLDER

Prints the id of a task that stays, and waits for a line on its input: the server may be stopped meanwhile.
"""

from __future__ import annotations

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import tidy3d as td
import wavetask.web as web  # the line
from scenes import centre_rise, expected_rise, slab, slow

td.config.logging.level = "ERROR"


def near(data, rate) -> bool:
    return abs(centre_rise(data) / expected_rise(rate) - 1) < 0.05


def coarse(rate):
    return slab(rate=rate, mesh_size=0.25)


def functions(folder: pathlib.Path) -> str:
    data = web.run(coarse(1e-6), "one", path=folder / "one.hdf5", verbose=False)
    assert near(data, 1e-6) and (folder / "one.hdf5").exists()
    nested = web.run({"a": [coarse(2e-6)], "b": coarse(3e-6)}, path=folder / "nested", verbose=False)
    assert near(nested["a"][0], 2e-6) and near(nested["b"], 3e-6)
    results = web.run_async({"x": coarse(4e-6)}, path_dir=folder / "async", verbose=False)
    assert near(results["x"], 4e-6)

    task_id = web.upload(coarse(5e-6), "by steps", folder_name="steps", verbose=False)
    assert web.get_info(task_id).status == "draft" and web.estimate_cost(task_id, verbose=False) >= 0
    web.start(task_id)
    web.monitor(task_id, verbose=False)
    assert web.get_info(task_id).taskName == "by steps" and web.get_info(task_id).status == "success"
    assert web.get_run_info(task_id)[0] == 100
    web.download(task_id, folder / "steps.hdf5", verbose=False)
    assert near(web.load(task_id, folder / "steps.hdf5", verbose=False), 5e-6)
    assert web.load_simulation(task_id, folder / "steps.json", verbose=False) == coarse(5e-6)
    web.download_json(task_id, folder / "again.json", verbose=False)
    web.download_log(task_id, folder / "steps.log", verbose=False)
    assert (folder / "steps.log").stat().st_size > 0
    assert web.real_cost(task_id, verbose=False) is not None
    assert [task["task_id"] for task in web.get_tasks(folder="steps")] == [task_id]
    assert web.delete_old(100, "steps") == 0
    assert web.account(verbose=False) is not None
    web.test()

    aborted = web.upload(slow(), "aborted", verbose=False)
    web.start(aborted)
    web.abort(aborted)
    assert web.get_info(aborted).status in ("aborted", "aborting")
    web.delete(aborted)
    return task_id


def containers(folder: pathlib.Path) -> None:
    job = web.Job(simulation=coarse(6e-6), task_name="job", verbose=False)
    assert near(job.run(path=folder / "job.hdf5"), 6e-6) and job.get_info().status == "success"
    job.to_file(str(folder / "job.json"))
    again = web.Job.from_file(str(folder / "job.json"))
    assert again.task_id == job.task_id and again.status == "success"
    assert near(again.load(path=folder / "again.hdf5"), 6e-6)

    batch = web.Batch(simulations={"p": coarse(7e-6), "q": coarse(8e-6)}, verbose=False)
    results = batch.run(path_dir=str(folder / "batch"))
    assert near(results["p"], 7e-6) and near(results["q"], 8e-6)
    assert {info.status for info in batch.get_info().values()} == {"success"}
    assert all(done == 100 for done, _ in batch.get_run_info().values())
    assert batch.real_cost(verbose=False) is not None and batch.estimate_cost(verbose=False) >= 0
    loaded = web.Batch.from_file(str(folder / "batch" / "batch.hdf5"))
    assert near(loaded.load(path_dir=str(folder / "batch"))["q"], 8e-6)
    assert near(web.BatchData.load(path_dir=str(folder / "batch"))["p"], 7e-6)
    batch.delete()


def main() -> None:
    folder = pathlib.Path(sys.argv[1])
    task_id = functions(folder)
    containers(folder)
    print(task_id, flush=True)
    sys.stdin.readline()
    # Whether the server still runs or has to be started again is no matter of the user's.
    assert web.get_info(task_id).status == "success"
    assert [task["task_id"] for task in web.get_tasks(folder="steps")] == [task_id]
    assert near(web.load(task_id, folder / "later.hdf5", verbose=False), 5e-6)
    web.delete(task_id)
    print("done", flush=True)


if __name__ == "__main__":
    main()
