//! From boxes to conforming simplices.
//!
//! A box without hanging vertices is cut into Kuhn simplices, all diagonals running from the lower to the upper corner
//! (2 triangles or 6 tetrahedra). Any other box gets a vertex at its centre and becomes cones over
//! its triangulated boundary. How a face is triangulated depends only on the face and on which corners exist,
//! so both neighbours do the same.

use rayon::prelude::*;
use rustc_hash::{FxBuildHasher, FxHashMap};

use super::lines::{Lines, key};
use super::tree::{Boxes, Corners, Face, Leaf};
use super::{MeshError, MeshRequest, NONE, check};

/// The mesh before interfaces are cut.
#[derive(Debug)]
pub(super) struct Draft {
    /// Axis without extent in a flat domain.
    pub(super) normal: Option<usize>,
    pub(super) points: Vec<[f64; 3]>,
    /// Bit per axis along which a point must not move.
    pub(super) fixed: Vec<u8>,
    /// Simplices of positive measure; triangles end with [`NONE`].
    pub(super) cells: Vec<[u32; 4]>,
    /// Region of each cell; for mixed cells, of the box's centre.
    pub(super) regions: Vec<u32>,
    /// Whether an interface may cross the cell.
    pub(super) mixed: Vec<bool>,
}

/// Grid points by number.
struct Vertices<'a> {
    lines: &'a Lines,
    numbers: FxHashMap<u64, u32>,
    points: Vec<[f64; 3]>,
    fixed: Vec<u8>,
}

impl Vertices<'_> {
    fn add(&mut self, coordinates: [u32; 3]) {
        let next = self.points.len() as u32;
        if let std::collections::hash_map::Entry::Vacant(entry) = self.numbers.entry(key(coordinates)) {
            entry.insert(next);
            self.points.push(self.lines.point(coordinates));
            self.fixed.push(self.lines.fixed_axes(coordinates));
        }
    }

    /// Number of a point that is known to exist.
    fn number(&self, coordinates: [u32; 3]) -> u32 {
        self.numbers[&key(coordinates)]
    }
}

pub(super) fn fill(request: &MeshRequest<'_>, lines: &Lines, boxes: Boxes) -> Result<Draft, MeshError> {
    let Boxes { leaves, corners } = boxes;
    let broken: Vec<bool> = leaves.par_iter().map(|leaf| !is_whole(leaf, lines, &corners)).collect();
    check(request)?;
    let mut vertices = Vertices {
        lines,
        numbers: FxHashMap::with_capacity_and_hasher(corners.len() * 5 / 4, FxBuildHasher),
        points: Vec::with_capacity(corners.len()),
        fixed: Vec::with_capacity(corners.len()),
    };
    for (leaf, &broken) in leaves.iter().zip(&broken) {
        for which in 0..8 {
            vertices.add(leaf.corner_at(lines, which));
        }
        if broken {
            add_centres(leaf, lines, &corners, &mut vertices);
        }
    }
    check(request)?;
    let chunk = 4096;
    let filled: Vec<Draft> = leaves
        .par_chunks(chunk)
        .zip(broken.par_chunks(chunk))
        .map(|(leaves, broken)| fill_chunk(request, lines, &corners, &vertices, leaves, broken))
        .collect();
    drop(corners);
    let count = filled.iter().map(|part| part.cells.len()).sum();
    if count > request.maximum_cells {
        return Err(MeshError::TooManyCells {
            needed: count,
            limit: request.maximum_cells,
            hint: "ask for larger cells near interfaces or in bulk, or allow more cells".to_owned(),
        });
    }
    let mut draft = Draft {
        normal: lines.normal,
        points: vertices.points,
        fixed: vertices.fixed,
        cells: Vec::with_capacity(count),
        regions: Vec::with_capacity(count),
        mixed: Vec::with_capacity(count),
    };
    for part in filled {
        draft.cells.extend(part.cells);
        draft.regions.extend(part.regions);
        draft.mixed.extend(part.mixed);
    }
    check(request)?;
    Ok(draft)
}

/// Whether no edge of the box carries a hanging vertex (then no face is divided either).
fn is_whole(leaf: &Leaf, lines: &Lines, corners: &Corners) -> bool {
    lines.active.iter().all(|&axis| {
        (0..8_usize).filter(|which| which >> axis & 1 == 0).all(|which| {
            let mut middle = leaf.corner_at(lines, which);
            middle[axis] += leaf.side(lines, axis) / 2;
            !corners.contains(&key(middle))
        })
    })
}

/// Points on a straight edge in order, without its end.
fn edge_points(start: [u32; 3], axis: usize, side: u32, corners: &Corners, out: &mut Vec<[u32; 3]>) {
    let mut middle = start;
    middle[axis] += side / 2;
    if side >= 2 && corners.contains(&key(middle)) {
        edge_points(start, axis, side / 2, corners, out);
        edge_points(middle, axis, side / 2, corners, out);
    } else {
        out.push(start);
    }
}

/// Points around a rectangle, in order.
fn outline(face: &Face, lines: &Lines, corners: &Corners) -> Vec<[u32; 3]> {
    let [u, v] = face.axes();
    let (side_u, side_v) = (face.side(lines, u), face.side(lines, v));
    let origin = face.corner;
    let mut right = origin;
    right[u] += side_u;
    let mut top = origin;
    top[v] += side_v;
    let mut points = Vec::with_capacity(8);
    edge_points(origin, u, side_u, corners, &mut points);
    edge_points(right, v, side_v, corners, &mut points);
    // The last two sides run backwards: list them forwards, without the start, and turn them round.
    let mut backwards = |start: [u32; 3], axis: usize, side: u32| {
        let mut forwards = Vec::with_capacity(2);
        edge_points(start, axis, side, corners, &mut forwards);
        let mut end = start;
        end[axis] += side;
        forwards.push(end);
        points.extend(forwards.into_iter().skip(1).rev());
    };
    backwards(top, u, side_u);
    backwards(origin, v, side_v);
    points
}

