//! Which task kinds can be solved, and what to say about the others: one table for validation and solver.

use wavetask_protocol::TaskKind;

/// Why a task of this kind cannot be solved here; `None` if it can.
///
/// The match is exhaustive over what this version knows, so a kind that is added must be decided on.
pub fn missing(kind: TaskKind) -> Option<String> {
    let solver = match kind {
        TaskKind::Heat
        | TaskKind::HeatCharge
        | TaskKind::VolumeMesh
        | TaskKind::Mode
        | TaskKind::ModeSolver => return None,
        TaskKind::Fdtd => "the time-domain solver (FDTD) that a `Simulation` needs",
        TaskKind::Eme => "the eigenmode expansion solver that an `EMESimulation` needs",
        TaskKind::ModalCm => "the batch of time-domain simulations that a `ModalComponentModeler` needs",
        TaskKind::TerminalCm => {
            "the batch of time-domain simulations that a `TerminalComponentModeler` needs"
        }
        TaskKind::Rf => "the radio-frequency time-domain solver",
        TaskKind::Evaluation => "a solver of expressions, which workers evaluate themselves and",
        _ => "a solver for this kind of task",
    };
    Some(format!(
        "This wavetask server cannot run tasks of kind {kind}: {solver} is not part of this version. \
         Supported are steady heat simulations (`HeatChargeSimulation` without charge, `HeatSimulation`) \
         with their meshes (`VolumeMesher`), and waveguide modes (`ModeSolver`, `ModeSimulation`); the table \"Supported features\" in wavetask's README lists \
         everything."
    ))
}

/// The estimate for a `VolumeMesher` without monitors: it has nothing to record, so nothing is meshed.
pub fn empty_mesh_estimate() -> wavetask_protocol::Estimate {
    wavetask_protocol::Estimate { unknowns: 0, memory_bytes: 64 << 20, cpu_seconds: 0.02 }
}

/// Whether the JSON of a `VolumeMesher` asks for no data at all.
pub fn wants_no_mesh(mesher: &serde_json::Value) -> bool {
    match mesher.get("monitors") {
        None | Some(serde_json::Value::Null) => true,
        Some(serde_json::Value::Array(monitors)) => monitors.is_empty(),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_kind_is_refused_by_name_and_points_at_the_table() {
        for kind in TaskKind::ALL {
            let heat = matches!(kind, TaskKind::Heat | TaskKind::HeatCharge | TaskKind::VolumeMesh);
            let modes = matches!(kind, TaskKind::Mode | TaskKind::ModeSolver);
            match missing(kind) {
                None => assert!(heat || modes, "{kind}"),
                Some(text) => {
                    assert!(!heat && !modes && text.contains(kind.as_str()), "{text}");
                    assert!(text.contains("Supported features") && text.contains("README"), "{text}");
                }
            }
        }
    }

    #[test]
    fn only_a_mesher_without_monitors_wants_nothing() {
        let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert!(wants_no_mesh(&parse(r#"{"monitors":[]}"#)));
        assert!(wants_no_mesh(&parse("{}")));
        assert!(!wants_no_mesh(&parse(r#"{"monitors":[{}]}"#)));
        assert!(!wants_no_mesh(&parse(r#"{"monitors":{}}"#)));
    }
}
