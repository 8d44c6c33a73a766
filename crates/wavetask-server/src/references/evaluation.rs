//! Evaluations: recipes of expressions over the results of tasks.
//!
//! A recipe is a document without arrays: `{"type": "Evaluation", "version": 1, "outputs": [expression, …]}`. As it is
//! submitted its fields name tasks; resolved, they name documents by their digests, so that it is the same recipe whoever
//! asks and whatever tasks the documents came from.

use std::collections::HashMap;

use wavetask_core::TaskRecord;
use wavetask_document::expression::{
    Documents, ExpressionError, ExpressionLimits, FieldSource, Part, Recipe, infer,
};
use wavetask_document::{BlockSource, Digest, Document};
use wavetask_protocol::{Estimate, TaskError, TaskId, chain};
use wavetask_store::DocumentRole;

use super::unfit;
use crate::answer::Refused;
use crate::app::App;
use crate::documents;

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
    let mut named: HashMap<Digest, (TaskId, DocumentRole)> = HashMap::new();
    let resolved = read(document).and_then(|recipe| {
        recipe.with_sources(|field| {
            let FieldSource::Task(task) = &field.source else { return Ok(field.source.clone()) };
            let record = tasks.get(task);
            let (digest, role) = match field.part {
                Part::Result => (record.and_then(|record| record.result), DocumentRole::Result),
                Part::Simulation => (record.and_then(|record| record.input), DocumentRole::Input),
            };
            let Some(digest) = digest else {
                let message =
                    format!("The task {task} has no document that the field {field} could be read from.");
                return Err(unfit("expression_field", message));
            };
            named.insert(digest, (task.clone(), role));
            Ok(FieldSource::Result(digest))
        })
    });
    let recipe = match resolved {
        Ok(recipe) => recipe,
        Err(error) => return Ok(Err(error)),
    };
    let mut documents = Documents::new(&*app.blocks);
    for (digest, (task, role)) in named {
        let document = documents::load(app, &task, role)?.ok_or_else(Refused::no_such_task)?;
        documents.insert(digest, document);
    }
    let estimate = estimate(&recipe, &documents);
    Ok(estimate.and_then(|estimate| Ok((recipe.to_document()?, estimate))).map_err(|error| refused(&error)))
}

/// Memory that evaluating any recipe takes, in bytes.
const BASE_MEMORY: u64 = 16 << 20;

/// Processor time that evaluating any recipe takes, in seconds.
const BASE_SECONDS: f64 = 0.01;

/// What evaluating a resolved recipe will need: outputs are computed one after the other, and kept until the last.
fn estimate<B: BlockSource>(recipe: &Recipe, documents: &Documents<B>) -> Result<Estimate, ExpressionError> {
    let limits = ExpressionLimits::default();
    let (mut kept, mut largest, mut seconds) = (0_u64, 0_u64, BASE_SECONDS);
    let (mut work, mut read) = (0_u64, 0_u64);
    for output in &recipe.outputs {
        let inferred = match infer(output, documents, &limits) {
            Ok(inferred) => inferred,
            // What a plane leaves of a mesh is known to those who read the mesh: no more than there is.
            Err(ExpressionError::NotKnown { .. }) => {
                largest = largest.max(documents.array_bytes().saturating_mul(4));
                seconds += 1.0;
                continue;
            }
            Err(error) => return Err(error),
        };
        let plan = inferred.plan(&limits)?;
        // The limits of one output hold for all of them together: a recipe is one task.
        work = work.saturating_add(plan.work);
        read = read.saturating_add(plan.bytes_read);
        for (limit, allowed, found) in [("work", limits.work, work), ("bytes_read", limits.bytes_read, read)]
        {
            if found > allowed {
                return Err(ExpressionError::TooLarge { limit, allowed, found });
            }
        }
        // The operands and the result of a step, each of two floats at most, and what was read for them.
        let on_the_way = plan.largest.saturating_mul(3 * 16).saturating_add(plan.bytes_read);
        largest = largest.max(on_the_way);
        kept = kept.saturating_add(inferred.byte_length());
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let computing = plan.work as f64 * 2e-9 + plan.bytes_read as f64 * 2e-9;
        seconds += computing;
    }
    // The result is in memory a second time when it is written down.
    let memory_bytes = BASE_MEMORY.saturating_add(largest).saturating_add(kept.saturating_mul(2));
    Ok(Estimate { unknowns: 0, memory_bytes, cpu_seconds: seconds })
}
