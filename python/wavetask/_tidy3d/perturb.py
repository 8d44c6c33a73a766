"""`perturbed_mediums_copy` for fields that are not there yet: tidy3d's result on stand-ins, and expressions for its arrays.

tidy3d itself is asked what becomes of a simulation, with an array of the reference's coordinates in the place of the
field: the classes, the names, which part of the field each structure gets. Only the numbers are of the stand-in. For those
that depend on the field, the perturbation models say how; here they say it in expressions. What no model depends on keeps
the value that tidy3d gave it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tidy3d as td
from tidy3d.components.medium import AbstractPerturbationMedium
from tidy3d.constants import EPSILON_0

from wavetask import errors
from wavetask._reference.arguments import array as labelled
from wavetask._reference.arguments import refuse
from wavetask._reference.node import Leaf, Node
from wavetask._reference.reference import Reference

from .template import filled

__all__ = ["perturb", "with_models"]

_STAND_INS = {"temperature": 300.0, "electron_density": 0.0, "hole_density": 0.0}
_REFERENCES = {
    "temperature": "temperature_ref",
    "electron_density": "electron_ref",
    "hole_density": "hole_ref",
}
_FACTORS = (1.0, 1.1, 0.9, 2.0, 10.0, 0.0)
_SPACE = ("x", "y", "z")

Fields = Mapping[str, Reference | None]
Delta = Reference | None
"""What is added to a parameter; ``None`` if no field has a part in it."""


def perturb(simulation: Any, fields: Fields, interp_method: str) -> tuple[Any, dict[str, Reference]]:
    """The simulation with perturbed media of stand-in values, and an expression for each array, by its path, that
    depends on the fields.

    Raises `errors.Usage` for what cannot be perturbed, and fields whose coordinates are not known or do not fit.
    """
    given = {name: _on_space(name, field) for name, field in fields.items() if field is not None}
    if not given:
        raise refuse(f"there is no field to perturb with: one of {', '.join(_STAND_INS)}")
    if not hasattr(simulation, "perturbed_mediums_copy"):
        inner = getattr(simulation, "simulation", None)
        if not hasattr(inner, "perturbed_mediums_copy"):
            raise refuse(
                f"`{type(simulation).__name__}` has no media that can be perturbed",
                "pass a Simulation, or a ModeSolver of one",
            )
        perturbed, slots = perturb(inner, given, interp_method)
        return simulation.updated_copy(simulation=perturbed), {
            f"simulation/{path}": slot for path, slot in slots.items()
        }
    stand_ins, perturbed = _stood_in(simulation, given, interp_method)
    slots = {}
    for path, before, after in _media(simulation, perturbed):
        # Outside of the simulation tidy3d leaves a medium as it is.
        if not isinstance(before, AbstractPerturbationMedium) or isinstance(
            after, AbstractPerturbationMedium
        ):
            continue
        there = after.permittivity if isinstance(after, td.CustomMedium) else after.eps_inf
        parts = {name: _part(field, stand_ins[name], there) for name, field in given.items()}
        for place, value in _Model(before, parts).slots():
            slots[f"{path}/{place}"] = value
    if not slots:
        raise refuse(
            "nothing of the simulation depends on what is given",
            "perturbed are media with perturbation models, in structures that lie within the simulation; not the "
            "optical part of a MultiPhysicsMedium",
        )
    return perturbed, slots


def with_models(simulation: Any, slots: dict[str, Reference]) -> tuple[Any, dict[str, Reference]]:
    """The simulation with the arrays in place that belong to its perturbation models, and the references for the others:
    what a model says can be put into expressions only when it is known.

    Fetches arrays of other simulations. Raises `errors.Usage` for models that are computed of results.
    """
    inner, prefix = simulation, ""
    if not hasattr(simulation, "perturbed_mediums_copy") and hasattr(simulation, "simulation"):
        inner, prefix = simulation.simulation, "simulation/"
    if not slots or not hasattr(inner, "perturbed_mediums_copy"):
        return simulation, slots
    places = [
        f"{prefix}{path}/"
        for path, medium, _ in _media(inner, inner)
        if isinstance(medium, AbstractPerturbationMedium)
    ]
    models = {path: slot for path, slot in slots.items() if path.startswith(tuple(places))}
    for path, slot in models.items():
        if not (isinstance(slot._expression, Leaf) and slot._expression.simulation):
            raise refuse(
                f"the perturbation model at `{path}` is computed of results that may not be there yet",
                "put what reference.load() gives there, with tidy3d's own updated_copy",
            )
    if models:
        simulation = filled(simulation, {path: slot.load() for path, slot in models.items()})
    return simulation, {path: slot for path, slot in slots.items() if path not in models}


def _on_space(name: str, field: Any) -> Reference:
    if not isinstance(field, Reference):
        made = labelled(field)
        if made is None:
            raise refuse(
                f"`{name}` is a {type(field).__name__}, not a reference",
                "simulation.perturbed_mediums_copy takes arrays",
            )
        field = Reference(*made)
    if field._mesh:
        raise refuse(
            f"`{name}` is at the points of an unstructured mesh, which are not known yet",
            "interpolate it to a grid with .interp(x=…, y=…, z=…)",
        )
    if sorted(field.dims) != sorted(_SPACE):
        raise refuse(
            f"`{name}` has the dimensions {list(field.dims)}; it needs x, y and z",
            "interpolate at a list, as in y=[0], to keep a dimension of one place",
        )
    return field if field.dims == _SPACE else field.transpose(*_SPACE)


def _stood_in(
    simulation: Any, given: Mapping[str, Reference], interp_method: str
) -> tuple[dict[str, Any], Any]:
    """Arrays in the place of fields, and the simulation perturbed by them: with values that tidy3d's validation does
    not mind, which are those at which the models say that nothing changes, or not far from there."""
    values = {name: _harmless(simulation, name) for name in given}
    refused: ValueError | None = None
    for factor in _FACTORS:
        stand_ins = {name: _stand_in(field, factor * values[name]) for name, field in given.items()}
        try:
            return stand_ins, simulation.perturbed_mediums_copy(**stand_ins, interp_method=interp_method)
        except ValueError as error:
            refused = refused or error
    raise refused or refuse("there is nothing to perturb")


def _stand_in(field: Reference, value: float) -> Any:
    coordinates = {dim: field.coords[dim].values for dim in _SPACE}
    shape = [len(coordinates[dim]) for dim in _SPACE]
    return td.SpatialDataArray(np.full(shape, value), coords=coordinates)


def _harmless(simulation: Any, name: str) -> float:
    """The largest value of a field at which a model says that nothing changes."""
    media = {id(medium): medium for _, medium, _ in _media(simulation, simulation)}
    values = [
        float(getattr(model, _REFERENCES[name]))
        for medium in media.values()
        for model in _models(medium)
        if hasattr(model, _REFERENCES[name])
    ]
    return max(values, default=_STAND_INS[name])


def _models(value: Any) -> Iterator[Any]:
    """The elementary perturbation models within a medium."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _models(each)
    elif isinstance(value, td.ParameterPerturbation):
        yield from value.perturbation_list
    elif isinstance(value, (AbstractPerturbationMedium, td.PermittivityPerturbation, td.IndexPerturbation)):
        for each in value.__dict__.values():
            yield from _models(each)


