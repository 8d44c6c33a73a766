//! How much of a box lies on one side of a plane.
//!
//! Exact: the volume of a corner cut off a box is a cubic, from which the corners beyond the other edges
//! are taken off and added again by inclusion and exclusion. Axes along which the box or the normal
//! has no extent drop out, so that rectangles and lines are answered by the same formula.

/// Axes whose share of the plane's distance across the box is smaller than this, relative to the greatest, drop
/// out: their effect is smaller than the rounding of the differences of cubes.
const NEGLIGIBLE: f64 = 1e-5;

/// A plane's cut through a box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cut {
    /// The part of the box on the side against the normal, from 0 to 1.
    pub(super) fraction: f64,
    /// The area of the plane inside the box, divided by the box's volume (1/µm).
    pub(super) density: f64,
}

/// The cut of the half space `normal · x + offset <= 0` through the box of these sizes around the origin.
///
/// `normal` has unit length. Flat axes of the box have size zero; the fraction and the density are then
/// those of the rectangle, the line or the point that remains.
pub(super) fn cut(sizes: [f64; 3], normal: [f64; 3], offset: f64) -> Cut {
    let across: [f64; 3] = std::array::from_fn(|axis| normal[axis].abs() * sizes[axis]);
    let greatest = across.iter().fold(0.0, |most: f64, &extent| most.max(extent));
    let mut extents = [0.0; 3];
    let mut count = 0;
    for extent in across {
        if extent > NEGLIGIBLE * greatest {
            extents[count] = extent;
            count += 1;
        }
    }
    let extents = &extents[..count];
    let total: f64 = extents.iter().sum();
    // The distance of the plane from the corner that lies deepest in the half space.
    let depth = total / 2.0 - offset;
    if depth <= 0.0 || total <= 0.0 {
        return Cut { fraction: if total <= 0.0 && depth >= 0.0 { 1.0 } else { 0.0 }, density: 0.0 };
    }
    if depth >= total {
        return Cut { fraction: 1.0, density: 0.0 };
    }
    // The smaller of the two parts is the one that is calculated.
    let (near, is_mirrored) = if 2.0 * depth > total { (total - depth, true) } else { (depth, false) };
    let (mut volume, mut area) = (0.0, 0.0);
    let product: f64 = extents.iter().product();
    for subset in 0_u32..1 << count {
        let removed: f64 = (0..count).filter(|&axis| subset & 1 << axis != 0).map(|axis| extents[axis]).sum();
        let rest = (near - removed).max(0.0);
        let sign = if subset.count_ones() % 2 == 0 { 1.0 } else { -1.0 };
        let (power, factor) = match count {
            1 => (1, 1.0),
            2 => (2, 2.0),
            _ => (3, 6.0),
        };
        volume += sign * rest.powi(power) / (factor * product);
        let lower = if rest > 0.0 { rest.powi(power - 1) } else { 0.0 };
        area += sign * f64::from(power) * lower / (factor * product);
    }
    let fraction = volume.clamp(0.0, 1.0);
    Cut { fraction: if is_mirrored { 1.0 - fraction } else { fraction }, density: area.max(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(vector: [f64; 3]) -> [f64; 3] {
        let length = vector.iter().map(|entry| entry * entry).sum::<f64>().sqrt();
        vector.map(|entry| entry / length)
    }

    #[test]
    fn planes_normal_to_an_axis() {
        for (offset, fraction) in [(0.0, 0.5), (-0.25, 0.625), (0.5, 0.25), (1.0, 0.0), (-3.0, 1.0)] {
            let found = cut([1.0, 2.0, 3.0], [0.0, -1.0, 0.0], offset);
            assert!((found.fraction - fraction).abs() < 1e-15, "{offset}: {found:?}");
            if fraction > 0.0 && fraction < 1.0 {
                assert!((found.density - 0.5).abs() < 1e-15, "{offset}: {found:?}");
            }
        }
    }

    #[test]
    fn diagonal_planes_of_a_cube() {
        let normal = unit([1.0, 1.0, 1.0]);
        let half = cut([1.0; 3], normal, 0.0);
        assert!((half.fraction - 0.5).abs() < 1e-15);
        // The hexagon through the middle.
        assert!((half.density - 0.75 * 3.0_f64.sqrt()).abs() < 1e-14);
        // The corner tetrahedron with legs of one half.
        let corner = cut([1.0; 3], normal, 1.0 / 3.0_f64.sqrt());
        assert!((corner.fraction - 0.125 / 6.0).abs() < 1e-15, "{corner:?}");
        let flat = cut([1.0, 1.0, 0.0], unit([1.0, 1.0, 5.0]), 0.0);
        assert!((flat.fraction - 0.5).abs() < 1e-15);
    }

    #[test]
    fn agrees_with_counting_points() {
        let mut random = 1_u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(random >> 33).unwrap()) / f64::from(1_u32 << 31) * 2.0 - 1.0
        };
        for _ in 0..40 {
            let sizes = [1.0 + next() * 0.9, 1.0 + next() * 0.9, 1.0 + next() * 0.9];
            let normal = unit([next(), next(), next()]);
            let offset = next() * 0.6;
            let steps = 40;
            let place = |index: i32, size: f64| size * ((f64::from(index) + 0.5) / f64::from(steps) - 0.5);
            let mut inside = 0;
            for (i, j, k) in
                (0..steps).flat_map(|i| (0..steps).flat_map(move |j| (0..steps).map(move |k| (i, j, k))))
            {
                let height = normal[0] * place(i, sizes[0])
                    + normal[1] * place(j, sizes[1])
                    + normal[2] * place(k, sizes[2])
                    + offset;
                inside += i32::from(height <= 0.0);
            }
            let counted = f64::from(inside) / f64::from(steps.pow(3));
            let found = cut(sizes, normal, offset);
            assert!((found.fraction - counted).abs() < 0.01, "{found:?} {counted}");
            // The area is the derivative of the volume.
            let step = 1e-6;
            let slope = (cut(sizes, normal, offset - step).fraction
                - cut(sizes, normal, offset + step).fraction)
                / (2.0 * step);
            assert!((found.density - slope).abs() < 1e-4 * (1.0 + slope), "{found:?} {slope}");
        }
    }
}
