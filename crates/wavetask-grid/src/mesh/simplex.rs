//! The mesh that the mesher hands over.

use rayon::prelude::*;

use super::facets::Facets;
use super::fill::Draft;
use super::lines::Lines;
use super::{MeshError, MeshRequest, NONE, VOID, check};

/// Conforming mesh of triangles (flat domains) or tetrahedra.
///
/// Two cells share all of a facet, an edge or a vertex, or nothing. All measures are positive: triangles turn
/// anticlockwise seen against their normal axis. Points that only excluded cells used are not listed.
#[derive(Debug, Clone)]
pub struct SimplexMesh {
    /// Positions (µm).
    pub points: Vec<[f64; 3]>,
    /// Points of each cell; triangles use the first three, their fourth is [`NONE`].
    pub cells: Vec<[u32; 4]>,
    /// Region of each cell.
    pub regions: Vec<u32>,
    /// Axis without extent and position along it (µm), in flat domains.
    pub normal: Option<(usize, f64)>,
    /// Bounds of the domain (µm), as the mesh has them.
    pub bounds: [[f64; 2]; 3],
    /// Facets on the domain's boundary, against excluded regions, and between different regions.
    pub interfaces: Facets,
}

/// Figures of the worst and the mean cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// Smallest angle between two facets of a cell, in degrees (in 2-D between two edges).
    pub smallest_angle: f64,
    /// Largest such angle, in degrees.
    pub largest_angle: f64,
    /// Largest ratio of longest edge to smallest height.
    pub largest_aspect: f64,
    /// Mean of that ratio.
    pub mean_aspect: f64,
    /// Longest edge (µm).
    pub longest_edge: f64,
    /// Shortest edge (µm).
    pub shortest_edge: f64,
    /// Smallest area (µm²) or volume (µm³) of a cell.
    pub smallest_measure: f64,
}

