//! The scene with its structures turned around the plane's centre, as a document.
//!
//! Writing a document instead of changing what was read leaves everything to the one reader there is, from the graded
//! grid, which depends on where structures are now, to the averaging of cut cells.

use serde_json::{Value, json};
use wavetask_document::{Array, ArrayError, ArraySource};
use wavetask_grid::geometry::Geometry;
use wavetask_grid::media::Medium;

use super::Turn;
use crate::document::ModeTask;
use crate::error::refused;
use crate::layout::TOLERANCE;
use crate::postprocess::sampled_frequencies;
use crate::scene::PlaneScene;
use wavetask_solver::Refused;

/// Media that look the same from all sides.
const ISOTROPIC: [&str; 9] = [
    "Medium",
    "LossyMetalMedium",
    "PoleResidue",
    "Sellmeier",
    "Lorentz",
    "Debye",
    "Drude",
    "PECMedium",
    "PMCMedium",
];

/// The document with those structures that the plane meets, turned, and their numbers in the document as it was.
pub(super) fn turned_scene(
    task: &ModeTask,
    scene: &PlaneScene,
    turn: &Turn,
    document: &Value,
    arrays: &dyn ArraySource,
) -> Result<(Value, Vec<usize>), Refused> {
    let mut turned = document.clone();
    let found = match task.scene_prefix() {
        "" => &mut turned,
        prefix => &mut turned[prefix],
    };
    let materials = scene.materials();
    let frequencies = sampled_frequencies(task);
    check_medium(&found["medium"], materials.background(), turn, &frequencies, "medium")?;
    let structures = found["structures"].as_array().cloned().unwrap_or_default();
    let transform = transform(turn, task.plane.center);
    let (mut kept, mut list) = (Vec::new(), Vec::new());
    for (index, mut structure) in structures.into_iter().enumerate() {
        let path = format!("structures[{index}]");
        let bounds = materials.structures()[index].geometry.bounds();
        let geometry = structure["geometry"].take();
        let json_path = format!("{}/geometry", materials.structure_path(index));
        let position = task.plane.center[turn.normal];
        if !is_met(&geometry, &json_path, arrays, turn.normal, position)? {
            continue;
        }
        let medium_path = format!("{path}.medium");
        check_medium(&structure["medium"], materials.medium(index), turn, &frequencies, &medium_path)?;
        if bounds.iter().flatten().any(|bound| bound.is_infinite()) {
            return Err(refusal(
                &format!("{path}.geometry"),
                "a structure of infinite size cannot be turned: give it a finite size beyond the plane",
            ));
        }
        structure["geometry"] = match turned_polygon(&geometry, turn, &transform) {
            Some(turned) => turned,
            None => json!({ "type": "Transformed", "geometry": geometry, "transform": transform }),
        };
        kept.push(index);
        list.push(structure);
    }
    found["structures"] = list.into();
    Ok((turned, kept))
}

/// A polygon that is turned around its own axis, which stays one with bounds of its own: the grid of a transformed
/// geometry would be that of the box around its box.
fn turned_polygon(geometry: &Value, turn: &Turn, transform: &[[f64; 4]; 4]) -> Option<Value> {
    if geometry["type"] != "PolySlab" || geometry["axis"].as_u64()? != turn.axis as u64 {
        return None;
    }
    let plane = [turn.normal.min(turn.lateral), turn.normal.max(turn.lateral)];
    let turned: Option<Vec<[f64; 2]>> = geometry["vertices"]
        .as_array()?
        .iter()
        .map(|vertex| {
            let place = [vertex[0].as_f64()?, vertex[1].as_f64()?];
            Some(plane.map(|row| {
                transform[row][plane[0]] * place[0] + transform[row][plane[1]] * place[1] + transform[row][3]
            }))
        })
        .collect();
    let mut polygon = geometry.clone();
    polygon["vertices"] = json!(turned?);
    Some(polygon)
}

