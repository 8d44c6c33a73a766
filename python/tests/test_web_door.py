"""What `wavetask.web` asks a server by the plain protocol: the answers are the client's own objects."""

from __future__ import annotations

import pytest
import wavetask.web as web
from tidy3d.exceptions import WebError
from tidy3d.web.core.task_info import TaskInfo
from wavetask import errors
from wavetask.web import _door


def created(server, folder="door") -> str:
    """A draft, made as the client makes it."""
    status, answer = server.request("POST", "/tidy3d/projects", {"projectName": folder})
    assert status == 200
    status, answer = server.request(
        "POST",
        f"/tidy3d/projects/{answer['data']['projectId']}/tasks",
        {"taskName": "draft", "taskType": "HEAT_CHARGE", "fileType": "Gz"},
    )
    assert status == 200
    return answer["data"]["taskId"]


@pytest.fixture
def door(server, monkeypatch):
    key = server.variables()["SIMCLOUD_APIKEY"]
    monkeypatch.setattr(_door, "_address", lambda: (server.url, key))
    return server


def test_details_and_listing(door):
    known = created(door)
    info = web.get_info(known)
    assert isinstance(info, TaskInfo) and info.taskId == known and info.taskName == "draft"
    assert info.status == "draft" and info.taskType == "HEAT_CHARGE"
    assert web.get_run_info(known)[0] in (None, 0)
    newest = web.get_tasks(folder="door")[0]
    assert newest["task_id"] == known
    assert web.get_tasks(num_tasks=0, folder="door") == [] == web.get_tasks(folder="nowhere")
    assert web.get_tasks(order="old", folder="door")[-1]["task_id"] == known
    assert web.estimate_cost(known, verbose=False) >= 0
    assert web.real_cost(known, verbose=False) in (None, 0)


def test_deleting(door):
    known = created(door, "to be emptied")
    assert web.delete_old(100, "to be emptied") == 0 == web.delete_old(1, "nowhere")
    assert web.delete(known).taskId == known
    with pytest.raises(WebError, match=r"(?i)not found"):
        web.get_info(known)


def test_account_and_connection(door, monkeypatch):
    web.test()
    assert type(web.account(verbose=False)).__name__ == "Account"
    monkeypatch.setattr(_door, "_address", lambda: (door.url, "no such key"))
    with pytest.raises(WebError):
        web.test()
    monkeypatch.setattr(_door, "_address", lambda: ("http://127.0.0.1:9", "key"))
    with pytest.raises(errors.ConnectionLost):
        web.get_info("x")


def test_odd_ids_stay_ids(door):
    for odd in ("../apikey", "a b", "%2e%2e", "ü"):
        with pytest.raises(WebError):
            web.get_info(odd)
    with pytest.raises(ValueError):
        web.get_info("")
