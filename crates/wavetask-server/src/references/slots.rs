//! Slots: places in a document that an evaluation's output is put at.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::http::StatusCode;
use wavetask_core::TaskRecord;
use wavetask_document::{ArrayDescriptor, Document, DocumentError};
use wavetask_protocol::native::InputSlot;
use wavetask_protocol::{TaskError, TaskId, TaskKind, chain};
use wavetask_store::DocumentRole;

use super::unfit;
use crate::answer::Refused;
use crate::app::App;
use crate::documents;

/// Bytes of text that are looked through for all slots of a document together: some seconds.
const TEXT: u64 = 4 << 30;

/// Bytes of a slot's path.
const PATH: usize = 1_000;

/// Refuses slots that cannot be filled whatever comes: places that are not there or are taken, and outputs that do not
/// exist. Blocks.
pub(crate) fn check(
    app: &App,
    document: &Document,
    slots: &[InputSlot],
    tasks: &HashMap<TaskId, TaskRecord>,
) -> Result<(), Refused> {
    // Each is looked for in the whole text.
    if (slots.len() as u64).saturating_mul(document.json.len() as u64) > TEXT {
        let message =
            format!("{} inputs are too many for a text of {} bytes", slots.len(), document.json.len());
        return Err(Refused::new(StatusCode::BAD_REQUEST, "input.too_many", message)
            .hint("put what is the same for all members into the simulation itself"));
    }
    let arrays: BTreeSet<&str> = document.arrays.keys().map(String::as_str).collect();
    let mut taken = BTreeSet::new();
    // An evaluation has many outputs, and its recipe is read once.
    let mut recipes: HashMap<&TaskId, Option<usize>> = HashMap::new();
    for slot in slots {
        check_path(document, &slot.path)?;
        if overlaps(&taken, &slot.path) {
            return Err(bad_slot(slot, "another slot is at, below or above it"));
        }
        if overlaps(&arrays, &slot.path) {
            return Err(bad_slot(slot, "an array of the document is at, below or above it"));
        }
        taken.insert(&slot.path);
        let Some(record) = tasks.get(&slot.task) else { continue };
        if record.task.kind != TaskKind::Evaluation {
            let what = format!("the task {} is no evaluation and has no outputs", slot.task);
            return Err(bad_slot(slot, &what));
        }
        // One that has not been sent completely is looked at when its result is there.
        let outputs = match recipes.entry(&slot.task) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(unknown) => *unknown.insert(
                documents::load(app, &slot.task, DocumentRole::Template)?
                    .map(|template| super::evaluation::outputs(&template).unwrap_or(0)),
            ),
        };
        if let Some(outputs) = outputs.filter(|&outputs| slot.output as usize >= outputs) {
            let what = format!("the evaluation {} has {outputs} outputs", slot.task);
            return Err(bad_slot(slot, &what));
        }
    }
    Ok(())
}

fn check_path(document: &Document, path: &str) -> Result<(), Refused> {
    let bad = |what: &str| {
        Refused::new(StatusCode::BAD_REQUEST, "input.path", what)
            .hint("a slot's path is that of a member of the document's JSON, such as `medium/permittivity`")
    };
    let odd = |component: &str| matches!(component, "" | "." | "..") || component.contains('\0');
    if path.len() > PATH || path.split('/').any(odd) {
        let shown: String = path.chars().take(100).collect();
        return Err(bad(&format!("`{shown}` is not the path of a group of arrays")));
    }
    let found = document.fragment(path).map_err(|error| bad(&chain(&error)))?;
    if found.is_none() {
        return Err(bad(&format!(
            "there is nothing at `{path}` in the document that arrays could belong to"
        )));
    }
    Ok(())
}

/// Whether a path is, leads to, or lies below one of these.
fn overlaps(paths: &BTreeSet<&str>, path: &str) -> bool {
    let mut above = path.match_indices('/').map(|(end, _)| &path[..end]);
    let below = format!("{path}/");
    paths.contains(path)
        || above.any(|above| paths.contains(above))
        || paths.range(below.as_str()..).next().is_some_and(|next| next.starts_with(&below))
}

fn bad_slot(slot: &InputSlot, what: &str) -> Refused {
    let message = format!("output {} cannot be put at `{}`: {what}", slot.output, slot.path);
    Refused::new(StatusCode::BAD_REQUEST, "input.slot", message)
        .hint("name each place once, and outputs that the evaluation has")
}

/// The template with the outputs' arrays in place, by descriptor.
///
/// # Errors
/// The outer one if the store fails, the inner one if a result is not what the slots want. Blocks.
pub(crate) fn fill(
    app: &App,
    template: Document,
    slots: &[InputSlot],
) -> Result<Result<Document, TaskError>, Refused> {
    let mut results: HashMap<&TaskId, Document> = HashMap::new();
    let Document { json, mut arrays } = template;
    for slot in slots {
        if !results.contains_key(&slot.task) {
            let Some(result) = documents::load(app, &slot.task, DocumentRole::Result)? else {
                return Err(Refused::no_such_task());
            };
            results.insert(&slot.task, result);
        }
        let taken = results.get(&slot.task).map_or(0, |result| put(&mut arrays, result, slot));
        if taken == 0 {
            let message = format!(
                "The evaluation {} has no output {} that could be put at `{}`.",
                slot.task, slot.output, slot.path
            );
            return Ok(Err(unfit("input.no_such_output", message)));
        }
    }
    let document = Document { json, arrays };
    Ok(document.check().map(|()| document).map_err(|error: DocumentError| {
        let message = format!("The results cannot be put into the simulation: {}.", chain(&error));
        unfit("input.does_not_fit", message)
    }))
}

/// Puts the arrays of an output where the slot is, and counts them.
fn put(arrays: &mut BTreeMap<String, ArrayDescriptor>, result: &Document, slot: &InputSlot) -> usize {
    let prefix = format!("outputs/{}/", slot.output);
    let of_output = result.arrays.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
    let mut count = 0;
    for (path, array) in of_output {
        arrays.insert(format!("{}/{}", slot.path, &path[prefix.len()..]), array.clone());
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_overlap_by_component() {
        let taken = BTreeSet::from(["a/b", "a/b!", "c/1", "d"]);
        for path in ["a/b", "a", "a/b/c", "a/b/c/d", "c", "c/1", "d/0/e"] {
            assert!(overlaps(&taken, path), "{path}");
        }
        for path in ["a/bc", "c/10", "b", "a/c", "c/0", "dd", "aa", "e/d"] {
            assert!(!overlaps(&taken, path), "{path}");
        }
    }
}
