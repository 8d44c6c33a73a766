//! Meshes cut by planes across an axis.
//!
//! A point on the plane counts as lying on the side towards which the plane's normal points, and the normal points away
//! from the middle of the mesh, as tidy3d has it: so a plane on the very face of a mesh leaves that face, once. Every
//! edge that is cut gives one point, however many cells share it.

use std::collections::HashMap;
use std::sync::Arc;

use wavetask_document::Digest;
use wavetask_document::expression::{
    Cut, CutPoint, CutShape, ExpressionError, Field, FieldType, MeshKind, MeshType, Schema,
};
use wavetask_grid::mesh::NONE;

use super::MeshGeometry;
use crate::Reader;

/// A schema that knows what planes leave of meshes, because it reads their points and cells.
#[derive(Clone, Copy)]
pub struct WithMeshes<'a> {
    /// What is known of the fields.
    pub schema: &'a dyn Schema,
    /// Where meshes are read from.
    pub reader: &'a dyn Reader,
}

impl std::fmt::Debug for WithMeshes<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WithMeshes").finish_non_exhaustive()
    }
}

impl Schema for WithMeshes<'_> {
    fn field(&self, field: &Field) -> Result<FieldType, ExpressionError> {
        self.schema.field(field)
    }

    fn cut(&self, mesh: &MeshType, axis: usize, position: f64) -> Result<Cut, ExpressionError> {
        let (points, rest) = geometry_of(self.reader, mesh)?.cut(axis, position)?;
        let shape = match rest {
            Rest::Line(axis, coordinates) => CutShape::Line { axis, coordinates },
            Rest::Surface(surface) => {
                let mut cuts = mesh.cuts.clone();
                cuts.push((axis, position));
                let identity = [
                    mesh.identity.as_bytes().as_slice(),
                    &(axis as u64).to_le_bytes(),
                    &position.to_bits().to_le_bytes(),
                ];
                CutShape::Surface(Arc::new(MeshType {
                    kind: surface.kind,
                    points: surface.points.len() as u64,
                    cells: surface.cells.len() as u64,
                    identity: Digest::of(&identity.concat()),
                    byte_length: mesh.byte_length,
                    field: mesh.field.clone(),
                    cuts,
                }))
            }
        };
        Ok(Cut { points, shape })
    }
}

/// Points and cells of a mesh, cut where it was cut.
pub(crate) fn geometry_of(reader: &dyn Reader, mesh: &MeshType) -> Result<MeshGeometry, ExpressionError> {
    let mut geometry = reader.mesh(mesh)?;
    for &(axis, position) in &mesh.cuts {
        if let (_, Rest::Surface(surface)) = geometry.cut(axis, position)? {
            geometry = surface;
        }
    }
    Ok(geometry)
}

/// What a cut leaves.
#[derive(Debug)]
pub(super) enum Rest {
    /// A line along an axis, through points at these coordinates.
    Line(usize, Vec<f64>),
    /// Triangles.
    Surface(MeshGeometry),
}

/// The points of a cut, each edge's once.
#[derive(Default)]
struct Points {
    numbers: HashMap<[u32; 2], u32>,
    points: Vec<CutPoint>,
    positions: Vec<[f64; 3]>,
}

impl Points {
    /// The point at which the edge between a point on the plane's side and one beyond meets the plane.
    fn on_edge(&mut self, mesh: &MeshGeometry, heights: &[f64], inside: u32, outside: u32) -> u32 {
        let height = |point: u32| heights[point as usize];
        let ends =
            if height(inside) == 0.0 { [inside, inside] } else { [inside.min(outside), inside.max(outside)] };
        *self.numbers.entry(ends).or_insert_with(|| {
            let [low, high] = ends.map(height);
            let share = if low == high { 0.0 } else { low / (low - high) };
            let [from, to] = ends.map(|end| mesh.points[end as usize]);
            self.positions.push(std::array::from_fn(|axis| from[axis] + share * (to[axis] - from[axis])));
            self.points.push(CutPoint { ends, share });
            (self.points.len() - 1) as u32
        })
    }
}

impl MeshGeometry {
    /// What the plane across an axis leaves: the points, between two of the mesh each, and what they are of.
    pub(super) fn cut(&self, axis: usize, position: f64) -> Result<(Vec<CutPoint>, Rest), ExpressionError> {
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
                Ok(found.surface(&triangles, kind))
            }
        }
    }
}

impl Points {
    /// The points in their order along an axis, those at the same place once.
    fn line(self, axis: usize) -> (Vec<CutPoint>, Rest) {
        let mut order: Vec<usize> = (0..self.points.len()).collect();
        order.sort_by(|&a, &b| self.positions[a][axis].total_cmp(&self.positions[b][axis]));
        order.dedup_by(|a, b| self.positions[*a][axis] == self.positions[*b][axis]);
        let coordinates = order.iter().map(|&point| self.positions[point][axis]).collect();
        (order.iter().map(|&point| self.points[point]).collect(), Rest::Line(axis, coordinates))
    }

    /// The points that triangles have, and the triangles.
    fn surface(self, triangles: &[[u32; 3]], kind: MeshKind) -> (Vec<CutPoint>, Rest) {
        let mut numbers = vec![NONE; self.points.len()];
        let (mut points, mut positions) = (Vec::new(), Vec::new());
        let mut cells = Vec::with_capacity(triangles.len());
        for triangle in triangles {
            let mut cell = [NONE; 4];
            for (number, &corner) in cell.iter_mut().zip(triangle) {
                let renumbered = &mut numbers[corner as usize];
                if *renumbered == NONE {
                    *renumbered = points.len() as u32;
                    points.push(self.points[corner as usize]);
                    positions.push(self.positions[corner as usize]);
                }
                *number = *renumbered;
            }
            cells.push(cell);
        }
        (points, Rest::Surface(MeshGeometry { points: positions, cells, kind }))
    }
}
