//! Effective permittivities of a cell from what is in it.
//!
//! Along an interface the electric field is continuous and permittivities average as capacitors in parallel;
//! across it the displacement is, and they average as capacitors in series. With the normal `n`
//!
//! ```text
//! ε⁻¹ = n nᵀ <1/ε> + (1 - n nᵀ) / <ε>
//! ```
//!
//! A. Farjadpour, D. Roundy, A. Rodriguez, M. Ibanescu, P. Bermel, J. D. Joannopoulos, S. G. Johnson and
//! G. W. Burr, Optics Letters 31, 2972 (2006). For anisotropic media the quantities that are continuous
//! are averaged instead: C. Kottke, A. Farjadpour and S. G. Johnson, Physical Review E 77, 036611 (2008).
//! Either makes errors of first order in the cell's size vanish.
//!
//! Solvers that couple only equal components take the reciprocal of the diagonal of `ε⁻¹`: exact where the
//! normal is an axis; elsewhere it leaves out what one component of the field does to the other.
//! A. Mohammadi, H. Nadgaran and M. Agio, Optics Express 13, 10367 (2005).

use num_complex::Complex64;

use crate::media::Tensor;

/// Shares of media in a region.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Means {
    /// The mean of the permittivity.
    pub(super) parallel: Complex64,
    /// The mean of its reciprocal.
    pub(super) series: Complex64,
}

/// The inverse permittivity tensor of a cell of isotropic media.
///
/// `directions` is the mean of `n nᵀ` over the interfaces in the cell.
pub(super) fn inverse(directions: &[[f64; 3]; 3], means: Means) -> Tensor {
    let parallel = means.parallel.inv();
    std::array::from_fn(|row| {
        std::array::from_fn(|column| {
            let across = directions[row][column];
            let along = f64::from(u8::from(row == column)) - across;
            across * means.series + along * parallel
        })
    })
}

/// The permittivity tensor of a cell of anisotropic media, from their tensors and shares (which sum to
/// one) and the interface's unit normal.
pub(super) fn anisotropic(normal: [f64; 3], media: impl Iterator<Item = (Tensor, f64)>) -> Tensor {
    let frame = frame_of(normal);
    let mut sums = Tensor::default();
    for (tensor, share) in media {
        let local = rotate(&tensor, |row, column| frame[row][column]);
        let across = local[0][0];
        for row in 0..3 {
            for column in 0..3 {
                sums[row][column] += share
                    * match (row, column) {
                        (0, 0) => -across.inv(),
                        (0, _) | (_, 0) => local[row][column] / across,
                        _ => local[row][column] - local[row][0] * local[0][column] / across,
                    };
            }
        }
    }
    let across = sums[0][0];
    let local: Tensor = std::array::from_fn(|row| {
        std::array::from_fn(|column| match (row, column) {
            (0, 0) => -across.inv(),
            (0, _) | (_, 0) => -sums[row][column] / across,
            _ => sums[row][column] - sums[row][0] * sums[0][column] / across,
        })
    });
    rotate(&local, |row, column| frame[column][row])
}

/// `r t rᵀ` with the matrix of entries `r(row, column)`.
fn rotate(tensor: &Tensor, r: impl Fn(usize, usize) -> f64) -> Tensor {
    std::array::from_fn(|row| {
        std::array::from_fn(|column| {
            (0..3)
                .flat_map(|i| (0..3).map(move |j| (i, j)))
                .map(|(i, j)| tensor[i][j] * (r(row, i) * r(column, j)))
                .sum()
        })
    })
}

/// An orthonormal frame whose first vector is the given one.
fn frame_of(normal: [f64; 3]) -> [[f64; 3]; 3] {
    let least = (0..3).min_by(|&one, &other| normal[one].abs().total_cmp(&normal[other].abs())).unwrap_or(0);
    let mut second: [f64; 3] = std::array::from_fn(|axis| -normal[least] * normal[axis]);
    second[least] += 1.0;
    let length = second.iter().map(|entry| entry * entry).sum::<f64>().sqrt();
    let second = second.map(|entry| entry / length);
    let third = [
        normal[1] * second[2] - normal[2] * second[1],
        normal[2] * second[0] - normal[0] * second[2],
        normal[0] * second[1] - normal[1] * second[0],
    ];
    [normal, second, third]
}

/// The inverse of a tensor by cofactors.
pub(super) fn invert(t: &Tensor) -> Tensor {
    let minor = |row: usize, column: usize| {
        let (r, s) = ((row + 1) % 3, (row + 2) % 3);
        let (c, d) = ((column + 1) % 3, (column + 2) % 3);
        t[r][c] * t[s][d] - t[r][d] * t[s][c]
    };
    let determinant = (0..3).map(|column| t[0][column] * minor(0, column)).sum::<Complex64>();
    std::array::from_fn(|row| std::array::from_fn(|column| minor(column, row) / determinant))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn isotropic(permittivity: f64) -> Tensor {
        let mut tensor = Tensor::default();
        for (axis, row) in tensor.iter_mut().enumerate() {
            row[axis] = permittivity.into();
        }
        tensor
    }

    #[test]
    fn isotropic_media_average_alike_either_way() {
        let normal = [2.0 / 3.0, -1.0 / 3.0, 2.0 / 3.0];
        let directions = normal.map(|one| normal.map(|other| one * other));
        let means = Means {
            parallel: (0.3 * 12.0 + 0.7 * 2.0_f64).into(),
            series: (0.3 / 12.0 + 0.7 / 2.0_f64).into(),
        };
        let one = invert(&inverse(&directions, means));
        let other = anisotropic(normal, [(isotropic(12.0), 0.3), (isotropic(2.0), 0.7)].into_iter());
        for row in 0..3 {
            for column in 0..3 {
                assert!((one[row][column] - other[row][column]).norm() < 1e-13);
            }
        }
    }

    #[test]
    fn across_an_axis_the_normal_component_averages_in_series() {
        let media = [(isotropic(12.0), 0.5), (isotropic(2.0), 0.5)];
        let tensor = anisotropic([0.0, 1.0, 0.0], media.into_iter());
        assert!((tensor[1][1].re - 24.0 / 7.0).abs() < 1e-13);
        assert!((tensor[0][0].re - 7.0).abs() < 1e-13);
        assert!((tensor[2][2].re - 7.0).abs() < 1e-13);
    }
}
