//! Brent's method (R. P. Brent, Algorithms for Minimization without Derivatives, 1973, chapter 4): a root of a
//! function in a bracket by inverse interpolation, and by bisection where that does not help.
//!
//! Own code, because what the mesher needs is not the root but the client's approximation of it: the first
//! iterate whose residual is within the tolerance. Another method ends at another point within the tolerance,
//! and every grid line after it would be displaced.

const MAXIMUM_ITERATIONS: usize = 500;

/// The first iterate between `from` and `to` at which `function` is at most `tolerance` in magnitude;
/// `None` if the ends do not bracket a root, or no iterate is that good.
pub(super) fn first_root(from: f64, to: f64, tolerance: f64, function: impl Fn(f64) -> f64) -> Option<f64> {
    let smallest = f64::EPSILON;
    let (mut previous, mut value_previous) = (from, function(from));
    if value_previous.abs() <= tolerance {
        return Some(previous);
    }
    let (mut current, mut value) = (to, function(to));
    if value.abs() <= tolerance {
        return Some(current);
    }
    if value_previous * value > 0.0 {
        return None;
    }
    let (mut opposite, mut value_opposite) = (0.0, 0.0);
    let (mut step_before, mut step) = (0.0, 0.0);
    for _ in 0..MAXIMUM_ITERATIONS {
        if value_previous * value < 0.0 {
            (opposite, value_opposite) = (previous, value_previous);
            step = current - previous;
            step_before = step;
        }
        if value_opposite.abs() < value.abs() {
            (previous, value_previous) = (current, value);
            (current, value) = (opposite, value_opposite);
            (opposite, value_opposite) = (previous, value_previous);
        }
        let half: f64 = (opposite - current) / 2.0;
        if half.abs() < smallest {
            return None;
        }
        let mut attempt = None;
        if step_before.abs() > smallest && value.abs() < value_previous.abs() {
            let trial = if previous == opposite {
                -value * (current - previous) / (value - value_previous)
            } else {
                let slope_previous = (value_previous - value) / (previous - current);
                let slope_opposite = (value_opposite - value) / (opposite - current);
                -value * (value_opposite * slope_opposite - value_previous * slope_previous)
                    / (slope_opposite * slope_previous * (value_opposite - value_previous))
            };
            if 2.0 * trial.abs() < step_before.abs().min(3.0 * half.abs() - smallest) {
                attempt = Some(trial);
            }
        }
        (step_before, step) = match attempt {
            Some(trial) => (step, trial),
            None => (half, half),
        };
        (previous, value_previous) = (current, value);
        current += if step.abs() > smallest { step } else { smallest.copysign(half) };
        value = function(current);
        if value.abs() <= tolerance {
            return Some(current);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::first_root;

    #[test]
    fn finds_a_bracketed_root_and_no_other() {
        let root = first_root(0.0, 2.0, 1e-12, |x| x * x * x - 2.0).expect("a root");
        assert!((root - 2f64.cbrt()).abs() < 1e-11);
        assert_eq!(first_root(1.0, 2.0, 1e-12, |x| x + 1.0), None);
        assert_eq!(first_root(0.5, 2.0, 0.1, |x| x - 0.55), Some(0.5));
    }
}
