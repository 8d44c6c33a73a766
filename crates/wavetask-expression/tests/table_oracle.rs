//! Tables at random fields, here and by tidy3d's own perturbation models.

mod support;

use support::C;
use wavetask_document::Array;
use wavetask_document::expression::{
    Expression, ExpressionError, ExpressionLimits, Field, FieldType, Schema, infer,
};
use wavetask_expression::{Numbers, Reader, evaluate};

/// Where there are no fields.
struct Nothing;

fn none(field: &Field) -> ExpressionError {
    ExpressionError::Field { field: field.to_string(), source: "there is none".into() }
}

impl Schema for Nothing {
    fn field(&self, field: &Field) -> Result<FieldType, ExpressionError> {
        Err(none(field))
    }
}

impl Reader for Nothing {
    fn shape(&self, field: &Field) -> Result<Vec<usize>, ExpressionError> {
        Err(none(field))
    }

    fn read(&self, field: &Field, _: &[std::ops::Range<u64>]) -> Result<Array, ExpressionError> {
        Err(none(field))
    }
}

#[test]
fn tables_say_what_tidy3d_says() {
    let Some((cases, numbers)) = support::answers("table_cases.py", &support::folder("table")) else {
        return;
    };
    assert!(cases.len() >= 300, "{} cases", cases.len());
    for case in &cases {
        let expression: Expression =
            serde_json::from_value(case["expression"].clone()).expect("an expression");
        let limits = ExpressionLimits::default();
        let plan = infer(&expression, &Nothing, &limits).and_then(|inferred| inferred.plan(&limits));
        let ours =
            plan.and_then(|plan| evaluate(&plan, &Nothing)).unwrap_or_else(|error| panic!("{error}: {case}"));
        let values: Vec<C> = match ours.values {
            Numbers::Real(values) => values.into_iter().map(|value| C::new(value, 0.0)).collect(),
            Numbers::Complex(values) => values,
        };
        let theirs = support::numbers(&case["value"], &numbers);
        let largest = theirs.iter().map(|value| value.norm()).fold(1.0, f64::max);
        let differs = support::first_difference(&values, theirs, largest);
        assert_eq!(differs, None, "{case}: {values:?}, there {theirs:?}");
    }
}
