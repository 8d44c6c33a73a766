//! The loops over long vectors that the time of an iteration goes into.

use super::scalar::Scalar;

/// `sum += Σ columns[k] factors[k]`.
pub(super) fn add_four<T: Scalar>(sum: &mut [T], columns: [&[T]; 4], factors: [T; 4]) {
    let length = sum.len();
    let [a, b, c, d] = columns.map(|column| &column[..length]);
    for index in 0..length {
        sum[index] +=
            (a[index] * factors[0] + b[index] * factors[1]) + (c[index] * factors[2] + d[index] * factors[3]);
    }
}

/// Four sums of products, each with several partial sums so that the compiler may use vector instructions.
pub(super) fn dot_four<T: Scalar>(rows: [&[T]; 4], known: &[T]) -> [T; 4] {
    rows.map(|row| dot_with(row, known, |value| value))
}

/// `Σ left right` after `change` of the left factors.
fn dot_with<T: Scalar>(left: &[T], right: &[T], change: impl Fn(T) -> T) -> T {
    const LANES: usize = 8;
    let length = right.len();
    let whole = length - length % LANES;
    let left = &left[..length];
    let mut sums = [T::default(); LANES];
    for (left, right) in left[..whole].chunks_exact(LANES).zip(right[..whole].chunks_exact(LANES)) {
        for lane in 0..LANES {
            sums[lane] += change(left[lane]) * right[lane];
        }
    }
    for (left, right) in left[whole..].iter().zip(&right[whole..]) {
        sums[0] += change(*left) * *right;
    }
    let mut total = T::default();
    for sum in sums {
        total += sum;
    }
    total
}

/// The scalar product, conjugated in the left vector.
pub(super) fn dot<T: Scalar>(left: &[T], right: &[T]) -> T {
    dot_with(left, right, T::conjugate)
}

/// The Euclidean norm.
pub(super) fn norm<T: Scalar>(vector: &[T]) -> f64 {
    dot(vector, vector).magnitude().sqrt()
}

/// `vector ← vector factor`.
pub(super) fn scale<T: Scalar>(vector: &mut [T], factor: f64) {
    for value in vector {
        *value = value.scaled(factor);
    }
}

/// Removes from a vector its part in the span of orthonormal columns; returns the coefficients of that part.
///
/// Classical Gram-Schmidt, once more when the vector shrank so much that rounding would show (J. W. Daniel et al.,
/// Math. Comp. 30, 772, 1976).
pub(super) fn orthogonalise<T: Scalar>(columns: &[T], vector: &mut [T]) -> Vec<T> {
    let length = vector.len();
    let count = columns.len() / length;
    let mut coefficients = vec![T::default(); count];
    let mut before = norm(vector);
    for _ in 0..3 {
        let parts: Vec<T> = columns.chunks_exact(length).map(|column| dot(column, vector)).collect();
        let mut column = 0;
        while column < count {
            let at = |offset: usize| &columns[(column + offset) * length..(column + offset + 1) * length];
            if column + 4 <= count {
                let factors = [-parts[column], -parts[column + 1], -parts[column + 2], -parts[column + 3]];
                add_four(vector, [at(0), at(1), at(2), at(3)], factors);
                column += 4;
            } else {
                for (value, entry) in vector.iter_mut().zip(at(0)) {
                    *value -= *entry * parts[column];
                }
                column += 1;
            }
        }
        for (coefficient, part) in coefficients.iter_mut().zip(&parts) {
            *coefficient += *part;
        }
        let after = norm(vector);
        if after > 0.5 * before || after == 0.0 {
            break;
        }
        before = after;
    }
    coefficients
}
