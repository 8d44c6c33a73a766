"""Finding tasks and batches, the configuration file, and how many connections it all takes."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
import wavetask as wt

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def cases(server):
    import handles_cases

    return handles_cases


@pytest.fixture(scope="module")
def scans(cases):
    """A solved batch of three with parameters, and a batch of one that is held."""
    stamp = time.monotonic_ns()
    names = f"query scan {stamp}", f"query held {stamp}"
    parameters = {
        f"n={n}": {"n": n, "width": 0.5 * n, "material": "TiN" if n < 3 else "Si"} for n in (1, 2, 3)
    }
    scan = wt.submit(
        {key: cases.slab(1000 + each["n"]) for key, each in parameters.items()},
        name=names[0],
        tags=["query", f"tag{stamp}"],
        parameters=parameters,
        folder=f"folder {stamp}",
        progress=False,
    )
    held = wt.submit([cases.slab(1010)], name=names[1], hold=True, cache=False, progress=False)
    assert not scan.wait(timeout=120).not_done
    while held[0].status != "held":
        time.sleep(0.02)
    return stamp, names, {task.key: task.id for task in scan.tasks}, held


def test_tasks_are_found_by_what_is_known_of_them(scans):
    stamp, (name, held_name), ids, held = scans
    client = wt.connect()

    def found(where=None, **filters):
        return {row["name"] for row in client.tasks(where, **filters)}

    assert found(batch=name) == set(ids)
    assert found("n>=2", batch=name) == {"n=2", "n=3"}
    assert found("n>=2,material=TiN", batch=name) == {"n=2"}
    assert found("width<0.6", batch=name) == {"n=1"}
    assert found("material!=TiN", batch=name) == {"n=3"}
    assert found(where="n=7", batch=name) == set()
    assert found(tag=f"tag{stamp}") == set(ids)
    assert found(folder=f"folder {stamp}", name="=2") == {"n=2"}
    assert (
        found(state="validated", batch=held_name) == {"0"} and found(state="validated", batch=name) == set()
    )

    rows = client.tasks(batch=name)
    assert {row["id"] for row in rows} == set(ids.values())
    assert {row["state"] for row in rows} == {"success"} and {row["folder"] for row in rows} == {
        f"folder {stamp}"
    }
    assert all(row["attempts"] == 1 and row["created"] <= row["started"] <= row["ended"] for row in rows)
    assert abs(rows[0]["ended"] - time.time()) < 600
    assert len(client.tasks(batch=name, limit=2)) == 2
    newest = client.tasks(limit=1000)
    assert [row["created"] for row in newest] == sorted((row["created"] for row in newest), reverse=True)
    with pytest.raises(ValueError, match="no state `sleeping`"):
        client.tasks(state="sleeping")
    with pytest.raises(wt.errors.WavetaskError):
        client.tasks("n ~ 3")
    held.cancel()


def drafts(server, folder: str, count: int) -> list[str]:
    """Makes so many drafts as the unmodified client does; their ids, the oldest first."""
    made = server.request("POST", "/tidy3d/projects", {"projectName": folder})[1]["data"]["projectId"]
    body = {"taskName": "draft", "taskType": "HEAT_CHARGE", "fileType": "Gz"}
    answers = [server.request("POST", f"/tidy3d/projects/{made}/tasks", body) for _ in range(count)]
    return [answer["data"]["taskId"] for _, answer in answers]


class Meanwhile:
    """A connection's native half, with something that happens before the second page of tasks is asked for."""

    def __init__(self, native, happens):
        self.native, self.happens = native, happens
        self.pages = 0

    def tasks(self, *arguments, **filters):
        self.pages += 1
        if self.pages == 2:
            self.happens(filters["after"])
        return self.native.tasks(*arguments, **filters)


def test_all_tasks_are_listed_however_many_there_are(server):
    client = wt.connect()
    ids = drafts(server, "a thousand and more", 1_205)
    filters = {"folder": "a thousand and more", "state": "draft"}
    newest_first = [row["id"] for row in client.tasks(**filters)]
    assert len(newest_first) == len(ids) and set(newest_first) == set(ids)
    assert [row["id"] for row in client.tasks(**filters, limit=1_100)] == newest_first[:1_100]
    assert [row["id"] for row in client.tasks(**filters, limit=7)] == newest_first[:7]
    assert client.tasks(**filters, limit=0) == []
    assert len(client.tasks()) >= len(ids)

    # The task behind which the next page begins may be gone when it is asked for.
    def delete(task_id):
        assert task_id == newest_first[999]
        assert server.request("DELETE", f"/tidy3d/tasks/{task_id}")[0] == 200

    client._native, native = Meanwhile(client._native, delete), client._native
    try:
        assert [row["id"] for row in client.tasks(**filters)] == newest_first
        assert client._native.pages == 3
    finally:
        client._native = native