/// Whether a geometry meets the plane at a position along an axis: as far as bounding boxes tell, each member of a group
/// by itself.
fn is_met(
    geometry: &Value,
    path: &str,
    arrays: &dyn ArraySource,
    axis: usize,
    position: f64,
) -> Result<bool, Refused> {
    if geometry["type"] == "GeometryGroup"
        && let Some(members) = geometry["geometries"].as_array()
    {
        for (index, member) in members.iter().enumerate() {
            if is_met(member, &format!("{path}/geometries/{index}"), arrays, axis, position)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    let read =
        Geometry::from_json(geometry, path, arrays).map_err(|error| refusal(path, &error.to_string()))?;
    let [low, high] = read.bounds()[axis];
    Ok(low <= position && position <= high)
}

/// Refuses a medium that is another one once it is turned.
fn check_medium(
    document: &Value,
    medium: &Medium,
    turn: &Turn,
    frequencies: &[f64],
    path: &str,
) -> Result<(), Refused> {
    let class = document["type"].as_str().unwrap_or("Medium");
    let is_invariant = match class {
        "AnisotropicMedium" | "FullyAnisotropicMedium" => {
            frequencies.iter().all(|&frequency| is_invariant(&medium.tensor(frequency), turn))
        }
        class => ISOTROPIC.contains(&class),
    };
    if is_invariant {
        return Ok(());
    }
    Err(refusal(
        path,
        &format!(
            "`{class}` is not the same medium once it is turned: `angle_rotation` takes uniform isotropic media, and \
             anisotropic ones that are uniform around the axis; use `angle_rotation=False`"
        ),
    ))
}

fn refusal(path: &str, message: &str) -> Refused {
    refused(path, "angle_rotation", message)
}

/// Whether a tensor is the same once it is turned, up to rounding.
fn is_invariant(tensor: &wavetask_grid::media::Tensor, turn: &Turn) -> bool {
    let rotation = rotation(turn);
    (0..3).all(|row| {
        (0..3).all(|column| {
            let turned: num_complex::Complex64 = (0..9)
                .map(|place| {
                    let (inner_row, inner_column) = (place / 3, place % 3);
                    tensor[inner_row][inner_column]
                        * (rotation[row][inner_row] * rotation[column][inner_column])
                })
                .sum();
            let scale = tensor.iter().flatten().map(|entry| entry.norm()).fold(1.0, f64::max);
            (turned - tensor[row][column]).norm() <= TOLERANCE * scale
        })
    })
}

/// The matrix that turns the waveguide to the plane's normal.
fn rotation(turn: &Turn) -> [[f64; 3]; 3] {
    let (sine, cosine) = turn.angle.sin_cos();
    let mut matrix = [[0.0; 3]; 3];
    matrix[turn.axis][turn.axis] = 1.0;
    matrix[turn.normal][turn.normal] = cosine;
    matrix[turn.normal][turn.lateral] = sine;
    matrix[turn.lateral][turn.normal] = -sine;
    matrix[turn.lateral][turn.lateral] = cosine;
    matrix
}

/// The turn around the plane's centre as the client writes transforms.
fn transform(turn: &Turn, center: [f64; 3]) -> [[f64; 4]; 4] {
    let rotation = rotation(turn);
    let mut around = center;
    around[turn.axis] = 0.0;
    let mut transform = [[0.0; 4]; 4];
    for row in 0..3 {
        let moved: f64 = (0..3).map(|column| rotation[row][column] * around[column]).sum();
        transform[row][..3].copy_from_slice(&rotation[row]);
        transform[row][3] = around[row] - moved;
    }
    transform[3][3] = 1.0;
    transform
}

/// The arrays of a document whose structures were turned and some left out.
pub(super) struct TurnedArrays<'a> {
    arrays: &'a dyn ArraySource,
    /// Where the list of structures stands, with a slash at its end.
    list: String,
    /// Numbers of the structures in the document as it was.
    kept: Vec<usize>,
}

impl<'a> TurnedArrays<'a> {
    pub(super) fn new(arrays: &'a dyn ArraySource, prefix: &str, kept: Vec<usize>) -> Self {
        let list = if prefix.is_empty() { "structures/".to_owned() } else { format!("{prefix}/structures/") };
        Self { arrays, list, kept }
    }

    /// Where an array of the turned document stands in the one as it was.
    fn original(&self, path: &str) -> Option<String> {
        let (number, rest) = path.strip_prefix(&self.list)?.split_once('/')?;
        let number = self.kept.get(number.parse::<usize>().ok()?)?;
        let rest = match rest.strip_prefix("geometry/") {
            Some(inner) => inner,
            None => rest,
        };
        Some(format!("{}{number}/{rest}", self.list))
    }
}

impl ArraySource for TurnedArrays<'_> {
    fn load(&self, path: &str) -> Result<Option<Array>, ArrayError> {
        match self.original(path) {
            Some(original) => self.arrays.load(&original),
            None => self.arrays.load(path),
        }
    }
}
