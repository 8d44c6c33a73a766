//! What a task is and where it stands, in words of our own: the vendor's are translated at the tidy3d door.

use std::fmt;
use std::str::FromStr;

/// What kind of computation a task asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum TaskKind {
    /// Time-domain Maxwell solver.
    Fdtd,
    /// Steady heat conduction, older class name.
    Heat,
    /// Steady heat conduction or charge transport.
    HeatCharge,
    /// The mesh of a heat or charge simulation, by itself.
    VolumeMesh,
    /// Waveguide modes of one plane, as a simulation of its own.
    Mode,
    /// Waveguide modes of one plane of an FDTD simulation.
    ModeSolver,
    /// Eigenmode expansion.
    Eme,
    /// A batch of simulations for a modal scattering matrix.
    ModalCm,
    /// A batch of simulations for a terminal scattering matrix.
    TerminalCm,
    /// Radio-frequency time-domain solver.
    Rf,
    /// Expressions over the results of other tasks.
    Evaluation,
}

impl TaskKind {
    /// Every kind, in the order of the table of supported features.
    pub const ALL: [Self; 11] = [
        Self::Heat,
        Self::HeatCharge,
        Self::VolumeMesh,
        Self::Fdtd,
        Self::Mode,
        Self::ModeSolver,
        Self::Eme,
        Self::ModalCm,
        Self::TerminalCm,
        Self::Rf,
        Self::Evaluation,
    ];

    /// The kind of computation that an object of this tidy3d class asks for, as its JSON names it in `type`;
    /// `None` if it is not a simulation.
    pub fn of_class(class: &str) -> Option<Self> {
        Some(match class {
            "HeatSimulation" => Self::Heat,
            "HeatChargeSimulation" => Self::HeatCharge,
            "VolumeMesher" => Self::VolumeMesh,
            "Simulation" => Self::Fdtd,
            "ModeSimulation" => Self::Mode,
            "ModeSolver" => Self::ModeSolver,
            "EMESimulation" => Self::Eme,
            "ModalComponentModeler" => Self::ModalCm,
            "TerminalComponentModeler" => Self::TerminalCm,
            "Evaluation" => Self::Evaluation,
            _ => return None,
        })
    }

    /// The word that the tidy3d client and our own API use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fdtd => "FDTD",
            Self::Heat => "HEAT",
            Self::HeatCharge => "HEAT_CHARGE",
            Self::VolumeMesh => "VOLUME_MESH",
            Self::Mode => "MODE",
            Self::ModeSolver => "MODE_SOLVER",
            Self::Eme => "EME",
            Self::ModalCm => "MODAL_CM",
            Self::TerminalCm => "TERMINAL_CM",
            Self::Rf => "RF",
            Self::Evaluation => "EVALUATION",
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// There is no task kind of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no task kind `{0}`")]
pub struct UnknownTaskKind(pub String);

impl FromStr for TaskKind {
    type Err = UnknownTaskKind;

    fn from_str(text: &str) -> Result<Self, UnknownTaskKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownTaskKind(text.chars().take(40).collect()))
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskState {
    /// Created; its files may be uploaded.
    Draft,
    /// Its upload is being read and checked.
    Validating,
    /// Checked and found good; waits for the user to start it.
    Validated,
    /// Started; waits for its inputs or for a free worker.
    Queued,
    /// A worker holds a lease on it.
    Running,
    /// Solved; the result is being made durable.
    Publishing,
    /// The result is there.
    Success,
    /// The solution diverged; what there is of it can be fetched.
    Diverged,
    /// It ended without a result; `ErrorKind` says on which side the fault is.
    Error,
    /// The user wants it stopped; the worker has not confirmed yet.
    Aborting,
    /// Stopped by the user.
    Aborted,
    /// Deleted by the user; only its event history remains.
    Deleted,
}

impl TaskState {
    /// Whether nothing will happen any more unless the user acts.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Success | Self::Diverged | Self::Error | Self::Aborted | Self::Deleted)
    }

    /// The word used in the API, in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Validating => "validating",
            Self::Validated => "validated",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Publishing => "publishing",
            Self::Success => "success",
            Self::Diverged => "diverged",
            Self::Error => "error",
            Self::Aborting => "aborting",
            Self::Aborted => "aborted",
            Self::Deleted => "deleted",
        }
    }
}

impl fmt::Display for TaskState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// On which side the fault of a failed task is, which decides what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The simulation cannot be run as it is: change it.
    Validation,
    /// The solver could not find a solution: change the mesh or the physics.
    Solver,
    /// Too little memory, disk or time: ask for less or give more.
    Resources,
    /// A crash or a lost worker, several times: look at the log, then run it again.
    Infrastructure,
    /// An input task failed: mend that one first.
    Dependency,
}

/// Why a task failed, in words for an engineer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TaskError {
    /// On which side the fault is.
    pub kind: ErrorKind,
    /// Stable code such as `heat.not_converged`, for programs.
    pub code: String,
    /// What happened and what to do about it.
    pub message: String,
}

/// What a task is expected to need, found when it is validated.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// Number of unknowns of the linear system.
    pub unknowns: u64,
    /// Peak memory of the solver process in bytes.
    pub memory_bytes: u64,
    /// Processor time in seconds on this kind of machine.
    pub cpu_seconds: f64,
}

/// How far a running task is.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Progress {
    /// 0 to 100.
    pub percent: f64,
    /// Relative residual of the solver, if it has one.
    pub residual: Option<f64>,
    /// What it is doing, in a word or two.
    pub stage: String,
}
