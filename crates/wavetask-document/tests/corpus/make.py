"""Makes the corpus of the damage tests anew: `make.py NAME`, run with each client's Python.

Real files of the client, gzipped, and one with every layout that h5py writes. The files are kept in
the repository so that the tests need no Python; run this when a new client changes what it writes.
"""

import gzip
import pathlib
import sys

import h5py
import numpy as np

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import oracle  # noqa: E402


def save(name, path):
    (HERE / f"{name}.hdf5.gz").write_bytes(gzip.compress(path.read_bytes(), 9, mtime=0))
    path.unlink()


def layouts(path):
    random = np.random.default_rng(5)
    with h5py.File(path, "w") as file:
        file["JSON_STRING"] = '{"type":"Layouts"}'
        for kind in ["f4", ">f8", "i1", "i8", "u2", "u8", "c8", ">c16", "?"]:
            file[f"types/{kind}"] = (random.random(5) * 9).astype(kind)
        file["text/variable"] = ["+", "-", "", "µm"]
        file["text/fixed"] = np.array([b"abc", b"", b"abcdefgh"], "S8")
        values = random.random((7, 5))
        file.create_dataset(
            "chunks/all", data=values, chunks=(3, 2), compression=9, shuffle=True, fletcher32=True
        )
        file.create_dataset("chunks/none", (9, 4), "f4", fillvalue=2.5, chunks=(2, 2))
        file.create_dataset("never", (5, 7), "f4", fillvalue=2.5)
        for index in range(40):
            file[f"many/{index}"] = index
        for index in range(12):
            file["text"].attrs[f"attribute {index}"] = "x" * 100


if __name__ == "__main__":
    client = sys.argv[1]
    for name, model in oracle.models().items():
        if name != "simulation":
            path = HERE / f"{name}.hdf5"
            model.to_file(str(path))
            save(f"{client}_{name}", path)
    layouts(HERE / "layouts.hdf5")
    save("layouts", HERE / "layouts.hdf5")
