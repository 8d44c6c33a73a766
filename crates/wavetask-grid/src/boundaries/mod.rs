//! The grid of a simulation: where the cells of the client's own `simulation.grid` are.
//!
//! ```text
//!  document ──read──► Specification ─┐
//!  structures ──────► Scene ─────────┼─► Assembly ── per axis ─► lines ─► mirror ─► absorber ─► Grid
//!  media ───────────► indices ───────┘      │
//!                                           ├ fixed: uniform, listed lines, listed steps
//!                                           └ graded: Intervals (cuts and largest steps)
//!                                                     ─► snapping points ─► steps between the cuts
//!                                                     ─► again, for the gaps and small shapes of layers
//! ```
//!
//! A result is on the grid, so the grid must be the client's to the last decision: the client checks the shapes
//! of the arrays it is given, and mode overlaps with data from elsewhere need equal points. What it
//! does is therefore followed rule by rule, also where another rule would be as good; each module says why its
//! rule is what it is. What this costs is little: the mesher looks at bounding boxes only.
//!
//! The reference is the newest client. From a document that says that a client before 2.12 has written it, the grid
//! is that client's where the two differ: for unshadowed override structures and lumped elements. Layers, which 2.12
//! refines by other rules than before, are then refused.
//!
//! What comes after the grid, the locations of the field components and the parts of the grid around a box, is
//! in [`Grid`].

mod assemble;
mod closeness;
mod count;
mod error;
mod fixed;
mod intervals;
mod json;
mod layer;
mod lumped;
mod part;
mod plane;
mod root;
mod specification;
mod steps;
mod yee;

pub use error::GridError;
pub use part::{BoxRegion, Span, snapped};
pub use plane::ModePlane;
pub use specification::is_before_2_12;
pub use yee::{Location, middles};

use serde_json::Value;
use wavetask_document::ArraySource;

use crate::geometry::Scene;
use crate::media::Medium;

use assemble::{Assembly, Indices};
use json::Node;
use layer::{Layer, Polygon};
use specification::{External, Specification};

/// A simulation in a document.
#[derive(Clone, Copy)]
pub struct SceneSource<'a> {
    /// The JSON of a `Simulation` or a `ModeSimulation`.
    pub simulation: &'a Value,
    /// Where it stands in the document: empty for the document itself, `simulation` in a `ModeSolver`.
    pub path: &'a str,
    /// The arrays of the document, at their paths in the document.
    pub arrays: &'a dyn ArraySource,
}

impl std::fmt::Debug for SceneSource<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("SceneSource").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Finds the refractive index of a medium, given its JSON, its path in the document and a frequency in hertz.
///
/// [`Medium::refractive_index`] is the one; whoever has read the media already need not do so again.
pub type MediumIndex<'a> = dyn Fn(&Value, &str, f64) -> Result<f64, GridError> + 'a;

/// The grid of a simulation, and what is needed to take parts of it: all in micrometres.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    boundaries: [Vec<f64>; 3],
    center: [f64; 3],
    size: [f64; 3],
    symmetry: [i8; 3],
    periodic: [bool; 3],
    absorber_layers: [[f64; 2]; 3],
    wavelength: Option<f64>,
}

impl Grid {
    /// The grid of a simulation: equal to the client's `simulation.grid`.
    ///
    /// Absorbers and, with symmetry, the mirrored half are part of it. Media are looked at only if an axis has an
    /// automatic grid. What is not supported is refused by name.
    pub fn of_simulation(source: &SceneSource<'_>) -> Result<Self, GridError> {
        let scene = Scene::from_json(source.simulation, source.path, source.arrays)?;
        Self::of_scene(source, &scene, &|medium, path, frequency| {
            Ok(Medium::read(medium, path, source.arrays)?.refractive_index(frequency))
        })
    }

