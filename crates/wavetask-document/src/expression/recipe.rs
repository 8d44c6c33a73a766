//! Recipes: several expressions that are evaluated together, as the document of a task.

use std::collections::BTreeMap;

use super::error::within;
use super::{Expression, ExpressionError, ExpressionLimits, Field, FieldSource};
use crate::Document;

/// The member `type` of a recipe's JSON.
const TYPE: &str = "Evaluation";

/// The version of the JSON form. Its digest is that of the document, so that a change of what an expression means is a
/// matter of the version of what evaluates it.
const VERSION: u32 = 1;

/// Outputs that one recipe has at most.
pub const MAXIMUM_OUTPUTS: usize = 256;

/// Expressions that are evaluated together: the input document of an evaluation.
///
/// As JSON: `{"type": "Evaluation", "version": 1, "outputs": [expression, …]}`, without arrays beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// What is computed, in order.
    pub outputs: Vec<Expression>,
}

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Form<O> {
    #[serde(rename = "type")]
    kind: String,
    version: u32,
    outputs: O,
}

impl Recipe {
    /// Reads the JSON form, within limits that hold for all outputs together.
    ///
    /// # Errors
    /// `Invalid` if it is not the form of a recipe or of another version, `TooLarge` beyond the limits.
    pub fn from_json(text: &str, limits: &ExpressionLimits) -> Result<Self, ExpressionError> {
        let invalid = |what: String| ExpressionError::invalid("recipe", what);
        within("json_bytes", limits.json_bytes, text.len() as u64)?;
        let Form { kind, version, outputs } = serde_json::from_str::<Form<Vec<Expression>>>(text)
            .map_err(|error| invalid(error.to_string()))?;
        if kind != TYPE || version != VERSION {
            return Err(invalid(format!(
                "{kind} of version {version} is not known here, {TYPE} of {VERSION} is"
            )));
        }
        if outputs.is_empty() {
            return Err(invalid("there is nothing to compute".to_owned()));
        }
        within("outputs", MAXIMUM_OUTPUTS as u64, outputs.len() as u64)?;
        // Together they are one tree with a root more.
        let mut rest = ExpressionLimits { ..limits.clone() };
        for output in &outputs {
            output.check(&rest)?;
            let (nodes, literals) = output.size();
            rest.nodes = rest.nodes.saturating_sub(nodes);
            rest.literals = rest.literals.saturating_sub(literals);
        }
        Ok(Self { outputs })
    }

    /// The JSON form.
    ///
    /// # Errors
    /// `Invalid` if a literal is not a finite number, for which JSON has no word.
    pub fn to_json(&self) -> Result<String, ExpressionError> {
        self.outputs.iter().try_for_each(Expression::check_literals)?;
        let form = Form { kind: TYPE.to_owned(), version: VERSION, outputs: &self.outputs };
        serde_json::to_string(&form).map_err(|error| ExpressionError::invalid("recipe", error.to_string()))
    }

    /// The recipe as a task's input.
    ///
    /// # Errors
    /// As [`to_json`](Self::to_json).
    pub fn to_document(&self) -> Result<Document, ExpressionError> {
        Ok(Document { json: self.to_json()?.into(), arrays: BTreeMap::new() })
    }

    /// The fields that the outputs refer to, in no order.
    pub fn fields(&self) -> impl Iterator<Item = &Field> {
        self.outputs.iter().flat_map(Expression::fields)
    }

