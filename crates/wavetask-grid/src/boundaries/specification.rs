//! What the document says about the grid, read and checked, before any grid is made.

use serde_json::Value;
use wavetask_document::ArraySource;

use crate::geometry::{Bounds, Domain, Geometry, Structure};

use super::closeness::roughly;
use super::count::MAXIMUM_CELLS;
use super::error::GridError;
use super::intervals::UNSHADOWED_REACH;
use super::json::Node;
use super::layer::{End, Ends, Layer};
use super::lumped;
use super::part::BoxRegion;

/// How many override structures, snapping points and lumped elements a specification may have.
const MAXIMUM_ENTRIES: usize = 100_000;

/// The speed of light in the client's units, micrometres per second.
const SPEED_OF_LIGHT: f64 = 2.997_924_58e14;

/// How the lines along one axis are placed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum AxisGrid {
    Uniform { step: f64 },
    Lines { coordinates: Vec<f64> },
    Steps { steps: Vec<f64>, offset: Option<f64> },
    QuasiUniform { step: f64, scale: f64, least: f64 },
    Auto(AutoGrid),
}

/// A grid that follows the structures and their refractive indices.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AutoGrid {
    pub(super) steps_per_wavelength: f64,
    pub(super) steps_per_size: f64,
    /// The greatest ratio of neighbouring steps.
    pub(super) scale: f64,
    /// The lower bound of the steps; zero if the mesher chooses it.
    pub(super) least: f64,
}

/// What an override structure asks for.
#[derive(Clone, Debug)]
pub(super) struct Override {
    pub(super) bounds: Bounds,
    /// The largest step along each axis; nothing where the axis is left alone.
    pub(super) step: [Option<f64>; 3],
    pub(super) enforced: bool,
    pub(super) shadow: bool,
    /// Whether it must meet the domain along all axes, not only the one that is meshed.
    pub(super) inside_only: bool,
}

/// An entry of the list of override structures.
#[derive(Debug)]
pub(super) enum External {
    Steps {
        priority: i64,
        steps: Override,
    },
    /// A structure that takes part in the meshing as if it were one of the simulation.
    Structure {
        priority: i64,
        structure: Structure,
        path: String,
    },
}

/// The grid specification of a simulation, with what else of the simulation decides its grid.
#[derive(Debug)]
pub(super) struct Specification {
    pub(super) domain: Domain,
    pub(super) axes: [AxisGrid; 3],
    /// In micrometres; nothing where no axis needs one.
    pub(super) wavelength: Option<f64>,
    pub(super) overrides: Vec<External>,
    /// From lumped elements: finer steps, with the priority -1.
    pub(super) lumped_overrides: Vec<Override>,
    /// From lumped elements, then from the specification.
    pub(super) snapping: Vec<[Option<f64>; 3]>,
    pub(super) symmetry: [i8; 3],
    pub(super) periodic: [bool; 3],
    pub(super) ends: Ends,
    pub(super) layers: Vec<Layer>,
    /// How near a cut must be to be used by an unshadowed override, in its steps.
    pub(super) reach: f64,
    /// Layers of absorbers, before and after the domain.
    pub(super) absorber_layers: [[f64; 2]; 3],
}