    /// As [`Self::of_simulation`] where the structures have been read already and `index` knows the media.
    pub fn of_scene(
        source: &SceneSource<'_>,
        scene: &Scene,
        index: &MediumIndex<'_>,
    ) -> Result<Self, GridError> {
        let simulation = Node::new(source.simulation, source.path);
        let specification = Specification::read(&simulation, source.arrays)?;
        let mut indices = match specification.frequency() {
            Some(frequency) if specification.is_automatic() => {
                indices(&simulation, scene, &specification, |medium, path| index(medium, path, frequency))?
            }
            _ => Indices::default(),
        };
        let structures = simulation.list_or_empty("structures")?;
        let is_box = |structure: &Node<'_>| {
            structure.value.pointer("/geometry/type").is_some_and(|kind| kind == "Box")
        };
        indices.boxes = structures.iter().map(is_box).collect();
        let layers = layers(&simulation, scene, &specification, source.arrays)?;
        let boundaries = Assembly::new(&specification, &layers, scene, &indices)?.lines()?;
        Ok(Self {
            boundaries,
            center: specification.domain.center(),
            size: specification.domain.size(),
            symmetry: specification.symmetry,
            periodic: specification.periodic,
            absorber_layers: specification.absorber_layers,
            wavelength: specification.wavelength,
        })
    }

    /// A grid of these boundaries, ascending along each axis, for a domain without symmetry, periodicity and
    /// absorbers that ends where they do.
    pub fn of_boundaries(boundaries: [Vec<f64>; 3]) -> Result<Self, GridError> {
        let (mut center, mut size) = ([0.0; 3], [0.0; 3]);
        for (axis, lines) in boundaries.iter().enumerate() {
            if lines.len() < 2 || !lines.is_sorted() || lines.iter().any(|line| line.is_nan()) {
                return Err(GridError::none(axis, "at least two boundaries in ascending order are needed"));
            }
            let (low, high) = (lines[0], lines[lines.len() - 1]);
            center[axis] = (low + high) / 2.0;
            size[axis] = high - low;
        }
        Ok(Self {
            boundaries,
            center,
            size,
            symmetry: [0; 3],
            periodic: [false; 3],
            absorber_layers: [[0.0; 2]; 3],
            wavelength: None,
        })
    }

    /// The boundaries of the cells along x, y and z, ascending: one more than cells.
    pub fn boundaries(&self) -> &[Vec<f64>; 3] {
        &self.boundaries
    }

    /// The number of cells along each axis.
    pub fn cells(&self) -> [usize; 3] {
        std::array::from_fn(|axis| self.boundaries[axis].len().saturating_sub(1))
    }

    /// The centre of the simulation domain.
    pub fn center(&self) -> [f64; 3] {
        self.center
    }

    /// The size of the simulation domain, absorbers not counted.
    pub fn size(&self) -> [f64; 3] {
        self.size
    }

    /// The symmetry about the centre along each axis: -1 (odd), 0 (none) or 1 (even).
    pub fn symmetry(&self) -> [i8; 3] {
        self.symmetry
    }

    /// Along which axes the grid repeats itself (periodic or Bloch boundaries at both ends).
    pub fn periodic(&self) -> [bool; 3] {
        self.periodic
    }

    /// How many layers of cells the absorbers before and after the domain have along each axis.
    pub fn absorber_layers(&self) -> [[f64; 2]; 3] {
        self.absorber_layers
    }

    /// The wavelength in vacuum for which an automatic grid was made.
    pub fn wavelength(&self) -> Option<f64> {
        self.wavelength
    }
}

/// The layers to refine, each with the polygons of metal in it.
fn layers(
    simulation: &Node<'_>,
    scene: &Scene,
    specification: &Specification,
    arrays: &dyn ArraySource,
) -> Result<Vec<(Layer, Vec<Polygon>)>, GridError> {
    if specification.layers.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(medium) = simulation.optional("medium").filter(|medium| is_metal(medium.value)) {
        return Err(medium.unsupported("a background of metal around refined layers"));
    }
    let structures = simulation.list_or_empty("structures")?;
    let metals = scene
        .precedence()
        .iter()
        .filter(|&&index| is_metal(&scene.structures()[index].medium))
        .map(|&index| structures[index].required("geometry"))
        .collect::<Result<Vec<_>, _>>()?;
    let (domain, ends) = (specification.region(), &specification.ends);
    let resolved = |layer: &Layer| Ok((layer.clone(), layer.polygons(&metals, &domain, ends, arrays)?));
    specification.layers.iter().map(resolved).collect()
}

/// Whether the client's mesher takes the medium for metal: perfect conductors, sheets of them, lossy metals.
fn is_metal(medium: &Value) -> bool {
    match medium.get("type").and_then(Value::as_str) {
        Some("PECMedium" | "LossyMetalMedium") => true,
        Some("Medium2D") => medium.get("ss").is_some_and(is_metal),
        Some("MultiPhysicsMedium") => medium.get("optical").is_some_and(is_metal),
        _ => false,
    }
}

/// The refractive indices of everything that has a medium.
fn indices(
    simulation: &Node<'_>,
    scene: &Scene,
    specification: &Specification,
    index: impl Fn(&Value, &str) -> Result<f64, GridError>,
) -> Result<Indices, GridError> {
    let within = |name: &str| {
        if simulation.path.is_empty() { name.to_owned() } else { format!("{}/{name}", simulation.path) }
    };
    let background = match simulation.optional("medium") {
        Some(medium) => index(medium.value, &medium.path)?,
        None => 1.0,
    };
    let structures = scene
        .structures()
        .iter()
        .enumerate()
        .map(|(number, structure)| index(&structure.medium, &within(&format!("structures/{number}/medium"))))
        .collect::<Result<_, _>>()?;
    let overrides = specification
        .overrides
        .iter()
        .filter_map(|external| match external {
            External::Structure { structure, path, .. } => {
                Some(index(&structure.medium, &format!("{path}/medium")))
            }
            External::Steps { .. } => None,
        })
        .collect::<Result<_, _>>()?;
    Ok(Indices { background, structures, overrides, boxes: Vec::new() })
}
