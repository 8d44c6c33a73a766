//! Evaluations: recipes of expressions over the results of tasks.
//!
//! A recipe is a document without arrays: `{"type": "Evaluation", "version": 1, "outputs": [expression, …]}`. As it is
//! submitted its fields name tasks; resolved, they name documents by their digests, so that it is the same recipe whoever
//! asks and whatever tasks the documents came from.

use std::collections::HashMap;

use wavetask_core::TaskRecord;
use wavetask_document::Document;
use wavetask_document::expression::{ExpressionError, ExpressionLimits, FieldSource, Part, Recipe};
use wavetask_protocol::{Estimate, TaskError, TaskId, chain};

use super::unfit;
use crate::answer::Refused;
use crate::app::App;

/// Reads a recipe, and refuses what can be refused without knowing what it refers to.
///
/// # Errors
/// Why it means nothing, or which limit it exceeds.
pub(crate) fn read(document: &Document) -> Result<Recipe, TaskError> {
    if !document.arrays.is_empty() {
        let message = "An evaluation has no arrays of its own: literals are written out in its expressions.";
        return Err(unfit("expression_invalid", message.to_owned()));
    }
    Recipe::from_json(&document.json, &ExpressionLimits::default()).map_err(|error| refused(&error))
}

/// The number of outputs of a recipe that was accepted.
pub(crate) fn outputs(document: &Document) -> Option<usize> {
    Recipe::from_json(&document.json, &ExpressionLimits::default()).ok().map(|recipe| recipe.outputs.len())
}

/// The tasks that a recipe refers to, each once.
///
/// # Errors
/// If a field names a document by its digest: only what the account's tasks have may be read.
pub(crate) fn tasks(recipe: &Recipe) -> Result<Vec<TaskId>, TaskError> {
    let mut tasks = Vec::new();
    for field in recipe.fields() {
        match &field.source {
            FieldSource::Task(task) if tasks.contains(task) => {}
            FieldSource::Task(task) => tasks.push(task.clone()),
            FieldSource::Result(digest) => {
                let message =
                    format!("The field {field} names the document {digest}: name the task that has it.");
                return Err(unfit("expression_invalid", message));
            }
        }
    }
    Ok(tasks)
}

pub(super) fn refused(error: &ExpressionError) -> TaskError {
    unfit(error.code(), format!("The evaluation cannot be done: {}. {}", chain(error), error.hint()))
}

/// The recipe with the digests of results in the place of tasks, and what evaluating it will need. Blocks.
///
/// # Errors
/// The outer one if the store fails; the inner one if a task has no result, or the recipe means nothing for the results.
pub(crate) fn resolve(
    app: &App,
    document: &Document,
    tasks: &HashMap<TaskId, TaskRecord>,
) -> Result<Result<(Document, Estimate), TaskError>, Refused> {
    let resolved = read(document).and_then(|recipe| {
        recipe.with_sources(|field| {
            let FieldSource::Task(task) = &field.source else { return Ok(field.source.clone()) };
            let record = tasks.get(task);
            let digest = record.and_then(|record| match field.part {
                Part::Result => record.result,
                Part::Simulation => record.input,
            });
            digest.map(FieldSource::Result).ok_or_else(|| {
                let message =
                    format!("The task {task} has no document that the field {field} could be read from.");
                unfit("expression_field", message)
            })
        })
    });
    let made = resolved.and_then(|recipe| {
        let document = recipe.to_document().map_err(|error| refused(&error))?;
        Ok((document, estimate(app, &recipe)?))
    });
    Ok(made)
}

/// What evaluating a resolved recipe will need.
fn estimate(app: &App, recipe: &Recipe) -> Result<Estimate, TaskError> {
    let _ = (app, recipe);
    Ok(Estimate { unknowns: 0, memory_bytes: 64 << 20, cpu_seconds: 0.05 })
}
