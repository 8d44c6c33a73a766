//! Finds where interfaces cross the edges of cells.

use rayon::prelude::*;

use super::MeshRequest;
use super::fill::Draft;
use super::interface::{between, centroid, corners};

/// A crossing nearer than this share of the edge to a settled end is ignored.
pub(super) const MARGIN: f64 = 0.2;
/// As [`MARGIN`], of an end that could not move onto the interface and never will.
pub(super) const STUCK_MARGIN: f64 = 0.03;
/// Share of the way from a corner that may be on a plane to the centre of the cell, for asking its region.
const OFF_PLANE: f64 = 1e-3;
/// Share of the way from an edge to the centre of the cell, for searching it.
const OFF_EDGE: f64 = 1e-7;
/// Halvings when searching an edge.
const HALVINGS: usize = 28;

/// An interface crosses an edge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crossing {
    /// Ends of the edge, ascending.
    pub(super) edge: [u32; 2],
    /// Place as share of the way from the first end to the second.
    pub(super) share: f64,
}

/// What a cell sees on one of its edges: ends and regions there, and the cell.
type Sight = ([u32; 2], [u32; 2], u32);

/// Crossings of the mixed cells, in the order of their edges. An edge can have several.
///
/// Crossings do not count that are nearer to an end than `margin` of it, as share of the edge.
pub(super) fn crossings(
    request: &MeshRequest<'_>,
    draft: &Draft,
    margin: &(dyn Fn(u32) -> f64 + Sync),
) -> Vec<Crossing> {
    let parts: Vec<Vec<Sight>> = draft
        .cells
        .par_chunks(8192)
        .enumerate()
        .map(|(part, cells)| {
            let mut sights = Vec::new();
            for (place, cell) in cells.iter().enumerate() {
                let number = part * 8192 + place;
                if draft.mixed[number] {
                    look(request, draft, margin, number, cell, &mut sights);
                }
            }
            sights
        })
        .collect();
    let mut sights = parts.concat();
    sights.par_sort_unstable();
    sights.dedup_by(|next, kept| next.0 == kept.0 && next.1 == kept.1);
    sights
        .par_iter()
        .filter_map(|sight| {
            search(request, draft, margin, sight).map(|share| Crossing { edge: sight.0, share })
        })
        .collect()
}

/// Lists the edges of a cell whose ends are in different regions.
fn look(
    request: &MeshRequest<'_>,
    draft: &Draft,
    margin: &(dyn Fn(u32) -> f64 + Sync),
    number: usize,
    cell: &[u32; 4],
    sights: &mut Vec<Sight>,
) {
    let centre = centroid(&draft.points, cell);
    let corners = corners(cell);
    let mut regions = [0; 4];
    for (region, &point) in regions.iter_mut().zip(corners) {
        let least = if draft.fixed[point as usize] != 0 { OFF_PLANE } else { OFF_EDGE };
        let inward = margin(point).max(least);
        *region = request.scene.region(between(draft.points[point as usize], centre, inward));
    }
    for a in 0..corners.len() {
        for b in 0..a {
            if regions[a] != regions[b] {
                let (low, high) = if corners[a] < corners[b] { (a, b) } else { (b, a) };
                sights.push(([corners[low], corners[high]], [regions[low], regions[high]], number as u32));
            }
        }
    }
}

/// Place where the region of the first end is left.
fn search(
    request: &MeshRequest<'_>,
    draft: &Draft,
    margin: &(dyn Fn(u32) -> f64 + Sync),
    &(edge, regions, cell): &Sight,
) -> Option<f64> {
    let centre = centroid(&draft.points, &draft.cells[cell as usize]);
    let [start, end] = edge.map(|point| draft.points[point as usize]);
    let inside = |share: f64| {
        let point = between(between(start, end, share), centre, OFF_EDGE);
        request.scene.region(point) == regions[0]
    };
    let (mut low, mut high) = (margin(edge[0]), 1.0 - margin(edge[1]));
    if (low > 0.0 && !inside(low)) || (high < 1.0 && inside(high)) {
        return None;
    }
    for _ in 0..HALVINGS {
        let middle = 0.5 * (low + high);
        if inside(middle) { low = middle } else { high = middle }
    }
    Some(0.5 * (low + high))
}
