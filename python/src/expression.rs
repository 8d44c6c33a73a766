//! What an expression's dimensions, coordinates and elements are, from those of its fields: the server's own inference.

use std::sync::Arc;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use wavetask_client::{ClientError, ErrorGroup};
use wavetask_document::expression::{
    DataType, Dimension, Expression, ExpressionError, ExpressionLimits, Field, FieldType, Label, Labels,
    MeshKind, MeshType, Schema, infer,
};
use wavetask_protocol::Digest;

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
    scalars: &'a std::collections::BTreeMap<Arc<str>, Label>,
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
                field: known.field.clone(),
                cuts: Vec::new(),
            })
        });
        let labels = Labels::new("field", known.dimensions.clone())?;
        Ok(FieldType { labels, data_type: known.data_type, mesh })
    }
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
        Err(error) => {
            let refused = ClientError::new(ErrorGroup::Usage, error.code(), error.to_string());
            Err(failure::raise(py, &refused.hint(error.hint())))
        }
    }
}
