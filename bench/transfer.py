"""Upload and download of 1 GiB against a plain copy of the same file on the same disk."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

import boto3
import numpy as np
import tidy3d as td
from driver import Driver
from machine import peak_memory
from scenes import slab

GIBIBYTE = 1 << 30


def large_simulation(byte_count: int):
    """A heat simulation with a spatially varying source of about this many bytes of noise."""
    side = round((byte_count / 8) ** (1 / 3))
    noise = np.random.default_rng(1).random((side, side, byte_count // 8 // side // side))
    coords = dict(zip("xyz", (np.linspace(-5, 5, extent) for extent in noise.shape), strict=True))
    return slab(
        sources=[td.HeatSource(structures=["slab"], rate=td.SpatialDataArray(1e-5 * noise, coords=coords))]
    )


def copy(source: pathlib.Path, target: pathlib.Path) -> float:
    """Seconds of a plain copy, synced to the disk as the server's writes are."""
    started = time.perf_counter()
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 22)
        os.fsync(writer.fileno())
    return time.perf_counter() - started


def measure(server, folder: pathlib.Path, byte_count: int = GIBIBYTE) -> dict[str, float]:
    """Seconds of each step, and the server's peak memory."""
    path = folder / "large.hdf5"
    large_simulation(byte_count).to_hdf5(str(path))
    size = path.stat().st_size
    copied = min(copy(path, folder / "copy") for _ in range(2))
    driver = Driver(server)
    task = driver.create(driver.folder(), "large")

    client, bucket, key = driver.s3(task, "simulation.hdf5.gz")
    started = time.perf_counter()
    client.upload_file(str(path), bucket, key)  # the server takes plain HDF5 under this name, too
    uploaded = time.perf_counter() - started

    started = time.perf_counter()
    assert driver.validate(task) == "processed"
    validated = time.perf_counter() - started

    downloads = []
    for _ in range(2):
        client, bucket, key = driver.s3(task, "simulation.hdf5")
        started = time.perf_counter()
        client.download_file(bucket, key, str(folder / "back"))
        downloads.append(time.perf_counter() - started)
    return {
        "bytes": size,
        "copy": copied,
        "upload": uploaded,
        "validate": validated,
        "download_cold": downloads[0],
        "download_warm": downloads[1],
        "peak_memory": peak_memory(server.process.pid),
        "boto3": float(boto3.__version__.split(".")[1]),
    }
