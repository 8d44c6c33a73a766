//! Evaluations: expressions over other tasks' results, computed in the worker itself.
//!
//! Unlike a solver's, this work is bounded before it begins: a plan says which numbers are read and how large every
//! array on the way is, and nothing runs that a file from a user could make crash. So it needs no process of its own,
//! whose start would take longer than most evaluations. What it reads comes from the server, only those blocks
//! that hold what is wanted.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use serde_json::{Value, json};
use wavetask_document::expression::{
    Coordinate, Documents, ExpressionError, ExpressionLimits, FieldSource, Label, Labels, MeshKind, MeshType,
    Recipe, infer,
};
use wavetask_document::{
    Array, BlockSource, Digest, Document, Limits, MemoryBlocks, VALUES_DATASET, Values, dimensions_of, hdf5,
};
use wavetask_expression::{MeshGeometry, RecentBlocks, WithMeshes, evaluate};
use wavetask_protocol::{ErrorKind, TaskError, chain};

use crate::decide::Disposition;
use crate::journey::{Held, Surroundings, after_stop, fetch};
use crate::remote_blocks::RemoteBlocks;
use crate::solve::{Found, write_result};
use crate::work_folder::file_failure;

/// Bytes of blocks that are kept for the next look at them.
const KEPT_BLOCKS: usize = 64 << 20;

/// Evaluates the recipe that lies in the folder.
pub(crate) async fn attempt(
    held: &Arc<Held>,
    surroundings: &Arc<Surroundings>,
    folder: &Path,
) -> Disposition {
    let working = async {
        // No more of them at once than there are cores, however many were handed out together.
        let _core = surroundings.evaluating.acquire().await;
        let recipe = read_recipe(&folder.join("input.hdf5"))?;
        held.stage("evaluating");
        let documents = fetch_documents(held, surroundings, &recipe).await?;
        let blocks = RemoteBlocks::new(held, surroundings, &documents);
        let stopped = blocks.stopped();
        let mut named = Documents::new(RecentBlocks::new(blocks, KEPT_BLOCKS));
        for (digest, document) in documents {
            named.insert(digest, document);
        }
        let place = folder.to_owned();
        let evaluated = tokio::task::spawn_blocking(move || {
            let found = compute(&recipe, &named)?;
            write_result(&place.join("result.hdf5"), found, &place)
        });
        let evaluated = evaluated.await.unwrap_or_else(|error| Err(crashed(&error)));
        // Why a block could not be had matters more than that it could not.
        let stopped = stopped.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (evaluated, stopped) {
            (Ok(()), _) => Ok(Disposition::HandIn),
            (Err(_), Some(disposition)) => Err(disposition),
            (Err(error), None) => Err(Disposition::Fail(error)),
        }
    };
    tokio::select! {
        biased;
        reason = held.stopped() => after_stop(reason),
        done = working => done.unwrap_or_else(|disposition| disposition),
    }
}

fn read_recipe(path: &Path) -> Result<Recipe, Disposition> {
    let unusable =
        |message: String| Disposition::Fail(failed(ErrorKind::Validation, "document.malformed", message));
    let file = File::open(path).map_err(|error| Disposition::Fail(file_failure(path, &error)))?;
    let document = hdf5::read_file(&file, &Limits::default(), &mut MemoryBlocks::new());
    let document = document.map_err(|error| unusable(chain(&error)))?;
    Recipe::from_json(&document.json, &ExpressionLimits::default()).map_err(|error| unusable(chain(&error)))
}

/// The documents that the recipe names, without their blocks.
async fn fetch_documents(
    held: &Held,
    surroundings: &Surroundings,
    recipe: &Recipe,
) -> Result<Vec<(Digest, Document)>, Disposition> {
    let named: HashSet<Digest> = recipe
        .fields()
        .filter_map(|field| match &field.source {
            FieldSource::Result(digest) => Some(*digest),
            FieldSource::Task(_) => None,
        })
        .collect();
    let mut documents = Vec::with_capacity(named.len());
    for digest in named {
        let request = || surroundings.client.document(&held.assignment.lease, &digest);
        documents.push((digest, fetch(surroundings, "a result that it refers to", request).await?));
    }
    Ok(documents)
}

