"""No room left while uploading, solving and publishing: nothing acknowledged is lost, the server goes on."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess

import pytest
from driver import Driver, packed
from harness import Server, wait_until
from scenes import slab


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", folder], check=False)


def fill(folder: pathlib.Path, leave: int) -> pathlib.Path:
    state = os.statvfs(folder)
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        for _ in range(max(0, state.f_bavail * state.f_frsize - leave) // 4096):
            file.write(b"\1" * 4096)
    return ballast


@pytest.mark.parametrize("leave_kilobytes", [0, 64, 1024, 6000])
def test_server_goes_on_when_there_is_room_again(small_disk, tmp_path, leave_kilobytes):
    server = Server(small_disk / "data", "--lease-seconds", "2")
    server.log = tmp_path / "server.log"
    server.start()
    try:
        driver = Driver(server)
        folder = driver.folder()
        done = driver.start(folder, "before", packed(slab(), tmp_path))
        wait_until(lambda: driver.detail(done)["status"] == "success", 60, "the first task succeeds")
        before = driver.temperatures(done)
        # One is uploaded and running while the disk fills up, one is uploaded into a full disk.
        running = driver.start(folder, "running", packed(slab(mesh_size=0.008), tmp_path))
        ballast = fill(small_disk, leave_kilobytes * 1024)
        refused = None
        for attempt in range(3):
            try:
                status, answer = server.request("POST", f"/tidy3d/projects/{folder}/tasks", {
                    "taskName": f"late {attempt}", "taskType": "HEAT_CHARGE", "fileType": "Gz", "simulationType": "tidy3d",
                })  # fmt: skip
                if status != 200:
                    refused = answer
            except OSError as error:
                refused = error
        assert server.process.poll() is None, server.log.read_text()[-3000:]
        if leave_kilobytes == 0:
            assert refused is not None, "what cannot be kept is not acknowledged"
            assert "space" in str(refused).lower() or "room" in str(refused).lower(), refused
        ballast.unlink()
        wait_until(
            lambda: driver.detail(running)["status"] in ("success", "error"), 90, "the running task ends"
        )
        late = driver.start(folder, "after", packed(slab(rate=3e-5), tmp_path))
        wait_until(lambda: driver.detail(late)["status"] == "success", 60, "a new task succeeds")
        after = driver.temperatures(done)
        assert all((after[path] == before[path]).all() for path in before), "old results are unharmed"
        assert server.restart().process.poll() is None
        assert driver.detail(late)["status"] == "success"
    finally:
        server.kill()
