//! Moves vertices onto the interfaces that pass near them.

use rustc_hash::FxHashMap;

use super::MeshRequest;
use super::crossing::{MARGIN, crossings};
use super::fill::Draft;
use super::interface::{between, corners};
use super::simplex::shape_of;

/// A vertex moves if the crossing is within this share of the edge.
const REACH: f64 = 0.3;
/// Shape that a cell may not fall below, as share of the regular simplex ...
const WORST_SHAPE: f64 = 0.15;
/// ... unless it was worse to begin with: then as share of what it was.
const WORST_CHANGE: f64 = 0.4;

/// A vertex, the place it could move to, and what that costs.
#[derive(Debug, Clone, Copy)]
struct Move {
    share: f64,
    vertex: u32,
    towards: u32,
    target: [f64; 3],
}

/// Moves what can be moved; returns how many vertices did. Moved vertices become settled.
pub(super) fn round(request: &MeshRequest<'_>, draft: &mut Draft, settled: &mut [bool]) -> usize {
    let found = crossings(request, draft, &|point| if settled[point as usize] { MARGIN } else { 0.0 });
    let mut moves = Vec::new();
    for crossing in &found {
        let [a, b] = crossing.edge;
        for (vertex, towards, share) in [(a, b, crossing.share), (b, a, 1.0 - crossing.share)] {
            if share < REACH && !settled[vertex as usize] && may_move(draft, vertex, towards) {
                let target = between(draft.points[vertex as usize], draft.points[towards as usize], share);
                moves.push(Move { share, vertex, towards, target });
            }
        }
    }
    moves.sort_unstable_by(|a, b| {
        a.share.total_cmp(&b.share).then(a.vertex.cmp(&b.vertex)).then(a.towards.cmp(&b.towards))
    });
    let around = cells_around(draft, moves.iter().map(|one| one.vertex));
    let mut worst = FxHashMap::default();
    let mut moved = 0;
    let mut moved_now = vec![false; draft.points.len()];
    for one in moves {
        // An edge whose other end has just moved is crossed elsewhere now: the next round looks again.
        if settled[one.vertex as usize] || moved_now[one.towards as usize] {
            continue;
        }
        let cells = &around[&one.vertex];
        let before = draft.points[one.vertex as usize];
        for &cell in cells {
            worst.entry(cell).or_insert_with(|| (WORST_CHANGE * shape(draft, cell)).min(WORST_SHAPE));
        }
        draft.points[one.vertex as usize] = one.target;
        if cells.iter().all(|cell| shape(draft, *cell) >= worst[cell]) {
            settled[one.vertex as usize] = true;
            moved_now[one.vertex as usize] = true;
            moved += 1;
            for &cell in cells {
                draft.mixed[cell as usize] = true;
            }
        } else {
            draft.points[one.vertex as usize] = before;
        }
    }
    moved
}

/// Whether the way to `towards` stays in all planes that hold the vertex.
fn may_move(draft: &Draft, vertex: u32, towards: u32) -> bool {
    let fixed = draft.fixed[vertex as usize];
    let (from, to) = (draft.points[vertex as usize], draft.points[towards as usize]);
    (0..3).all(|axis| fixed >> axis & 1 == 0 || from[axis] == to[axis])
}

/// Cells around each of some vertices.
fn cells_around(draft: &Draft, vertices: impl Iterator<Item = u32>) -> FxHashMap<u32, Vec<u32>> {
    let mut wanted = vec![false; draft.points.len()];
    let mut around: FxHashMap<u32, Vec<u32>> = FxHashMap::default();
    for vertex in vertices {
        wanted[vertex as usize] = true;
        around.entry(vertex).or_default();
    }
    for (number, cell) in draft.cells.iter().enumerate() {
        for &point in corners(cell) {
            if wanted[point as usize] {
                around.entry(point).or_default().push(number as u32);
            }
        }
    }
    around
}

/// Shape of a cell by number, see [`shape_of`].
fn shape(draft: &Draft, cell: u32) -> f64 {
    shape_of(&draft.points, draft.normal, &draft.cells[cell as usize])
}
