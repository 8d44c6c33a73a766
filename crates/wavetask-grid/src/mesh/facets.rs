//! Facets: edges of triangles, triangles of tetrahedra, with what lies on either side.
//!
//! Boundary conditions live on facets "between this and that", where "that" may be a region without cells. What
//! an excluded region was can no longer be told from the mesh, so it is noted before its cells are dropped.

use rayon::prelude::*;

use super::fill::Draft;
use super::simplex::{cross, length, subtract};
use super::{NONE, SimplexMesh};

/// What lies across a facet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Beyond {
    /// Another cell.
    Cell(u32),
    /// The end of the domain along an axis.
    Domain {
        /// 0, 1 or 2.
        axis: u8,
        /// Whether it is the upper bound.
        upper: bool,
    },
    /// A region without cells: an excluded one or [`VOID`](super::VOID).
    Excluded(u32),
}

/// One facet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facet {
    /// Its points, in the order that makes its normal point out of `cell`. Edges end with [`NONE`].
    pub points: [u32; 3],
    /// A cell that it belongs to; the lower number if there are two.
    pub cell: u32,
    /// What is on the other side.
    pub beyond: Beyond,
}

/// Facets, each listed once, in ascending order of their sorted point numbers.
#[derive(Debug, Clone, Default)]
pub struct Facets {
    /// The facets.
    pub facets: Vec<Facet>,
}

impl Facet {
    /// Length (µm) of an edge or area (µm²) of a triangle.
    pub fn measure(&self, mesh: &SimplexMesh) -> f64 {
        length(self.scaled_normal(mesh))
    }

    /// Unit normal out of `cell`.
    pub fn normal(&self, mesh: &SimplexMesh) -> [f64; 3] {
        let scaled = self.scaled_normal(mesh);
        let measure = length(scaled);
        scaled.map(|component| component / measure)
    }

    /// Centre of mass (µm).
    pub fn centroid(&self, mesh: &SimplexMesh) -> [f64; 3] {
        let numbers = self.corners();
        let mut centre = [0.0; 3];
        for &point in numbers {
            for (sum, value) in centre.iter_mut().zip(mesh.points[point as usize]) {
                *sum += value / numbers.len() as f64;
            }
        }
        centre
    }

    /// The two or three points.
    pub fn corners(&self) -> &[u32] {
        if self.points[2] == NONE { &self.points[..2] } else { &self.points }
    }

    /// Region of `cell` and, unless the domain ends here, the region across: that of a cell or an excluded one.
    pub fn regions(&self, mesh: &SimplexMesh) -> (u32, Option<u32>) {
        let across = match self.beyond {
            Beyond::Cell(other) => Some(mesh.regions[other as usize]),
            Beyond::Excluded(region) => Some(region),
            Beyond::Domain { .. } => None,
        };
        (mesh.regions[self.cell as usize], across)
    }

    /// Normal out of `cell`, as long as the measure.
    fn scaled_normal(&self, mesh: &SimplexMesh) -> [f64; 3] {
        let at = |place: usize| mesh.points[self.points[place] as usize];
        match mesh.normal {
            Some((axis, _)) => {
                let mut up = [0.0; 3];
                up[axis] = 1.0;
                cross(subtract(at(1), at(0)), up)
            }
            None => cross(subtract(at(1), at(0)), subtract(at(2), at(0))).map(|component| 0.5 * component),
        }
    }

    fn sorted_points(&self) -> [u32; 3] {
        let mut points = self.points;
        points.sort_unstable();
        points
    }
}

/// Facet of a cell of positive measure opposite its point `opposite`, with the normal outwards.
pub(super) fn facet_of(cell: &[u32; 4], opposite: usize) -> [u32; 3] {
    if cell[3] == NONE {
        return [cell[(opposite + 1) % 3], cell[(opposite + 2) % 3], NONE];
    }
    const OUTWARD: [[usize; 3]; 4] = [[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]];
    OUTWARD[opposite].map(|place| cell[place])
}

/// A facet as seen from one cell: sorted points, cell, and which of its points is opposite.
type Side = ([u32; 3], u32, u8);

fn sides(cells: &[[u32; 4]], wanted: impl Fn(&[u32; 3]) -> bool + Sync) -> Vec<Side> {
    let parts: Vec<Vec<Side>> = cells
        .par_chunks(16_384)
        .enumerate()
        .map(|(part, chunk)| {
            let mut sides = Vec::new();
            for (place, cell) in chunk.iter().enumerate() {
                let count = if cell[3] == NONE { 3 } else { 4 };
                for opposite in 0..count {
                    let mut points = facet_of(cell, opposite);
                    if wanted(&points) {
                        points.sort_unstable();
                        sides.push((points, (part * 16_384 + place) as u32, opposite as u8));
                    }
                }
            }
            sides
        })
        .collect();
    let mut sides = parts.concat();
    sides.par_sort_unstable();
    sides
}

