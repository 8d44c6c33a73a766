//! Fields on unstructured meshes: what may be done with them, and how they come to have labels.
//!
//! Such a field is values at points, an array along `index` and perhaps other dimensions (a voltage, a time). What is
//! computed of each value is the same as for other arrays; what names x, y or z needs the mesh. The rules are those of
//! tidy3d's `TriangularGridDataset` and `TetrahedralGridDataset`: a selection along another dimension keeps it, with
//! one place; `interp` along x, y and z gives an array on a rectangular grid.

use std::sync::Arc;

use wavetask_protocol::Digest;

use super::infer::{Context, Inferred, Typed};
use super::selection::Taken;
use super::{Coordinate, Dimension, ExpressionError, Fill, InterpolationMethod, Labels};

/// The dimension of a mesh's points.
pub(super) const INDEX: &str = "index";

/// The axes of space.
const AXES: [&str; 3] = ["x", "y", "z"];

/// A mesh, without its points and cells.
#[derive(Clone, Debug, PartialEq)]
pub struct MeshType {
    /// What its cells are.
    pub kind: MeshKind,
    /// Number of points.
    pub points: u64,
    /// Number of cells.
    pub cells: u64,
    /// A digest of points and cells: fields on the same mesh can be added.
    pub identity: Digest,
    /// Bytes of points and cells.
    pub byte_length: u64,
    /// The field whose mesh it is.
    pub field: super::Field,
}

/// What the cells of a mesh are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MeshKind {
    /// Triangles in a plane.
    Triangular {
        /// The axis along which the plane's normal points: 0, 1 or 2.
        normal_axis: usize,
        /// Where the plane is along it (µm).
        normal_position: f64,
    },
    /// Tetrahedra.
    Tetrahedral,
}

impl MeshType {
    /// Bytes of points and cells.
    pub(super) const fn bytes(&self) -> u64 {
        self.byte_length
    }
}

/// Refuses what needs labels for a field on a mesh.
pub(super) fn refuse(operation: &'static str, inferred: &Inferred) -> Result<(), ExpressionError> {
    if inferred.mesh.is_none() {
        return Ok(());
    }
    let what = "the field is on an unstructured mesh; interpolate it to a grid first";
    Err(ExpressionError::invalid(operation, what))
}

/// The mesh of the result of two operands: they are on the same one, or one is a number.
pub(super) fn common(left: &Inferred, right: &Inferred) -> Result<Option<Arc<MeshType>>, ExpressionError> {
    let refuse = |what: &str| Err(ExpressionError::invalid("binary", what));
    match (&left.mesh, &right.mesh) {
        (None, None) => Ok(None),
        (Some(a), Some(b)) if a.identity == b.identity && a.kind == b.kind => Ok(Some(a.clone())),
        (Some(_), Some(_)) => refuse("the fields are on different meshes; interpolate them to a grid first"),
        (Some(mesh), None) if right.labels.dimensions.is_empty() => Ok(Some(mesh.clone())),
        (None, Some(mesh)) if left.labels.dimensions.is_empty() => Ok(Some(mesh.clone())),
        _ => refuse("a field on an unstructured mesh goes with numbers and fields on the same mesh only"),
    }
}

/// Refuses the mesh's own dimension, and keeps every other that a selection would drop.
pub(super) fn keep(operation: &'static str, name: &str, taken: Taken) -> Result<Taken, ExpressionError> {
    if name == INDEX {
        return Err(ExpressionError::invalid(operation, "the points of a mesh are not selected by index"));
    }
    Ok(match taken {
        Taken::One(place) => Taken::Places([place].into()),
        other => other,
    })
}

/// Whether a dimension is one of space.
pub(super) fn is_spatial(name: &str) -> bool {
    AXES.contains(&name)
}

/// The field on a rectangular grid. `places` has each of x, y and z once.
pub(super) fn resample(
    context: &mut Context<'_>,
    of: Inferred,
    mesh: Arc<MeshType>,
    places: &[(Arc<str>, Vec<f64>)],
    method: InterpolationMethod,
    fill: Option<Fill>,
) -> Result<Inferred, ExpressionError> {
    let mut dimensions = Vec::with_capacity(of.labels.dimensions.len() + 2);
    for name in AXES {
        let Some((_, values)) = places.iter().find(|(other, _)| &**other == name) else {
            let what = "a field on an unstructured mesh is interpolated along x, y and z together";
            return Err(ExpressionError::invalid("interp", what));
        };
        context.hold(values.len())?;
        dimensions.push(Dimension::new(name, Coordinate::Numbers(values.clone())));
    }
    dimensions.extend(of.labels.dimensions.iter().filter(|dimension| &*dimension.name != INDEX).cloned());
    let fill = match fill {
        None | Some(Fill::Extrapolate) => None,
        Some(Fill::Value(value)) => Some(value),
    };
    if mesh.points == 0 {
        return Err(ExpressionError::invalid("interp", "the mesh has no points"));
    }
    Ok(Inferred {
        labels: Labels { dimensions, scalars: of.labels.scalars.clone() },
        data_type: of.data_type,
        mesh: None,
        node: Typed::Resample { of: Box::new(of), mesh, method, fill },
    })
}