impl Specification {
    pub(super) fn read(simulation: &Node<'_>, arrays: &dyn ArraySource) -> Result<Self, GridError> {
        let kind = simulation.kind()?;
        if !matches!(kind, "Simulation" | "ModeSimulation") {
            return Err(simulation.unsupported_kind("the grid of a simulation of the type"));
        }
        let domain = Domain::from_json(simulation.value, &simulation.path)?;
        let specification = simulation.required("grid_spec")?;
        let precedes_reach = is_before_2_12(simulation.value);
        let layers = entries(&specification, "layer_refinement_specs")?
            .iter()
            .map(|node| match precedes_reach {
                true => Err(node.unsupported("the refinement of layers as clients before 2.12 have it")),
                false => Layer::read(node),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let axes = [
            AxisGrid::read(&specification.required("grid_x")?)?,
            AxisGrid::read(&specification.required("grid_y")?)?,
            AxisGrid::read(&specification.required("grid_z")?)?,
        ];
        let automatic = axes.iter().any(|axis| matches!(axis, AxisGrid::Auto(_)));
        let wavelength = match specification.optional("wavelength") {
            Some(node) => Some(node.positive()?),
            None if !automatic => None,
            None if kind == "ModeSimulation" => Some(shortest_wavelength(simulation)?),
            None => Some(wavelength_of_sources(simulation, &specification)?),
        };
        let conductors_first = match simulation.optional("structure_priority_mode") {
            Some(mode) => mode.text()? == "conductor",
            None => false,
        };
        let overrides = entries(&specification, "override_structures")?
            .iter()
            .map(|node| External::read(node, arrays, conductors_first))
            .collect::<Result<_, _>>()?;

        let (mut lumped_overrides, mut snapping) = (Vec::new(), Vec::new());
        let elements = entries(simulation, "lumped_elements")?;
        if automatic {
            for element in &elements {
                lumped::read(element, &mut lumped_overrides, &mut snapping)?;
            }
        }
        for node in entries(&specification, "snapping_points")? {
            snapping.push(node.three_optional(Node::number)?);
        }

        let symmetry = match simulation.optional("symmetry") {
            Some(node) => node.three(|node| match node.integer()? {
                -1 => Ok(-1),
                0 => Ok(0),
                1 => Ok(1),
                _ => Err(node.invalid("a symmetry is -1, 0 or 1")),
            })?,
            None => [0; 3],
        };
        let (ends, absorber_layers) = boundaries(simulation, &domain)?;
        let periodic = ends.map(|ends| ends == [End::Periodic; 2]);
        Ok(Self {
            domain,
            reach: if precedes_reach { 0.0 } else { UNSHADOWED_REACH },
            layers,
            ends,
            axes,
            wavelength,
            overrides,
            lumped_overrides,
            snapping,
            symmetry,
            periodic,
            absorber_layers,
        })
    }

    /// The domain as a box.
    pub(super) fn region(&self) -> BoxRegion {
        BoxRegion { center: self.domain.center(), size: self.domain.size() }
    }

    /// Whether the refractive indices of the structures matter.
    pub(super) fn is_automatic(&self) -> bool {
        self.axes.iter().any(|axis| matches!(axis, AxisGrid::Auto(_)))
    }

    /// The frequency of the wavelength, in hertz, or nothing where no axis needs one.
    pub(super) fn frequency(&self) -> Option<f64> {
        self.wavelength.map(|wavelength| SPEED_OF_LIGHT / wavelength)
    }
}

/// Whether a simulation says that a client before 2.12 has written it, whose grids and mode planes are others.
pub fn is_before_2_12(simulation: &Value) -> bool {
    let Some(version) = simulation.get("version").and_then(|version| version.as_str()) else {
        return false;
    };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) < (2, 12),
        _ => false,
    }
}

/// The entries of a list field, not too many of them.
fn entries<'a>(node: &Node<'a>, name: &str) -> Result<Vec<Node<'a>>, GridError> {
    let nodes = node.list_or_empty(name)?;
    if nodes.len() > MAXIMUM_ENTRIES {
        let path = format!("{}/{name}", node.path);
        return Err(GridError::LimitExceeded { path, what: "entries", limit: MAXIMUM_ENTRIES });
    }
    Ok(nodes)
}

impl AxisGrid {
    fn read(node: &Node<'_>) -> Result<Self, GridError> {
        let grid = match node.kind()? {
            "UniformGrid" => Self::Uniform { step: node.required("dl")?.positive()? },
            "CustomGridBoundaries" => {
                let coordinates = node.required("coords")?;
                let lines = coordinates.numbers(MAXIMUM_CELLS)?;
                if lines.len() < 2 || lines.windows(2).any(|pair| pair[0] >= pair[1]) {
                    return Err(
                        coordinates.invalid("at least two coordinates in ascending order are expected")
                    );
                }
                Self::Lines { coordinates: lines }
            }
            "CustomGrid" => {
                let steps = node.required("dl")?;
                let lengths = steps.numbers(MAXIMUM_CELLS)?;
                if lengths.is_empty() || lengths.iter().any(|&length| length <= 0.0) {
                    return Err(steps.invalid("steps above zero are expected"));
                }
                let offset = node.optional("custom_offset").map(|node| node.finite()).transpose()?;
                Self::Steps { steps: lengths, offset }
            }
            "QuasiUniformGrid" => {
                let (scale, least) = graded(node)?;
                Self::QuasiUniform { step: node.required("dl")?.positive()?, scale, least }
            }
            "AutoGrid" => {
                let (scale, least) = graded(node)?;
                let number = |name: &str, default: f64| {
                    node.optional(name).map_or(Ok(default), |node| node.positive())
                };
                Self::Auto(AutoGrid {
                    steps_per_wavelength: number("min_steps_per_wvl", 10.0)?,
                    steps_per_size: number("min_steps_per_sim_size", 10.0)?,
                    scale,
                    least,
                })
            }
            _ => return Err(node.unsupported_kind("the grid type")),
        };
        Ok(grid)
    }
}

/// The greatest ratio of neighbouring steps and the least step, zero if not stated.
fn graded(node: &Node<'_>) -> Result<(f64, f64), GridError> {
    if let Some(mesher) = node.optional("mesher")
        && mesher.kind()? != "GradedMesher"
    {
        return Err(mesher.unsupported_kind("the mesher"));
    }
    let scale = node.optional("max_scale").map_or(Ok(1.4), |node| node.finite())?;
    if !(1.2..2.0).contains(&scale) {
        return Err(GridError::invalid(
            format!("{}/max_scale", node.path),
            "a number from 1.2 to 2 is expected",
        ));
    }
    let least = node.optional("dl_min").map_or(Ok(0.0), |node| node.finite())?;
    if least < 0.0 {
        return Err(GridError::invalid(format!("{}/dl_min", node.path), "a step cannot be negative"));
    }
    Ok((scale, least))
}

