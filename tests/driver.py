"""A patient client at the level of the protocol: every step may be repeated until it gets through.

The unmodified client gives up on an upload after a second of silence, so a test that kills the server
again and again needs one that does not.
"""

from __future__ import annotations

import http.client
import io
import time

import boto3
import botocore.config
import botocore.exceptions
import h5py
import numpy as np
from harness import Server

PATIENCE = 120.0


class Driver:
    """Creates, uploads, starts and fetches tasks by plain REST and S3 requests."""

    def __init__(self, server: Server, key: str | None = None):
        self.server = server
        self.key = key or server.variables()["SIMCLOUD_APIKEY"]

    def patiently(self, step):
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return step()
            except (OSError, http.client.HTTPException, botocore.exceptions.BotoCoreError):
                if time.monotonic() > deadline:
                    raise
            except botocore.exceptions.ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500 or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def call(self, method: str, path: str, body=None):
        def step():
            status, answer = self.server.request(method, path, body, key=self.key)
            assert status == 200, f"{method} {path}: {status} {answer}"
            return answer["data"] if isinstance(answer, dict) and "data" in answer else answer

        return self.patiently(step)

    def s3(self, task: str, name: str):
        token = self.call("GET", f"/tidy3d/py/tasks/{task}/file?filename={name}")
        credentials = token["userCredentials"]
        bucket, _, key = token["cloudpath"].removeprefix("s3://").partition("/")
        client = boto3.client(
            "s3",
            endpoint_url=self.server.url,
            aws_access_key_id=credentials["accessKeyId"],
            aws_secret_access_key=credentials["secretAccessKey"],
            aws_session_token=credentials["sessionToken"],
            region_name="us-east-1",
            config=botocore.config.Config(retries={"mode": "standard", "total_max_attempts": 1}),
        )
        return client, bucket, key

    def folder(self, name: str = "driver") -> str:
        found = self.call("GET", f"/tidy3d/project?projectName={name}")
        return (found or self.call("POST", "/tidy3d/projects", {"projectName": name}))["projectId"]

    def create(self, folder: str, name: str, kind: str = "HEAT_CHARGE") -> str:
        body = {"taskName": name, "taskType": kind, "callbackUrl": None, "simulationType": "tidy3d",
                "parentTasks": None, "fileType": "Gz"}  # fmt: skip
        return self.call("POST", f"/tidy3d/projects/{folder}/tasks", body)["taskId"]

    def upload(self, task: str, content: bytes, name: str = "simulation.hdf5.gz") -> None:
        def step():
            client, bucket, key = self.s3(task, name)
            client.put_object(Bucket=bucket, Key=key, Body=content)

        self.patiently(step)

    def validate(self, task: str) -> str:
        self.call(
            "POST", f"/tidy3d/tasks/{task}/metadata", {"solverVersion": None, "protocolVersion": "2.12.1"}
        )
        return self.detail(task)["metadataStatus"]

    def submit(self, task: str) -> None:
        self.call("POST", f"/tidy3d/tasks/{task}/submit", {"enableCaching": True, "payType": "AUTO"})

    def detail(self, task: str) -> dict:
        return self.call("GET", f"/tidy3d/tasks/{task}/detail")

    def start(self, folder: str, name: str, content: bytes) -> str:
        task = self.create(folder, name)
        self.upload(task, content)
        assert self.validate(task) == "processed"
        self.submit(task)
        return task

    def fetch(self, task: str, name: str = "output/simulation_data.hdf5") -> bytes:
        def step():
            client, bucket, key = self.s3(task, name)
            return client.get_object(Bucket=bucket, Key=key)["Body"].read()

        return self.patiently(step)

    def temperatures(self, task: str) -> dict[str, np.ndarray]:
        """Every array of the result's `data`, by its path."""
        return self.arrays(task, "data")

    def arrays(
        self, task: str, group: str, name: str = "output/simulation_data.hdf5"
    ) -> dict[str, np.ndarray]:
        """Every array of a group of the result, by its path."""
        arrays: dict[str, np.ndarray] = {}
        with h5py.File(io.BytesIO(self.fetch(task, name)), "r") as file:
            file[group].visititems(
                lambda path, item: (
                    arrays.__setitem__(path, item[()]) if isinstance(item, h5py.Dataset) else None
                )
            )
        return arrays

    def entered(self, state: str = "success") -> dict[str, int]:
        """How often each task has come into a state."""
        counts: dict[str, int] = {}
        after = 0
        while True:
            page = self.call("GET", f"/api/v1/events?after={after}&limit=500")
            if not page["events"]:
                return counts
            for event in page["events"]:
                if event["state"] == state:
                    task = event["task"]["task"]
                    counts[task] = counts.get(task, 0) + 1
            after = page["last"]


def packed(simulation, tmp_path) -> bytes:
    """A simulation as the client uploads it."""
    path = tmp_path / "simulation.hdf5.gz"
    simulation.to_hdf5_gz(str(path))
    return path.read_bytes()