/// What the recipe's outputs are: `EvaluationData`, and its arrays by their paths in the result.
fn compute<B: BlockSource>(recipe: &Recipe, documents: &Documents<B>) -> Result<Found, TaskError> {
    let limits = ExpressionLimits::default();
    let schema = WithMeshes { schema: documents, reader: documents };
    let mut outputs = Vec::with_capacity(recipe.outputs.len());
    let mut arrays = BTreeMap::new();
    for (number, expression) in recipe.outputs.iter().enumerate() {
        let of_output = |error: ExpressionError| {
            let kind = match &error {
                ExpressionError::TooLarge { .. } => ErrorKind::Resources,
                ExpressionError::Field { .. } | ExpressionError::Invalid { .. } => ErrorKind::Validation,
                _ => ErrorKind::Solver,
            };
            let message =
                format!("The output {number} cannot be computed: {}. {}", chain(&error), error.hint());
            failed(kind, error.code(), message)
        };
        let inferred = infer(expression, &schema, &limits).map_err(of_output)?;
        let plan = inferred.plan(&limits).map_err(of_output)?;
        let evaluated = evaluate(&plan, documents).map_err(of_output)?;
        let labels = evaluated.labels.clone();
        let group = format!("data/0/outputs/{number}");
        let data_type = evaluated.data_type.name();
        let values = evaluated.into_array();
        let outline = match inferred.mesh() {
            None => {
                put_labelled(&mut arrays, &group, values, &labels);
                json!({ "kind": "array" })
            }
            Some(mesh) => {
                let outline = on_mesh(&mut arrays, &group, mesh, documents, &labels).map_err(of_output)?;
                put_labelled(&mut arrays, &format!("{group}/values"), values, &labels);
                outline
            }
        };
        outputs.push(described(outline, &labels, data_type));
    }
    Ok((vec![json!({ "type": "EvaluationData", "outputs": outputs })], arrays))
}

/// What is said of an output: its dimensions, and the labels at which others were selected.
fn described(mut outline: Value, labels: &Labels, data_type: &str) -> Value {
    let dimensions: Vec<&str> = labels.dimensions.iter().map(|dimension| &*dimension.name).collect();
    let scalars: BTreeMap<&str, Value> = labels
        .scalars
        .iter()
        .map(|(name, label)| {
            let value = match label {
                Label::Number(number) => json!(number),
                Label::Text(text) => json!(text),
            };
            (&**name, value)
        })
        .collect();
    outline["dims"] = json!(dimensions);
    outline["dtype"] = json!(data_type);
    outline["scalars"] = json!(scalars);
    outline
}

/// Puts values and coordinates where the client's files have them.
fn put_labelled(arrays: &mut BTreeMap<String, Array>, group: &str, values: Array, labels: &Labels) {
    arrays.insert(format!("{group}/{VALUES_DATASET}"), values);
    for dimension in &labels.dimensions {
        let coordinate = match &*dimension.coordinate {
            Coordinate::Numbers(numbers) => Array::from_floats(numbers.clone()),
            Coordinate::Text(texts) => {
                let texts: Vec<String> = texts.iter().map(ToString::to_string).collect();
                match Array::new(vec![texts.len()], Values::Text(texts)) {
                    Ok(array) => array,
                    // One dimension of as many elements as there are.
                    Err(_) => continue,
                }
            }
        };
        arrays.insert(format!("{group}/{}", dimension.name), coordinate);
    }
}

/// Puts the mesh beside the values, as tidy3d's unstructured sets have it.
fn on_mesh<B: BlockSource>(
    arrays: &mut BTreeMap<String, Array>,
    group: &str,
    mesh: &MeshType,
    documents: &Documents<B>,
    labels: &Labels,
) -> Result<Value, ExpressionError> {
    let (kind, points, cells) = if mesh.edits.is_empty() {
        documents.mesh_arrays(&mesh.field)?
    } else {
        MeshGeometry::edited_as(documents, mesh)?.into_arrays()
    };
    arrays.insert(format!("{group}/points/{VALUES_DATASET}"), points);
    arrays.insert(format!("{group}/cells/{VALUES_DATASET}"), cells);
    let names: Vec<&str> = labels.dimensions.iter().map(|dimension| &*dimension.name).collect();
    let classes =
        ["IndexedDataArray", "IndexedVoltageDataArray", "IndexedTimeDataArray", "IndexedFreqDataArray"];
    let class = classes.into_iter().find(|class| dimensions_of(class) == Some(&names));
    let Some(class) = class else {
        let what = format!("the values on a mesh along ({}) have no class", names.join(", "));
        return Err(ExpressionError::invalid("output", what));
    };
    Ok(match kind {
        MeshKind::Tetrahedral => json!({
            "kind": "tetrahedral", "type": "TetrahedralGridDataset", "values": class,
            "points": "PointDataArray", "cells": "CellDataArray",
        }),
        MeshKind::Triangular { normal_axis, normal_position } => json!({
            "kind": "triangular", "type": "TriangularGridDataset", "values": class,
            "points": "PointDataArray", "cells": "CellDataArray",
            "normal_axis": normal_axis, "normal_pos": normal_position,
        }),
    })
}

fn failed(kind: ErrorKind, code: &str, message: String) -> TaskError {
    TaskError { kind, code: code.to_owned(), message }
}

