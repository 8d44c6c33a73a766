"""Modes: `ModeSolver` and `ModeSimulation` through the client, compared with its local solver."""

from __future__ import annotations

import pathlib
import time

import numpy as np
import pytest
import tidy3d as td
import tidy3d.web as web
from exact import OFFSETS, SILICON_STRIP, conductor_guides, guides, keep_worst, silicon_strip
from guides import (
    FREQUENCY,
    NEW_CLIENT,
    assert_same_modes,
    batch_of,
    mode_simulation,
    mode_solver,
    of_lossy_metal,
    simulation,
    strip_of_interface,
    subpixel_choices,
    turned,
)

SWEEP = [0.97 * FREQUENCY, FREQUENCY, 1.03 * FREQUENCY]


@pytest.fixture(autouse=True)
def without_display(monkeypatch):
    import matplotlib

    matplotlib.use("Agg")


@pytest.mark.parametrize("lazy", [False, True])
def test_run_equals_the_local_solver(tmp_path, lazy):
    solver = mode_solver()
    theirs = mode_solver().solve()
    ours = web.run(solver, task_name="strip", path=str(tmp_path / "strip.hdf5"), verbose=False, lazy=lazy)
    assert_same_modes(ours, theirs)
    assert solver.data.n_eff.values == pytest.approx(ours.n_eff.values), "the solver shows the remote data"
    if NEW_CLIENT:  # the older one wants an older matplotlib
        solver.plot_field("Ex", "abs", f=FREQUENCY, mode_index=0)
    read = type(theirs).from_file(str(tmp_path / "strip.hdf5"))
    assert read.n_eff.values == pytest.approx(ours.n_eff.values)


@pytest.mark.parametrize(
    "settings",
    [
        dict(colocate=False),
        dict(scene=simulation(symmetry=(-1, 0, 1)), frequencies=SWEEP),
        dict(scene=simulation(symmetry=(-1, 0, 0)), colocate=False),
        dict(direction="-", frequencies=SWEEP),
        dict(plane=td.Box(center=(0, 0.1, 0), size=(td.inf, 0, td.inf))),
        dict(spec=td.ModeSpec(num_modes=2, group_index_step=True), frequencies=SWEEP),
        dict(spec=td.ModeSpec(num_modes=2, bend_radius=5, bend_axis=1)),
        dict(spec=td.ModeSpec(num_modes=1, num_pml=(4, 3))),
        dict(spec=td.ModeSpec(num_modes=2, sort_spec=td.ModeSortSpec(sort_key="mode_area"))),
        turned(),
    ],
    ids=[
        "staggered",
        "quarter",
        "half",
        "backward",
        "whole",
        "group",
        "bend",
        "absorber",
        "sorted",
        "turned",
    ],
)
def test_options_equal_the_local_solver(tmp_path, settings):
    theirs = mode_solver(**settings).solve()
    ours = web.run(
        mode_solver(**settings), task_name="options", path=str(tmp_path / "x.hdf5"), verbose=False
    ).symmetry_expanded_copy
    assert_same_modes(ours, theirs)


def test_a_reduced_simulation_gives_the_same(tmp_path):
    theirs = mode_solver().solve()
    ours = web.run(
        mode_solver(),
        task_name="reduced",
        path=str(tmp_path / "x.hdf5"),
        verbose=False,
        reduce_simulation=True,
    )
    assert_same_modes(ours, theirs)


def test_chosen_components_only(tmp_path):
    ours = web.run(
        mode_solver(fields=("Ex", "Ey", "Ez")),
        task_name="components",
        path=str(tmp_path / "x.hdf5"),
        verbose=False,
    )
    assert sorted(ours.field_components) == ["Ex", "Ey", "Ez"]
    assert np.isfinite(ours.mode_area.values).all()


