//! A list of structures, and which of them a point belongs to.

use serde_json::Value;
use wavetask_document::ArraySource;

use super::tree::{COSTLY, Tree};
use super::{Bounds, Geometry, MAXIMUM_STRUCTURES};
use crate::reading::{Fields, Part, SceneError, join};

/// A geometry filled with a medium.
#[derive(Debug)]
pub struct Structure {
    /// Where the structure is.
    pub geometry: Geometry,
    /// Its name, by which boundary conditions and grid specifications refer to it.
    pub name: Option<String>,
    /// The JSON of its medium, for the solver to read.
    pub medium: Value,
    /// Where structures overlap, the highest priority wins, then the last in the list. Zero by default.
    pub priority: i64,
}

/// The structures of a simulation in their order, and the answer to which one owns a point.
#[derive(Debug)]
pub struct Scene {
    structures: Vec<Structure>,
    /// Indices of the structures, from the one that all others cover to the one that covers all others.
    precedence: Vec<usize>,
    /// Over the bounding boxes in the order of precedence.
    tree: Tree,
}

impl Scene {
    /// Reads the `structures` of a simulation (or scene) that the client wrote.
    ///
    /// `path` is where the simulation stands in the document: empty for the document itself.
    /// `structure_priority_mode` is honoured as the client does: in the mode `conductor`, perfect
    /// conductors take priority 100 and lossy metals 90 unless a structure states its own.
    pub fn from_json(simulation: &Value, path: &str, arrays: &dyn ArraySource) -> Result<Self, SceneError> {
        let fields = Fields::of(Part::Geometry, simulation, path)?;
        let conductors_first = match fields.optional("structure_priority_mode").map(Value::as_str) {
            None | Some(Some("equal")) => false,
            Some(Some("conductor")) => true,
            Some(_) => {
                let path = fields.path_of("structure_priority_mode");
                return Err(Part::Geometry.unsupported(path, "this mode of structure priorities"));
            }
        };
        let path = fields.path_of("structures");
        let values = match fields.optional("structures") {
            Some(value) => Part::Geometry.list(value, &path)?,
            None => &[],
        };
        if values.len() > MAXIMUM_STRUCTURES {
            return Err(Part::Geometry.too_many(path, "structures", MAXIMUM_STRUCTURES));
        }
        let structures = values
            .iter()
            .enumerate()
            .map(|(index, value)| Structure::from_json(value, &join(&path, index), arrays, conductors_first))
            .collect::<Result<_, _>>()?;
        Ok(Self::new(structures))
    }

    /// A scene of these structures, later ones covering earlier ones of the same priority.
    pub fn new(structures: Vec<Structure>) -> Self {
        let mut precedence: Vec<usize> = (0..structures.len()).collect();
        precedence.sort_by_key(|&index| structures[index].priority);
        let reaches: Vec<Bounds> = precedence.iter().map(|&index| structures[index].geometry.reach).collect();
        let tree = Tree::new(&reaches, COSTLY);
        Self { structures, precedence, tree }
    }

    /// The structures in the order of the document.
    pub fn structures(&self) -> &[Structure] {
        &self.structures
    }

    /// Indices of the structures in ascending precedence: each covers those before it.
    pub fn precedence(&self) -> &[usize] {
        &self.precedence
    }

    /// The index of the structure that the point belongs to; `None` where only the background is.
    ///
    /// Where structures overlap, the one of the highest priority wins, then the last one. Surfaces belong
    /// to the structure that they bound.
    pub fn owner(&self, point: [f64; 3]) -> Option<usize> {
        self.tree
            .greatest_at(point, |rank| self.structures[self.precedence[rank]].geometry.contains(point))
            .map(|rank| self.precedence[rank])
    }
}

impl Structure {
    pub(crate) fn from_json(
        value: &Value,
        path: &str,
        arrays: &dyn ArraySource,
        conductors_first: bool,
    ) -> Result<Self, SceneError> {
        let fields = Fields::of(Part::Geometry, value, path)?;
        let geometry =
            Geometry::from_json(fields.required("geometry")?, &fields.path_of("geometry"), arrays)?;
        let name = fields.optional("name").map(|_| fields.text("name")).transpose()?.map(str::to_owned);
        let medium = fields.optional("medium").cloned().unwrap_or(Value::Null);
        let priority = match fields.optional("priority") {
            Some(value) => value.as_i64().ok_or_else(|| {
                Part::Geometry.invalid(fields.path_of("priority"), "an integer is expected")
            })?,
            None if conductors_first => conductor_priority(&medium),
            None => 0,
        };
        Ok(Self { geometry, name, medium, priority })
    }
}

/// The priority that the client gives to conductors in the mode `conductor`.
fn conductor_priority(medium: &Value) -> i64 {
    fn kind(medium: &Value) -> Option<&str> {
        medium.get("type").and_then(Value::as_str)
    }
    // A multiphysics medium answers for its optical part, but is no lossy metal to the client.
    let optical = match kind(medium) {
        Some("MultiPhysicsMedium") => medium.get("optical").unwrap_or(&Value::Null),
        _ => medium,
    };
    let is_perfect = |name: &&str| optical.get(name).and_then(kind) == Some("PECMedium");
    let has_perfect_component = || ["ss", "tt", "xx", "yy", "zz"].iter().any(is_perfect);
    match kind(optical) {
        Some("PECMedium") => 100,
        Some("Medium2D" | "AnisotropicMedium") if has_perfect_component() => 100,
        Some("LossyMetalMedium") if !std::ptr::eq(optical, medium) => 0,
        Some("LossyMetalMedium") => 90,
        _ => 0,
    }
}
