//! What the server asks about a simulation, answered by the solvers that this binary has.

use wavetask_document::ArraySource;
use wavetask_protocol::{Estimate, TaskKind};
use wavetask_server::{Refusal, Validator};
use wavetask_worker::support;

/// Asks the heat and the mode solver; refuses every other kind by name.
#[derive(Debug)]
pub(crate) struct Solvers;

impl Validator for Solvers {
    fn validate(
        &self,
        kind: TaskKind,
        simulation_json: &str,
        arrays: &dyn ArraySource,
    ) -> Result<Estimate, Vec<Refusal>> {
        if let Some(message) = support::missing(kind) {
            return Err(vec![whole(message)]);
        }
        let simulation: serde_json::Value = serde_json::from_str(simulation_json)
            .map_err(|error| vec![whole(format!("The JSON of the simulation cannot be read: {error}."))])?;
        let estimate = match kind {
            TaskKind::Mode | TaskKind::ModeSolver => wavetask_mode::validate(&simulation, arrays),
            TaskKind::VolumeMesh => wavetask_heat::validate_mesher(&simulation, arrays),
            _ => wavetask_heat::validate(&simulation, arrays),
        };
        match estimate {
            Ok(_) if kind == TaskKind::VolumeMesh && support::wants_no_mesh(&simulation) => {
                Ok(support::empty_mesh_estimate())
            }
            Ok(wavetask_solver::Estimate { unknowns, memory_bytes, cpu_seconds }) => {
                Ok(Estimate { unknowns, memory_bytes, cpu_seconds })
            }
            Err(refused) => {
                let refusals = refused.refusals().iter();
                Err(refusals
                    .map(|refusal| Refusal { path: refusal.path.clone(), message: refusal.message.clone() })
                    .collect())
            }
        }
    }

    fn solver_version(&self, _: TaskKind) -> String {
        // Workers name the same with their results: all solvers come with one build.
        wavetask_protocol::SOLVER_VERSION.to_owned()
    }
}

fn whole(message: String) -> Refusal {
    Refusal { path: String::new(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use wavetask_document::Array;

    fn validate(kind: TaskKind, json: &str) -> Result<Estimate, Vec<Refusal>> {
        Solvers.validate(kind, json, &BTreeMap::<String, Array>::new())
    }

    #[test]
    fn other_kinds_are_refused_before_their_json_is_read() {
        let refusals = validate(TaskKind::Fdtd, "not json").unwrap_err();
        assert_eq!(refusals.len(), 1);
        assert!(refusals[0].message.contains("FDTD"), "{refusals:?}");
    }

    #[test]
    fn broken_and_foreign_json_is_refused_in_words() {
        for json in ["{", "[]", "null", "{}", r#"{"type":"Simulation"}"#] {
            for kind in [
                TaskKind::Heat,
                TaskKind::HeatCharge,
                TaskKind::VolumeMesh,
                TaskKind::Mode,
                TaskKind::ModeSolver,
            ] {
                let refusals = validate(kind, json).unwrap_err();
                assert!(!refusals.is_empty() && refusals.iter().all(|refusal| !refusal.message.is_empty()));
            }
        }
    }
}
