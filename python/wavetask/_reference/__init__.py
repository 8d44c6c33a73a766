"""References: results, and what is computed of them, as names before there is data.

A reference is an expression (`node`) over fields of tasks (`kinds` says what is known of them, `data` what they are
called), with the methods of tidy3d's arrays (`reference`, `arguments`). It is data itself: it travels as JSON. Only when
somebody asks for values, something is fetched (`evaluate`).
"""

from .coordinate import Coordinate
from .data import DataReference
from .joining import concat
from .reference import Reference
from .simulation import SimulationReference
from .template import Template, perturb, replace, template_of

__all__ = [
    "Coordinate",
    "DataReference",
    "Reference",
    "SimulationReference",
    "Template",
    "concat",
    "perturb",
    "replace",
    "template_of",
]
