"""Writes inputs and outputs of the client's own mode solver, for the Rust test beside this file.

``python plane_cases.py FOLDER SELECTION`` solves every case of the selection (``diagonal``, ``tensorial`` or ``timing``)
and writes ``cases.json`` and ``arrays.bin`` (complex doubles, little endian) to the folder. The arguments of
``compute_modes`` are recorded as the client passes them; where a case comes from a whole simulation, the client
computes the permittivity.
"""

# Functions made in loops are called at once.
# ruff: noqa: B023
from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import tidy3d as td
from tidy3d.components.mode import mode_solver as client
from tidy3d.components.mode import solver as client_solver
from tidy3d.plugins.mode import ModeSolver

if td.__version__ < "2.12":
    td.config.logging_level = "ERROR"
else:
    td.config.logging.level = "ERROR"

C = td.C_0
FREQUENCY = C / 1.55
SILICON = td.Medium(permittivity=3.48**2)
OXIDE = td.Medium(permittivity=1.444**2)
NITRIDE = td.Medium(permittivity=2.0**2)
LOSSY = td.Medium.from_nk(n=3.48, k=0.02, freq=FREQUENCY)
GOLD = td.medium_from_nk(n=0.55, k=11.5, freq=FREQUENCY)
NIOBATE = td.AnisotropicMedium(
    xx=td.Medium(permittivity=2.211**2),
    yy=td.Medium(permittivity=2.138**2),
    zz=td.Medium(permittivity=2.211**2),
)


class Recorder:
    """Writes arrays one after the other and remembers where."""

    def __init__(self, folder: Path) -> None:
        self.file = (folder / "arrays.bin").open("wb")
        self.offset = 0
        self.cases: list[dict] = []
        self.name = ""

    def array(self, values) -> list[int]:
        values = np.ascontiguousarray(np.asarray(values, dtype=np.complex128))
        self.file.write(values.tobytes())
        start = self.offset
        self.offset += values.size
        return [start, values.size]

    def tensor(self, values):
        if values is None:
            return None
        return [
            self.array(np.squeeze(np.asarray(element)).reshape(np.asarray(element).shape[:2]))
            for element in values
        ]

    def solve(self, original, **arguments):
        spec = arguments["mode_spec"]
        started = time.process_time()
        fields, index, character = original(**arguments)
        seconds = time.process_time() - started
        center = arguments.get("plane_center")
        self.cases.append(
            {
                "name": self.name,
                "boundaries": [list(map(float, line)) for line in arguments["coords"]],
                "permittivity": self.tensor(arguments["eps_cross"]),
                "permeability": self.tensor(arguments.get("mu_cross")),
                "frequency": float(arguments["freq"]),
                "num_modes": spec.num_modes,
                "target": spec.target_neff,
                "num_pml": list(spec.num_pml),
                "symmetry": [int(value) for value in arguments.get("symmetry", (0, 0))],
                "bend_radius": spec.bend_radius,
                "bend_axis": spec.bend_axis,
                "center": None if center is None else [float(value) for value in center],
                "angle_theta": float(spec.angle_theta),
                "angle_phi": float(spec.angle_phi),
                "precision": arguments["precision"],
                "direction": arguments.get("direction", "+"),
                "index": self.array(index),
                "fields": self.array(fields),
                "character": character,
                "seconds": seconds,
            }
        )
        return fields, index, character

    def close(self, folder: Path) -> None:
        self.file.close()
        (folder / "cases.json").write_text(json.dumps(self.cases))


class Solved(Exception):
    """Ends the client's work once the plane is recorded."""


def waveguide(structures, background=OXIDE, *, size=(3.0, 3.0), step=0.05, symmetry=(0, 0), grid=None):
    """A simulation of structures that are uniform along y, with the plane's axes x and z."""
    return td.Simulation(
        size=(size[0], 1.0, size[1]),
        medium=background,
        structures=structures,
        grid_spec=td.GridSpec.uniform(dl=step) if grid is None else grid,
        symmetry=(symmetry[0], 0, symmetry[1]),
        run_time=1e-12,
        boundary_spec=td.BoundarySpec.all_sides(td.Periodic()),
    )


