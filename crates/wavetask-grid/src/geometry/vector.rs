//! Vectors of two and three numbers, and the distances that shapes share.

pub(super) type Point2 = [f64; 2];
pub(super) type Point3 = [f64; 3];

pub(super) fn subtract<const N: usize>(one: [f64; N], other: [f64; N]) -> [f64; N] {
    std::array::from_fn(|axis| one[axis] - other[axis])
}

/// `one + factor * other`.
pub(super) fn along<const N: usize>(one: [f64; N], factor: f64, other: [f64; N]) -> [f64; N] {
    std::array::from_fn(|axis| one[axis] + factor * other[axis])
}

pub(super) fn dot<const N: usize>(one: [f64; N], other: [f64; N]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

pub(super) fn norm<const N: usize>(vector: [f64; N]) -> f64 {
    dot(vector, vector).sqrt()
}

pub(super) fn cross(one: Point3, other: Point3) -> Point3 {
    [
        one[1] * other[2] - one[2] * other[1],
        one[2] * other[0] - one[0] * other[2],
        one[0] * other[1] - one[1] * other[0],
    ]
}

/// Whether the ray from the point towards positive first coordinates crosses the edge.
///
/// Each vertex of a closed chain counts exactly once, and the answer does not depend on the direction
/// of the edge: two triangles that share it agree to the last bit on which side the point is.
pub(super) fn crosses_ray(a: Point2, b: Point2, point: Point2) -> bool {
    if (a[1] > point[1]) == (b[1] > point[1]) {
        return false;
    }
    let (low, high) = if a[1] < b[1] { (a, b) } else { (b, a) };
    (high[0] - low[0]) * (point[1] - low[1]) > (high[1] - low[1]) * (point[0] - low[0])
}

/// The square of the distance from a point to a segment, which may have no length.
pub(super) fn square_to_segment<const N: usize>(a: [f64; N], b: [f64; N], point: [f64; N]) -> f64 {
    let direction = subtract(b, a);
    let offset = subtract(point, a);
    let length = dot(direction, direction);
    let fraction = if length > 0.0 { (dot(offset, direction) / length).clamp(0.0, 1.0) } else { 0.0 };
    let rest = along(offset, -fraction, direction);
    dot(rest, rest)
}

/// The square of the distance from a point to a triangle, which may be degenerate.
pub(super) fn square_to_triangle([a, b, c]: [Point3; 3], point: Point3) -> f64 {
    let normal = cross(subtract(b, a), subtract(c, a));
    let area = dot(normal, normal);
    if area > 0.0 {
        let inside =
            |from: Point3, to: Point3| dot(cross(subtract(to, from), subtract(point, from)), normal) >= 0.0;
        if inside(a, b) && inside(b, c) && inside(c, a) {
            return dot(subtract(point, a), normal).powi(2) / area;
        }
    }
    square_to_segment(a, b, point).min(square_to_segment(b, c, point)).min(square_to_segment(c, a, point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_to_a_triangle_by_region() {
        let triangle = [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]];
        let cases = [
            ([0.5, 0.5, 3.0], 9.0),
            ([0.5, 0.5, -3.0], 9.0),
            ([-1.0, -1.0, 1.0], 3.0),
            ([1.0, -2.0, 0.0], 4.0),
            ([2.0, 2.0, 0.0], 2.0),
            ([3.0, 0.0, 0.0], 1.0),
        ];
        for (point, expected) in cases {
            assert!((square_to_triangle(triangle, point) - expected).abs() < 1e-12, "{point:?}");
        }
        let flat = [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [2.0, 0.0, 0.0]];
        assert!((square_to_triangle(flat, [1.5, 1.0, 0.0]) - 1.0).abs() < 1e-12);
        let dot = [[1.0, 1.0, 1.0]; 3];
        assert!((square_to_triangle(dot, [1.0, 1.0, 3.0]) - 4.0).abs() < 1e-12);
    }

    #[test]
    fn rays_through_vertices_count_once() {
        let diamond = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]];
        let crossings = |point| {
            (0..4).filter(|&index| crosses_ray(diamond[index], diamond[(index + 1) % 4], point)).count()
        };
        assert_eq!(crossings([-0.5, 0.0]), 1);
        assert_eq!(crossings([-2.0, 0.0]), 2);
        assert_eq!(crossings([-2.0, 1.0]) % 2, 0);
        assert_eq!(crossings([-2.0, -1.0]) % 2, 0);
    }
}
