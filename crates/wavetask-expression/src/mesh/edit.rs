//! What is made of meshes before fields on them are brought to grids, one edit after the other.

use std::sync::Arc;

use wavetask_document::expression::{
    EdgePoint, EditedMesh, EditedShape, ExpressionError, Field, FieldType, Flux, MeshEdit, MeshType, Schema,
};

use super::MeshGeometry;
use crate::Reader;

/// A schema that knows what edits make of meshes, because it reads their points and cells.
#[derive(Clone, Copy)]
pub struct WithMeshes<'a> {
    /// What is known of the fields.
    pub schema: &'a dyn Schema,
    /// Where meshes are read from.
    pub reader: &'a dyn Reader,
}

impl std::fmt::Debug for WithMeshes<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WithMeshes").finish_non_exhaustive()
    }
}

impl Schema for WithMeshes<'_> {
    fn field(&self, field: &Field) -> Result<FieldType, ExpressionError> {
        self.schema.field(field)
    }

    fn flux(&self, field: &Field) -> Result<Option<Flux>, ExpressionError> {
        self.schema.flux(field)
    }

    fn edited(&self, mesh: &MeshType, edit: &MeshEdit) -> Result<EditedMesh, ExpressionError> {
        let (points, rest, next) = geometry_of(self.reader, mesh)?.edited(edit)?;
        let shape = match rest {
            Rest::Line(axis, coordinates) => EditedShape::Line { axis, coordinates },
            Rest::Mesh(made) => {
                let mut edits = mesh.edits.clone();
                edits.push(*edit);
                EditedShape::Mesh(Arc::new(MeshType {
                    kind: made.kind,
                    points: made.points.len() as u64,
                    cells: made.cells.len() as u64,
                    identity: mesh.edited_identity(edit),
                    byte_length: mesh.byte_length,
                    field: mesh.field.clone(),
                    edits,
                }))
            }
        };
        Ok(EditedMesh { points, shape, next })
    }
}

/// Points and cells of a mesh, edited as it was.
pub(crate) fn geometry_of(reader: &dyn Reader, mesh: &MeshType) -> Result<MeshGeometry, ExpressionError> {
    let mut geometry = reader.mesh(mesh)?;
    for edit in &mesh.edits {
        if let (_, Rest::Mesh(made), _) = geometry.edited(edit)? {
            geometry = made;
        }
    }
    Ok(geometry)
}

/// What an edit leaves.
#[derive(Debug)]
pub(super) enum Rest {
    /// A line along an axis, through points at these coordinates.
    Line(usize, Vec<f64>),
    /// Triangles or tetrahedra.
    Mesh(MeshGeometry),
}

impl MeshGeometry {
    /// What an edit makes of it: the points, between two of the mesh each, what they are of, and what is next.
    fn edited(&self, edit: &MeshEdit) -> Result<(Vec<EdgePoint>, Rest, Vec<MeshEdit>), ExpressionError> {
        let (points, rest) = match *edit {
            MeshEdit::Cut { axis, position } => self.cut(axis, position)?,
            MeshEdit::Clip { axis, position, above } => self.clip(axis, position, above),
            MeshEdit::Mirror(ref mirrors) => return self.mirror(mirrors),
        };
        Ok((points, rest, Vec::new()))
    }
}