def box(width, height, medium, center=(0.0, 0.0)):
    return td.Structure(
        geometry=td.Box(center=(center[0], 0, center[1]), size=(width, td.inf, height)), medium=medium
    )


def mode_cases(
    recorder: Recorder, simulation, name, spec, *, direction="+", freq=FREQUENCY, size=None, center=None
):
    """Runs the client's mode solver on a plane and records the call into the eigensolver."""
    recorder.name = name
    extent = simulation.size if size is None else size
    plane = td.Box(center=center or (0, 0, 0), size=(extent[0], 0, extent[2]))
    solver = ModeSolver(simulation=simulation, plane=plane, mode_spec=spec, freqs=[freq], direction=direction)
    with contextlib.suppress(Solved):
        _ = solver.data_raw


def spec(**values):
    values.setdefault("num_modes", 2)
    values.setdefault("precision", "double")
    return td.ModeSpec(**values)


def strip(medium=SILICON):
    return [box(0.5, 0.22, medium)]


def rib():
    return [box(td.inf, 0.1, SILICON, (0, -0.05)), box(0.6, 0.12, SILICON, (0, 0.06))]


def diagonal(recorder: Recorder) -> None:
    def run(*args, **kwargs):
        return mode_cases(recorder, *args, **kwargs)

    for precision in ("double", "single"):
        run(waveguide(strip()), f"strip {precision}", spec(num_modes=3, precision=precision))
    run(waveguide(strip()), "strip backward", spec(), direction="-")
    run(waveguide(strip(), step=0.03), "strip fine", spec(num_modes=4))
    run(waveguide(strip(), td.Medium()), "strip in air", spec(num_modes=2))
    run(waveguide(strip(), size=(4.0, 2.5)), "strip many modes", spec(num_modes=8))
    run(waveguide(strip()), "strip with target", spec(num_modes=2, target_neff=2.0))
    run(waveguide(strip()), "strip short wave", spec(num_modes=4), freq=C / 1.31)
    run(waveguide(strip()), "strip long wave", spec(num_modes=3), freq=C / 4.0)
    run(waveguide(rib()), "rib", spec(num_modes=3))
    run(waveguide(rib(), size=(5.0, 2.0)), "rib wide", spec(num_modes=4))
    slot = [box(0.22, 0.22, SILICON, (-0.16, 0)), box(0.22, 0.22, SILICON, (0.16, 0))]
    run(waveguide(slot, step=0.04), "slot", spec(num_modes=3))
    run(waveguide([box(1.2, 0.8, NITRIDE)], size=(4, 3.5)), "nitride", spec(num_modes=4))
    run(waveguide([box(0.8, 0.8, NITRIDE)], size=(3, 3)), "nitride square", spec(num_modes=2))
    run(waveguide([box(0.8, 0.8, NITRIDE)], size=(3, 3)), "nitride square, four", spec(num_modes=4))
    fibre = td.Structure(geometry=td.Cylinder(radius=1.0, length=td.inf, axis=1), medium=NITRIDE)
    run(waveguide([fibre], size=(5, 5), step=0.1), "rod", spec(num_modes=4))
    pair = [box(0.45, 0.22, SILICON, (-0.4, 0)), box(0.45, 0.22, SILICON, (0.4, 0))]
    run(waveguide(pair), "coupler", spec(num_modes=4))
    far = [box(0.45, 0.22, SILICON, (-1.2, 0)), box(0.45, 0.22, SILICON, (1.2, 0))]
    run(waveguide(far, size=(4.2, 2.2)), "nearly degenerate coupler", spec(num_modes=2))
    for symmetry in ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, 1), (1, -1), (1, 1), (-1, -1)):
        run(waveguide(strip(), symmetry=symmetry), f"strip symmetry {symmetry}", spec(num_modes=2))
    run(waveguide(strip(), symmetry=(1, 0)), "symmetry and absorber", spec(num_modes=2, num_pml=(8, 8)))
    run(waveguide(strip(NIOBATE), size=(4, 4)), "anisotropic strip", spec(num_modes=2))
    run(waveguide([box(1.5, 0.6, NIOBATE)], size=(4, 3)), "anisotropic film", spec(num_modes=4))
    for axis in (0, 1):
        for radius in (5.0, -5.0, 2.0):
            name = f"bend {radius} about {axis}"
            run(waveguide(strip()), name, spec(num_modes=2, bend_radius=radius, bend_axis=axis))
    run(
        waveguide(strip()),
        "bend with absorber",
        spec(num_modes=1, bend_radius=2.0, bend_axis=1, num_pml=(12, 12)),
    )
    run(
        waveguide([box(1.2, 0.8, NITRIDE)], size=(5, 3.5)),
        "leaky nitride bend",
        spec(num_modes=1, bend_radius=6.0, bend_axis=1, num_pml=(12, 0)),
    )
    for layers in ((10, 0), (0, 10), (12, 12)):
        run(waveguide(strip()), f"absorber {layers}", spec(num_modes=2, num_pml=layers))
    run(waveguide(rib(), size=(4, 2.4)), "rib absorber", spec(num_modes=2, num_pml=(10, 10)))
    run(waveguide(strip(LOSSY)), "lossy strip", spec(num_modes=3))
    run(waveguide(strip(LOSSY)), "lossy strip backward", spec(num_modes=2), direction="-")
    conducting = td.Medium(permittivity=3.48**2, conductivity=0.05)
    run(waveguide(strip(conducting)), "conducting strip", spec(num_modes=2))
    run(
        waveguide(
            [box(td.inf, 1.0, GOLD, (0, -0.5)), box(0.5, 0.2, NITRIDE, (0, 0.1))], td.Medium(), step=0.04
        ),
        "plasmonic ridge",
        spec(num_modes=2, target_neff=1.5),
    )
    run(
        waveguide([box(0.1, 0.1, GOLD)], OXIDE, size=(2.2, 1.8), step=0.04),
        "gold wire",
        spec(num_modes=2, target_neff=2.5),
    )
    metal = [box(td.inf, 0.5, td.PECMedium(), (0, -0.9)), box(0.5, 0.22, SILICON)]
    run(waveguide(metal), "strip above a conductor", spec(num_modes=2))
    hollow = [box(2.2, 1.4, td.PECMedium()), box(1.8, 1.0, td.Medium())]
    run(waveguide(hollow, td.Medium()), "hollow guide", spec(num_modes=2, target_neff=0.8))
    run(waveguide([box(0.22, td.inf, SILICON)], size=(3, 3)), "slab in a plane", spec(num_modes=2))
    # Planes of one cell across.
    for along, structure in (("x", box(0.3, td.inf, SILICON)), ("z", box(td.inf, 0.3, SILICON))):
        size = (3.0, 1.0, 0.0) if along == "x" else (0.0, 1.0, 3.0)
        line = td.Simulation(
            size=size,
            medium=OXIDE,
            structures=[structure],
            grid_spec=td.GridSpec.uniform(dl=0.02),
            run_time=1e-12,
            boundary_spec=td.BoundarySpec.all_sides(td.Periodic()),
        )
        run(line, f"slab along {along}", spec(num_modes=3), size=(3.0, 0, 3.0))
        run(
            line,
            f"slab along {along} with absorber",
            spec(num_modes=2, num_pml=(10, 0) if along == "x" else (0, 10)),
            size=(3.0, 0, 3.0),
        )
        run(
            line,
            f"slab along {along} with absorbers on both axes",
            spec(num_modes=2, num_pml=(10, 10)),
            size=(3.0, 0, 3.0),
        )
    small = dict(size=(1.5, 1.2), step=0.05)
    for layers in ((18, 6), (28, 30), (40, 5)):
        run(
            waveguide(strip(LOSSY), **small),
            f"absorber deeper than half of the plane {layers}",
            spec(num_modes=1, num_pml=layers),
        )
    graded = td.GridSpec.auto(min_steps_per_wvl=14, wavelength=1.55)
    run(waveguide(strip(), grid=graded), "graded grid", spec(num_modes=3))
    run(waveguide(rib(), grid=graded, size=(4, 3)), "graded grid rib", spec(num_modes=3))
    run(waveguide(strip(), grid=graded, symmetry=(-1, 0)), "graded grid symmetry", spec(num_modes=2))
    for sidewall in (0.2, -0.2):
        slanted = td.Structure(
            geometry=td.PolySlab(
                vertices=[(-0.3, -50), (0.3, -50), (0.3, 50), (-0.3, 50)],
                axis=2,
                slab_bounds=(-0.11, 0.11),
                sidewall_angle=sidewall,
            ),
            medium=SILICON,
        )
        run(waveguide([slanted], step=0.04), f"slanted walls {sidewall}", spec(num_modes=2))
    direct(recorder)


