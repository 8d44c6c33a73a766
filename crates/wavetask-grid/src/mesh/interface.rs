//! Gives cells near interfaces their region.

use rayon::prelude::*;

use super::fill::Draft;
use super::{MeshError, MeshRequest, NONE, check};

pub(super) fn conform(request: &MeshRequest<'_>, draft: &mut Draft) -> Result<(), MeshError> {
    check(request)?;
    let points = &draft.points;
    draft.regions.par_iter_mut().zip(&draft.cells).zip(&draft.mixed).for_each(|((region, cell), &mixed)| {
        if mixed {
            *region = request.scene.region(centroid(points, cell));
        }
    });
    Ok(())
}

/// Centre of mass of a cell.
pub(super) fn centroid(points: &[[f64; 3]], cell: &[u32; 4]) -> [f64; 3] {
    let count = if cell[3] == NONE { 3 } else { 4 };
    std::array::from_fn(|axis| {
        cell[..count].iter().map(|&point| points[point as usize][axis]).sum::<f64>() / count as f64
    })
}
