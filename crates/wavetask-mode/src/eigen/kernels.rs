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

/// `sum += Σ columns[k] factors[k]` for up to four columns that lie one after the other.
pub(super) fn add_columns<T: Scalar>(sum: &mut [T], columns: &[T], factors: &[T]) {
    let length = sum.len();
    if let [a, b, c, d] = *factors {
        let (first, rest) = columns.split_at(length);
        let (second, rest) = rest.split_at(length);
        let (third, fourth) = rest.split_at(length);
        add_four(sum, [first, second, third, fourth], [a, b, c, d]);
    } else {
        for (column, factor) in columns.chunks_exact(length).zip(factors) {
            for (value, entry) in sum.iter_mut().zip(column) {
                *value += *entry * *factor;
            }
        }
    }
}

/// The sum of products without conjugation.
pub(super) fn dot_plain<T: Scalar>(left: &[T], right: &[T]) -> T {
    dot_with(left, right, |value| value)
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

/// Rows of a panel of vectors that are treated while they are in the nearest cache.
const ROWS: usize = 2048;

/// Removes from vectors their parts in the span of orthonormal columns, once; returns the coefficients for each vector.
///
/// The columns are read once for the products and once for the differences, however many vectors there are.
pub(super) fn project_out<T: Scalar>(columns: &[T], length: usize, vectors: &mut [Vec<T>]) -> Vec<Vec<T>> {
    let count = columns.len() / length;
    let mut coefficients = vec![vec![T::default(); count]; vectors.len()];
    for start in (0..length).step_by(ROWS) {
        let end = (start + ROWS).min(length);
        for (column, values) in columns.chunks_exact(length).enumerate() {
            for (vector, sums) in vectors.iter().zip(&mut coefficients) {
                sums[column] += dot(&values[start..end], &vector[start..end]);
            }
        }
    }
    for start in (0..length).step_by(ROWS) {
        let end = (start + ROWS).min(length);
        let at = |column: usize| &columns[column * length + start..column * length + end];
        for (vector, factors) in vectors.iter_mut().zip(&coefficients) {
            let part = &mut vector[start..end];
            let mut column = 0;
            while column + 4 <= count {
                let panels = [at(column), at(column + 1), at(column + 2), at(column + 3)];
                let factors =
                    [-factors[column], -factors[column + 1], -factors[column + 2], -factors[column + 3]];
                add_four(part, panels, factors);
                column += 4;
            }
            for (column, factor) in factors.iter().enumerate().skip(column) {
                for (value, entry) in part.iter_mut().zip(at(column)) {
                    *value -= *entry * *factor;
                }
            }
        }
    }
    coefficients
}

/// A vector that shrank by less than this when its part in a span was removed is orthogonal to rounding.
pub(super) const SHRINKAGE: f64 = 0.5;

/// Removes from a vector its part in the span of orthonormal columns; returns the coefficients of that part.
///
/// Classical Gram-Schmidt, again when the vector shrank so much that rounding would show (J. W. Daniel et al., Math.
/// Comp. 30, 772, 1976).
pub(super) fn orthogonalise<T: Scalar>(columns: &[T], vector: &mut Vec<T>) -> Vec<T> {
    let length = vector.len();
    let mut coefficients = vec![T::default(); columns.len() / length];
    let mut before = norm(vector);
    for _ in 0..3 {
        let parts = project_out(columns, length, std::slice::from_mut(vector));
        for (coefficient, part) in coefficients.iter_mut().zip(parts.into_iter().flatten()) {
            *coefficient += part;
        }
        let after = norm(vector);
        if after > SHRINKAGE * before || after == 0.0 {
            break;
        }
        before = after;
    }
    coefficients
}
