"""Bad input at every door: a clear error, never a crash, a hang or more memory than the budget."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import http.client
import pathlib
import random
import socket
import time
import urllib.parse
import zlib

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from driver import Driver, packed
from harness import wait_until
from scenes import slab


@pytest.fixture
def driver(server):
    return Driver(server)


def signed(driver: Driver, method: str, task: str, name: str, body: bytes = b"", **changes):
    """A SigV4-signed request as botocore makes it: (path, headers, body)."""
    token = driver.call("GET", f"/tidy3d/py/tasks/{task}/file?filename={name}")
    given = token["userCredentials"]
    credentials = botocore.credentials.Credentials(
        given["accessKeyId"],
        changes.get("secret", given["secretAccessKey"]),
        changes.get("token", given["sessionToken"]),
    )
    path = "/" + token["cloudpath"].removeprefix("s3://")
    request = botocore.awsrequest.AWSRequest(method, driver.server.url + path, data=body)
    botocore.auth.S3SigV4Auth(credentials, "s3", "us-east-1").add_auth(request)
    return path, dict(request.prepare().headers), body


def send(driver: Driver, method: str, path: str, headers: dict, body: bytes = b""):
    connection = http.client.HTTPConnection("127.0.0.1", driver.server.port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def alive(driver: Driver) -> None:
    assert driver.server.request("GET", "/health")[0] == 200
    assert driver.server.process.poll() is None


def memory(driver: Driver) -> int:
    """Peak resident memory of the server process in bytes."""
    for line in pathlib.Path(f"/proc/{driver.server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def test_unsigned_wrongly_signed_and_stale_requests(driver, tmp_path, monkeypatch):
    task = driver.create(driver.folder(), "signatures")
    name, body = "simulation.hdf5.gz", packed(slab(), tmp_path)
    path, headers, _ = signed(driver, "PUT", task, name, body)
    bare = {
        key: value for key, value in headers.items() if not key.lower().startswith(("authorization", "x-amz"))
    }
    assert send(driver, "PUT", path, bare, body)[0] == 403
    assert send(driver, "PUT", *signed(driver, "PUT", task, name, body, secret="wrong"))[0] == 403
    assert send(driver, "PUT", *signed(driver, "PUT", task, name, body, token="wrong"))[0] in (400, 403)
    assert send(driver, "PUT", path, headers, body[:-1] + bytes([body[-1] ^ 1]))[0] in (400, 403), (
        "another body than was signed"
    )

    real = botocore.auth.get_current_datetime
    for shift in (-7200, 7200):
        monkeypatch.setattr(
            botocore.auth,
            "get_current_datetime",
            lambda *a, s=shift, **k: real(*a, **k) + datetime.timedelta(seconds=s),
        )
        assert send(driver, "PUT", *signed(driver, "PUT", task, name, body))[0] == 403, f"{shift} s off"
    monkeypatch.setattr(botocore.auth, "get_current_datetime", real)
    assert driver.detail(task)["status"] == "draft"
    assert send(driver, "PUT", path, headers, body)[0] == 200, "and the honest one goes through"


def test_replayed_upload_cannot_change_a_started_task(driver, tmp_path):
    task = driver.create(driver.folder(), "replay")
    name = "simulation.hdf5.gz"
    first = signed(driver, "PUT", task, name, packed(slab(rate=1e-5), tmp_path))
    assert send(driver, "PUT", *first)[0] == 200
    second = signed(driver, "PUT", task, name, packed(slab(rate=2e-5), tmp_path))
    assert driver.validate(task) == "processed"
    driver.submit(task)
    assert send(driver, "PUT", *second)[0] in (403, 409)
    assert send(driver, "PUT", *first)[0] in (403, 409)
    wait_until(lambda: driver.detail(task)["status"] == "success", 60, "it succeeds")


@pytest.mark.parametrize(
    "name",
    ["../../key", "/etc/passwd", "output/../../../key", "simulation.hdf5.gz/../../key", "..%2f..%2fkey", "a\x00b", "",
     "x" * 5000, "simulation.hdf5.gz\n", "output\\..\\key"],
)  # fmt: skip
def test_file_names_cannot_leave_the_task(driver, name):
    task = driver.create(driver.folder(), "traversal")
    status, answer = driver.server.request(
        "GET", f"/tidy3d/py/tasks/{task}/file?filename={urllib.parse.quote(name, safe='')}"
    )
    assert status in (400, 403, 404), answer
    for path in (f"/wavetask/{task}/{name}", f"/wavetask/{urllib.parse.quote(name, safe='')}"):
        with socket.create_connection(("127.0.0.1", driver.server.port), timeout=20) as raw:
            raw.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode("latin-1"))
            head = raw.recv(100)
        assert head.startswith(b"HTTP/1.1 4"), head
    alive(driver)


def test_uploads_that_are_no_simulation(driver, tmp_path):
    honest = packed(slab(), tmp_path)
    plain = gzip.decompress(honest)
    contents = {
        "empty": b"",
        "text": b"hello",
        "truncated gzip": honest[: len(honest) // 2],
        "truncated hdf5": gzip.compress(plain[: len(plain) // 2], 1),
        "not hdf5": gzip.compress(b"\0" * 100_000),
        "gzip in gzip": gzip.compress(honest),
        "another kind": gzip.compress(plain.replace(b"HeatChargeSimulation", b"HeatChargeSimulatiom")),
        "broken json": gzip.compress(plain.replace(b'{"', b"{{", 1)),
    }
    for what, content in contents.items():
        task = driver.create(driver.folder(), what)
        driver.upload(task, content)
        assert driver.validate(task) in ("validate_error", "error"), what
        message = driver.fetch(task, "output/tidy3d_validation.json").decode()
        assert len(message) > 40, f"{what}: {message}"
    alive(driver)


def test_gzip_bomb(driver):
    before = memory(driver)
    task = driver.create(driver.folder(), "bomb")
    zeros = b"\0" * (1 << 20)
    compressor, parts = zlib.compressobj(9, wbits=31), []
    for _ in range(3000):
        parts.append(compressor.compress(zeros))
    parts.append(compressor.flush())
    driver.upload(task, b"".join(parts))
    assert driver.validate(task) in ("validate_error", "error")
    assert memory(driver) - before < 512 << 20
    alive(driver)


def test_mutated_uploads_through_the_whole_door(driver, tmp_path):
    dice = random.Random(7)
    plain = gzip.decompress(packed(slab(), tmp_path))
    folder = driver.folder("mutants")
    for number in range(60):
        mutant = bytearray(plain)
        for _ in range(dice.choice([1, 4, 40])):
            mutant[dice.randrange(len(mutant))] = dice.randrange(256)
        content = gzip.compress(bytes(mutant), 1)
        if number % 5 == 0:
            content = bytearray(content)
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        task = driver.create(folder, f"mutant {number}")
        driver.upload(task, bytes(content))
        assert driver.validate(task) in ("processed", "validate_error", "error")
    alive(driver)


RAW = [
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /tidy3d/project?projectName=%ff%fe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    b"POST /tidy3d/projects HTTP/1.1\r\nhost: x\r\nsimcloud-api-key: KEY\r\ncontent-length: -5\r\n\r\n",
    b"POST /tidy3d/projects HTTP/1.1\r\nhost: x\r\nsimcloud-api-key: KEY\r\ncontent-length: 99999999999\r\n\r\n{}",
    b'POST /tidy3d/projects HTTP/1.1\r\nhost: x\r\nsimcloud-api-key: KEY\r\ncontent-type: application/json\r\ncontent-length: 5\r\nconnection: close\r\n\r\n{"a":',
    b"POST /tidy3d/projects HTTP/1.1\r\nhost: x\r\nsimcloud-api-key: KEY\r\ntransfer-encoding: chunked\r\n\r\nZZ\r\n",
    b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5000 + b"\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /wavetask/a/b?uploadId=x HTTP/1.1\r\nhost: x\r\ncontent-length: 7\r\nconnection: close\r\n\r\n<a><b><",
    bytes(range(256)) * 20,
]


@pytest.mark.parametrize("number", range(len(RAW)))
def test_broken_http(driver, number):
    raw = RAW[number].replace(b"KEY", driver.key.encode())
    with socket.create_connection(("127.0.0.1", driver.server.port), timeout=40) as connection:
        answer = b""
        with contextlib.suppress(OSError):  # the server may hang up before all is sent
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                answer += chunk
    assert not answer or answer.startswith(b"HTTP/1.1 4"), answer[:200]
    alive(driver)


def test_a_name_that_is_no_text(driver):
    """With a valid key, too: no such folder, or a refusal, and never a fault of the server."""
    head = f"GET /tidy3d/project?projectName=%ff%fe HTTP/1.1\r\nhost: x\r\nsimcloud-api-key: {driver.key}\r\n"
    with socket.create_connection(("127.0.0.1", driver.server.port), timeout=20) as connection:
        connection.sendall((head + "connection: close\r\n\r\n").encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 4") or answer.endswith(b'{"data":null}'), answer[:200]
    alive(driver)


def test_deep_and_large_json(driver):
    for body in (
        b"[" * 100_000,
        b'{"projectName": "' + b"x" * 20_000_000 + b'"}',
        b'{"projectName": ' + b"9" * 5000 + b"}",
    ):
        status, answer = send(
            driver,
            "POST",
            "/tidy3d/projects",
            {"simcloud-api-key": driver.key, "content-type": "application/json"},
            body,
        )
        assert 400 <= status < 500, answer[:200]
    alive(driver)


def test_slow_senders_are_cut_off_and_do_not_block_others(driver):
    slow = []
    for _ in range(200):
        connection = socket.create_connection(("127.0.0.1", driver.server.port), timeout=20)
        connection.sendall(b"POST /tidy3d/projects HTTP/1.1\r\nhost: x\r\n")
        slow.append(connection)
    started = time.monotonic()
    alive(driver)
    assert time.monotonic() - started < 2, "others are answered meanwhile"
    deadline = time.monotonic() + 75
    open_ones = list(slow)
    while open_ones and time.monotonic() < deadline:
        for connection in list(open_ones):
            try:
                connection.setblocking(False)
                connection.recv(1000)
                open_ones.remove(connection)
            except BlockingIOError:
                pass
            except OSError:
                open_ones.remove(connection)
        time.sleep(0.5)
    for connection in slow:
        connection.close()
    assert not open_ones, "headers that never end are cut off"


def test_oversized_bodies_are_refused_early(driver):
    task = driver.create(driver.folder(), "huge")
    path, headers, _ = signed(driver, "PUT", task, "simulation.hdf5.gz", b"x")
    headers = {key: value for key, value in headers.items() if key.lower() != "content-length"}
    connection = http.client.HTTPConnection("127.0.0.1", driver.server.port, timeout=30)
    connection.putrequest("PUT", path)
    for key, value in headers.items():
        connection.putheader(key, value)
    connection.putheader("content-length", str(1 << 45))
    connection.endheaders()
    answer = connection.getresponse()
    assert 400 <= answer.status < 500 or answer.status == 507, answer.status
    connection.close()
    alive(driver)
