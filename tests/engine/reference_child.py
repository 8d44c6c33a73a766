"""A process that gets handles by `pickle`: reads a plane, an attribute and an array of simulations that it never had."""

from __future__ import annotations

import pathlib
import pickle
import sys

import numpy as np

plane, scene, task = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
values = task.simulation.simulation.structures[0].medium.permittivity.values
frequency = task.simulation.freqs[0]
assert scene.structures[0].name == "core"
np.savez(sys.argv[2], plane=plane.values, frequency=frequency, values=values)
