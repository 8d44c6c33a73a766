//! Rules that concern the simulation as a whole.

use std::collections::HashSet;

use serde_json::Value;

use super::{Condition, Grid, Medium, Placement, Problem};
use wavetask_solver::{Reader, class_of};

/// Refuses what belongs to other solvers: charge transport, electric conduction, time dependence.
pub(crate) fn refuse_other_physics(reader: &mut Reader, simulation: &Value) {
    if let Some(analysis) = simulation.get("analysis_spec").filter(|analysis| !analysis.is_null()) {
        let class = class_of(analysis).to_owned();
        let message = if class.starts_with("Unsteady") {
            format!("time-dependent heat (`{class}`) is not supported: only the steady state is solved")
        } else {
            format!("the analysis `{class}` belongs to charge transport, which is not supported")
        };
        reader.refuse("analysis_spec", class, message);
    }
}

/// Largest coordinate of a domain in µm: a kilometre.
const FARTHEST: f64 = 1e9;

/// Most monitors, sources and boundary conditions, each.
const MAXIMUM_ENTRIES: usize = 10_000;

/// Refuses lists that are longer than any real simulation's.
pub(crate) fn lengths(reader: &mut Reader, simulation: &Value) {
    for key in ["monitors", "sources", "boundary_spec"] {
        if simulation.get(key).and_then(Value::as_array).is_some_and(|list| list.len() > MAXIMUM_ENTRIES) {
            reader.refuse(key, "too many entries", format!("at most {MAXIMUM_ENTRIES} entries are accepted"));
        }
    }
}

/// Refuses domains that reach too far.
pub(crate) fn domain_place(reader: &mut Reader, center: [f64; 3], size: [f64; 3]) {
    if (0..3).any(|axis| center[axis].abs() + size[axis] > FARTHEST) {
        reader.refuse(
            "size",
            "domain too large",
            format!("no coordinate of the domain may exceed {FARTHEST:e} µm"),
        );
    }
}

/// Refuses domains that are empty or have fewer than two extents.
pub(crate) fn domain_size(reader: &mut Reader, size: [f64; 3]) {
    if size.iter().any(|&extent| extent < 0.0) {
        reader.refuse("size", "negative value", "the size of the domain must not be negative");
    }
    if size.iter().filter(|&&extent| extent == 0.0).count() > 1 {
        reader.refuse(
            "size",
            "one-dimensional domain",
            "the domain has no extent along more than one axis: two- and three-dimensional domains are supported",
        );
    }
}

/// Refuses names of structures and materials that do not exist.
pub(crate) fn names(reader: &mut Reader, problem: &Problem) {
    let structures: HashSet<&str> = problem
        .structures
        .iter()
        .map(|structure| structure.name.as_str())
        .filter(|name| !name.is_empty())
        .collect();
    let media: HashSet<&str> = media(problem).filter_map(|medium| medium.name.as_deref()).collect();
    let mut need = |known: &HashSet<&str>, kind: &str, name: &str, path: String| {
        if !known.contains(name) {
            reader.refuse(path, format!("unknown {kind}"), format!("there is no {kind} named `{name}`"));
        }
    };
    for (index, source) in problem.sources.iter().enumerate() {
        for name in &source.structures {
            need(&structures, "structure", name, format!("sources[{index}].structures"));
        }
    }
    for (index, boundary) in problem.boundaries.iter().enumerate() {
        let path = format!("boundary_spec[{index}].placement");
        match &boundary.placement {
            Placement::Structure(name) | Placement::StructureSimulation(name, _) => {
                need(&structures, "structure", name, path);
            }
            Placement::StructureStructure(names) => {
                for name in names {
                    need(&structures, "structure", name, path.clone());
                }
            }
            Placement::MediumMedium(names) => {
                for name in names {
                    need(&media, "medium", name, path.clone());
                }
            }
            Placement::Simulation(_) => {}
        }
    }
    if let Grid::Distance(grid) = &problem.grid {
        for name in &grid.uniform_grid_mediums {
            need(&media, "medium", name, "grid_spec.uniform_grid_mediums".into());
        }
    }
}

fn media(problem: &Problem) -> impl Iterator<Item = &Medium> {
    problem.structures.iter().map(|structure| &structure.medium).chain([&problem.background])
}

/// Refuses problems without a solution or with many.
pub(crate) fn solvable(reader: &mut Reader, problem: &Problem) {
    if !media(problem).any(Medium::is_solid) {
        reader.refuse(
            "structures",
            "no solid",
            "no structure and not the background is a solid (`SolidMedium`): there is nothing to solve",
        );
    }
    if !problem.boundaries.iter().any(|boundary| boundary.condition.fixes_temperature()) {
        reader.refuse(
            "boundary_spec",
            "no condition fixes the temperature",
            "the steady temperature is not unique: give a TemperatureBC or a ConvectionBC somewhere",
        );
    }
    for (index, boundary) in problem.boundaries.iter().enumerate() {
        if !matches!(boundary.condition, Condition::ContactResistance(_)) {
            continue;
        }
        let touches_fluid = match &boundary.placement {
            Placement::MediumMedium(names) => media(problem).any(|medium| {
                !medium.is_solid() && medium.name.as_ref().is_some_and(|name| names.contains(name))
            }),
            Placement::StructureStructure(names) => problem
                .structures
                .iter()
                .any(|structure| !structure.medium.is_solid() && names.contains(&structure.name)),
            _ => false,
        };
        if touches_fluid {
            reader.refuse(
                format!("boundary_spec[{index}].placement"),
                "ThermalContactResistance",
                "`ThermalContactResistance` stands between two solids, but one side is not a solid",
            );
        }
    }
}
