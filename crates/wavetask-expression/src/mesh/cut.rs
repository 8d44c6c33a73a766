//! Meshes cut by planes across an axis: what lies in the plane, and what lies on one side of it.
//!
//! A point on the plane counts as lying on the side towards which the plane's normal points. Where it is the plane that
//! is wanted, the normal points away from the middle of the mesh, as tidy3d has it: so a plane on the very face of a mesh
//! leaves that face, once. Every edge that is cut gives one point, however many cells share it.

use std::collections::HashMap;

use wavetask_document::expression::{EdgePoint, ExpressionError, MeshKind};
use wavetask_grid::mesh::NONE;

use super::MeshGeometry;
use super::edit::Rest;

/// The points of a cut, each edge's once.
#[derive(Default)]
struct Points {
    numbers: HashMap<[u32; 2], u32>,
    points: Vec<EdgePoint>,
    positions: Vec<[f64; 3]>,
}

impl Points {
    /// A point of the mesh.
    fn kept(&mut self, mesh: &MeshGeometry, point: u32) -> u32 {
        self.between(mesh, [point, point], 0.0)
    }

    /// The point at which the edge between a point on the plane's side and one beyond meets the plane.
    fn on_edge(&mut self, mesh: &MeshGeometry, heights: &[f64], inside: u32, outside: u32) -> u32 {
        let height = |point: u32| heights[point as usize];
        if height(inside) == 0.0 {
            return self.kept(mesh, inside);
        }
        let ends = [inside.min(outside), inside.max(outside)];
        let [low, high] = ends.map(height);
        self.between(mesh, ends, low / (low - high))
    }

    fn between(&mut self, mesh: &MeshGeometry, ends: [u32; 2], share: f64) -> u32 {
        *self.numbers.entry(ends).or_insert_with(|| {
            let [from, to] = ends.map(|end| mesh.points[end as usize]);
            self.positions.push(std::array::from_fn(|axis| from[axis] + share * (to[axis] - from[axis])));
            self.points.push(EdgePoint { ends, share });
            (self.points.len() - 1) as u32
        })
    }
}

impl MeshGeometry {
    /// What the plane across an axis leaves: the points, between two of the mesh each, and what they are of.
    pub(super) fn cut(&self, axis: usize, position: f64) -> Result<(Vec<EdgePoint>, Rest), ExpressionError> {
        let refuse = |what: String| Err(ExpressionError::invalid("sel", what));
        let along = || self.points.iter().map(|point| point[axis]);
        let (low, high) = (along().fold(f64::INFINITY, f64::min), along().fold(f64::NEG_INFINITY, f64::max));
        if !(low..=high).contains(&position) {
            return refuse(format!(
                "the plane at {position} misses the mesh, which goes from {low} to {high}"
            ));
        }
        let normal = if position > f64::midpoint(low, high) { 1.0 } else { -1.0 };
        let heights: Vec<f64> = along().map(|at| normal * (at - position)).collect();
        let mut found = Points::default();
        let mut triangles = Vec::new();
        for cell in &self.cells {
            let corners = cell.iter().copied().filter(|&corner| corner != NONE);
            let (inside, outside): (Vec<u32>, Vec<u32>) =
                corners.partition(|&corner| heights[corner as usize] >= 0.0);
            let mut meets = |inside, outside| found.on_edge(self, &heights, inside, outside);
            match (&inside[..], &outside[..]) {
                (&[a, b], &[c, d]) => {
                    let ring = [meets(a, c), meets(a, d), meets(b, d), meets(b, c)];
                    triangles.extend([[ring[0], ring[1], ring[2]], [ring[0], ring[2], ring[3]]]);
                }
                (inside, outside) => {
                    let ring: Vec<u32> = inside
                        .iter()
                        .flat_map(|&inside| outside.iter().map(move |&outside| (inside, outside)))
                        .map(|(inside, outside)| meets(inside, outside))
                        .collect();
                    if let [a, b, c] = ring[..] {
                        triangles.push([a, b, c]);
                    }
                }
            }
        }
        match self.kind {
            MeshKind::Triangular { normal_axis, .. } if normal_axis == axis => {
                refuse("a mesh of triangles is not cut by a plane along itself".to_owned())
            }
            MeshKind::Triangular { normal_axis, .. } => Ok(found.line(3 - axis - normal_axis)),
            MeshKind::Tetrahedral => {
                triangles.retain(|[a, b, c]| a != b && b != c && c != a);
                let kind = MeshKind::Triangular { normal_axis: axis, normal_position: position };
                let cells: Vec<[u32; 4]> = triangles.into_iter().map(|[a, b, c]| [a, b, c, NONE]).collect();
                Ok(found.mesh(&cells, kind))
            }
        }
    }