pub(super) fn subtract(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(super) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn length(a: [f64; 3]) -> f64 {
    dot(a, a).sqrt()
}

/// Area (µm²) or volume (µm³) of a cell, negative when its points turn the wrong way.
pub(super) fn signed_measure(points: &[[f64; 3]], normal: Option<usize>, cell: &[u32; 4]) -> f64 {
    let at = |place: usize| points[cell[place] as usize];
    let first = subtract(at(1), at(0));
    let second = subtract(at(2), at(0));
    match normal {
        Some(axis) => 0.5 * cross(first, second)[axis],
        None => dot(cross(first, second), subtract(at(3), at(0))) / 6.0,
    }
}

/// Measure over the power of the mean edge: 1 for the regular simplex, 0 for a flat one, negative if inverted.
pub(super) fn shape_of(points: &[[f64; 3]], normal: Option<usize>, cell: &[u32; 4]) -> f64 {
    let numbers = if cell[3] == NONE { &cell[..3] } else { cell };
    let mut squares = 0.0;
    for a in 0..numbers.len() {
        for b in 0..a {
            let edge = subtract(points[numbers[a] as usize], points[numbers[b] as usize]);
            squares += dot(edge, edge);
        }
    }
    let measure = signed_measure(points, normal, cell);
    if cell[3] == NONE {
        // Area of the equilateral triangle: sqrt(3)/4 of the squared edge.
        measure / (squares / 3.0) * 4.0 / 3.0_f64.sqrt()
    } else {
        // Volume of the regular tetrahedron: the cubed edge over 6 sqrt(2).
        measure / (squares / 6.0).powf(1.5) * 6.0 * 2.0_f64.sqrt()
    }
}

/// Drops excluded cells and unused points and lists the interfaces.
pub(super) fn finish(
    request: &MeshRequest<'_>,
    lines: &Lines,
    draft: Draft,
) -> Result<SimplexMesh, MeshError> {
    let excluded = |region: u32| region == VOID || (request.excluded)(region);
    let keep: Vec<bool> = draft.regions.par_iter().map(|&region| !excluded(region)).collect();
    if !keep.iter().any(|&keep| keep) {
        return Err(MeshError::Empty);
    }
    check(request)?;
    let mut new_number = vec![NONE; draft.points.len()];
    for (cell, &keep) in draft.cells.iter().zip(&keep) {
        if keep {
            for &point in cell.iter().filter(|&&point| point != NONE) {
                new_number[point as usize] = 0;
            }
        }
    }
    let mut points = Vec::with_capacity(draft.points.len());
    for (number, point) in new_number.iter_mut().zip(&draft.points) {
        if *number == 0 {
            *number = points.len() as u32;
            points.push(*point);
        }
    }
    let bounds = std::array::from_fn(|axis| lines.axes[axis].ends());
    let interfaces = Facets::interfaces(&draft, &keep, &new_number, lines.normal, bounds);
    check(request)?;
    let mut cells = Vec::with_capacity(draft.cells.len());
    let mut regions = Vec::with_capacity(draft.cells.len());
    for ((cell, &region), _) in draft.cells.iter().zip(&draft.regions).zip(&keep).filter(|(_, keep)| **keep) {
        cells.push(cell.map(|point| if point == NONE { NONE } else { new_number[point as usize] }));
        regions.push(region);
    }
    let normal = lines.normal.map(|axis| (axis, bounds[axis][0]));
    Ok(SimplexMesh { points, cells, regions, normal, bounds, interfaces })
}

impl SimplexMesh {
    /// 2 for triangles, 3 for tetrahedra.
    pub fn dimension(&self) -> usize {
        if self.normal.is_some() { 2 } else { 3 }
    }

    /// Number of cells.
    pub fn cell_count(&self) -> usize {
        self.cells.len()
    }

    /// Points of a cell: three or four.
    pub fn cell(&self, cell: usize) -> &[u32] {
        &self.cells[cell][..=self.dimension()]
    }

    /// Positions of the points of a cell (µm); for triangles the fourth repeats the first.
    pub fn corners(&self, cell: usize) -> [[f64; 3]; 4] {
        let numbers = self.cells[cell];
        numbers.map(|point| self.points[if point == NONE { numbers[0] } else { point } as usize])
    }

    /// Area (µm²) or volume (µm³) of a cell.
    pub fn cell_measure(&self, cell: usize) -> f64 {
        signed_measure(&self.points, self.normal.map(|(axis, _)| axis), &self.cells[cell])
    }

    /// Centre of mass of a cell (µm).
    pub fn centroid(&self, cell: usize) -> [f64; 3] {
        let count = (self.dimension() + 1) as f64;
        let mut centre = [0.0; 3];
        for &point in self.cell(cell) {
            for (sum, value) in centre.iter_mut().zip(self.points[point as usize]) {
                *sum += value / count;
            }
        }
        centre
    }

    /// Length of the longest edge of a cell (µm).
    pub fn longest_edge(&self, cell: usize) -> f64 {
        self.edges(cell).fold(0.0, f64::max)
    }

    /// Every facet, interfaces and interior ones. Takes time and memory in proportion to the mesh; for boundary
    /// conditions [`Self::interfaces`](SimplexMesh::interfaces) is enough.
    pub fn facets(&self) -> Facets {
        Facets::all(self)
    }

    /// Sum of all measures: area (µm²) or volume (µm³).
    pub fn measure(&self) -> f64 {
        (0..self.cell_count()).map(|cell| self.cell_measure(cell)).sum()
    }

    /// Bytes of the mesh on the heap.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(self.points.as_slice())
            + size_of_val(self.cells.as_slice())
            + size_of_val(self.regions.as_slice())
            + size_of_val(self.interfaces.facets.as_slice())
    }

    /// Shape of the cells.
    pub fn quality(&self) -> Quality {
        let worst = Quality {
            smallest_angle: f64::INFINITY,
            largest_angle: 0.0,
            largest_aspect: 0.0,
            mean_aspect: 0.0,
            longest_edge: 0.0,
            shortest_edge: f64::INFINITY,
            smallest_measure: f64::INFINITY,
        };
        let merge = |a: Quality, b: Quality| Quality {
            smallest_angle: a.smallest_angle.min(b.smallest_angle),
            largest_angle: a.largest_angle.max(b.largest_angle),
            largest_aspect: a.largest_aspect.max(b.largest_aspect),
            mean_aspect: a.mean_aspect + b.mean_aspect,
            longest_edge: a.longest_edge.max(b.longest_edge),
            shortest_edge: a.shortest_edge.min(b.shortest_edge),
            smallest_measure: a.smallest_measure.min(b.smallest_measure),
        };
        let parts: Vec<Quality> = (0..self.cell_count().div_ceil(4096))
            .into_par_iter()
            .map(|part| {
                let cells = part * 4096..((part + 1) * 4096).min(self.cell_count());
                cells.map(|cell| self.cell_quality(cell)).fold(worst, merge)
            })
            .collect();
        let mut quality = parts.into_iter().fold(worst, merge);
        quality.mean_aspect /= self.cell_count().max(1) as f64;
        quality
    }

    fn edges(&self, cell: usize) -> impl Iterator<Item = f64> + '_ {
        let numbers = self.cell(cell);
        (0..numbers.len()).flat_map(move |a| {
            (0..a).map(move |b| {
                length(subtract(self.points[numbers[a] as usize], self.points[numbers[b] as usize]))
            })
        })
    }

    fn cell_quality(&self, cell: usize) -> Quality {
        let dimension = self.dimension();
        let corners = self.corners(cell);
        let measure = self.cell_measure(cell);
        // Outward normal of the facet opposite each point, as long as that facet is large.
        let normals: Vec<[f64; 3]> = (0..=dimension)
            .map(|opposite| {
                let others: Vec<[f64; 3]> =
                    (0..=dimension).filter(|&place| place != opposite).map(|place| corners[place]).collect();
                let outward = match self.normal {
                    Some((axis, _)) => {
                        let mut up = [0.0; 3];
                        up[axis] = 1.0;
                        cross(subtract(others[1], others[0]), up)
                    }
                    None => {
                        cross(subtract(others[1], others[0]), subtract(others[2], others[0])).map(|c| 0.5 * c)
                    }
                };
                let inwards = dot(outward, subtract(corners[opposite], others[0])) > 0.0;
                if inwards { outward.map(|c| -c) } else { outward }
            })
            .collect();
        let mut smallest_angle = f64::INFINITY;
        let mut largest_angle = 0.0_f64;
        for a in 0..=dimension {
            for b in 0..a {
                let cosine = -dot(normals[a], normals[b]) / (length(normals[a]) * length(normals[b]));
                let angle = cosine.clamp(-1.0, 1.0).acos().to_degrees();
                smallest_angle = smallest_angle.min(angle);
                largest_angle = largest_angle.max(angle);
            }
        }
        let largest_facet = normals.iter().map(|&normal| length(normal)).fold(0.0, f64::max);
        let smallest_height = dimension as f64 * measure / largest_facet;
        let longest_edge = self.longest_edge(cell);
        let aspect = longest_edge / smallest_height;
        Quality {
            smallest_angle,
            largest_angle,
            largest_aspect: aspect,
            mean_aspect: aspect,
            longest_edge,
            shortest_edge: self.edges(cell).fold(f64::INFINITY, f64::min),
            smallest_measure: measure,
        }
    }
}