/// The bound that all points of a facet lie on.
fn domain_side(points: [u32; 3], positions: &[[f64; 3]], bounds: &[[f64; 2]; 3]) -> Option<Beyond> {
    for (axis, bound) in bounds.iter().enumerate() {
        if bound[0] == bound[1] {
            continue;
        }
        for (upper, value) in [(false, bound[0]), (true, bound[1])] {
            if points.iter().all(|&point| point == NONE || positions[point as usize][axis] == value) {
                return Some(Beyond::Domain { axis: axis as u8, upper });
            }
        }
    }
    None
}

impl Facets {
    /// Number of facets.
    pub fn len(&self) -> usize {
        self.facets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.facets.is_empty()
    }

    /// The facets in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Facet> {
        self.facets.iter()
    }

    /// Facets of kept cells at the end of the domain, against dropped cells and between regions,
    /// from the mesh before cells are dropped. `new_number` renumbers points in ascending order.
    pub(super) fn interfaces(
        draft: &Draft,
        keep: &[bool],
        new_number: &[u32],
        normal: Option<usize>,
        bounds: [[f64; 2]; 3],
    ) -> Self {
        // Only facets whose points all see the boundary or two regions can be interfaces; the others are not sorted.
        let mut seen: Vec<Option<u32>> = vec![None; draft.points.len()];
        let mut flagged: Vec<bool> = draft
            .points
            .iter()
            .map(|point| {
                (0..3).any(|axis| {
                    Some(axis) != normal && (point[axis] == bounds[axis][0] || point[axis] == bounds[axis][1])
                })
            })
            .collect();
        for (cell, &region) in draft.cells.iter().zip(&draft.regions) {
            for &point in cell.iter().filter(|&&point| point != NONE) {
                match seen[point as usize] {
                    None => seen[point as usize] = Some(region),
                    Some(other) => flagged[point as usize] |= other != region,
                }
            }
        }
        let sides = sides(&draft.cells, |points| {
            points.iter().all(|&point| point == NONE || flagged[point as usize])
        });
        let mut number = 0;
        let new_cell: Vec<u32> = keep
            .iter()
            .map(|&keep| {
                let cell = if keep { number } else { NONE };
                number += u32::from(keep);
                cell
            })
            .collect();
        let mut facets = Vec::new();
        let emit = |side: &Side, beyond: Beyond| {
            let points = facet_of(&draft.cells[side.1 as usize], side.2 as usize)
                .map(|point| if point == NONE { NONE } else { new_number[point as usize] });
            Facet { points, cell: new_cell[side.1 as usize], beyond }
        };
        for group in sides.chunk_by(|a, b| a.0 == b.0) {
            let kept = |side: &Side| keep[side.1 as usize];
            let region = |side: &Side| draft.regions[side.1 as usize];
            match group {
                [one] if kept(one) => {
                    let side = domain_side(one.0, &draft.points, &bounds);
                    debug_assert!(side.is_some(), "a facet inside the domain has a single cell");
                    facets.push(emit(one, side.unwrap_or(Beyond::Excluded(super::VOID))));
                }
                [one, two] => match (kept(one), kept(two)) {
                    (true, true) if region(one) != region(two) => {
                        facets.push(emit(one, Beyond::Cell(new_cell[two.1 as usize])));
                    }
                    (true, false) => facets.push(emit(one, Beyond::Excluded(region(two)))),
                    (false, true) => facets.push(emit(two, Beyond::Excluded(region(one)))),
                    _ => {}
                },
                _ => debug_assert!(group.len() < 3, "a facet has {} cells", group.len()),
            }
        }
        Self { facets }
    }

    /// Every facet of a mesh.
    pub(super) fn all(mesh: &SimplexMesh) -> Self {
        let sides = sides(&mesh.cells, |_| true);
        let mut facets = Vec::with_capacity(sides.len() / 2 + mesh.interfaces.len());
        for group in sides.chunk_by(|a, b| a.0 == b.0) {
            let (sorted, cell, opposite) = group[0];
            let points = facet_of(&mesh.cells[cell as usize], opposite as usize);
            let beyond = match group {
                [_, other, ..] => Beyond::Cell(other.1),
                _ => {
                    let table = &mesh.interfaces.facets;
                    match table.binary_search_by_key(&sorted, Facet::sorted_points) {
                        Ok(place) => table[place].beyond,
                        Err(_) => Beyond::Excluded(super::VOID),
                    }
                }
            };
            facets.push(Facet { points, cell, beyond });
        }
        Self { facets }
    }
}

impl<'a> IntoIterator for &'a Facets {
    type Item = &'a Facet;
    type IntoIter = std::slice::Iter<'a, Facet>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
