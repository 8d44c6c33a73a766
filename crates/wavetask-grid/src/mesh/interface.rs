//! Makes cells follow interfaces that are not on feature planes.
//!
//! A point *on* an interface belongs to any of the regions around it, so vertices are never asked for their region:
//! each cell asks a little inside of each of its corners. Where the answers differ an interface crosses the
//! cell, and the edges concerned are searched for the place. Vertices near a crossing move onto it if they may
//! (within their feature planes, without spoiling a cell); the crossings that remain split their edges. Each cell
//! then lies in one region, up to the curvature of the interface over one cell: an error of second order.
//!
//! Vertices that could not move are split off the interface, however near. Only a crossing so near one that the cells
//! between would be needles is ignored; the interface then passes through that vertex.

use rayon::prelude::*;

use super::fill::Draft;
use super::{MeshError, MeshRequest, NONE, check, snap, split};

/// Rounds of moving vertices: later ones see what earlier moves made possible.
const SNAP_ROUNDS: usize = 5;
/// Rounds of splitting: where three regions meet, the first split of an edge reveals the next.
const SPLIT_ROUNDS: usize = 3;
/// Shape of the flattest cell that later rounds of splitting may make; the regular simplex has 1.
const FLATTEST: f64 = 0.2;

pub(super) fn conform(request: &MeshRequest<'_>, draft: &mut Draft) -> Result<(), MeshError> {
    widen(draft);
    let mut settled = vec![false; draft.points.len()];
    for _ in 0..SNAP_ROUNDS {
        check(request)?;
        if snap::round(request, draft, &mut settled) == 0 {
            break;
        }
    }
    for number in 0..SPLIT_ROUNDS {
        check(request)?;
        // What the first round leaves crossed is small: not worth flat cells.
        let flattest = if number == 0 { 0.0 } else { FLATTEST };
        let split = split::round(request, draft, &mut settled, flattest);
        if draft.cells.len() > request.maximum_cells {
            return Err(MeshError::TooManyCells {
                needed: draft.cells.len(),
                limit: request.maximum_cells,
                hint: "ask for larger cells along curved or oblique interfaces, or allow more cells"
                    .to_owned(),
            });
        }
        if split == 0 {
            break;
        }
    }
    check(request)?;
    let points = &draft.points;
    draft.regions.par_iter_mut().zip(&draft.cells).zip(&draft.mixed).for_each(|((region, cell), &mixed)| {
        if mixed {
            *region = request.scene.region(centroid(points, cell));
        }
    });
    Ok(())
}

/// Counts the neighbours of mixed cells as mixed: an interface may bulge into a box between the corners that were asked.
fn widen(draft: &mut Draft) {
    let mut near = vec![false; draft.points.len()];
    for (cell, _) in draft.cells.iter().zip(&draft.mixed).filter(|(_, mixed)| **mixed) {
        for &point in corners(cell) {
            near[point as usize] = true;
        }
    }
    draft.mixed.par_iter_mut().zip(&draft.cells).for_each(|(mixed, cell)| {
        *mixed |= corners(cell).iter().any(|&point| near[point as usize]);
    });
}

/// Centre of mass of a cell.
pub(super) fn centroid(points: &[[f64; 3]], cell: &[u32; 4]) -> [f64; 3] {
    let corners = corners(cell);
    let share = 1.0 / corners.len() as f64;
    std::array::from_fn(|axis| corners.iter().map(|&point| points[point as usize][axis]).sum::<f64>() * share)
}

/// Points of a cell, without the absent one of a triangle.
pub(super) fn corners(cell: &[u32; 4]) -> &[u32] {
    if cell[3] == NONE { &cell[..3] } else { cell }
}

/// The point at a share of the way from `a` to `b`. Coordinates that agree stay exactly equal.
pub(super) fn between(a: [f64; 3], b: [f64; 3], share: f64) -> [f64; 3] {
    std::array::from_fn(|axis| a[axis] + share * (b[axis] - a[axis]))
}
