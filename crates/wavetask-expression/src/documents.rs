//! Documents as what fields are read from.

use std::ops::Range;

use wavetask_document::expression::{Documents, ExpressionError, Field, MeshType};
use wavetask_document::{Array, BlockSource};

use crate::{MeshGeometry, Reader};

impl<B: BlockSource> Reader for Documents<B> {
    fn shape(&self, field: &Field) -> Result<Vec<usize>, ExpressionError> {
        Self::shape(self, field)
    }

    fn read(&self, field: &Field, ranges: &[Range<u64>]) -> Result<Array, ExpressionError> {
        self.load_part(field, ranges)
    }

    fn mesh(&self, mesh: &MeshType) -> Result<MeshGeometry, ExpressionError> {
        let (kind, points, cells) = self.mesh_arrays(&mesh.field)?;
        MeshGeometry::new(kind, &points, &cells)
    }
}
