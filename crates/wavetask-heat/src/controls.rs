//! The parts of a calculation, which its progress names.

/// Limits of a calculation, and a channel back to the caller.
pub type Controls<'a> = wavetask_solver::Controls<'a, Stage>;

/// Where a calculation stands.
pub type Progress = wavetask_solver::Progress<Stage>;

/// The parts of a calculation, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Filling the domain with triangles or tetrahedra.
    Meshing,
    /// Computing the equations.
    Assembling,
    /// Solving the equations.
    Solving,
    /// Recording the temperature at the monitors.
    Sampling,
}

impl Stage {
    /// What is being done, in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Meshing => "meshing",
            Self::Assembling => "assembling the equations",
            Self::Solving => "solving the equations",
            Self::Sampling => "recording the monitors",
        }
    }
}