impl External {
    fn read(node: &Node<'_>, arrays: &dyn ArraySource, conductors_first: bool) -> Result<Self, GridError> {
        match node.kind()? {
            "Structure" => {
                let structure = Structure::from_json(node.value, &node.path, arrays, conductors_first)?;
                Ok(Self::Structure { priority: structure.priority, structure, path: node.path.clone() })
            }
            "MeshOverrideStructure" => {
                let geometry = node.required("geometry")?;
                let bounds = Geometry::from_json(geometry.value, &geometry.path, arrays)?.bounds();
                let three = |name: &str| {
                    node.optional(name).map_or(Ok([None; 3]), |node| node.three_optional(Node::positive))
                };
                let (stated, per_size) = (three("dl")?, three("min_steps_per_size")?);
                let step = std::array::from_fn(|axis| {
                    let size = bounds[axis][1] - bounds[axis][0];
                    let by_size =
                        per_size[axis].filter(|_| size != 0.0 && size.is_finite()).map(|count| size / count);
                    match (stated[axis], by_size) {
                        (Some(stated), Some(by_size)) => Some(stated.min(by_size)),
                        (stated, by_size) => stated.or(by_size),
                    }
                });
                let truth =
                    |name: &str, default: bool| node.optional(name).map_or(Ok(default), |node| node.truth());
                let steps = Override {
                    bounds,
                    step,
                    enforced: truth("enforce", false)?,
                    shadow: truth("shadow", true)?,
                    inside_only: truth("drop_outside_sim", true)?,
                };
                if steps.enforced && !steps.shadow {
                    return Err(node.invalid("an override structure cannot be enforced and unshadowed"));
                }
                let priority = node.optional("priority").map_or(Ok(0), |node| node.integer())?;
                Ok(Self::Steps { priority, steps })
            }
            _ => Err(node.unsupported_kind("the override structure")),
        }
    }
}

/// The wavelength of the central frequency that all sources share.
fn wavelength_of_sources(simulation: &Node<'_>, specification: &Node<'_>) -> Result<f64, GridError> {
    let unknown = || GridError::WavelengthUnknown { path: specification.path.clone() };
    let mut first = None;
    for source in entries(simulation, "sources")? {
        let time = source.required("source_time")?;
        let Some(frequency) = time.optional("freq0") else {
            return Err(time.unsupported_kind("the wavelength of an automatic grid from the source time"));
        };
        let frequency = frequency.positive()?;
        let first = *first.get_or_insert(frequency);
        if !roughly(frequency, first) {
            return Err(unknown());
        }
    }
    first.map(|frequency| SPEED_OF_LIGHT / frequency).ok_or_else(unknown)
}

/// The wavelength of the largest frequency of a mode simulation.
fn shortest_wavelength(simulation: &Node<'_>) -> Result<f64, GridError> {
    let frequencies = simulation.required("freqs")?;
    let largest = frequencies.numbers(MAXIMUM_ENTRIES)?.into_iter().fold(0.0, f64::max);
    if largest > 0.0 {
        Ok(SPEED_OF_LIGHT / largest)
    } else {
        Err(frequencies.invalid("frequencies above zero are expected"))
    }
}

/// What is at the ends of the domain, and the layers of absorbers there.
fn boundaries(simulation: &Node<'_>, domain: &Domain) -> Result<(Ends, [[f64; 2]; 3]), GridError> {
    let (mut ends, mut layers) = ([[End::Open; 2]; 3], [[0.0; 2]; 3]);
    let specification = simulation.required("boundary_spec")?;
    for (axis, name) in ["x", "y", "z"].into_iter().enumerate() {
        let boundary = specification.required(name)?;
        for (side, name) in ["minus", "plus"].into_iter().enumerate() {
            let edge = boundary.required(name)?;
            match edge.kind()? {
                "Periodic" | "BlochBoundary" => ends[axis][side] = End::Periodic,
                "PECBoundary" | "PMCBoundary" => ends[axis][side] = End::Wall,
                "PML" | "StablePML" | "Absorber" => {
                    let count = edge.required("num_layers")?;
                    layers[axis][side] = count.finite()?;
                    if !(0.0..=MAXIMUM_CELLS as f64).contains(&layers[axis][side]) {
                        return Err(count.invalid("a number of layers is expected"));
                    }
                }
                "ABCBoundary" | "ModeABCBoundary" => {}
                _ => return Err(edge.unsupported_kind("the boundary condition")),
            }
        }
        // The client replaces absorbers along an axis without extent when it reads the simulation.
        if domain.size()[axis] == 0.0 && layers[axis] != [0.0; 2] {
            layers[axis] = [0.0; 2];
            ends[axis] = [End::Periodic; 2];
        }
    }
    Ok((ends, layers))
}
