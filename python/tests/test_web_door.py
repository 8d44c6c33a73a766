"""What `wavetask.web` asks a server by the plain protocol: the answers are the client's own objects."""

from __future__ import annotations

import http.server
import threading
from typing import ClassVar

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
    old = [created(door, "old ones") for _ in range(3)]
    assert web.delete_old(0, "old ones") == len(old) and web.get_tasks(folder="old ones") == []
    assert [task["task_id"] for task in web.get_tasks(folder="to be emptied")] == [known]
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
    monkeypatch.setattr(_door, "PAUSES", (0.01, 0.01))
    with pytest.raises(errors.ConnectionLost):
        web.get_info("x")


class Restarting(http.server.BaseHTTPRequestHandler):
    """Answers the first requests as a server does that is being restarted."""

    answers: ClassVar[list[int]] = []

    def answer(self):
        code = self.answers.pop(0)
        if code:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(b'{"data": 3}' if code == 200 else b"{}")

    do_GET = do_DELETE = answer

    def log_message(self, *_):
        pass


@pytest.mark.parametrize(
    ("method", "answers", "found"),
    [
        ("GET", [0, 503, 502, 200], 3),
        ("DELETE", [0, 200], 3),
        ("DELETE", [0, 404], None),  # the answer that was lost had deleted it
        ("GET", [404, 200], 404),
        ("GET", [500, 200], 500),
        ("GET", [503, 503, 503, 503], 503),
    ],
)
def test_requests_outlive_a_restart_and_need_no_proxy_here(monkeypatch, method, answers, found):
    monkeypatch.setattr(_door, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(_door, "_is_embedded", lambda: False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    _door._opener.cache_clear()
    Restarting.answers = list(answers)
    with http.server.HTTPServer(("127.0.0.1", 0), Restarting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(_door, "_address", lambda: (f"http://127.0.0.1:{server.server_port}", "key"))
        if isinstance(found, int) and found > 3:
            with pytest.raises(WebError, match=f"{found}"):
                _door.request(method, "x")
        else:
            assert _door.request(method, "x") == found
        server.shutdown()
    _door._opener.cache_clear()


def test_odd_ids_stay_ids(door):
    for odd in ("../apikey", "a b", "%2e%2e", "ü"):
        with pytest.raises(WebError):
            web.get_info(odd)
    with pytest.raises(ValueError):
        web.get_info("")
