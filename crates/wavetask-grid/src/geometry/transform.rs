//! Affine maps: rotations, reflections, translations, scalings and shears of other shapes.

use serde_json::Value;

use super::Bounds;
use super::read::{finite, numbers};
use super::vector::{Point3, dot};
use crate::reading::{Part, SceneError, join};

/// Entries of a rotation that should be zero are this far from it, relative to the row's greatest.
const ROUNDING: f64 = 1e-12;

/// Stretches that agree to this are one: the map is a similarity.
const SIMILAR: f64 = 1e-9;

/// How far the product of a matrix and its inverse may be from the identity.
const INVERTIBLE: f64 = 1e-6;

/// A map of the shape's own coordinates to space, and its inverse.
#[derive(Clone, Debug)]
pub(super) struct Transform {
    linear: [Point3; 3],
    offset: Point3,
    inverse: [Point3; 3],
    inverse_offset: Point3,
    /// The least and the greatest factor by which the map stretches a distance.
    stretches: [f64; 2],
}

impl Transform {
    /// Reads a 4x4 matrix, row by row, whose last row is `0 0 0 1`.
    pub(super) fn from_json(value: &Value, path: &str) -> Result<Self, SceneError> {
        let rows = Part::Geometry.list(value, path)?;
        if rows.len() != 4 {
            return Err(Part::Geometry.invalid(path, "a transform is a matrix of 4 x 4 numbers"));
        }
        let mut matrix = [[0.0; 4]; 4];
        for (index, (row, value)) in matrix.iter_mut().zip(rows).enumerate() {
            *row = numbers(value, &join(path, index), finite)?;
        }
        if matrix[3]
            .iter()
            .zip([0.0, 0.0, 0.0, 1.0])
            .any(|(entry, expected)| (entry - expected).abs() > 1e-12)
        {
            return Err(Part::Geometry.unsupported(path, "a transform whose last row is not 0 0 0 1"));
        }
        let linear = std::array::from_fn(|row| std::array::from_fn(|column| matrix[row][column]));
        let offset = std::array::from_fn(|row| matrix[row][3]);
        Self::new(linear, offset)
            .ok_or_else(|| Part::Geometry.invalid(path, "the transform is not invertible"))
    }

    /// `None` if the matrix cannot be inverted.
    pub(super) fn new(linear: [Point3; 3], offset: Point3) -> Option<Self> {
        let inverse = invert(linear)?;
        let inverse_offset = multiply(&inverse, offset).map(|component| -component);
        let stretches = stretches(&linear);
        let is_finite = stretches[0] > 0.0 && inverse_offset.iter().all(|component| component.is_finite());
        is_finite.then_some(Self { linear, offset, inverse, inverse_offset, stretches })
    }

    /// The same map followed by a shift.
    pub(super) fn then_shifted(&self, shift: Point3) -> Self {
        let offset = std::array::from_fn(|axis| self.offset[axis] + shift[axis]);
        let inverse_offset = multiply(&self.inverse, offset).map(|component| -component);
        Self { offset, inverse_offset, ..self.clone() }
    }

    /// This map after another one.
    ///
    /// `None` if rounding leaves the product of two invertible matrices without an inverse.
    pub(super) fn after(&self, first: &Self) -> Option<Self> {
        let linear = self.linear.map(|row| {
            std::array::from_fn(|column| (0..3).map(|inner| row[inner] * first.linear[inner][column]).sum())
        });
        Self::new(linear, self.to_space(first.offset))
    }

    pub(super) fn identity() -> Self {
        let linear = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        Self { linear, offset: [0.0; 3], inverse: linear, inverse_offset: [0.0; 3], stretches: [1.0; 2] }
    }

    /// The point of the shape's own coordinates that is mapped to this point of space.
    pub(super) fn to_local(&self, point: Point3) -> Point3 {
        let local = multiply(&self.inverse, point);
        std::array::from_fn(|axis| local[axis] + self.inverse_offset[axis])
    }

    fn to_space(&self, point: Point3) -> Point3 {
        let space = multiply(&self.linear, point);
        std::array::from_fn(|axis| space[axis] + self.offset[axis])
    }

    /// The box around the eight mapped corners.
    pub(super) fn bounds_of(&self, bounds: &Bounds) -> Bounds {
        let mut around = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
        for corner in 0..8 {
            let corner = std::array::from_fn(|axis| bounds[axis][(corner >> axis) & 1]);
            for (side, coordinate) in around.iter_mut().zip(self.to_space(corner)) {
                *side = [side[0].min(coordinate), side[1].max(coordinate)];
            }
        }
        around
    }

    /// The factor of all distances, if it is one.
    pub(super) fn similarity(&self) -> Option<f64> {
        let [least, greatest] = self.stretches;
        (greatest - least <= SIMILAR * greatest).then_some(greatest)
    }

    /// The least and the greatest factor by which a distance is stretched: the least one turns a local
    /// distance into one in space that is not overestimated.
    pub(super) fn stretches(&self) -> [f64; 2] {
        self.stretches
    }

    /// Where planes normal to a local axis end up, if they are normal to an axis of space: that axis and
    /// the position as `factor * local + shift`.
    pub(super) fn plane_of(&self, local_axis: usize) -> Option<(usize, f64, f64)> {
        // The local coordinate is a function of space whose gradient is a row of the inverse.
        let gradient = self.inverse[local_axis];
        let greatest = gradient.iter().fold(0.0, |greatest: f64, entry| greatest.max(entry.abs()));
        let mut large = (0..3).filter(|&axis| gradient[axis].abs() > ROUNDING * greatest);
        let axis = large.next()?;
        if large.next().is_some() {
            return None;
        }
        Some((axis, 1.0 / gradient[axis], -self.inverse_offset[local_axis] / gradient[axis]))
    }

