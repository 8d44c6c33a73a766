"""A task that others refer to is not deleted under them, through whichever door; afterwards it can be, and they keep what
they have."""

from __future__ import annotations

import json
import urllib.parse
import uuid

import numpy as np
import pytest
import scenes
import tidy3d as td
import tidy3d.web as web
from driver import Driver, packed
from harness import wait_until
from test_chains import X, Z, ended, evaluation, permittivity_of, submit
from test_manage_commands import wavetask


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    plane = td.TemperatureMonitor(size=(td.inf, 0, td.inf), name="plane", unstructured=False)
    return packed(scenes.slab(mesh_size=0.25, monitors=[plane]), tmp_path_factory.mktemp("packed"))


class Scene:
    """A heat task that is done, an evaluation of it that waits for a gate, and one that has ended."""

    def __init__(self, driver: Driver, content: bytes, name: str):
        self.driver = driver
        folder = driver.folder()
        self.heat = driver.start(folder, f"{name} heat", content)
        assert ended(driver, self.heat)["state"] == "success"
        self.gate = driver.create(folder, f"{name} gate")
        driver.upload(self.gate, content)
        assert driver.validate(self.gate) == "processed"
        done = evaluation(f"{name} done", permittivity_of(self.heat))
        waiting = evaluation(f"{name} waiting", permittivity_of(self.heat))
        waiting["after"] = [self.gate]
        self.done, self.waiting = submit(driver, name, [done, waiting])
        assert ended(driver, self.done)["state"] == "success"
        assert self.state(self.waiting) == "queued"

    def state(self, task: str) -> str | None:
        status, summary = self.driver.server.native("GET", f"/api/v1/tasks/{task}", key=self.driver.key)
        return summary["state"] if status == 200 else None

    def values(self, task: str) -> np.ndarray:
        return self.driver.arrays(task, "outputs/0")["__xarray_dataarray_variable__"]

    def act(self, action: str, *tasks: str) -> list[dict]:
        return self.driver.call("POST", f"/api/v1/tasks/{action}", {"tasks": tasks})["tasks"]


def by_native(scene: Scene, task: str) -> str:
    """What the refusal says; empty if it is deleted."""
    [answer] = scene.act("delete", task)
    if "error" in answer:
        assert answer["error"]["code"] == "task.in_use", answer
        return answer["error"]["message"]
    return ""


def by_command(scene: Scene, task: str) -> str:
    answer = wavetask(scene.driver.server, "rm", task)
    assert answer.returncode in (0, 1), answer.stdout + answer.stderr
    return answer.stdout if answer.returncode else ""


def by_client(scene: Scene, task: str) -> str:
    """The unmodified client, which the environment points at this server."""
    try:
        web.delete(task)
    except Exception as error:
        return str(error)
    return ""


def by_door(scene: Scene, task: str) -> str:
    status, answer = scene.driver.server.request("DELETE", f"/tidy3d/tasks/{urllib.parse.quote(task)}")
    assert status == 200 or status == 409, (status, answer)
    return json.dumps(answer) if status != 200 else ""


def by_handle(scene: Scene, task: str) -> str:
    """The engine's handle."""
    import wavetask

    try:
        wavetask.open(task).delete()
    except wavetask.errors.WavetaskError as error:
        assert isinstance(error, wavetask.errors.Usage) and error.code == "task.in_use", error
        return str(error)
    return ""


def by_drop_in(scene: Scene, task: str) -> str:
    """`wavetask.web`, in the client's place."""
    import wavetask.web

    try:
        wavetask.web.delete(task)
    except Exception as error:
        return str(error)
    return ""


DOORS = {
    "native API": by_native,
    "command line": by_command,
    "unmodified client": by_client,
    "the client's protocol": by_door,
    "handle": by_handle,
    "drop-in": by_drop_in,
}


@pytest.fixture
def scene(server, content, tmp_path, monkeypatch):
    import wavetask

    data = tmp_path / "client"
    monkeypatch.setenv("WAVETASK_URL", server.url)
    monkeypatch.setenv("WAVETASK_KEY", server.variables()["SIMCLOUD_APIKEY"])
    monkeypatch.setenv("WAVETASK_DATA", str(data))
    wavetask.connect(server.url, server.variables()["SIMCLOUD_APIKEY"], data=data)
    return Scene(Driver(server), content, f"in use {uuid.uuid4()}"[:30])


@pytest.mark.parametrize("door", DOORS)
def test_what_others_wait_for_is_not_deleted(scene, door):
    delete = DOORS[door]
    for task in (scene.heat, scene.gate):
        refusal = delete(scene, task)
        assert scene.waiting in refusal and "needed by" in refusal, f"who needs it is said: {refusal!r}"
        assert scene.state(task) is not None
    # Those that wait go on, and both can be deleted afterwards.
    scene.act("start", scene.gate)
    assert ended(scene.driver, scene.waiting)["state"] == "success"
    expected = scene.values(scene.waiting)
    assert expected.shape == (X.size, 1, Z.size)
    for task in (scene.heat, scene.gate):
        assert delete(scene, task) == ""
        assert scene.state(task) is None
    # What was made of it has its results all the same.
    np.testing.assert_array_equal(scene.values(scene.waiting), expected)
    np.testing.assert_array_equal(scene.values(scene.done), expected)


@pytest.mark.parametrize("door", ["native API", "handle", "command line"])
def test_once_its_users_are_stopped_or_deleted_it_can_be_deleted(scene, door):
    delete = DOORS[door]
    assert scene.waiting in delete(scene, scene.heat)
    if door == "native API":
        assert delete(scene, scene.waiting) == "", "the last of a chain can be deleted"
    else:
        scene.act("cancel", scene.waiting)
    assert delete(scene, scene.heat) == "" and scene.state(scene.heat) is None
    assert scene.values(scene.done).shape == (X.size, 1, Z.size)
    if door != "native API":
        # Stopped, and its input is gone: running it again says so.
        scene.act("retry", scene.waiting)
        summary = wait_until(lambda: ended(scene.driver, scene.waiting), 60, "it ends")
        assert summary["state"] == "error" and summary["error"]["code"] == "task.input_failed", summary
        assert scene.heat in summary["error"]["message"] and "deleted" in summary["error"]["message"]


def test_a_folder_and_the_old_keep_what_is_in_use(scene):
    """What deletes many leaves those that others need."""
    driver = scene.driver
    [folder] = [item["projectId"] for item in [driver.call("GET", "/tidy3d/project?projectName=driver")]]
    driver.call("DELETE", f"/tidy3d/tasks/{folder}/tasks?daysOld=0")
    assert scene.state(scene.heat) == "success" and scene.state(scene.gate) == "validated"
    assert scene.state(scene.waiting) == "queued"