fn centre_of(face: &Face, lines: &Lines) -> [u32; 3] {
    let mut centre = face.corner;
    for axis in face.axes() {
        centre[axis] += face.side(lines, axis) / 2;
    }
    centre
}

/// Calls `visit` for each undivided part of the six faces of a box, or for the box itself in 2-D.
fn for_each_part(leaf: &Leaf, lines: &Lines, corners: &Corners, visit: &mut dyn FnMut(&Face)) {
    if let Some(normal) = lines.normal {
        return visit(&Face::of(leaf, normal));
    }
    for normal in 0..3 {
        for offset in [0, leaf.side(lines, normal)] {
            let mut face = Face::of(leaf, normal);
            face.corner[normal] += offset;
            let mut open = vec![face];
            while let Some(face) = open.pop() {
                match face.split(lines, corners) {
                    Some(halves) => open.extend(halves),
                    None => visit(&face),
                }
            }
        }
    }
}

/// Makes the vertices that a box with hanging vertices needs.
fn add_centres(leaf: &Leaf, lines: &Lines, corners: &Corners, vertices: &mut Vertices<'_>) {
    for_each_part(leaf, lines, corners, &mut |face| {
        if outline(face, lines, corners).len() > 4 {
            vertices.add(centre_of(face, lines));
        }
    });
    if lines.normal.is_none() {
        vertices.add(box_centre(leaf, lines));
    }
}

fn box_centre(leaf: &Leaf, lines: &Lines) -> [u32; 3] {
    std::array::from_fn(|axis| leaf.corner[axis] + leaf.side(lines, axis) / 2)
}

fn fill_chunk(
    request: &MeshRequest<'_>,
    lines: &Lines,
    corners: &Corners,
    vertices: &Vertices<'_>,
    leaves: &[Leaf],
    broken: &[bool],
) -> Draft {
    let mut part = Draft {
        normal: lines.normal,
        points: Vec::new(),
        fixed: Vec::new(),
        cells: Vec::with_capacity(leaves.len() * 6),
        regions: Vec::with_capacity(leaves.len() * 6),
        mixed: Vec::with_capacity(leaves.len() * 6),
    };
    for (leaf, &broken) in leaves.iter().zip(broken) {
        let first = part.cells.len();
        if broken {
            add_cones(leaf, lines, corners, vertices, &mut part.cells);
        } else {
            add_kuhn(leaf, lines, vertices, &mut part.cells);
        }
        let added = &mut part.cells[first..];
        for cell in added.iter_mut() {
            orient(&vertices.points, lines.normal, cell);
        }
        let (region, mixed) = match leaf.sampled_region(request, lines) {
            Some(region) => (region, false),
            None => (super::VOID, true),
        };
        part.regions.resize(part.cells.len(), region);
        part.mixed.resize(part.cells.len(), mixed);
    }
    part
}

/// Kuhn simplices: paths from the lower to the upper corner, one axis after the other in every order.
fn add_kuhn(leaf: &Leaf, lines: &Lines, vertices: &Vertices<'_>, cells: &mut Vec<[u32; 4]>) {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [2, 1, 0], [1, 0, 2]];
    let dimension = lines.active.len();
    let numbers: [u32; 8] = std::array::from_fn(|which| vertices.number(leaf.corner_at(lines, which)));
    let orders: &[[usize; 3]] = if dimension == 2 { &[[0, 1, 2], [1, 0, 2]] } else { &ORDERS };
    for order in orders {
        let mut cell = [NONE; 4];
        let mut which = 0;
        cell[0] = numbers[0];
        for (step, &place) in order.iter().take(dimension).enumerate() {
            which |= 1 << lines.active[place];
            cell[step + 1] = numbers[which];
        }
        cells.push(cell);
    }
}

/// Triangles of a flat box with hanging vertices, or tetrahedra from the centre of the box to its boundary.
fn add_cones(
    leaf: &Leaf,
    lines: &Lines,
    corners: &Corners,
    vertices: &Vertices<'_>,
    cells: &mut Vec<[u32; 4]>,
) {
    let apex = if lines.normal.is_some() { NONE } else { vertices.number(box_centre(leaf, lines)) };
    for_each_part(leaf, lines, corners, &mut |face| {
        let around = outline(face, lines, corners);
        if around.len() == 4 {
            // The outline starts at the lower corner, so its third point is the upper one.
            let [a, b, c, d] = [0, 1, 2, 3].map(|place| vertices.number(around[place]));
            cells.push([a, b, c, apex]);
            cells.push([a, c, d, apex]);
        } else {
            let centre = vertices.number(centre_of(face, lines));
            for (place, &point) in around.iter().enumerate() {
                let next = around[(place + 1) % around.len()];
                cells.push([vertices.number(point), vertices.number(next), centre, apex]);
            }
        }
    });
}

/// Swaps two vertices if the measure is negative.
fn orient(points: &[[f64; 3]], normal: Option<usize>, cell: &mut [u32; 4]) {
    if super::simplex::signed_measure(points, normal, cell) < 0.0 {
        cell.swap(0, 1);
    }
}