@pytest.mark.parametrize("lazy", [False, True])
def test_mode_simulation(tmp_path, lazy):
    theirs = mode_simulation().run_local()
    ours = web.run(
        mode_simulation(), task_name="plane", path=str(tmp_path / "plane.hdf5"), verbose=False, lazy=lazy
    )
    assert_same_modes(ours.modes, theirs.modes)
    assert ours.simulation == mode_simulation()
    if NEW_CLIENT:
        ours.plot_field("Ex", val="abs", f=FREQUENCY, mode_index=0)


@pytest.mark.parametrize(("steps", "bar"), [(20, 2e-3), (40, 5e-4)])
def test_the_silicon_strip_has_its_converged_indices(tmp_path, steps, bar):
    """With what the client does by default; without averaging TE0 is at 2.423 and 2.448."""
    ours = web.run(silicon_strip(steps), task_name="silicon", path=str(tmp_path / "x.hdf5"), verbose=False)
    np.testing.assert_allclose(ours.n_eff.values[0], list(SILICON_STRIP.values()), rtol=0, atol=bar)


class TestGuidesWithKnownModes:
    """The largest errors over places on the grid, with cells averaged, conforming to walls that conduct, and without."""

    STEPS = (10, 20, 40)
    GUIDES = (*guides(), *conductor_guides())

    @pytest.fixture(scope="class")
    def errors(self, tmp_path_factory):
        kinds = [(steps, True) for steps in self.STEPS] + [(20, False)]
        cases = {
            f"{guide.name} {steps} {averaged} {offset}": (guide, steps, averaged, offset)
            for guide in self.GUIDES
            for steps, averaged in kinds
            for offset in OFFSETS[:2]
        }
        solvers = {
            name: guide.solver(steps, offset, averaged)
            for name, (guide, steps, averaged, offset) in cases.items()
        }
        results = web.Batch(simulations=solvers, verbose=False).run(
            path_dir=str(tmp_path_factory.mktemp("guides"))
        )
        found = {}
        for name, (guide, steps, averaged, _) in cases.items():
            worst = found.setdefault((guide.name, steps, averaged), {})
            keep_worst(worst, guide.errors(results[name].n_eff.values[0]))
        return found

    @pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
    def test_averaging_halves_the_error_at_least(self, errors, guide):
        for mode, averaged in errors[guide.name, 20, True].items():
            assert averaged <= 0.5 * errors[guide.name, 20, False][mode] or mode == "TEM", mode

    @pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
    def test_errors_fall_with_the_square_of_the_step(self, errors, guide):
        for mode, fine in errors[guide.name, 40, True].items():
            # The largest of a few places scatters by itself.
            assert fine <= 2 * (10 / 40) ** 2 * errors[guide.name, 10, True][mode] or mode == "TEM", mode

    def test_transverse_waves_are_exact_on_every_grid(self, errors):
        for steps in self.STEPS:
            assert errors["coaxial line", steps, True]["TEM"] < 1e-8


class TestSubpixelChoices:
    """Every method of averaging that this client's `SubpixelSpec` allows, at the interfaces that it is for."""

    CHOICES = subpixel_choices()

    @pytest.fixture(scope="class")
    def indices(self, tmp_path_factory):
        solvers = {
            f"{interface} {method}": strip_of_interface(interface, spec)
            for (interface, method), spec in self.CHOICES.items()
            if method != "SurfaceImpedance"
        }
        staircased = td.SubpixelSpec.staircasing()
        solvers |= {
            f"{interface} staircased": strip_of_interface(interface, staircased)
            for interface, _ in self.CHOICES
        }
        batch = web.Batch(simulations=solvers, verbose=False)
        results = batch.run(path_dir=str(tmp_path_factory.mktemp("choices")))
        return {name: results[name].n_complex.values[0, 0] for name in solvers}

    def test_the_client_offers_what_is_expected(self):
        interfaces = {interface for interface, _ in self.CHOICES}
        assert interfaces == {"dielectric", "metal", "pec", "pmc", "lossy_metal"}
        assert all((interface, "Staircasing") in self.CHOICES for interface in interfaces)
        assert len(self.CHOICES) >= 13, "more methods than when this was written"

    @pytest.mark.parametrize(("interface", "method"), [it for it in CHOICES if it[1] != "SurfaceImpedance"])
    def test_every_method_does_something_of_its_own(self, indices, interface, method):
        ours = indices[f"{interface} {method}"]
        assert np.isfinite(ours)
        for (other_interface, other), _ in self.CHOICES.items():
            if other_interface == interface and other not in (method, "SurfaceImpedance"):
                # The two of dielectrics agree where the faces lie along the grid, but for corners.
                assert abs(ours - indices[f"{interface} {other}"]) > 1e-7, other

    @pytest.mark.parametrize("interface", ["dielectric", "metal", "pec", "lossy_metal"])
    def test_staircasing_everywhere_is_the_local_solver(self, indices, interface):
        theirs = strip_of_interface(interface, False).solve().n_complex.values[0, 0]
        assert indices[f"{interface} staircased"] == pytest.approx(theirs, rel=1e-6)

    def test_surface_impedance_is_refused_by_name(self, tmp_path):
        spec = self.CHOICES["lossy_metal", "SurfaceImpedance"]
        with pytest.raises(Exception, match=r"SurfaceImpedance.*is not supported"):
            web.run(
                strip_of_interface("lossy_metal", spec),
                task_name="impedance",
                path=str(tmp_path / "x.hdf5"),
                verbose=False,
            )