def direct(recorder: Recorder) -> None:
    """Planes that no simulation gives: arrays straight into the eigensolver."""
    random = np.random.default_rng(7)
    solve = client.compute_modes
    for name, shape in (("square", (40, 40)), ("oblong", (70, 24)), ("tiny", (6, 5)), ("small", (9, 12))):
        coords = [
            np.concatenate(([0.0], np.cumsum(0.04 * (1 + 0.5 * random.random(count))))) for count in shape
        ]
        centres = [(line[1:] + line[:-1]) / 2 - line.mean() for line in coords]
        profile = 1.0 + 6.0 * np.exp(-((centres[0][:, None] / 0.35) ** 2) - (centres[1][None, :] / 0.3) ** 2)
        zero = np.zeros(shape, complex)
        eps = [profile * factor for factor in (1.0, 1.05, 0.9)]
        lossy = [values * (1 + 0.01j) for values in eps]
        mu = [1 + 0.2 * (profile - 1) / 6 * factor for factor in (1.0, 0.5, 1.5)]

        def full(values):
            return [values[0] + 0j, zero, zero, zero, values[1] + 0j, zero, zero, zero, values[2] + 0j]

        for kind, eps_cross, mu_cross in (
            ("", full(eps), None),
            (" lossy", full(lossy), None),
            (" magnetic", full(eps), full(mu)),
        ):
            recorder.name = f"graded permittivity {name}{kind}"
            with contextlib.suppress(Solved):
                solve(
                    eps_cross=eps_cross,
                    coords=coords,
                    freq=FREQUENCY,
                    mode_spec=spec(num_modes=2),
                    precision="double",
                    mu_cross=mu_cross,
                    symmetry=(0, 0),
                    direction="+",
                )


