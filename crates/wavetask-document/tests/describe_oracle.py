"""The oracle of `describe.rs`: tidy3d writes files, h5py takes them apart.

describe_oracle.py DIR    writes DIR/*.hdf5[.gz], the bytes of their arrays, and DIR/dump.json
"""

import gzip
import json
import pathlib
import shutil
import sys

import h5py
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import oracle
import tidy3d as td

NAMES = {
    "f8": "float64",
    "f4": "float32",
    "i8": "int64",
    "i4": "int32",
    "u1": "uint8",
    "b1": "uint8",
    "c16": "complex128",
    "c8": "complex64",
}


def large():
    permittivity = 1 + oracle.spatial(80, 70, 64)
    medium = td.CustomMedium(permittivity=permittivity)
    return td.Simulation(
        size=(2, 2, 2),
        run_time=1e-12,
        grid_spec=td.GridSpec.uniform(dl=0.1),
        structures=[td.Structure(geometry=td.Box(size=(1, 1, 1)), medium=medium)],
    )


def take_apart(folder, file):
    opener = gzip.open if file.name.endswith(".gz") else open
    plain = folder / "plain"
    with opener(file, "rb") as source, plain.open("wb") as target:
        shutil.copyfileobj(source, target)
    arrays = []
    text = []
    with h5py.File(plain, "r") as opened:

        def visit(path, dataset):
            if not isinstance(dataset, h5py.Dataset):
                return
            if path.startswith("JSON_STRING"):
                text.append((path, dataset[()].decode()))
                return
            described = {"path": path, "shape": list(dataset.shape), "bytes": None, "texts": None}
            if h5py.check_string_dtype(dataset.dtype):
                described["element_type"] = "text"
                described["texts"] = [str(value) for value in np.ravel(dataset.asstr()[()])]
            else:
                values = np.ascontiguousarray(dataset[()])
                described["element_type"] = NAMES[values.dtype.str[1:]]
                described["bytes"] = f"{file.name}.{len(arrays)}.bytes"
                (folder / described["bytes"]).write_bytes(
                    values.astype(values.dtype.newbyteorder("<")).tobytes()
                )
            arrays.append(described)

        opened.visititems(visit)
    plain.unlink()
    whole = "".join(part for _, part in sorted(text, key=lambda item: (len(item[0]), item[0])))
    return {"file": file.name, "json": whole, "arrays": arrays}


def main(folder):
    simulation = oracle.simulation()
    heat = oracle.heat()
    simulation.to_file(str(folder / "simulation.hdf5"))
    simulation.to_file(str(folder / "simulation.hdf5.gz"))
    heat.to_file(str(folder / "heat.hdf5"))
    oracle.heat_data(heat).to_file(str(folder / "heat_data.hdf5"))
    large().to_file(str(folder / "large.hdf5.gz"))
    files = sorted(folder.glob("*.hdf5*"))
    (folder / "dump.json").write_text(json.dumps([take_apart(folder, file) for file in files]))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