    /// What lies on one side of the plane across an axis: cells beyond are left out, and those that the plane cuts are
    /// cut, into several of the same kind.
    pub(super) fn clip(&self, axis: usize, position: f64, above: bool) -> (Vec<EdgePoint>, Rest) {
        let normal = if above { 1.0 } else { -1.0 };
        let heights: Vec<f64> = self.points.iter().map(|point| normal * (point[axis] - position)).collect();
        let mut found = Points::default();
        let mut cells = Vec::with_capacity(self.cells.len());
        for cell in &self.cells {
            let corners = cell.iter().copied().filter(|&corner| corner != NONE);
            let (inside, outside): (Vec<u32>, Vec<u32>) =
                corners.partition(|&corner| heights[corner as usize] >= 0.0);
            let kept: Vec<u32> = inside.iter().map(|&point| found.kept(self, point)).collect();
            let mut meets = |inside: u32, outside: u32| found.on_edge(self, &heights, inside, outside);
            // Between two triangles of corresponding corners lie three tetrahedra.
            let mut wedge = |[a, b, c]: [u32; 3], [d, e, f]: [u32; 3]| {
                cells.extend([[a, b, c, d], [b, c, d, e], [c, d, e, f]]);
            };
            match (&inside[..], &outside[..]) {
                (_, []) => {
                    let corner = |place: usize| kept.get(place).copied().unwrap_or(NONE);
                    cells.push(std::array::from_fn(corner));
                }
                ([], _) => {}
                (&[a], &[b, c]) => cells.push([kept[0], meets(a, b), meets(a, c), NONE]),
                (&[a, b], &[c]) => {
                    let [on_a, on_b] = [meets(a, c), meets(b, c)];
                    cells.extend([[kept[0], kept[1], on_a, NONE], [kept[1], on_b, on_a, NONE]]);
                }
                (&[a], &[b, c, d]) => cells.push([kept[0], meets(a, b), meets(a, c), meets(a, d)]),
                (&[a, b], &[c, d]) => {
                    wedge([kept[0], meets(a, c), meets(a, d)], [kept[1], meets(b, c), meets(b, d)]);
                }
                (&[a, b, c], &[d]) => {
                    wedge([kept[0], kept[1], kept[2]], [meets(a, d), meets(b, d), meets(c, d)]);
                }
                _ => {}
            }
        }
        found.mesh(&cells, self.kind)
    }
}

impl Points {
    /// The points in their order along an axis, those at the same place once.
    fn line(self, axis: usize) -> (Vec<EdgePoint>, Rest) {
        let mut order: Vec<usize> = (0..self.points.len()).collect();
        order.sort_by(|&a, &b| self.positions[a][axis].total_cmp(&self.positions[b][axis]));
        order.dedup_by(|a, b| self.positions[*a][axis] == self.positions[*b][axis]);
        let coordinates = order.iter().map(|&point| self.positions[point][axis]).collect();
        (order.iter().map(|&point| self.points[point]).collect(), Rest::Line(axis, coordinates))
    }

    /// The points that cells have, and the cells.
    fn mesh(self, cells: &[[u32; 4]], kind: MeshKind) -> (Vec<EdgePoint>, Rest) {
        let mut numbers = vec![NONE; self.points.len()];
        let (mut points, mut positions) = (Vec::new(), Vec::new());
        let mut renumbered = Vec::with_capacity(cells.len());
        for cell in cells {
            renumbered.push(cell.map(|corner| {
                if corner == NONE {
                    return NONE;
                }
                let number = &mut numbers[corner as usize];
                if *number == NONE {
                    *number = points.len() as u32;
                    points.push(self.points[corner as usize]);
                    positions.push(self.positions[corner as usize]);
                }
                *number
            }));
        }
        (points, Rest::Mesh(MeshGeometry { points: positions, cells: renumbered, kind }))
    }
}
