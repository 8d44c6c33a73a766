//! Grid specifications: how large the cells may be, and where.
//!
//! Two parameters of the client need nothing here. `remove_fragments`: parts of surfaces that later structures
//! cover never enter the mesh, whatever it says. `sampling`: distances are exact, not sampled.

use serde_json::Value;
use wavetask_grid::geometry::Bounds;

use super::box_bounds;
use wavetask_solver::{Reader, class_of, join};

/// A grid specification.
#[derive(Clone, Debug)]
pub(crate) enum Grid {
    /// One cell size, smaller where small or round bodies need it.
    Uniform(UniformGrid),
    /// A cell size that grows with the distance from interfaces between materials.
    Distance(DistanceGrid),
}

/// What both specifications have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GridCommon {
    /// Smallest cell size as a fraction of the domain's largest extent.
    pub(crate) relative_min_dl: f64,
    /// Distance in µm below which points and faces are one.
    pub(crate) geometry_tolerance: f64,
}

/// `UniformUnstructuredGrid`.
#[derive(Clone, Debug)]
pub(crate) struct UniformGrid {
    pub(crate) common: GridCommon,
    /// Cell size in µm.
    pub(crate) dl: f64,
    /// Edges around a cylinder or sphere, at least; 0 for no such refinement.
    pub(crate) min_edges_per_circumference: f64,
    /// Edges along each side of a body, at least; 0 for no such refinement.
    pub(crate) min_edges_per_side: f64,
    /// Structures that the two minima do not concern.
    pub(crate) non_refined_structures: Vec<String>,
}

/// `DistanceUnstructuredGrid`.
#[derive(Clone, Debug)]
pub(crate) struct DistanceGrid {
    pub(crate) common: GridCommon,
    /// Cell size in µm up to `distance_interface` from an interface.
    pub(crate) dl_interface: f64,
    /// Cell size in µm from `distance_bulk` on.
    pub(crate) dl_bulk: f64,
    pub(crate) distance_interface: f64,
    pub(crate) distance_bulk: f64,
    /// Materials with `dl_interface` everywhere inside.
    pub(crate) uniform_grid_mediums: Vec<String>,
    /// Structures whose own interfaces are not refined.
    pub(crate) non_refined_structures: Vec<String>,
    /// Further refined boxes and lines.
    pub(crate) refinements: Vec<Refinement>,
}

/// A box or a line around which cells are smaller.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refinement {
    /// One size inside a box, growing to the surrounding size over a layer around it.
    Region {
        /// Bounds along each axis, possibly infinite.
        bounds: Bounds,
        /// Cell size inside in µm.
        dl_internal: f64,
        /// Thickness of the layer in µm.
        transition_thickness: f64,
    },
    /// One size near a line, growing to the bulk size with the distance.
    Line {
        /// One end.
        start: [f64; 3],
        /// Other end.
        end: [f64; 3],
        /// Cell size near the line in µm.
        dl_near: f64,
        /// Distance up to which it holds.
        distance_near: f64,
        /// Distance from which on the bulk size holds.
        distance_bulk: f64,
    },
}

impl Grid {
    /// The part that both specifications have.
    pub(crate) const fn common(&self) -> &GridCommon {
        match self {
            Self::Uniform(grid) => &grid.common,
            Self::Distance(grid) => &grid.common,
        }
    }

    /// Smallest cell size that the specification names.
    pub(crate) fn named_size(&self) -> f64 {
        match self {
            Self::Uniform(grid) => grid.dl,
            Self::Distance(grid) => grid.dl_interface.min(grid.dl_bulk),
        }
    }

    /// Cell size away from everything.
    pub(crate) const fn bulk_size(&self) -> f64 {
        match self {
            Self::Uniform(grid) => grid.dl,
            Self::Distance(grid) => grid.dl_bulk,
        }
    }
}

pub(crate) fn read_grid(reader: &mut Reader, simulation: &Value) -> Option<Grid> {
    let value = reader.field(simulation, "grid_spec", "")?;
    let path = "grid_spec";
    let common = GridCommon {
        relative_min_dl: reader.non_negative_or(value, "relative_min_dl", 1e-3, path),
        geometry_tolerance: reader.non_negative_or(value, "geometry_tolerance", 1e-6, path),
    };
    let non_refined_structures = reader.text_list(value, "non_refined_structures", path);
    match class_of(value) {
        "UniformUnstructuredGrid" => Some(Grid::Uniform(UniformGrid {
            common,
            dl: reader.positive_field(value, "dl", path)?,
            min_edges_per_circumference: reader.non_negative_or(
                value,
                "min_edges_per_circumference",
                15.0,
                path,
            ),
            min_edges_per_side: reader.non_negative_or(value, "min_edges_per_side", 2.0, path),
            non_refined_structures,
        })),
        "DistanceUnstructuredGrid" => {
            let distance_interface = reader.non_negative_or(value, "distance_interface", 0.0, path);
            let distance_bulk = reader.non_negative_or(value, "distance_bulk", 0.0, path);
            if distance_interface > distance_bulk {
                reader.refuse(
                    join(path, "distance_bulk"),
                    "inconsistent distances",
                    "`distance_bulk` cannot be smaller than `distance_interface`",
                );
            }
            Some(Grid::Distance(DistanceGrid {
                common,
                dl_interface: reader.positive_field(value, "dl_interface", path)?,
                dl_bulk: reader.positive_field(value, "dl_bulk", path)?,
                distance_interface,
                distance_bulk,
                uniform_grid_mediums: reader.text_list(value, "uniform_grid_mediums", path),
                non_refined_structures,
                refinements: read_refinements(reader, value, path),
            }))
        }
        other => {
            reader.refuse(
                path,
                other,
                format!("the grid specification `{other}` is not supported: use DistanceUnstructuredGrid or UniformUnstructuredGrid"),
            );
            None
        }
    }
}

fn read_refinements(reader: &mut Reader, value: &Value, path: &str) -> Vec<Refinement> {
    let mut refinements = Vec::new();
    for (index, item) in reader.list(value, "mesh_refinements", path).iter().enumerate() {
        let path = format!("{path}.mesh_refinements[{index}]");
        match class_of(item) {
            "GridRefinementRegion" => refinements.extend(read_region(reader, item, &path)),
            "GridRefinementLine" => refinements.extend(read_line(reader, item, &path)),
            other => reader.refuse(&path, other, format!("the mesh refinement `{other}` is not supported")),
        }
    }
    refinements
}

fn read_region(reader: &mut Reader, value: &Value, path: &str) -> Option<Refinement> {
    let center = reader.finite_triple(value, "center", path)?;
    let size = reader.extended_triple(value, "size", path)?;
    Some(Refinement::Region {
        bounds: box_bounds(center, size),
        dl_internal: reader.positive_field(value, "dl_internal", path)?,
        transition_thickness: reader.non_negative_or(value, "transition_thickness", 0.0, path),
    })
}

fn read_line(reader: &mut Reader, value: &Value, path: &str) -> Option<Refinement> {
    let distance_near = reader.non_negative_or(value, "distance_near", 0.0, path);
    let distance_bulk = reader.non_negative_or(value, "distance_bulk", 0.0, path);
    if distance_near > distance_bulk {
        reader.refuse(
            join(path, "distance_bulk"),
            "inconsistent distances",
            "`distance_bulk` cannot be smaller than `distance_near`",
        );
    }
    Some(Refinement::Line {
        start: reader.finite_triple(value, "r1", path)?,
        end: reader.finite_triple(value, "r2", path)?,
        dl_near: reader.positive_field(value, "dl_near", path)?,
        distance_near,
        distance_bulk,
    })
}
