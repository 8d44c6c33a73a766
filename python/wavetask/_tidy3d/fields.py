"""Which fields a result has and which dimensions they have, from tidy3d's classes: before the result exists.

A monitor's class says which class its data will have (the one whose field `monitor` is of that class), and that class
which arrays it has, and these which dimensions. Nothing here is a list of monitors: what a later client adds is found
the same way.
"""

from __future__ import annotations

import functools
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from tidy3d.components.base_sim.data.monitor_data import AbstractMonitorData
from tidy3d.components.data.unstructured.base import UnstructuredGridDataset

from wavetask._reference.kinds import Data, Field

from . import model

__all__ = ["class_named", "of_document", "of_simulation", "outline"]

_DERIVED = {
    "n_eff": ("n_complex", "real"),
    "k_eff": ("n_complex", "imaginary"),
    "n_group": ("n_group_raw", None),
}
"""Properties of tidy3d's classes that are a field's array or a part of it."""

_REAL = frozenset(
    ("FluxDataArray", "FluxTimeDataArray", "GroupIndexDataArray", "HeatDataArray", "IndexedDataArray",
     "IndexedTimeDataArray", "ModeDispersionDataArray", "ScalarFieldTimeDataArray", "SpatialDataArray")
)  # fmt: skip
_COMPLEX = frozenset(
    ("DiffractionDataArray", "FieldProjectionAngleDataArray", "FieldProjectionCartesianDataArray",
     "FieldProjectionKSpaceDataArray", "ModeAmpsDataArray", "ModeIndexDataArray", "ScalarFieldDataArray",
     "ScalarModeFieldCylindricalDataArray", "ScalarModeFieldDataArray")
)  # fmt: skip
"""Classes that do not say themselves whether their values are complex."""

_FLUX = "flux"

_WITH_FLUX = frozenset(("FieldData", "FieldTimeData", "ModeData", "ModeSolverData"))
"""Classes of data whose flux is computed of their fields."""

_MADE_WHOLE = frozenset(
    ("AuxFieldTimeData", "FieldData", "FieldTimeData", "MediumData", "ModeData", "ModeSolverData", "PermittivityData",
     "SteadyChargeResidualData", "SteadyCurrentDensityData", "SteadyElectricFieldData", "SteadyEnergyBandData",
     "SteadyFreeCarrierData", "SteadyPotentialData", "TemperatureData", "VolumeMeshData")
)  # fmt: skip
"""Classes of data of symmetric simulations whose whole the server knows."""


def outline(simulation: Any) -> Any:
    """What `of_simulation` needs of a simulation: small, and without its arrays."""
    return _Outline(
        _kind(simulation),
        tuple(getattr(simulation, "monitors", ())),
        tuple(getattr(simulation, "freqs", ())),
        getattr(simulation, "mode_spec", None),
        any(getattr(simulation, "symmetry", ())),
        _tangential(
            getattr(getattr(simulation, "plane", None), "size", ()), getattr(simulation, "fields", None)
        ),
    )


class _Outline(typing.NamedTuple):
    kind: str
    monitors: tuple[Any, ...]
    frequencies: tuple[float, ...]
    mode_spec: Any
    symmetric: bool
    tangential: tuple[str, ...]
    """Of a mode solver the fields in its plane, if it has them all."""


def of_simulation(outline: Any) -> Data | None:
    """What the result of a simulation will have; ``None`` for kinds of simulations that are not known here."""
    monitors = {}
    for monitor in outline.monitors:
        data_class = _data_classes().get(type(monitor).__name__)
        if data_class is None:
            continue
        labels = _labels(getattr(monitor, "freqs", ()), getattr(monitor, "mode_spec", None))
        fields = _fields(data_class, bool(getattr(monitor, "unstructured", False)), labels)
        if outline.symmetric:
            fields = _symmetric(data_class, fields)
        if getattr(monitor, "store_fields_direction", "+") is not None:
            tangential = _tangential(monitor.size, getattr(monitor, "fields", None))
            fields = _with_flux(data_class, fields, tangential)
        monitors[monitor.name] = _data(data_class, fields, (monitor.name,))
    result = _result_class(outline.kind)
    if result is None:
        return None
    fields = {}
    if outline.kind == "ModeSolver":
        fields = _fields(result, False, _labels(outline.frequencies, outline.mode_spec))
        fields = _with_flux(result, fields, outline.tangential)
    data = _data(result, fields, ())
    return data._replace(monitors=monitors)


def of_document(text: str) -> Data:
    """What a result has, from its document."""
    values = json.loads(text)
    monitors = {}
    for entry in values.get("data") or ():
        data_class = class_named(entry.get("type"))
        name = str(entry["monitor"]["name"])
        fields = _present(entry)
        if any(entry.get("symmetry") or ()):
            fields = _symmetric(data_class, fields)
        monitors[name] = _data(data_class, _with_flux(data_class, fields, _of_plane(entry)), (name,))
    data_class = class_named(values.get("type"))
    fields = _with_flux(data_class, _present(values), _of_plane(values))
    return _data(data_class, fields, ())._replace(monitors=monitors)


