//! Meshes of symmetric simulations, of which a part is stored, made whole.
//!
//! As tidy3d has it, points that lie on the plane of symmetry and on the mesh's own boundary are shared by both sides;
//! all others are there twice, each beside its mirror image. Cells whose corners all are shared are not repeated.

use std::collections::HashMap;

use wavetask_document::expression::{EdgePoint, ExpressionError, MeshEdit, MeshKind, Mirroring, Mirrors};
use wavetask_grid::mesh::NONE;

use super::MeshGeometry;
use super::edit::Rest;

/// How near to the plane of symmetry, in parts of its distance from the origin and of a micrometre, a point is on it:
/// the smallest step of single precision at one.
const ON_PLANE: f64 = f32::EPSILON as f64;

impl MeshGeometry {
    /// The mesh with its mirror images; what lies beyond the monitor is cut off next.
    pub(super) fn mirror(
        &self,
        mirrors: &Mirrors,
    ) -> Result<(Vec<EdgePoint>, Rest, Vec<MeshEdit>), ExpressionError> {
        let mut mesh = self.clone();
        let mut origins: Vec<u32> = (0..self.points.len() as u32).collect();
        let bounds = self.bounds();
        let done: [Option<Mirroring>; 3] = std::array::from_fn(|axis| mirrors.along(axis, bounds[axis]));
        for (axis, done) in done.iter().enumerate() {
            let (Some(done), center) = (done, mirrors.center[axis]) else { continue };
            if done.joins {
                mesh.join_image(axis, center, &mut origins)?;
            } else {
                mesh.take_image(axis, center);
            }
        }
        let mut next = Vec::new();
        if let Some(trimmed) = mirrors.trimmed(&done) {
            let bounds = mesh.bounds();
            for (axis, [low, high]) in trimmed.into_iter().enumerate() {
                if mesh.is_across(axis) {
                    continue;
                }
                if bounds[axis][1] < low || bounds[axis][0] > high {
                    let what = "nothing of the mesh lies within the monitor";
                    return Err(ExpressionError::invalid("mesh", what));
                }
                if bounds[axis][0] < low {
                    next.push(MeshEdit::Clip { axis, position: low, above: true });
                }
                if bounds[axis][1] > high {
                    next.push(MeshEdit::Clip { axis, position: high, above: false });
                }
            }
        }
        let points = origins.into_iter().map(|origin| EdgePoint { ends: [origin; 2], share: 0.0 }).collect();
        Ok((points, Rest::Mesh(mesh), next))
    }

    /// From where to where the points go along each axis.
    fn bounds(&self) -> [[f64; 2]; 3] {
        let mut bounds = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
        for point in &self.points {
            for ([low, high], &at) in bounds.iter_mut().zip(point) {
                (*low, *high) = (low.min(at), high.max(at));
            }
        }
        bounds
    }

    /// Whether all of it lies in a plane across this axis.
    const fn is_across(&self, axis: usize) -> bool {
        matches!(self.kind, MeshKind::Triangular { normal_axis, .. } if normal_axis == axis)
    }

    /// The mirror image in its place.
    fn take_image(&mut self, axis: usize, center: f64) {
        for point in &mut self.points {
            point[axis] = 2.0 * center - point[axis];
        }
        if let MeshKind::Triangular { normal_axis, normal_position } = &mut self.kind
            && *normal_axis == axis
        {
            *normal_position = 2.0 * center - *normal_position;
        }
    }

    /// Its mirror image beside it; `origins` says of each point which stored one it is.
    fn join_image(
        &mut self,
        axis: usize,
        center: f64,
        origins: &mut Vec<u32>,
    ) -> Result<(), ExpressionError> {
        if self.is_across(axis) {
            let what = "triangles across the plane of symmetry's normal have no mirror image beside them";
            return Err(ExpressionError::invalid("mesh", what));
        }
        let tolerance = ON_PLANE + ON_PLANE * center.abs();
        let boundary = self.boundary();
        let shared: Vec<bool> = self
            .points
            .iter()
            .zip(&boundary)
            .map(|(point, &boundary)| boundary && (point[axis] - center).abs() <= tolerance)
            .collect();
        let mut images = vec![NONE; self.points.len()];
        for place in 0..shared.len() {
            if shared[place] {
                images[place] = place as u32;
                continue;
            }
            let number = u32::try_from(self.points.len()).ok().filter(|&number| number != NONE);
            let Some(number) = number else {
                return Err(ExpressionError::invalid("mesh", "there are too many points to number"));
            };
            images[place] = number;
            let mut image = self.points[place];
            image[axis] = 2.0 * center - image[axis];
            self.points.push(image);
            origins.push(origins[place]);
        }
        let image_of = |corner: u32| if corner == NONE { NONE } else { images[corner as usize] };
        let repeated: Vec<[u32; 4]> = self
            .cells
            .iter()
            .filter(|cell| cell.iter().any(|&corner| corner != NONE && !shared[corner as usize]))
            .map(|cell| cell.map(image_of))
            .collect();
        self.cells.extend(repeated);
        Ok(())
    }

    /// Of each point whether it is on the mesh's boundary: on a side that one cell alone has.
    fn boundary(&self) -> Vec<bool> {
        let mut sides: HashMap<[u32; 3], u32> = HashMap::new();
        for cell in &self.cells {
            let corners = || cell.iter().copied().filter(|&corner| corner != NONE);
            for left_out in corners() {
                let mut side = [NONE; 3];
                let others = corners().filter(|&corner| corner != left_out);
                side.iter_mut().zip(others).for_each(|(place, corner)| *place = corner);
                side.sort_unstable();
                *sides.entry(side).or_default() += 1;
            }
        }
        let mut boundary = vec![false; self.points.len()];
        for (side, _) in sides.iter().filter(|(_, count)| **count == 1) {
            for &corner in side.iter().filter(|&&corner| corner != NONE) {
                boundary[corner as usize] = true;
            }
        }
        boundary
    }
}
