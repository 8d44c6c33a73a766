//! The refractive index of a medium, as far as a mesher cares.

use serde_json::Value;

use super::error::GridError;
use super::json::Node;

/// The permittivity of vacuum in farads per micrometre, as the client has it.
const VACUUM_PERMITTIVITY: f64 = 1.0 / (1.256_637_062_12e-12 * 2.997_924_58e14 * 2.997_924_58e14);

/// Finds the refractive index of a medium for [`super::Grid::of_scene`], given its JSON, its path in the
/// document and a frequency in hertz.
///
/// The number is the largest of `|n|` and `|k|` of the diagonal of the permittivity; one for media without a
/// volume (perfect conductors, surface impedances, sheets).
pub type MediumIndex<'a> = dyn Fn(&Value, &str, f64) -> Result<f64, GridError> + 'a;

/// The greater of the real and the imaginary part of the square root of a complex permittivity.
pub fn index_of_permittivity(real: f64, imaginary: f64) -> f64 {
    let magnitude = real.hypot(imaginary);
    let greater = ((magnitude + real.abs()) / 2.0).sqrt();
    if greater.is_nan() { 0.0 } else { greater }
}

/// The index of media without dispersion and of those that the mesher does not look into.
pub(super) fn simple(medium: &Value, path: &str, frequency: f64) -> Result<f64, GridError> {
    let node = Node::new(medium, path);
    match node.kind()? {
        "Medium" => {
            let permittivity = node.optional("permittivity").map_or(Ok(1.0), |node| node.finite())?;
            let conductivity = node.optional("conductivity").map_or(Ok(0.0), |node| node.finite())?;
            let imaginary = conductivity / (2.0 * std::f64::consts::PI * frequency * VACUUM_PERMITTIVITY);
            Ok(index_of_permittivity(permittivity, imaginary))
        }
        "PECMedium" | "PMCMedium" | "LossyMetalMedium" | "Medium2D" => Ok(1.0),
        _ => Err(node.unsupported_kind("the refractive index of the medium")),
    }
}

#[cfg(test)]
mod tests {
    use super::index_of_permittivity;

    #[test]
    fn the_greater_part_of_the_index_counts() {
        assert!((index_of_permittivity(12.25, 0.0) - 3.5).abs() < 1e-15);
        assert!((index_of_permittivity(-4.0, 0.0) - 2.0).abs() < 1e-15);
        // (1 + 3i)^2 = -8 + 6i
        assert!((index_of_permittivity(-8.0, 6.0) - 3.0).abs() < 1e-14);
        assert!((index_of_permittivity(8.0, -6.0) - 3.0).abs() < 1e-14);
    }
}
