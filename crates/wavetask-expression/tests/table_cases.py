"""Random tables of perturbations, and what tidy3d's own models say at random fields.

Called with a folder; writes `results.json`, a list of expressions with their values by tidy3d's classes, and
`results.bin` with the numbers.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import tidy3d as td
from mesh_cases import Numbers

warnings.simplefilter("ignore")
td.config.logging.level = "ERROR"


def literal(array):
    values = np.asarray(array.values)
    node = {
        "dimensions": [{"name": dim, "coordinate": array.coords[dim].values.tolist()} for dim in array.dims],
        "values": values.real.ravel().tolist(),
    }
    if np.iscomplexobj(values):
        node["imaginary"] = values.imag.ravel().tolist()
    return {"array": node}


def field(random, low, high, labels):
    """Values within a table, at its places, and beyond its ends."""
    values = random.uniform(low - 0.2 * (high - low), high + 0.2 * (high - low), (3, 4, 2))
    at_labels = random.random(values.shape) < 0.2
    values[at_labels] = random.choice(labels, at_labels.sum())
    coords = {name: np.sort(random.random(count)) for name, count in zip("xyz", values.shape, strict=True)}
    return td.SpatialDataArray(values, coords=coords)


def places(random, low, high):
    labels = np.unique(random.uniform(low, high, int(random.integers(2, 9))))
    return labels[::-1].copy() if random.random() < 0.3 else labels


def heat(random, method):
    table = places(random, 280, 420)
    values = random.standard_normal(table.size)
    if random.random() < 0.4:
        values = values + 1j * random.standard_normal(table.size)
    model = td.CustomHeatPerturbation(
        perturbation_values=td.HeatDataArray(values, coords={"T": table}), interp_method=method
    )
    temperature = field(random, 280, 420, table)
    return model.sample(temperature), model, [["T", literal(temperature)]]


def charge(random, method):
    table = [10 ** np.sort(random.uniform(15, 19, int(random.integers(2, 6)))) for _ in "np"]
    values = random.standard_normal([len(each) for each in table])
    if random.random() < 0.4:
        values = values + 1j * random.standard_normal(values.shape)
    coords = dict(zip("np", table, strict=True))
    model = td.CustomChargePerturbation(
        perturbation_values=td.ChargeDataArray(values, coords=coords), interp_method=method
    )
    electrons = field(random, table[0][0], table[0][-1], table[0])
    if random.random() < 0.3:
        holes = float(random.uniform(table[1][0], table[1][-1]))
        return (
            model.sample(electrons, holes),
            model,
            [
                ["p", {"number": {"value": holes}}],
                ["n", literal(electrons)],
            ],
        )
    holes = electrons.copy(data=field(random, table[1][0], table[1][-1], table[1]).values)
    return model.sample(electrons, holes), model, [["n", literal(electrons)], ["p", literal(holes)]]


def main(folder):
    random = np.random.default_rng(31)
    numbers, cases = Numbers(), []
    for number in range(300):
        kind = [heat, charge][number % 2]
        value, model, at = kind(random, ["linear", "nearest"][number // 2 % 2])
        table = literal(model.perturbation_values)
        expression = {"lookup": {"table": table, "at": at, "method": model.interp_method}}
        value = numbers.store(value.values)
        cases.append({"kind": kind.__name__, "expression": expression, "value": value})
    (folder / "results.json").write_text(json.dumps(cases))
    np.concatenate(numbers.arrays).tofile(folder / "results.bin")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
