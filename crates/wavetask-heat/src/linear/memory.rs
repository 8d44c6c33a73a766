//! How much memory a solve will take, before it is begun.

/// Bytes that assembling and solving will hold at most; see [`estimate_memory`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryEstimate {
    /// The peak of indexing the elements, finding the pattern and adding up the matrix, on top of the mesh.
    pub assembly: usize,
    /// The peak of multigrid set-up and iteration, the matrix, right-hand side and solution included.
    pub solve: usize,
}

impl MemoryEstimate {
    /// The larger of the two: they do not happen at the same time.
    pub fn peak(&self) -> usize {
        self.assembly.max(self.solve)
    }
}

/// An upper estimate for a matrix of `unknowns` rows and `entries` stored entries (both triangles and the
/// diagonal).
///
/// A tetrahedral mesh has about 15 entries per unknown, a triangular one 7.
///
/// The figures, per entry: a matrix holds 12 bytes; while the pattern is made, the index from unknowns to
/// elements (at most 8: a mesh of `E` edges and `T` tetrahedra has `T < E`, and its pattern `2 E` entries) and
/// two copies of the columns live beside each other; during set-up the matrix of the first pairs lives in two
/// copies. The hierarchy below the finest level is taken as complete as that matrix, which is two to three
/// times what has been seen. Blocks that grow by doubling count twice. A test counts the allocations of
/// meshes of all kinds against these figures.
pub fn estimate_memory(unknowns: usize, entries: usize) -> MemoryEstimate {
    const FIXED: usize = 4 << 20;
    let per = |of_entries: usize, of_unknowns: usize| {
        entries
            .saturating_mul(of_entries)
            .saturating_add(unknowns.saturating_mul(of_unknowns))
            .saturating_add(FIXED)
    };
    MemoryEstimate { assembly: per(24, 40), solve: per(30, 140) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_both_and_never_overflows() {
        let million = estimate_memory(1_000_000, 15_000_000);
        assert!(million.peak() < 1_000_000_000);
        assert!(million.peak() >= 15_000_000 * 12);
        assert_eq!(estimate_memory(usize::MAX, usize::MAX).peak(), usize::MAX);
    }
}
