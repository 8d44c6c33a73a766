//! Splits the edges that interfaces still cross.

use rustc_hash::FxHashMap;

use super::MeshRequest;
use super::crossing::crossings;
use super::fill::Draft;
use super::interface::{between, corners};
use super::simplex::{dot, subtract};

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
/// A cell splits its longest marked edge first, ties by number. Restricted to a facet that order is the same from both
/// sides, so the halves of neighbours match.
pub(super) fn round(request: &MeshRequest<'_>, draft: &mut Draft, settled: &mut Vec<bool>) -> usize {
    // No vertex moves from here on, so a crossing next to any end is left alone.
    let found = crossings(request, draft, &|_| true);
    let mut marked: FxHashMap<[u32; 2], Marked> = FxHashMap::default();
    let mut touched = vec![false; draft.points.len()];
    for of_edge in found.chunk_by(|a, b| a.edge == b.edge) {
        let middle = |share: f64| (share - 0.5).abs();
        let Some(crossing) = of_edge.iter().min_by(|a, b| middle(a.share).total_cmp(&middle(b.share))) else {
            continue;
        };
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
        touched[edge[0] as usize] = true;
        touched[edge[1] as usize] = true;
    }
    if marked.is_empty() {
        return 0;
    }
    let old = draft.cells.len();
    let mut open = Vec::new();
    for number in 0..old {
        let cell = draft.cells[number];
        let ends = corners(&cell).iter().filter(|&&point| touched[point as usize]).count();
        let Some(halves) = (if ends > 1 { split_longest(&cell, &marked) } else { None }) else { continue };
        open.extend(halves);
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
    marked.len()
}

/// Halves of the cell at its longest marked edge, if it has one.
fn split_longest(cell: &[u32; 4], marked: &FxHashMap<[u32; 2], Marked>) -> Option<[[u32; 4]; 2]> {
    let numbers = corners(cell);
    let mut longest: Option<(Marked, [u32; 2], [usize; 2])> = None;
    for a in 0..numbers.len() {
        for b in 0..a {
            let edge = [numbers[a].min(numbers[b]), numbers[a].max(numbers[b])];
            let Some(&mark) = marked.get(&edge) else { continue };
            let longer = longest.is_none_or(|(other, other_edge, _)| {
                mark.squared_length > other.squared_length
                    || (mark.squared_length == other.squared_length && edge < other_edge)
            });
            if longer {
                longest = Some((mark, edge, [a, b]));
            }
        }
    }
    let (mark, _, [a, b]) = longest?;
    let (mut first, mut second) = (*cell, *cell);
    first[a] = mark.vertex;
    second[b] = mark.vertex;
    Some([first, second])
}
