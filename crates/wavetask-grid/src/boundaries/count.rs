//! How many cells an axis may have.

use super::error::GridError;

/// The largest number of cells along an axis.
pub(super) const MAXIMUM_CELLS: usize = 2_000_000;

/// A number of cells along an axis as a count, within the limit.
pub(super) fn counted(axis: usize, cells: f64) -> Result<usize, GridError> {
    if cells.is_nan() || cells > MAXIMUM_CELLS as f64 {
        let axis = ["x", "y", "z"][axis];
        return Err(GridError::LimitExceeded {
            path: format!("grid_spec/grid_{axis}"),
            what: "cells along an axis",
            limit: MAXIMUM_CELLS,
        });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the limit")]
    Ok(cells.max(0.0) as usize)
}
