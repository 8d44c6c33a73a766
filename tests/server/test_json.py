"""What the commands tell programs: JSON, in whole lines, with the exit codes that people get."""

from __future__ import annotations

import json
import subprocess

import pytest
import scenes
from harness import BINARY


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A simulation that can be solved, one that is refused, and a file that is none."""
    folder = tmp_path_factory.mktemp("files")
    scenes.slab(rate=3.21e-6).to_file(str(folder / "good.json"))
    scenes.unsupported().to_file(str(folder / "refused.json"))
    (folder / "none.json").write_text("{}")
    return {path.stem: str(path) for path in folder.iterdir()}


def run(server, *words: str) -> tuple[int, str]:
    answer = subprocess.run(
        [str(BINARY), *words, "--data", str(server.data)], capture_output=True, text=True, timeout=120
    )
    assert "panicked" not in answer.stderr, answer.stderr
    return answer.returncode, answer.stdout


def test_watch_tells_each_change_as_a_line_of_json(own_server, files):
    server = own_server("--no-worker")
    server.command("submit", files["good"], files["refused"], "--name", "watched", check=False)
    watching = subprocess.Popen(
        [str(BINARY), "watch", "watched", "--json", "--data", str(server.data)],
        stdout=subprocess.PIPE,
        text=True,
    )
    first = [json.loads(watching.stdout.readline()) for _ in range(2)]
    assert {line["event"] for line in first} == {"state"}
    states = {line["task"]["name"]: line["task"]["state"] for line in first}
    assert states == {"good": "queued", "refused": "error"}
    # It is told while it happens, not at the end.
    server.command("cancel", next(line["task"]["task"] for line in first if line["task"]["name"] == "good"))
    assert json.loads(watching.stdout.readline())["task"]["state"] == "aborted"
    assert json.loads(watching.stdout.read()) == {
        "event": "end",
        "tasks": 2,
        "states": {"aborted": 1, "error": 1},
    }
    assert watching.wait(60) == 1


def test_watch_without_tasks_ends_with_one_object(own_server):
    status, output = run(own_server("--no-worker"), "watch", "--json")
    assert (status, json.loads(output)) == (0, {"event": "end", "tasks": 0, "states": {}})


def test_logs_are_one_object(own_server, files):
    server = own_server()
    server.command("submit", files["good"], "--name", "logged", "--wait")
    (task,) = json.loads(server.command("ls", "--batch", "logged", "--json"))["tasks"]
    plain = server.command("logs", task["task"])
    assert "unknowns" in plain
    for options in ((), ("--follow",)):
        told = json.loads(server.command("logs", task["task"], "--json", *options))
        assert told == {"task": task["task"], "text": plain, "complete": True}


def test_after_submitting_what_failed_nothing_impossible_is_proposed(own_server, files):
    server = own_server()
    status, output = run(server, "submit", files["refused"], "--name", "refused", "--wait")
    assert status == 1 and "next: wavetask ls --batch refused" in output, output
    assert '"refused"' in server.command("ls", "--batch", "refused", "--json")
    status, output = run(server, "submit", files["none"], "--name", "none", "--wait")
    assert status == 1 and "next:" not in output, output
    status, output = run(server, "submit", files["good"], files["none"], "--name", "mixed", "--wait")
    assert status == 1 and "next: wavetask get mixed" in output, output


def test_keys_are_limited_and_revoked_with_json(own_server):
    server = own_server("--no-worker")
    made = json.loads(server.command("key", "add", "lab", "--json"))
    told = json.loads(server.command("key", "quota", "lab", "--tasks", "7", "--json"))
    assert told["quota"]["tasks"] == 7 and told["name"] == "lab"
    told = json.loads(server.command("key", "revoke", "lab", "--json"))
    assert told == {"key": made["key"], "name": "lab", "revoked": True}
    listed = json.loads(server.command("key", "ls", "--json"))["keys"]
    assert [key["name"] for key in listed if key["revoked_milliseconds"]] == ["lab"]