@pytest.mark.parametrize("lazy", [False, True])
def test_batch_of_fifty(tmp_path, lazy):
    solvers = batch_of(50)
    batch = web.Batch(simulations=solvers, verbose=False, lazy=lazy)
    results = batch.run(path_dir=str(tmp_path))
    indices = [float(results[name].n_eff.values[0, 0]) for name in solvers]
    assert indices[-1] > indices[0] + 0.1, "wider strips have larger indices"
    for name in ("strip 0", "strip 49"):
        assert_same_modes(results[name], solvers[name].copy().solve())


def test_unsupported_options_are_refused_by_name(tmp_path):
    with pytest.raises(Exception, match=r"SurfaceImpedance.*is not supported"):
        web.run(of_lossy_metal(), task_name="metal", path=str(tmp_path / "x.hdf5"), verbose=False)


def test_more_modes_than_there_are(tmp_path):
    many = mode_solver(modes=400, plane=td.Box(size=(0.6, 0, 0.3)))
    with pytest.raises(Exception, match="num_modes"):
        web.run(many, task_name="many", path=str(tmp_path / "x.hdf5"), verbose=False)


class TestOlderInterface:
    """`tidy3d.plugins.mode.web`, which the client has deprecated and kept."""

    def test_run(self, tmp_path):
        from tidy3d.plugins.mode.web import run

        theirs = mode_solver().solve()
        solver = mode_solver()
        ours = run(solver, task_name="older", results_file=str(tmp_path / "older.hdf5"), verbose=False)
        assert_same_modes(ours, theirs)

    def test_the_task_can_be_looked_at_and_deleted(self, tmp_path):
        from tidy3d.web.api.mode import ModeSolverTask

        solver = mode_solver()
        task = ModeSolverTask.create(solver, "looked at", "mode_solver", "modes")
        task.upload(verbose=False)
        task.submit()
        while task.get_info().status not in ("success", "error"):
            time.sleep(0.1)
        assert task.get_info().status == "success"
        again = ModeSolverTask.get(
            task.task_id,
            task.solver_id,
            to_file=str(tmp_path / "solver.hdf5"),
            sim_file=str(tmp_path / "simulation.hdf5"),
            verbose=False,
        )
        assert again.mode_solver == solver
        log = task.get_log(to_file=str(tmp_path / "log"), verbose=False)
        assert "effective index" in pathlib.Path(log).read_text()
        task.delete()
        with pytest.raises(Exception, match=r"404|not found"):
            task.get_info()

    def test_refusals_are_told(self, tmp_path):
        from tidy3d.plugins.mode.web import run

        with pytest.raises(Exception, match=r"SurfaceImpedance.*is not supported"):
            run(of_lossy_metal(), results_file=str(tmp_path / "x.hdf5"), verbose=False)