def tensorial(recorder: Recorder) -> None:
    def run(*args, **kwargs):
        return mode_cases(recorder, *args, **kwargs)

    coarse = dict(size=(2.4, 2.0), step=0.06)
    for angles in ((0.2, 0.0), (-0.3, 0.0), (0.2, np.pi / 2), (0.3, 0.5)):
        run(
            waveguide(strip(), **coarse),
            f"angle {angles}",
            spec(num_modes=2, angle_theta=angles[0], angle_phi=angles[1]),
        )
    run(waveguide(strip(), **coarse), "angle backward", spec(num_modes=2, angle_theta=0.25), direction="-")
    run(waveguide(strip(LOSSY), **coarse), "angle lossy", spec(num_modes=2, angle_theta=0.25))
    run(
        waveguide(strip(LOSSY), **coarse),
        "angle lossy backward",
        spec(num_modes=2, angle_theta=0.25),
        direction="-",
    )
    run(
        waveguide(strip(), **coarse), "angle and absorber", spec(num_modes=1, angle_theta=0.2, num_pml=(6, 6))
    )
    run(
        waveguide(strip(), **coarse),
        "angle and bend",
        spec(num_modes=1, angle_theta=0.2, bend_radius=8.0, bend_axis=1),
    )
    for angle in (0.3, 0.8):
        c, s = np.cos(angle), np.sin(angle)
        for name, rotation in (
            ("xy", np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])),
            ("xz", np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])),
            ("yz", np.array([[1, 0, 0], [0, c, -s], [0, s, c]])),
        ):
            values = rotation @ np.diag([2.211**2, 2.138**2, 2.211**2 + 0.3]) @ rotation.T
            crystal = td.FullyAnisotropicMedium(permittivity=values)
            run(
                waveguide([box(1.0, 0.6, crystal)], **coarse),
                f"rotated crystal {name} {angle}",
                spec(num_modes=2),
            )
    recorder_direct(recorder)


