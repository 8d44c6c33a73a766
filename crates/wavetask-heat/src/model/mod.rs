//! The simulation as the solver sees it: materials, sources, boundary conditions, grid and monitors,
//! read from the client's JSON and checked before anything is computed.
//!
//! Reading collects every complaint: an engineer who submits a sweep wants one list, not one
//! complaint per attempt. What the solver cannot do is refused here by its class name, so that nothing
//! is silently left out of a result.

mod boundary;
mod checks;
mod grid;
mod medium;
mod monitor;
mod source;

use serde_json::Value;
use wavetask_document::{Array, ArrayError, ArraySource};
use wavetask_grid::Fault;
use wavetask_grid::geometry::{Bounds, Scene};
use wavetask_solver::{Reader, Refusal, Refused, class_of};

use crate::error::{SUBJECT, refused};

pub(crate) use boundary::{BoundarySpec, Condition, Placement, Side};
pub(crate) use grid::{DistanceGrid, Grid, Refinement, UniformGrid};
pub(crate) use medium::{Conductivity, Medium, Thermal};
pub(crate) use monitor::Monitor;
pub(crate) use source::{HeatSource, Rate};

/// What is said of a simulation that nobody could read, or complain about by name.
const UNREADABLE: &str = "the simulation could not be read";

/// A steady heat problem: everything the solver needs, in micrometres, kelvin and watts.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Centre of the domain.
    pub(crate) center: [f64; 3],
    /// Size of the domain; at most one zero.
    pub(crate) size: [f64; 3],
    /// Mirror symmetry about the centre, by axis.
    pub(crate) symmetry: [bool; 3],
    /// What surrounds the structures.
    pub(crate) background: Medium,
    /// Names and materials of the structures, in the client's order.
    pub(crate) structures: Vec<Structure>,
    /// Shapes of the structures, and which of them owns a point.
    pub(crate) scene: Scene,
    /// Volumetric heat sources.
    pub(crate) sources: Vec<HeatSource>,
    /// Boundary conditions in the client's order.
    pub(crate) boundaries: Vec<BoundarySpec>,
    /// How to mesh.
    pub(crate) grid: Grid,
    /// Temperature monitors, in the client's order.
    pub(crate) monitors: Vec<Monitor>,
}

/// A structure.
#[derive(Debug)]
pub(crate) struct Structure {
    /// The client's name for it; empty for unnamed structures.
    pub(crate) name: String,
    /// What it is made of.
    pub(crate) medium: Medium,
}

impl Problem {
    /// Reads and checks a `HeatSimulation` or `HeatChargeSimulation`.
    pub(crate) fn read(simulation: &Value, arrays: &dyn ArraySource) -> Result<Self, Refused> {
        let mut reader = Reader::default();
        let problem = read_problem(&mut reader, simulation, arrays);
        reader.finish(SUBJECT, problem, UNREADABLE)
    }

    /// The axis along which the domain has no extent; `None` in three dimensions.
    pub(crate) fn flat_axis(&self) -> Option<usize> {
        self.size.iter().position(|&extent| extent == 0.0)
    }

    /// Lower and upper bound of the whole domain along each axis.
    pub(crate) fn bounds(&self) -> Bounds {
        box_bounds(self.center, self.size)
    }

    /// Bounds of the part that is solved: the upper part along each axis of symmetry.
    pub(crate) fn solved_bounds(&self) -> Bounds {
        let mut bounds = self.bounds();
        for (axis, bound) in bounds.iter_mut().enumerate() {
            if self.symmetry[axis] && self.size[axis] > 0.0 {
                bound[0] = self.center[axis];
            }
        }
        bounds
    }

    /// The material of the structure with this index, or of the background.
    pub(crate) fn medium(&self, owner: Option<usize>) -> &Medium {
        owner.map_or(&self.background, |index| &self.structures[index].medium)
    }

    /// Length of the smallest cell that the grid specification allows.
    pub(crate) fn smallest_cell(&self) -> f64 {
        let largest = self.size.iter().fold(0.0_f64, |largest, &extent| largest.max(extent));
        self.grid.common().relative_min_dl * largest
    }
}

/// Reads a `VolumeMesher`: its simulation, under either class name, and its monitors.
pub(crate) fn read_mesher(
    mesher: &Value,
    arrays: &dyn ArraySource,
) -> Result<(Problem, Vec<Monitor>), Refused> {
    if class_of(mesher) != "VolumeMesher" {
        let class = class_of(mesher).to_owned();
        return Err(refused("type", class.clone(), format!("a VolumeMesher is expected, not `{class}`")));
    }
    let Some(simulation) = mesher.get("simulation") else {
        return Err(refused("simulation", "missing field", "`simulation` is missing"));
    };
    let problem = Problem::read(simulation, &Below { arrays, prefix: "simulation/" })?;
    let mut reader = Reader::default();
    let mut monitors = Vec::new();
    for (index, value) in reader.list(mesher, "monitors", "").iter().enumerate() {
        let path = format!("monitors[{index}]");
        match class_of(value) {
            "VolumeMeshMonitor" => monitors.extend(monitor::read_monitor(&mut reader, value, &path)),
            other => {
                reader.refuse(path, other, format!("a mesher records `VolumeMeshMonitor`s, not `{other}`"))
            }
        }
    }
    reader.finish(SUBJECT, Some((problem, monitors)), UNREADABLE)
}