def _of_plane(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields in the plane of a monitor, of the text of its data."""
    monitor = entry.get("monitor")
    return _tangential(monitor.get("size") or (), None) if isinstance(monitor, Mapping) else ()


def _tangential(size: Any, names: Any) -> tuple[str, ...]:
    """The components of E and H in a plane of this size; none if it is no plane, or they are not all among ``names``."""
    axes = [axis for axis, extent in zip("xyz", size, strict=False) if extent != 0]
    wanted = tuple(f"{letter}{axis}" for letter in "EH" for axis in axes)
    return wanted if len(axes) == 2 and (names is None or set(wanted) <= set(names)) else ()


def _with_flux(data_class: Any, fields: dict[str, Field], tangential: tuple[str, ...]) -> dict[str, Field]:
    """With the power that they carry through a plane, which the server computes."""
    if data_class.__name__ not in _WITH_FLUX or not tangential or not set(tangential) <= set(fields):
        return fields
    electric = fields[tangential[0]]
    dims = tuple(dim for dim in electric.dims if dim not in ("x", "y", "z"))
    flux = Field((_FLUX,), dims, False, False, labels=electric.labels, computed=True)
    return {**fields, _FLUX: flux}


def _present(values: Mapping[str, Any]) -> dict[str, Field]:
    """The fields of an object for which its JSON text has an array."""
    fields = {}
    for name, value in values.items():
        if isinstance(value, str) and value in model.DATA_ARRAY_MAP:
            array = model.DATA_ARRAY_MAP[value]
            fields[name] = Field((name,), tuple(array._dims), False, _is_complex(value))
        elif isinstance(value, dict) and str(value.get("type")).endswith("GridDataset"):
            array = model.DATA_ARRAY_MAP.get(str(value.get("values")))
            if array is not None:
                fields[name] = Field((name,), tuple(array._dims), True, None)
    return _with_derived(fields)


def _fields(data_class: Any, unstructured: bool, labels: Mapping[str, tuple[Any, ...]]) -> dict[str, Field]:
    """The fields that data of this class may have."""
    fields = {}
    for name, annotation in _annotations(data_class).items():
        kinds = list(_classes(annotation))
        meshes = [kind for kind in kinds if issubclass(kind, UnstructuredGridDataset)]
        arrays = [kind for kind in kinds if issubclass(kind, model.DataArray)]
        if meshes and (unstructured or not arrays):
            fields[name] = Field((name,), ("index",), True, False)
        elif arrays:
            array = next((kind for kind in arrays if kind.__name__ == "SpatialDataArray"), arrays[0])
            dims = tuple(array._dims)
            known = {dim: labels[dim] for dim in dims if dim in labels}
            fields[name] = Field((name,), dims, False, _is_complex(array.__name__), labels=known)
    return _with_derived(fields)


def _symmetric(data_class: Any, fields: dict[str, Field]) -> dict[str, Field]:
    """Fields of which only the part on one side of a plane of symmetry is stored."""
    if data_class.__name__ in _MADE_WHOLE:
        return fields
    return {
        name: field._replace(symmetric=field.mesh or not {"x", "y", "z"}.isdisjoint(field.dims))
        for name, field in fields.items()
    }


def _with_derived(fields: dict[str, Field]) -> dict[str, Field]:
    for name, (origin, function) in _DERIVED.items():
        if origin in fields and name not in fields:
            is_complex = False if function else fields[origin].is_complex
            fields[name] = fields[origin]._replace(function=function, is_complex=is_complex)
    return fields


def _data(data_class: Any, fields: dict[str, Field], place: tuple[str, ...]) -> Data:
    names = {name for name in dir(data_class) if not name.startswith("_")} | set(_annotations(data_class))
    return Data(data_class.__name__, fields, frozenset(names - set(fields)), {}, place)


def _labels(frequencies: Any, mode_spec: Any) -> dict[str, tuple[Any, ...]]:
    labels: dict[str, tuple[Any, ...]] = {}
    if frequencies is not None and len(frequencies):
        labels["f"] = tuple(float(frequency) for frequency in frequencies)
    if mode_spec is not None and hasattr(mode_spec, "num_modes"):
        labels["mode_index"] = tuple(range(int(mode_spec.num_modes)))
    return labels


def _is_complex(name: str) -> bool | None:
    return True if name in _COMPLEX else False if name in _REAL else None


def _kind(simulation: Any) -> str:
    from .pack import KINDS

    return next((each.__name__ for each in type(simulation).__mro__ if each.__name__ in KINDS), "")


@functools.cache
def _annotations(data_class: Any) -> dict[str, Any]:
    if model.IS_VERSION_2:
        return {name: field.annotation for name, field in data_class.model_fields.items()}
    return {name: field.outer_type_ for name, field in data_class.__fields__.items()}


def _classes(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _classes(argument)


def _subclasses(parent: Any) -> Iterator[Any]:
    for child in parent.__subclasses__():
        yield child
        yield from _subclasses(child)


@functools.cache
def _data_classes() -> dict[str, Any]:
    """The class of the data of each class of monitors."""
    import tidy3d  # noqa: F401 (all of its classes exist once it is imported)

    found: dict[str, Any] = {}
    for data_class in _subclasses(AbstractMonitorData):
        monitors = list(_classes(_annotations(data_class).get("monitor")))
        if len(monitors) == 1:
            # Of several, the first: later ones are variants that are made of it, not what a result has.
            found.setdefault(monitors[0].__name__, data_class)
    return found


def class_named(name: Any) -> Any:
    """tidy3d's class of this name; what all have in common if it has none."""
    return next(
        (each for each in _subclasses(model.Tidy3dBaseModel) if each.__name__ == name), model.Tidy3dBaseModel
    )


@functools.cache
def _result_class(kind: str) -> Any:
    """The class of the result of a kind of simulations."""
    if kind == "ModeSolver":
        return class_named("ModeSolverData")
    if kind in ("HeatSimulation", "HeatChargeSimulation", "ModeSimulation", "Simulation"):
        return class_named(f"{kind}Data")
    return None