def test_batches_are_listed(scans):
    stamp, (name, held_name), _, _ = scans
    client = wt.connect()
    (row,) = client.batches(tag=f"tag{stamp}")
    assert row["name"] == name and row["members"] == 3 and row["states"] == {"success": 3}
    assert set(row["tags"]) == {"query", f"tag{stamp}"} and row["complete"]
    assert [each["name"] for each in client.batches(name=held_name)] == [held_name]
    everything = [each["name"] for each in client.batches()]
    assert {name, held_name} <= set(everything)
    assert client.batches(name="there is no such batch") == []


def test_a_batch_may_be_named_like_a_task(cases, server, tmp_path):
    """As one is that a script called `task-sweep.py` submits without a name."""
    name = f"task-sweep-{time.monotonic_ns()}"
    wt.submit([cases.slab(1031)], name=name, progress=False).results(timeout=60)
    elsewhere = wt.connect(server.url, server.variables()["SIMCLOUD_APIKEY"], data=tmp_path, current=False)
    assert len(elsewhere.open(name)) == 1 and name in server.command("ls", "--batches", "--name", name)
    assert "1 success" in server.command("watch", name)
    with pytest.raises(wt.errors.NotFound, match="no batch and no task"):
        elsewhere.open("task-nobody-has-submitted")


def test_all_batches_are_listed_however_many_there_are(scans, cases, monkeypatch):
    stamp, *_ = scans
    names = [f"page {number} {stamp}" for number in range(5)]
    for number, name in enumerate(names):
        held = wt.submit([cases.slab(1020 + number)], name=name, hold=True, tags=["pages"], progress=False)
        while held[0].status != "held":
            time.sleep(0.02)
    client = wt.connect()
    newest_first = names[::-1]
    assert [row["name"] for row in client.batches(tag="pages")] == newest_first
    whole = [row["name"] for row in client.batches()]
    assert len(whole) > 5 and len(set(whole)) == len(whole)
    monkeypatch.setattr(wt._client, "_PAGE", 2)
    assert [row["name"] for row in client.batches(tag="pages")] == newest_first
    assert [row["name"] for row in client.batches()] == whole
    assert [row["name"] for row in client.batches(tag="pages", limit=3)] == newest_first[:3]
    assert client.batches(limit=0) == []


CONFIGURED = """
import json, sys
import wavetask as wt
from wavetask import errors
try:
    client = wt.connect()
    print(json.dumps({"url": client.url, "rows": len(client.tasks(batch=sys.argv[1]))}))
except errors.WavetaskError as error:
    print(json.dumps({"error": type(error).__name__, "said": str(error)}))
"""


def connected(folder, name, config, **settings):
    """What a process says that finds its server in a configuration file."""
    place = folder / "config" / "wavetask" / "config.toml"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(config)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WAVETASK_")}
    environment.update(settings, XDG_CONFIG_HOME=str(folder / "config"), HOME=str(folder))
    environment["XDG_DATA_HOME"] = str(folder / "share")
    answer = subprocess.run(
        [sys.executable, "-c", CONFIGURED, name], env=environment, capture_output=True, text=True, timeout=120
    )
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the folder is another")
def test_a_configuration_file_names_the_server(server, scans, tmp_path):
    _, (name, _), ids, _ = scans
    key = server.variables()["SIMCLOUD_APIKEY"]
    config = f'url = "{server.url}"\nkey = "{key}"\n'
    assert connected(tmp_path, name, config) == {"url": server.url, "rows": len(ids)}
    # The environment comes before the file.
    wrong = 'url = "http://127.0.0.1:1"\nkey = "nothing"\n'
    told = connected(tmp_path, name, wrong, WAVETASK_URL=server.url, WAVETASK_KEY=key)
    assert told == {"url": server.url, "rows": len(ids)}
    assert connected(tmp_path, name, wrong)["error"] == "ConnectionLost"
    # What cannot be read is said, with the file's name, and nothing else is started instead.
    told = connected(tmp_path, name, "url = [")
    assert "config.toml" in told.get("said", ""), told


def test_hundreds_of_tasks_take_few_connections(server, cases, tmp_path):
    from wire import Wire

    wire = Wire(server.port)
    try:
        client = wt.connect(
            wire.url, server.variables()["SIMCLOUD_APIKEY"], data=tmp_path / "client", current=False
        )
        simulations = [cases.slab(2000 + number) for number in range(200)]
        scan = client.submit(
            simulations, name=cases.named("connections"), hold=True, cache=False, progress=False
        )
        deadline = time.monotonic() + 200
        while any(task.status != "held" for task in scan.tasks):
            assert time.monotonic() < deadline, scan
            time.sleep(0.1)
        scan.cancel()
        assert not scan.wait(timeout=120).not_done
        assert 1 <= wire.most_connections <= 24, wire.most_connections
    finally:
        wire.close()
