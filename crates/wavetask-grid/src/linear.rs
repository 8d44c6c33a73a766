//! Matrices of three by three.

/// The eigenvalues of a symmetric matrix and, in the same order, its orthonormal eigenvectors.
///
/// Jacobi's method: each rotation makes one entry beside the diagonal zero; a handful of sweeps reach the
/// precision of the numbers, and the vectors stay orthonormal also where eigenvalues coincide.
pub(crate) fn symmetric_eigen(mut matrix: [[f64; 3]; 3]) -> ([f64; 3], [[f64; 3]; 3]) {
    const SWEEPS: usize = 32;
    let mut vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    for _ in 0..SWEEPS {
        let beside = matrix[0][1].abs() + matrix[0][2].abs() + matrix[1][2].abs();
        if beside == 0.0 {
            break;
        }
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            let entry = matrix[one][other];
            if entry == 0.0 {
                continue;
            }
            let ratio = (matrix[other][other] - matrix[one][one]) / (2.0 * entry);
            let tangent = ratio.signum() / (ratio.abs() + ratio.hypot(1.0));
            let cosine = 1.0 / tangent.hypot(1.0);
            let sine = tangent * cosine;
            for row in &mut matrix {
                let (first, second) = (row[one], row[other]);
                row[one] = cosine * first - sine * second;
                row[other] = sine * first + cosine * second;
            }
            let (first, second) = (matrix[one], matrix[other]);
            for index in 0..3 {
                matrix[one][index] = cosine * first[index] - sine * second[index];
                matrix[other][index] = sine * first[index] + cosine * second[index];
            }
            matrix[one][other] = 0.0;
            matrix[other][one] = 0.0;
            let (first, second) = (vectors[one], vectors[other]);
            for index in 0..3 {
                vectors[one][index] = cosine * first[index] - sine * second[index];
                vectors[other][index] = sine * first[index] + cosine * second[index];
            }
        }
    }
    ([matrix[0][0], matrix[1][1], matrix[2][2]], vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_rebuild_the_matrix() {
        let matrices = [
            [[2.0, 0.3, -0.1], [0.3, 1.0, 0.7], [-0.1, 0.7, 5.0]],
            [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]],
            [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0]],
            [[0.0, 1e-9, 0.0], [1e-9, 0.0, 1e9], [0.0, 1e9, 0.0]],
        ];
        for matrix in matrices {
            let (values, vectors) = symmetric_eigen(matrix);
            let largest = values.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
            for row in 0..3 {
                for column in 0..3 {
                    let entry: f64 = (0..3)
                        .map(|index| values[index] * vectors[index][row] * vectors[index][column])
                        .sum();
                    assert!((entry - matrix[row][column]).abs() <= 1e-14 * largest, "{matrix:?}");
                }
            }
        }
    }
}
