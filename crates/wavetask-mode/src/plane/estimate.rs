//! What a plane costs, before it is solved.

/// The cost of the modes of one plane at one frequency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaneEstimate {
    /// Unknowns of the eigenproblem.
    pub unknowns: u64,
    /// Memory in bytes at the peak.
    pub bytes: u64,
    /// Seconds on one core of a current machine.
    pub seconds: f64,
}

/// Estimates the cost of a plane of `nx` by `ny` cells; `tensor` if material or angle has off-diagonal elements.
///
/// `complexity` is 1 for complex matrices and 0.5 for real ones. Nested dissection of a square of `n²` cells stores
/// `31/4 n² log₂ n` entries in a factor (A. George, 1973), and factorises in `829/84 n³` operations, for one unknown
/// in each cell; several unknowns multiply the former by their square and the latter by their cube.
pub fn estimate(nx: usize, ny: usize, tensor: bool, complexity: f64) -> PlaneEstimate {
    let (cells, narrow) = ((nx * ny) as f64, nx.min(ny).max(2) as f64);
    let kinds = if tensor { 4.0 } else { 2.0 };
    let value = 16.0 * complexity;
    let factors = 2.0 * 7.75 * cells * narrow.log2().max(1.0) * kinds * kinds * 0.45;
    let vectors = 60.0 * kinds * cells;
    let matrix = 24.0 * kinds * cells * 3.0;
    let fields = 6.0 * 16.0 * 2.0 * cells;
    let bytes = (factors * 1.5 + vectors + matrix) * value + fields * 8.0;
    let operations = 2.0 * 9.87 * cells * narrow * kinds.powi(3) * 0.5;
    let flops = if complexity > 0.75 { 4.0 } else { 1.0 };
    let seconds = operations * 2.0 * flops / 1.5e10 + 120.0 * factors * value / 8e9 + cells * kinds * 2e-6;
    PlaneEstimate { unknowns: (kinds * cells) as u64, bytes: bytes as u64, seconds }
}