fn crashed(error: &tokio::task::JoinError) -> TaskError {
    tracing::error!(%error, "an evaluation crashed");
    let message = "The evaluation crashed. This is a fault of the worker: please report it.".to_owned();
    failed(ErrorKind::Solver, "solver.crashed", message)
}

#[cfg(test)]
mod tests {
    use wavetask_document::expression::{Expression, Field, InterpolationMethod, Part, Places, Reduction};
    use wavetask_document::{ResultBuilder, Values};

    use super::*;

    fn field(digest: Digest, path: &[&str]) -> Expression {
        let path = path.iter().copied().map(Arc::from).collect();
        Expression::Field(Field { source: FieldSource::Result(digest), part: Part::Result, path })
    }

    /// A result with amplitudes by direction, and a temperature on a triangle.
    fn documents() -> (Documents<MemoryBlocks>, Digest) {
        let mut blocks = MemoryBlocks::new();
        let mut result = ResultBuilder::new("SimulationData", &mut blocks);
        let data = r#"[
            {"monitor":{"name":"mode"},"amps":"ModeAmpsDataArray"},
            {"monitor":{"name":"T"},"temperature":
                {"type":"TriangularGridDataset","normal_axis":1,"normal_pos":0.0,"values":"IndexedDataArray"}}
        ]"#;
        result.verbatim("data", data).unwrap();
        let complex = Values::Complex128(vec![[1.0, 2.0], [3.0, 4.0]]);
        let amplitudes = Array::new(vec![2, 1, 1], complex).unwrap();
        let directions = Array::new(vec![2], Values::Text(vec!["+".into(), "-".into()])).unwrap();
        let [one, three] = [vec![0.0], vec![300.0, 301.0, 302.0]].map(Array::from_floats);
        let labels = [("direction", &directions), ("f", &one), ("mode_index", &one)];
        result.labelled_array("data/0/amps", &amplitudes, &labels).unwrap();
        let points = Array::new(vec![3, 2], Values::Float64(vec![0.0, 0.0, 1.0, 0.0, 0.0, 1.0])).unwrap();
        let cells = Array::new(vec![1, 3], Values::Int32(vec![0, 1, 2])).unwrap();
        for (name, array) in [("points", &points), ("cells", &cells), ("values", &three)] {
            result.labelled_array(&format!("data/1/temperature/{name}"), array, &[]).unwrap();
        }
        let document = result.finish().unwrap();
        let digest = document.digest().unwrap();
        let mut documents = Documents::new(blocks);
        documents.insert(digest, document);
        (documents, digest)
    }

    #[test]
    fn outputs_have_the_form_in_which_they_can_be_read_again() {
        let (documents, digest) = documents();
        let amplitudes = field(digest, &["mode", "amps"]);
        let temperature = field(digest, &["T", "temperature"]);
        let line = Expression::Interp {
            of: Box::new(temperature.clone()),
            places: vec![
                ("x".into(), Places::Values(vec![0.1, 0.2])),
                ("y".into(), Places::Value(0.0)),
                ("z".into(), Places::Value(0.3)),
            ],
            method: InterpolationMethod::Linear,
            fill: None,
        };
        let mean = Expression::Reduce {
            function: Reduction::Mean,
            of: Box::new(line),
            dimensions: None,
            skip_nan: true,
        };
        let recipe = Recipe { outputs: vec![amplitudes, temperature, mean] };
        let (data, arrays) = compute(&recipe, &documents).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.hdf5");
        write_result(&path, (data, arrays), folder.path()).unwrap();

        let mut blocks = MemoryBlocks::new();
        let file = File::open(path).unwrap();
        let written = hdf5::read_file(&file, &Limits::default(), &mut blocks).unwrap();
        let result = written.subdocument("data/0").unwrap().unwrap();
        let again = result.digest().unwrap();
        let mut second = Documents::new(blocks);
        second.insert(again, result);
        for (number, first) in recipe.outputs.iter().enumerate() {
            let number = number.to_string();
            let output = field(again, &["outputs", &number]);
            let value = |expression: &Expression, documents: &Documents<MemoryBlocks>| {
                let limits = ExpressionLimits::default();
                let inferred = infer(expression, documents, &limits).unwrap();
                (inferred.mesh().is_some(), evaluate(&inferred.plan(&limits).unwrap(), documents).unwrap())
            };
            assert_eq!(value(&output, &second), value(first, &documents), "output {number}");
        }
    }

    #[test]
    fn what_means_nothing_is_the_users_to_mend() {
        let (documents, digest) = documents();
        let recipe = Recipe { outputs: vec![field(digest, &["mode", "phase"])] };
        let error = compute(&recipe, &documents).unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Validation, "expression_field"));
        assert!(error.message.contains("mode/phase"), "{}", error.message);
    }
}