/// The arrays below a path.
struct Below<'a> {
    arrays: &'a dyn ArraySource,
    prefix: &'static str,
}

impl ArraySource for Below<'_> {
    fn load(&self, path: &str) -> Result<Option<Array>, ArrayError> {
        self.arrays.load(&format!("{}{path}", self.prefix))
    }
}

fn read_problem(reader: &mut Reader, simulation: &Value, arrays: &dyn ArraySource) -> Option<Problem> {
    reader.object(simulation, "")?;
    match class_of(simulation) {
        "HeatSimulation" | "HeatChargeSimulation" => {}
        other => {
            reader.refuse(
                "type",
                other,
                format!("the heat solver takes HeatSimulation and HeatChargeSimulation, not `{other}`"),
            );
            return None;
        }
    }
    checks::refuse_other_physics(reader, simulation);

    let center = reader.finite_triple(simulation, "center", "");
    let size = reader.finite_triple(simulation, "size", "");
    if let Some(size) = size {
        checks::domain_size(reader, size);
        if let Some(center) = center {
            checks::domain_place(reader, center, size);
        }
    }
    checks::lengths(reader, simulation);
    let symmetry = read_symmetry(reader, simulation);
    let background = match simulation.get("medium").filter(|medium| !medium.is_null()) {
        Some(medium) => medium::read_medium(reader, medium, "medium"),
        None => Some(Medium { name: None, thermal: Thermal::Excluded }),
    };
    let structures = read_structures(reader, simulation);
    let scene = read_scene(reader, simulation, arrays);
    let sources = source::read_sources(reader, simulation, arrays);
    let boundaries = boundary::read_boundaries(reader, simulation);
    let grid = grid::read_grid(reader, simulation);
    let monitors = monitor::read_monitors(reader, simulation);

    let problem = Problem {
        center: center?,
        size: size?,
        symmetry,
        background: background?,
        structures,
        scene: scene?,
        sources,
        boundaries,
        grid: grid?,
        monitors,
    };
    if problem.structures.len() != problem.scene.structures().len() {
        return None; // A material could not be read, which has been refused already.
    }
    checks::names(reader, &problem);
    checks::solvable(reader, &problem);
    Some(problem)
}

fn read_symmetry(reader: &mut Reader, simulation: &Value) -> [bool; 3] {
    if simulation.get("symmetry").is_none() {
        return [false; 3];
    }
    let mut symmetry = [false; 3];
    for (axis, value) in
        reader.finite_triple(simulation, "symmetry", "").unwrap_or_default().iter().enumerate()
    {
        if *value == 1.0 {
            symmetry[axis] = true;
        } else if *value != 0.0 {
            reader.refuse(
                format!("symmetry[{axis}]"),
                "symmetry",
                format!("heat simulations know the symmetries 0 and 1, not {value}"),
            );
        }
    }
    symmetry
}

/// Bounds of a box along each axis; infinite where its size is.
pub(crate) fn box_bounds(center: [f64; 3], size: [f64; 3]) -> Bounds {
    std::array::from_fn(|axis| [center[axis] - size[axis] / 2.0, center[axis] + size[axis] / 2.0])
}

fn read_structures(reader: &mut Reader, simulation: &Value) -> Vec<Structure> {
    let mut structures = Vec::new();
    for (index, value) in reader.list(simulation, "structures", "").iter().enumerate() {
        let path = format!("structures[{index}]");
        let Some(medium) = reader.field(value, "medium", &path) else { continue };
        if let Some(medium) = medium::read_medium(reader, medium, &format!("{path}.medium")) {
            let name = value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            structures.push(Structure { name, medium });
        }
    }
    structures
}

fn read_scene(reader: &mut Reader, simulation: &Value, arrays: &dyn ArraySource) -> Option<Scene> {
    match Scene::from_json(simulation, "", arrays) {
        Ok(scene) => Some(scene),
        Err(error) => {
            let feature = match error.fault() {
                Fault::UnsupportedType { kind } => kind.clone(),
                Fault::UnsupportedOption { what } => what.clone(),
                _ => "geometry".to_owned(),
            };
            reader.push(Refusal::of_part(error.path(), feature, &error.to_string(), error.hint()));
            None
        }
    }
}
