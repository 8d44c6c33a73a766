//! Splits the edges that interfaces still cross.

use rustc_hash::{FxHashMap, FxHashSet};

use super::MeshRequest;
use super::crossing::{Crossing, MARGIN, STUCK_MARGIN, crossings};
use super::fill::Draft;
use super::interface::{between, corners};
use super::simplex::{dot, shape_of, subtract};

/// An edge to be split.
#[derive(Debug, Clone, Copy)]
struct Marked {
    /// The vertex on the edge.
    vertex: u32,
    /// Squared length of the edge.
    squared_length: f64,
}

/// Splits each crossed edge once, with all cells around it; returns how many edges. New vertices are settled.
///
/// Edges whose halves would leave a cell flatter than `flattest` (see [`shape_of`]) are left crossed.
///
/// A cell splits its longest marked edge first, ties by number. Restricted to a facet that order is the same from both
/// sides, so the halves of neighbours match.
pub(super) fn round(
    request: &MeshRequest<'_>,
    draft: &mut Draft,
    settled: &mut Vec<bool>,
    flattest: f64,
) -> usize {
    // No vertex moves from here on. One that is not on the interface, because moving it would have flattened a cell or
    // left a plane, may be split off close by: ignoring the crossing would put the vertex on the interface as it is, an
    // error of first order.
    let found =
        crossings(request, draft, &|point| if settled[point as usize] { MARGIN } else { STUCK_MARGIN });
    let middle = |share: f64| (share - 0.5).abs();
    let mut chosen: Vec<Crossing> = found
        .chunk_by(|a, b| a.edge == b.edge)
        .filter_map(|of_edge| of_edge.iter().min_by(|a, b| middle(a.share).total_cmp(&middle(b.share))))
        .copied()
        .collect();
    if flattest > 0.0 {
        drop_flattening(draft, &mut chosen, flattest);
    }
    let mut marked: FxHashMap<[u32; 2], Marked> = FxHashMap::default();
    for crossing in &chosen {
        let edge = crossing.edge;
        let [start, end] = edge.map(|point| draft.points[point as usize]);
        let along = subtract(end, start);
        let vertex = draft.points.len() as u32;
        draft.points.push(between(start, end, crossing.share));
        let common = draft.fixed[edge[0] as usize] & draft.fixed[edge[1] as usize];
        let fixed = (0..3).filter(|&axis| start[axis] == end[axis]).fold(0, |mask, axis| mask | 1 << axis);
        draft.fixed.push(common & fixed);
        settled.push(true);
        marked.insert(edge, Marked { vertex, squared_length: dot(along, along) });
    }
    let mut open = Vec::new();
    for number in cells_with_edges(draft, &chosen) {
        open.push(draft.cells[number]);
        let mut first = true;
        while let Some(cell) = open.pop() {
            match split_longest(&cell, &marked) {
                Some(halves) => open.extend(halves),
                None if first => {
                    draft.cells[number] = cell;
                    draft.mixed[number] = true;
                    first = false;
                }
                None => {
                    draft.cells.push(cell);
                    draft.regions.push(draft.regions[number]);
                    draft.mixed.push(true);
                }
            }
        }
    }
    chosen.len()
}

/// Cells with at least one of the edges.
fn cells_with_edges(draft: &Draft, crossings: &[Crossing]) -> Vec<usize> {
    let mut touched = vec![false; draft.points.len()];
    let edges: FxHashSet<[u32; 2]> = crossings.iter().map(|crossing| crossing.edge).collect();
    for &point in edges.iter().flatten() {
        touched[point as usize] = true;
    }
    let has_edge = |cell: &[u32; 4]| {
        let ends = corners(cell).iter().filter(|&&point| touched[point as usize]).count();
        ends > 1 && places_of_edges(cell).any(|places| edges.contains(&edge_at(cell, places)))
    };
    draft.cells.iter().enumerate().filter(|(_, cell)| has_edge(cell)).map(|(number, _)| number).collect()
}

/// Removes crossings whose split alone would flatten a cell.
fn drop_flattening(draft: &mut Draft, crossings: &mut Vec<Crossing>, flattest: f64) {
    let place: FxHashMap<[u32; 2], usize> =
        crossings.iter().enumerate().map(|(place, crossing)| (crossing.edge, place)).collect();
    let mut flattening = vec![false; crossings.len()];
    let trial = draft.points.len() as u32;
    draft.points.push([0.0; 3]);
    for number in cells_with_edges(draft, crossings) {
        let cell = draft.cells[number];
        for places in places_of_edges(&cell) {
            let edge = edge_at(&cell, places);
            let Some(&place) = place.get(&edge) else { continue };
            let [start, end] = edge.map(|point| draft.points[point as usize]);
            draft.points[trial as usize] = between(start, end, crossings[place].share);
            for half in halves(&cell, places, trial) {
                flattening[place] |= shape_of(&draft.points, draft.normal, &half) < flattest;
            }
        }
    }
    draft.points.pop();
    let mut flattening = flattening.into_iter();
    crossings.retain(|_| !flattening.next().unwrap_or(false));
}

/// Places of the ends of each edge of a cell.
fn places_of_edges(cell: &[u32; 4]) -> impl Iterator<Item = [usize; 2]> + use<> {
    let count = corners(cell).len();
    (0..count).flat_map(|a| (0..a).map(move |b| [a, b]))
}

/// Ends of an edge, ascending.
fn edge_at(cell: &[u32; 4], [a, b]: [usize; 2]) -> [u32; 2] {
    [cell[a].min(cell[b]), cell[a].max(cell[b])]
}

fn halves(cell: &[u32; 4], [a, b]: [usize; 2], vertex: u32) -> [[u32; 4]; 2] {
    let (mut first, mut second) = (*cell, *cell);
    first[a] = vertex;
    second[b] = vertex;
    [first, second]
}

/// Halves of the cell at its longest marked edge, if it has one.
fn split_longest(cell: &[u32; 4], marked: &FxHashMap<[u32; 2], Marked>) -> Option<[[u32; 4]; 2]> {
    let mut longest: Option<(Marked, [u32; 2], [usize; 2])> = None;
    for places in places_of_edges(cell) {
        let edge = edge_at(cell, places);
        let Some(&mark) = marked.get(&edge) else { continue };
        let longer = longest.is_none_or(|(other, other_edge, _)| {
            mark.squared_length > other.squared_length
                || (mark.squared_length == other.squared_length && edge < other_edge)
        });
        if longer {
            longest = Some((mark, edge, places));
        }
    }
    longest.map(|(mark, _, places)| halves(cell, places, mark.vertex))
}