def recorder_direct(recorder: Recorder) -> None:
    shape = (28, 24)
    coords = [np.arange(count + 1) * 0.06 for count in shape]
    centres = [(line[1:] + line[:-1]) / 2 - line.mean() for line in coords]
    inside = (np.abs(centres[0][:, None]) < 0.4) & (np.abs(centres[1][None, :]) < 0.3)

    def tensor(core):
        return [
            np.where(inside, core[i, j], 2.0851 if i == j else 0.0).astype(complex)
            for i in range(3)
            for j in range(3)
        ]

    gyrotropic = np.array([[5.0, 0.1j, 0], [-0.1j, 5.0, 0], [0, 0, 5.0]])
    faraday = np.array([[5.0, 0, 0.1j], [0, 5.0, 0], [-0.1j, 0, 5.0]])
    lossy = np.array([[5.0, 0.2, 0.1], [0.2, 4.8, 0.3], [0.1, 0.3, 5.2]]) * (1 + 0.01j)
    symmetric = np.array([[5.0, 0.2, 0.1], [0.2, 4.8, 0.3], [0.1, 0.3, 5.2]])
    magnetic = [
        np.where(inside, m, 1.0 if i == j else 0.0).astype(complex)
        for i, row in enumerate([[1.1, 0.05, 0], [0.05, 1.0, 0], [0, 0, 1.2]])
        for j, m in enumerate(row)
    ]
    for name, core, mu in (
        ("gyrotropic", gyrotropic, None),
        ("faraday", faraday, None),
        ("lossy", lossy, None),
        ("symmetric", symmetric, None),
        ("magnetic", symmetric, magnetic),
    ):
        for direction in ("+", "-"):
            for symmetry in ((0, 0), (1, 0)) if name == "symmetric" else ((0, 0),):
                recorder.name = f"tensor {name} {direction} {symmetry}"
                with contextlib.suppress(Solved):
                    client.compute_modes(
                        eps_cross=tensor(core),
                        coords=coords,
                        freq=FREQUENCY,
                        mode_spec=spec(num_modes=2),
                        precision="double",
                        mu_cross=mu,
                        symmetry=symmetry,
                        direction=direction,
                    )


def timing(recorder: Recorder) -> None:
    simulation = waveguide(strip(), size=(3.0, 2.2), step=0.02)
    for precision in ("double", "single"):
        mode_cases(recorder, simulation, f"timing {precision}", spec(num_modes=4, precision=precision))
    simulation = waveguide(strip(LOSSY), size=(3.0, 2.2), step=0.02)
    mode_cases(recorder, simulation, "timing complex", spec(num_modes=4))


def main() -> None:
    folder, selection = Path(sys.argv[1]), sys.argv[2]
    recorder = Recorder(folder)
    original = client.compute_modes

    def record(*args, **kwargs):
        assert not args, "the client passes everything by name"
        kwargs.pop("solver_basis_fields", None)
        if kwargs.get("split_curl_scaling") is not None:
            raise AssertionError("split curl scaling is not recorded")
        recorder.solve(original, **kwargs)
        raise Solved

    client.compute_modes = record
    client_solver.compute_modes = record
    {"diagonal": diagonal, "tensorial": tensorial, "timing": timing}[selection](recorder)
    recorder.close(folder)
    print(len(recorder.cases), "cases")


main()
