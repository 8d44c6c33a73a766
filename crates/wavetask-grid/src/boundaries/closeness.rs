//! The client's notions of nearly equal, by which its mesher decides.

/// The tolerance of the client in sizes, in micrometres: the machine epsilon of 32-bit floats.
pub(super) const TOLERANCE: f64 = f32::EPSILON as f64;

/// Equal within one part in a billion, or within `absolute`; infinities are close to themselves only.
pub(super) fn near(a: f64, b: f64, absolute: f64) -> bool {
    within(a, b, 1e-9, absolute)
}

/// Equal within `relative` of the larger, or within `absolute`.
pub(super) fn within(a: f64, b: f64, relative: f64, absolute: f64) -> bool {
    if a == b {
        return true;
    }
    if a.is_infinite() || b.is_infinite() {
        return false;
    }
    (a - b).abs() <= (relative * a.abs().max(b.abs())).max(absolute)
}

/// Equal within one part in a hundred thousand of the second, or 1e-8: what NumPy calls close.
pub(super) fn roughly(a: f64, b: f64) -> bool {
    a == b || (a.is_finite() && b.is_finite() && (a - b).abs() <= 1e-8 + 1e-5 * b.abs())
}

/// The first index whose value is not below `value`, in an ascending list.
pub(super) fn first_not_below(ascending: &[f64], value: f64) -> usize {
    ascending.partition_point(|&coordinate| coordinate < value)
}

/// The first index whose value is above `value`, in an ascending list.
pub(super) fn first_above(ascending: &[f64], value: f64) -> usize {
    ascending.partition_point(|&coordinate| coordinate <= value)
}