def _media(before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """The places of media, and what is there before and after."""
    yield "medium", before.medium, after.medium
    # A scene is perturbed in the order in which its structures lie over one another, and keeps that.
    sorted_ = before.sorted_structures if isinstance(before, td.Scene) else before.structures
    for index, (old, new) in enumerate(zip(sorted_, after.structures, strict=True)):
        yield f"structures/{index}/medium", old.medium, new.medium


def _part(field: Reference, whole: Any, part: Any) -> Reference:
    """What lies at the coordinates of ``part``, which are some of those of ``whole``."""
    taken = {}
    for dim in _SPACE:
        labels = whole.coords[dim].values
        order = np.argsort(labels, kind="stable")
        places = order[np.searchsorted(labels, part.coords[dim].values, sorter=order)]
        if np.array_equal(places, np.arange(len(labels))):
            continue
        contiguous = np.array_equal(places, np.arange(places[0], places[0] + len(places)))
        taken[dim] = slice(int(places[0]), int(places[0]) + len(places)) if contiguous else places
    return field.isel(taken) if taken else field


class _Model:
    """What the perturbation models of a medium say, of parts of fields."""

    def __init__(self, medium: Any, parts: Mapping[str, Reference]) -> None:
        self.medium = medium
        self.temperature = parts.get("temperature")
        self.electrons = parts.get("electron_density")
        self.holes = parts.get("hole_density")

    def slots(self) -> Iterator[tuple[str, Reference]]:
        """The arrays of the perturbed medium that depend on fields, by their paths within it."""
        if isinstance(self.medium, td.PerturbationMedium):
            pairs = self._medium()
        elif isinstance(self.medium, td.PerturbationPoleResidue):
            pairs = self._pole_residue()
        else:
            raise errors.Usage(
                f"media of the class `{type(self.medium).__name__}` are not perturbed here",
                code="reference.medium",
                hint="PerturbationMedium and PerturbationPoleResidue are",
            )
        for path, base, delta in pairs:
            if delta is not None:
                yield path, delta if base is None else base + delta

    def _medium(self) -> Iterator[tuple[str, float | complex | None, Delta]]:
        medium = self.medium
        if medium.perturbation_spec is not None:
            permittivity, conductivity = self._spec()
        else:
            permittivity = self._parameter(medium.permittivity_perturbation)
            conductivity = self._parameter(medium.conductivity_perturbation)
        yield "permittivity", medium.permittivity, permittivity
        yield "conductivity", medium.conductivity, conductivity

    def _pole_residue(self) -> Iterator[tuple[str, float | complex | None, Delta]]:
        medium = self.medium
        if medium.perturbation_spec is not None:
            permittivity, conductivity = self._spec()
            yield "eps_inf", medium.eps_inf, permittivity
            if conductivity is not None:
                # A conductivity is a pole at zero.
                yield f"poles/{len(medium.poles)}/1", None, conductivity * 0.5 / EPSILON_0
            return
        yield "eps_inf", medium.eps_inf, self._parameter(medium.eps_inf_perturbation)
        models = medium.poles_perturbation or ()
        for index, (poles, pair) in enumerate(zip(medium.poles, models, strict=False)):
            for place, (base, model) in enumerate(zip(poles, pair, strict=True)):
                yield f"poles/{index}/{place}", complex(base), self._parameter(model)

    def _spec(self) -> tuple[Delta, Delta]:
        """What is added to permittivity and conductivity."""
        spec = self.medium.perturbation_spec
        if isinstance(spec, td.PermittivityPerturbation):
            return self._parameter(spec.delta_eps), self._parameter(spec.delta_sigma)
        # (n + dn + i (k + dk))² - (n + i k)², and the conductivity is ω ε₀ Im ε.
        n, k = (float(value) for value in self.medium.nk_model(frequency=spec.freq))
        dn, dk = self._parameter(spec.delta_n), self._parameter(spec.delta_k)
        rate = 4 * np.pi * spec.freq * EPSILON_0
        permittivity = _sum(_of(dn, lambda dn: 2 * n * dn + dn**2), _of(dk, lambda dk: -2 * k * dk - dk**2))
        conductivity = _sum(
            _of(dn if k != 0 else None, lambda dn: rate * k * dn), _of(dk, lambda dk: rate * n * dk)
        )
        if dn is not None and dk is not None:
            conductivity = _sum(conductivity, rate * dk * dn)
        return permittivity, conductivity

    def _parameter(self, model: Any) -> Delta:
        """What a parameter's model adds to it."""
        if model is None:
            return None
        return _sum(self._heat(model.heat), self._charge(model.charge))

    def _heat(self, model: Any) -> Delta:
        temperature = self.temperature
        if model is None or temperature is None:
            return None
        if isinstance(model, td.LinearHeatPerturbation):
            return model.coeff * (temperature - model.temperature_ref)
        return _table(model, {"T": temperature})

    def _charge(self, model: Any) -> Delta:
        electrons: Any = self.electrons
        holes: Any = self.holes
        if model is None or (electrons is None and holes is None):
            return None
        # A density that is not given is zero.
        electrons = 0.0 if electrons is None else electrons
        holes = 0.0 if holes is None else holes
        if isinstance(model, td.LinearChargePerturbation):
            return model.electron_coeff * (electrons - model.electron_ref) + model.hole_coeff * (
                holes - model.hole_ref
            )
        return _table(model, {"n": electrons, "p": holes})


def _table(model: Any, at: Mapping[str, Any]) -> Reference:
    """What a table of values says at fields; beyond its ends what it has there."""
    table, _ = labelled(model.perturbation_values) or (None, ())
    places = [
        [name, each._expression if isinstance(each, Reference) else Node("number", value=each)]
        for name, each in at.items()
    ]
    return Reference(Node("lookup", table=table, at=places, method=model.interp_method), _SPACE)


def _of(delta: Delta, function: Callable[[Reference], Any]) -> Delta:
    return None if delta is None else function(delta)


def _sum(one: Delta, other: Delta) -> Delta:
    if one is None or other is None:
        return one if other is None else other
    return one + other  # type: ignore[no-any-return]
