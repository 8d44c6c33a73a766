//! The names that files of a task have at the tidy3d door.
//!
//! A closed list: whatever is not on it does not exist, so no name can lead anywhere.

use wavetask_protocol::TaskKind;

/// A file of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TaskFile {
    /// What the user uploaded; the flag says whether in a gzip layer.
    Input { gzip: bool },
    /// What the solver found; the flag says whether in a gzip layer.
    Result { gzip: bool },
    /// The solver's log.
    Log,
    /// Why it failed.
    Error,
    /// Why it cannot be run.
    Validation,
    /// A name of a result of another kind of task. It is never there.
    Absent,
}

/// The file of this name, for a task of this kind.
pub(crate) fn task_file(kind: TaskKind, name: &str) -> Option<TaskFile> {
    if name == upload_name(kind) {
        return Some(TaskFile::Input { gzip: true });
    }
    let is_mode_solver = kind == TaskKind::ModeSolver;
    Some(match name {
        // The older interface shows the simulation around the plane; nobody has asked for it since.
        SCENE_NAME if is_mode_solver => TaskFile::Absent,
        "simulation.hdf5.gz" => TaskFile::Input { gzip: true },
        "simulation.hdf5" => TaskFile::Input { gzip: false },
        "output/mode_solver_data.hdf5.gz" if is_mode_solver => TaskFile::Result { gzip: true },
        // The second name is that of the older interface for mode solvers.
        "output/mode_solver_data.hdf5" | "output/result.hdf5" if is_mode_solver => {
            TaskFile::Result { gzip: false }
        }
        "output/result.log" if is_mode_solver => TaskFile::Log,
        "output/simulation_data.hdf5.gz" => TaskFile::Result { gzip: true },
        "output/simulation_data.hdf5" => TaskFile::Result { gzip: false },
        "output/tidy3d.log" => TaskFile::Log,
        "output/tidy3d_error.json" => TaskFile::Error,
        "output/tidy3d_validation.json" => TaskFile::Validation,
        "output/mode_solver_data.hdf5.gz"
        | "output/mode_solver_data.hdf5"
        | "output/cm_data.hdf5.gz"
        | "output/cm_data.hdf5"
        | "output/monitor_data.hdf5"
        | "output/result.hdf5"
        | "output/result.log" => TaskFile::Absent,
        _ => return None,
    })
}

/// The simulation around a mode solver's plane: the older interface uploads it too, but computes without it.
pub(crate) const SCENE_NAME: &str = "simulation.hdf5.gz";

/// Whether a file of this name may be uploaded for a task of this kind.
pub(crate) fn is_upload(kind: TaskKind, name: &str) -> bool {
    name == upload_name(kind) || (kind == TaskKind::ModeSolver && name == SCENE_NAME)
}

/// The one file that is read of what was uploaded for a task of this kind.
pub(crate) const fn upload_name(kind: TaskKind) -> &'static str {
    match kind {
        TaskKind::ModeSolver => "mode_solver.hdf5.gz",
        TaskKind::ModalCm | TaskKind::TerminalCm | TaskKind::Rf => "modeler.hdf5.gz",
        _ => "simulation.hdf5.gz",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_on_the_list_do_not_exist() {
        for name in [
            "",
            "/",
            "../key",
            "output/../simulation.hdf5.gz",
            "/simulation.hdf5.gz",
            "simulation.hdf5.gz\0",
            "SIMULATION.HDF5.GZ",
            "output/",
            "autograd_sim_fields_keys.hdf5",
        ] {
            assert_eq!(task_file(TaskKind::HeatCharge, name), None, "{name:?}");
        }
    }

    #[test]
    fn what_is_uploaded_can_be_asked_for() {
        for kind in TaskKind::ALL {
            assert_eq!(task_file(kind, upload_name(kind)), Some(TaskFile::Input { gzip: true }));
        }
    }
}
