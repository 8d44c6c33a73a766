//! Documents of tasks in the store, and results made from what workers hand over.

use wavetask_document::{Document, DocumentError, ResultBuilder};
use wavetask_protocol::{TaskId, TaskKind};
use wavetask_store::DocumentRole;

use crate::answer::Refused;
use crate::app::App;

/// A document of a task. Blocks.
pub(crate) fn load(app: &App, task: &TaskId, role: DocumentRole) -> Result<Option<Document>, Refused> {
    let Some(stored) = app.tasks.document(task, role)? else { return Ok(None) };
    Ok(Some(wavetask_store::get_document(&*app.blocks, &stored)?))
}

/// Whether a mesh is not worth making: nobody asks what it looks like, and the heat solver makes its own.
pub(crate) fn is_done_at_once(app: &App, kind: TaskKind, task: &TaskId) -> Result<bool, Refused> {
    if kind != TaskKind::VolumeMesh {
        return Ok(false);
    }
    let Some(input) = load(app, task, DocumentRole::Input)? else { return Ok(false) };
    wants_no_mesh(&input).map_err(|error| Refused::internal(&error))
}

/// Whether a mesher asks for nothing that could be looked at.
pub(crate) fn wants_no_mesh(mesher: &Document) -> Result<bool, DocumentError> {
    let monitors = mesher.fragment("monitors")?;
    Ok(monitors
        .is_none_or(|text| text.chars().filter(|character| !character.is_whitespace()).eq("[]".chars())))
}

/// Puts the simulation into a result, byte for byte as the user sent it.
///
/// A mesher's result holds the simulation that was meshed. The client puts a `HeatSimulation` into its
/// mesher but refuses to read one there, so it is given the name of its base class, which has the same
/// members.
pub(crate) fn embed_simulation(
    result: &mut ResultBuilder<'_>,
    kind: TaskKind,
    input: &Document,
) -> Result<(), DocumentError> {
    if kind != TaskKind::VolumeMesh {
        result.embed("simulation", input)?;
        return Ok(());
    }
    let mut simulation = input.subdocument("simulation")?.ok_or_else(|| DocumentError::Malformed {
        what: "a mesher without a simulation".into(),
        location: "simulation".to_owned(),
    })?;
    if simulation.fragment("type")? == Some("\"HeatSimulation\"") {
        simulation.json = rename_root(&simulation.json).into();
    }
    result.embed("simulation", &simulation)?;
    Ok(())
}

/// Changes the root's class name. The root's `type` is the only place where the word stands as a value of
/// that member: no class that a simulation is made of has a heat simulation within.
fn rename_root(json: &str) -> String {
    const NAME: &str = "\"HeatSimulation\"";
    let mut search = 0;
    while let Some(found) = json[search..].find(NAME) {
        let at = search + found;
        let before = json[..at].trim_end();
        let is_value = before.strip_suffix(':').is_some_and(|before| before.trim_end().ends_with("\"type\""));
        if is_value {
            return format!("{}\"HeatChargeSimulation\"{}", &json[..at], &json[at + NAME.len()..]);
        }
        search = at + NAME.len();
    }
    json.to_owned()
}

/// The class of a task's result.
pub(crate) fn result_class(kind: TaskKind, input: &Document) -> &'static str {
    match (kind, input.fragment("type")) {
        (TaskKind::VolumeMesh, _) => "VolumeMesherData",
        (TaskKind::Mode, _) => "ModeSimulationData",
        (_, Ok(Some("\"HeatSimulation\""))) => "HeatSimulationData",
        _ => "HeatChargeSimulationData",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetask_document::MemoryBlocks;

    #[test]
    fn a_mesher_holds_the_base_class() {
        let json = r#"{"type":"VolumeMesher","simulation":{"structures":[{"name":"\"HeatSimulation\""}], "type" : "HeatSimulation","size":[1,2,3]}}"#;
        let input = Document { json: json.into(), arrays: Default::default() };
        let mut blocks = MemoryBlocks::new();
        let mut result = ResultBuilder::new("VolumeMesherData", &mut blocks);
        embed_simulation(&mut result, TaskKind::VolumeMesh, &input).unwrap();
        let result = result.finish().unwrap();
        assert_eq!(
            result.fragment("simulation").unwrap(),
            Some(
                r#"{"structures":[{"name":"\"HeatSimulation\""}], "type" : "HeatChargeSimulation","size":[1,2,3]}"#
            )
        );
    }
}
