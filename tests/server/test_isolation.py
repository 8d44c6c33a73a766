"""A key sees only its own tasks; everything else answers as if it did not exist."""

from __future__ import annotations

import json
import stat
import uuid

import botocore.exceptions
import pytest
from driver import Driver, packed
from harness import wait_until
from scenes import slab


@pytest.fixture
def two_keys(server, tmp_path):
    mine = Driver(server)
    created = json.loads(server.command("key", "add", f"a colleague {uuid.uuid4()}", "--json"))
    theirs = Driver(server, key=created["secret"])
    task = mine.start(mine.folder("mine"), "mine", packed(slab(), tmp_path))
    wait_until(lambda: mine.detail(task)["status"] == "success", 60, "the task succeeds")
    return mine, theirs, task


def test_other_keys_see_nothing(two_keys, server):
    mine, theirs, task = two_keys
    missing = server.request(
        "GET", "/tidy3d/tasks/task-00000000000000000000000000000000/detail", key=theirs.key
    )
    hidden = server.request("GET", f"/tidy3d/tasks/{task}/detail", key=theirs.key)
    assert hidden[0] == missing[0] == 404
    assert json.dumps(hidden[1]).replace(task, "ID") == json.dumps(missing[1]).replace(
        "task-" + "0" * 32, "ID"
    )
    for method, path in [
        ("GET", f"/tidy3d/py/tasks/{task}/file?filename=output/simulation_data.hdf5"),
        ("GET", f"/tidy3d/tasks/{task}/progress"),
        ("POST", f"/tidy3d/tasks/{task}/metadata"),
        ("POST", f"/tidy3d/tasks/{task}/submit"),
        ("DELETE", f"/tidy3d/tasks/{task}"),
        ("GET", f"/api/v1/tasks/{task}"),
        ("GET", f"/api/v1/tasks/{task}/log"),
        ("GET", f"/api/v1/tasks/{task}/simulation"),
        ("GET", f"/tidy3d/projects/{mine.folder('mine')}/tasks"),
    ]:
        body = {} if method == "POST" else None
        status, answer = server.request(method, path, body, key=theirs.key)
        assert status == 404 or answer in ([], {"data": []}), f"{method} {path}: {status} {answer}"
    assert mine.detail(task)["status"] == "success"


def test_events_and_lists_are_ones_own(two_keys, server):
    _, theirs, task = two_keys
    assert task not in json.dumps(server.request("GET", "/api/v1/events?after=0", key=theirs.key)[1])
    assert task not in json.dumps(server.request("GET", "/api/v1/tasks", key=theirs.key)[1])


def test_credentials_open_one_file_of_one_task_for_one_verb(two_keys, tmp_path):
    mine, theirs, task = two_keys
    client, bucket, key = mine.s3(task, "output/simulation_data.hdf5")
    other = theirs.create(theirs.folder(), "theirs")
    attempts = {
        "write what may be read": lambda: client.put_object(Bucket=bucket, Key=key, Body=b"x"),
        "read another file": lambda: client.get_object(Bucket=bucket, Key=f"{task}/simulation.hdf5.gz"),
        "write another task": lambda: client.put_object(
            Bucket=bucket, Key=f"{other}/simulation.hdf5.gz", Body=b"x"
        ),
        "climb out": lambda: client.get_object(Bucket=bucket, Key=f"{task}/../key"),
        "another bucket": lambda: client.get_object(Bucket="something-else", Key=key),
    }
    for what, attempt in attempts.items():
        with pytest.raises(botocore.exceptions.ClientError) as refusal:
            attempt()
        assert 400 <= refusal.value.response["ResponseMetadata"]["HTTPStatusCode"] < 500, what
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read()


def test_revoked_key_is_refused(server):
    created = json.loads(server.command("key", "add", "leaving", "--json"))
    secret = created["secret"]
    assert server.request("GET", "/tidy3d/projects", key=secret)[0] == 200
    server.command("key", "revoke", created["key"])
    assert server.request("GET", "/tidy3d/projects", key=secret)[0] in (401, 403)
    assert server.request("GET", "/tidy3d/projects", key="no such key")[0] in (401, 403)


def test_secrets_are_readable_by_the_owner_only(server):
    assert stat.S_IMODE(server.data.stat().st_mode) & 0o077 == 0
    secret = server.variables()["SIMCLOUD_APIKEY"].encode()
    holders = [path for path in server.data.rglob("*") if path.is_file() and secret in path.read_bytes()]
    assert holders, "the key is in a file"
    for path in holders:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert secret not in server.log.read_bytes(), "the log does not show it"


def test_a_quota_is_set_shown_and_held(own_server):
    server = own_server()
    created = json.loads(server.command("key", "add", "limited", "--json"))
    assert "0 of 2 tasks" in server.command("key", "quota", "limited", "--tasks", "2", "--bytes", "1GB")
    driver = Driver(server, key=created["secret"])
    folder = driver.folder()
    for number in range(2):
        driver.create(folder, f"allowed {number}")
    status, answer = server.request(
        "POST",
        f"/tidy3d/projects/{folder}/tasks",
        {"taskName": "one too many", "taskType": "HEAT"},
        created["secret"],
    )
    assert status == 403 and "quota" in json.dumps(answer), answer
    assert "2 of 2" in server.command("key", "ls")
    server.command("key", "quota", "limited")
    driver.create(folder, "allowed again")
