//! Expressions: what their dimensions, coordinates and elements are (the server's own inference), and tasks that are made
//! of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use wavetask_client::{ClientError, ErrorGroup, PackedSimulation};
use wavetask_document::expression::{
    Coordinate, DataType, Dimension, Expression, ExpressionError, ExpressionLimits, Field, FieldSource,
    FieldType, Label, Labels, MeshKind, MeshType, Recipe, Schema, Whole, infer, whole,
};
use wavetask_protocol::native::InputSlot;
use wavetask_protocol::{Digest, TaskId, TaskKind};

use crate::failure;

/// What is known of a field, as Python says it.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    field: Field,
    dimensions: Vec<Dimension>,
    data_type: DataType,
    /// Whether it is values at the points of a mesh, the first of its dimensions.
    mesh: bool,
}

/// What is known of an expression.
#[derive(serde::Serialize)]
struct Found<'a> {
    dimensions: &'a [Dimension],
    scalars: &'a BTreeMap<Arc<str>, Label>,
    data_type: &'static str,
    byte_length: u64,
    mesh: bool,
}

/// The fields that Python knows. All meshes are taken for one: whether two fields are on the same one is known to whoever
/// has their points.
struct Fields(Vec<Known>);

impl Schema for Fields {
    fn field(&self, field: &Field) -> Result<FieldType, ExpressionError> {
        let Some(known) = self.0.iter().find(|known| known.field == *field) else {
            return Err(ExpressionError::NotKnown { what: format!("the coordinates of {field}") });
        };
        let mesh = known.mesh.then(|| {
            Arc::new(MeshType {
                kind: MeshKind::Tetrahedral,
                points: known.dimensions.first().map_or(0, |points| points.coordinate.len() as u64),
                cells: 0,
                identity: Digest::of(&[]),
                byte_length: 0,
                edits: Vec::new(),
                field: known.field.clone(),
            })
        });
        let labels = Labels::new("field", known.dimensions.clone())?;
        Ok(FieldType { labels, data_type: known.data_type, mesh, whole: Whole::Stored })
    }
}

/// What the fields' tasks are called in a recipe until they have ids, before their place in a list.
const HANDLE: &str = "handle-";

/// Reads a recipe whose fields name tasks by their places in a list.
pub(crate) fn recipe(py: Python<'_>, text: &str) -> PyResult<Recipe> {
    py.detach(|| Recipe::from_json(text, &ExpressionLimits::default()))
        .map_err(|error| failure::raise(py, &refused(&error)))
}

/// The evaluation of a recipe, whose tasks have these ids.
pub(crate) fn evaluation(recipe: Recipe, ids: &[TaskId]) -> Result<PackedSimulation, ClientError> {
    let named = recipe.with_sources(|field| match &field.source {
        FieldSource::Task(task) => match task.as_str().strip_prefix(HANDLE) {
            Some(place) => match place.parse().ok().and_then(|place: usize| ids.get(place)) {
                Some(id) => Ok(FieldSource::Task(id.clone())),
                None => Err(ExpressionError::invalid("field", format!("there is no task {task}"))),
            },
            None => Ok(FieldSource::Task(task.clone())),
        },
        source => Ok(source.clone()),
    });
    let document = named.and_then(|recipe| recipe.to_document()).map_err(|error| refused(&error))?;
    let digest = document.digest().map_err(|error| {
        ClientError::new(ErrorGroup::Internal, "document.malformed", error.to_string()).caused_by(error)
    })?;
    let (kind, blocks) = (TaskKind::Evaluation, HashMap::new());
    Ok(PackedSimulation { kind, document, digest, blocks, array_bytes: 0, inputs: Vec::new() })
}

/// An evaluation that tells tasks apart by what it is: a table of these, for one that runs after them.
pub(crate) fn gathering(mut tasks: Vec<TaskId>) -> Result<PackedSimulation, ClientError> {
    tasks.sort_unstable();
    tasks.dedup();
    let values = vec![1.0; tasks.len()];
    let labels = tasks.iter().map(|task| task.as_str().into()).collect();
    let coordinate = Arc::new(Coordinate::Text(labels));
    let dimensions = vec![Dimension { name: "task".into(), coordinate }];
    let table = Expression::Array { dimensions, values, imaginary: None };
    evaluation(Recipe { outputs: vec![table] }, &[])
}

/// A simulation of which these places, each of an output of an evaluation, are filled from the tasks of these ids.
pub(crate) fn filled(
    simulation: PackedSimulation,
    places: Vec<(String, u32)>,
    ids: &[TaskId],
) -> PackedSimulation {
    let slots = places.into_iter().zip(ids);
    let inputs = slots.map(|((path, output), task)| InputSlot { path, task: task.clone(), output }).collect();
    PackedSimulation { inputs, ..simulation }
}

fn refused(error: &ExpressionError) -> ClientError {
    ClientError::new(ErrorGroup::Usage, error.code(), error.to_string()).hint(error.hint())
}

/// Labels and element type of an expression, as JSON; `fields` is a JSON list of what is known of its fields. `None` if
/// that does not suffice.
#[pyfunction]
pub(crate) fn expression_type(py: Python<'_>, expression: &str, fields: &str) -> PyResult<Option<String>> {
    let fields: Vec<Known> =
        serde_json::from_str(fields).map_err(|error| PyValueError::new_err(error.to_string()))?;
    let limits = ExpressionLimits::default();
    let found = py.detach(|| {
        let inferred = infer(&Expression::from_json(expression, &limits)?, &Fields(fields), &limits)?;
        let labels = inferred.labels();
        let found = Found {
            dimensions: &labels.dimensions,
            scalars: &labels.scalars,
            data_type: inferred.data_type().name(),
            byte_length: inferred.byte_length(),
            mesh: inferred.mesh().is_some(),
        };
        serde_json::to_string(&found)
            .map_err(|error| ExpressionError::invalid("expression", error.to_string()))
    });
    match found {
        Ok(found) => Ok(Some(found)),
        Err(ExpressionError::NotKnown { .. }) => Ok(None),
        Err(error) => Err(failure::raise(py, &refused(&error))),
    }
}

/// What a field of the data of a monitor has as labels along its dimensions, of which those that are stored are given, as
/// JSON both: `data` is the data's JSON, `name` the field's. `None` if that is not known here.
#[pyfunction]
pub(crate) fn whole_labels(data: &str, name: &str, stored: &str) -> PyResult<Option<String>> {
    let unusable = |error: serde_json::Error| PyValueError::new_err(error.to_string());
    let stored: Vec<Dimension> = serde_json::from_str(stored).map_err(unusable)?;
    let Ok(stored) = Labels::new("field", stored) else { return Ok(None) };
    let Ok(whole) = whole(data, name, &stored, false) else { return Ok(None) };
    let dimensions = whole.labels(stored).dimensions;
    serde_json::to_string(&dimensions).map(Some).map_err(unusable)
}