    /// The same recipe, whose fields are those of other sources.
    ///
    /// # Errors
    /// The first that `source` gives.
    pub fn with_sources<E>(
        mut self,
        mut source: impl FnMut(&Field) -> Result<FieldSource, E>,
    ) -> Result<Self, E> {
        let mut open: Vec<&mut Expression> = self.outputs.iter_mut().collect();
        while let Some(node) = open.pop() {
            if let Expression::Field(field) = node {
                field.source = source(field)?;
            } else {
                open.extend(node.children_mut());
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use wavetask_protocol::{Digest, TaskId};

    use super::*;
    use crate::expression::{BinaryFunction, Part, Places, Selector};

    fn field(task: &str) -> Expression {
        let source = FieldSource::Task(task.parse().unwrap());
        Expression::Field(Field { source, part: Part::Result, path: vec!["T".into(), "temperature".into()] })
    }

    fn number(value: f64) -> Expression {
        Expression::Number { value, imaginary: None }
    }

    fn recipe() -> Recipe {
        let places = Places::CoordinateOf { expression: Box::new(field("task-b")), dimension: "x".into() };
        let interpolated = Expression::Interp {
            of: Box::new(field("task-a")),
            places: vec![("x".into(), places)],
            method: Default::default(),
            fill: None,
        };
        let of = Expression::Binary {
            function: BinaryFunction::Add,
            left: Box::new(interpolated),
            right: Box::new(number(1.5)),
        };
        let along = Selector::CoordinateOf { expression: Box::new(field("task-c")), dimension: "y".into() };
        let selected = Expression::Sel {
            of: Box::new(field("task-a")),
            selectors: vec![("y".into(), along)],
            method: None,
        };
        Recipe { outputs: vec![of, selected] }
    }

    #[test]
    fn a_recipe_survives_being_written_down() {
        let text = recipe().to_json().unwrap();
        assert!(text.starts_with(r#"{"type":"Evaluation","version":1,"outputs":["#), "{text}");
        assert_eq!(Recipe::from_json(&text, &ExpressionLimits::default()).unwrap(), recipe());
    }

    #[test]
    fn every_field_gets_its_source() {
        let resolved = recipe().with_sources(|field| match &field.source {
            FieldSource::Task(task) => Ok(FieldSource::Result(Digest::of(task.as_str().as_bytes()))),
            FieldSource::Result(_) => Err("it is one already"),
        });
        let resolved = resolved.unwrap();
        let mut found: Vec<String> = resolved.fields().map(|field| format!("{:?}", field.source)).collect();
        found.sort();
        found.dedup();
        let mut expected: Vec<String> = ["task-a", "task-b", "task-c"]
            .iter()
            .map(|task| format!("{:?}", FieldSource::Result(Digest::of(task.as_bytes()))))
            .collect();
        expected.sort();
        assert_eq!(found, expected);
        let refused = recipe().with_sources(|field| match &field.source {
            FieldSource::Task(task) if *task == "task-c".parse::<TaskId>().unwrap() => Err("not this one"),
            source => Ok(source.clone()),
        });
        assert_eq!(refused, Err("not this one"));
    }

    #[test]
    fn limits_hold_for_all_outputs_together() {
        let limits = ExpressionLimits { nodes: 10, ..ExpressionLimits::default() };
        let of = |count: usize| Recipe { outputs: vec![number(1.0); count] }.to_json().unwrap();
        assert!(Recipe::from_json(&of(10), &limits).is_ok());
        let refused = Recipe::from_json(&of(11), &limits);
        assert!(matches!(refused, Err(ExpressionError::TooLarge { limit: "nodes", .. })), "{refused:?}");
        let refused = Recipe::from_json(&of(MAXIMUM_OUTPUTS + 1), &ExpressionLimits::default());
        assert!(matches!(refused, Err(ExpressionError::TooLarge { limit: "outputs", .. })), "{refused:?}");
        for text in [
            r#"{"type":"Evaluation","version":1,"outputs":[]}"#,
            r#"{"type":"Evaluation","version":2,"outputs":[{"number":{"value":1.0}}]}"#,
            r#"{"type":"Other","version":1,"outputs":[{"number":{"value":1.0}}]}"#,
            r#"{"type":"Evaluation","version":1,"outputs":[{"number":{"value":1.0}}],"more":1}"#,
        ] {
            let refused = Recipe::from_json(text, &ExpressionLimits::default());
            assert!(matches!(refused, Err(ExpressionError::Invalid { .. })), "{text}: {refused:?}");
        }
    }
}