    /// The mapped box, if its faces stay normal to axes.
    pub(super) fn aligned_box_of(&self, bounds: &Bounds) -> Option<Bounds> {
        let mut mapped = [[0.0; 2]; 3];
        for (local_axis, [low, high]) in bounds.iter().enumerate() {
            let (axis, factor, shift) = self.plane_of(local_axis)?;
            let (one, other) = (factor * low + shift, factor * high + shift);
            mapped[axis] = [one.min(other), one.max(other)];
        }
        Some(mapped)
    }
}

fn multiply(matrix: &[Point3; 3], point: Point3) -> Point3 {
    matrix.map(|row| dot(row, point))
}

/// The inverse by cofactors; `None` if the product with it is not the identity.
fn invert(matrix: [Point3; 3]) -> Option<[Point3; 3]> {
    let cofactor = |row: usize, column: usize| {
        let (r, s) = ((row + 1) % 3, (row + 2) % 3);
        let (c, d) = ((column + 1) % 3, (column + 2) % 3);
        matrix[r][c] * matrix[s][d] - matrix[r][d] * matrix[s][c]
    };
    let determinant: f64 = (0..3).map(|column| matrix[0][column] * cofactor(0, column)).sum();
    let inverse: [Point3; 3] =
        std::array::from_fn(|row| std::array::from_fn(|column| cofactor(column, row) / determinant));
    let is_inverse = (0..3).all(|row| {
        (0..3).all(|column| {
            let product: f64 = (0..3).map(|inner| matrix[row][inner] * inverse[inner][column]).sum();
            let expected = if row == column { 1.0 } else { 0.0 };
            (product - expected).abs() <= INVERTIBLE
        })
    });
    is_inverse.then_some(inverse)
}

/// The least and the greatest singular value, by Jacobi rotations of the columns.
fn stretches(matrix: &[Point3; 3]) -> [f64; 2] {
    // The columns of the matrix, made orthogonal two at a time (one-sided Jacobi).
    let mut columns: [Point3; 3] =
        std::array::from_fn(|column| std::array::from_fn(|row| matrix[row][column]));
    for _ in 0..30 {
        let mut is_orthogonal = true;
        for (p, q) in [(0, 1), (0, 2), (1, 2)] {
            let (alpha, beta) = (dot(columns[p], columns[p]), dot(columns[q], columns[q]));
            let gamma = dot(columns[p], columns[q]);
            if gamma.abs() <= 1e-15 * (alpha * beta).sqrt() {
                continue;
            }
            is_orthogonal = false;
            let zeta = (beta - alpha) / (2.0 * gamma);
            let tangent = zeta.signum() / (zeta.abs() + zeta.hypot(1.0));
            let cosine = 1.0 / tangent.hypot(1.0);
            let sine = cosine * tangent;
            let (one, other) = (columns[p], columns[q]);
            columns[p] = std::array::from_fn(|row| cosine * one[row] - sine * other[row]);
            columns[q] = std::array::from_fn(|row| sine * one[row] + cosine * other[row]);
        }
        if is_orthogonal {
            break;
        }
    }
    let lengths = columns.map(|column| dot(column, column).sqrt());
    [lengths[0].min(lengths[1]).min(lengths[2]), lengths[0].max(lengths[1]).max(lengths[2])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_known_maps() {
        let rotation = [[0.6, -0.8, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]];
        let [least, greatest] = stretches(&rotation);
        assert!((least - 1.0).abs() < 1e-14 && (greatest - 1.0).abs() < 1e-14);
        // A shear by one: the golden ratio and its inverse.
        let shear = [[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let [least, greatest] = stretches(&shear);
        let golden = (1.0 + 5.0_f64.sqrt()) / 2.0;
        assert!((least - 1.0 / golden).abs() < 1e-14 && (greatest - golden).abs() < 1e-14);
    }

    #[test]
    fn a_quarter_turn_maps_planes_to_planes() {
        let angle = std::f64::consts::FRAC_PI_2;
        let linear = [[angle.cos(), -angle.sin(), 0.0], [angle.sin(), angle.cos(), 0.0], [0.0, 0.0, 2.0]];
        let turn = Transform::new(linear, [10.0, 20.0, 30.0]).expect("invertible");
        let (axis, factor, shift) = turn.plane_of(0).expect("stays a plane");
        assert_eq!(axis, 1);
        assert!((factor * 3.0 + shift - 23.0).abs() < 1e-12);
        let (axis, factor, shift) = turn.plane_of(2).expect("stays a plane");
        assert_eq!(axis, 2);
        assert!((factor * 3.0 + shift - 36.0).abs() < 1e-12);
        assert!(turn.similarity().is_none());
    }

    #[test]
    fn singular_and_nearly_singular_matrices_are_refused() {
        assert!(Transform::new([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]], [0.0; 3]).is_none());
        assert!(Transform::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], [0.0; 3]).is_none());
        assert!(
            Transform::new([[1e-200, 0.0, 0.0], [0.0, 1e-200, 0.0], [0.0, 0.0, 1.0]], [0.0; 3]).is_none()
        );
        assert!(Transform::new([[1e-3, 0.0, 0.0], [0.0, 1e-3, 0.0], [0.0, 0.0, 1e3]], [0.0; 3]).is_some());
    }
}
