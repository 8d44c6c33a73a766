//! The parts of a calculation, which its progress names.

/// Limits of a calculation, and a channel back to the caller.
pub type Controls<'a> = wavetask_solver::Controls<'a, Stage>;

/// Where a calculation stands.
pub type Progress = wavetask_solver::Progress<Stage>;

/// The parts of a calculation, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Making the grid and the materials on the plane.
    Discretizing,
    /// Finding the modes, frequency by frequency.
    Solving,
    /// Sorting, tracking and normalising.
    Finishing,
}

impl Stage {
    /// What is being done, in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Discretizing => "making the plane's grid",
            Self::Solving => "finding modes",
            Self::Finishing => "sorting modes",
        }
    }
}
