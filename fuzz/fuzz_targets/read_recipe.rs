//! Reads anything as a recipe; what is one is written and read again, typed, planned and computed.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use wavetask_document::expression::{
    Coordinate, DataType, Dimension, Documents, ExpressionError, ExpressionLimits, Field, FieldType, Labels,
    Recipe, Schema, infer,
};
use wavetask_document::MemoryBlocks;
use wavetask_expression::evaluate;

/// Every field is a small array, so that a recipe of any fields has a type.
struct Small;

impl Schema for Small {
    fn field(&self, _: &Field) -> Result<FieldType, ExpressionError> {
        let axis = |name: &str, places: &[f64]| Dimension {
            name: name.into(),
            coordinate: Arc::new(Coordinate::Numbers(places.to_vec())),
        };
        let dimensions = vec![axis("x", &[0.0, 1.0, 3.0]), axis("y", &[2.0]), axis("f", &[5.0, 1.0])];
        let labels = Labels::new("field", dimensions)?;
        Ok(FieldType { labels, data_type: DataType::Float, mesh: None, whole: Default::default() })
    }
}

fuzz_target!(|text: &str| {
    let limits = ExpressionLimits {
        literals: 10_000,
        labels: 100_000,
        elements: 100_000,
        memory_bytes: 16 << 20,
        work: 1 << 22,
        bytes_read: 1 << 20,
        ..ExpressionLimits::default()
    };
    let Ok(recipe) = Recipe::from_json(text, &limits) else { return };
    let again = recipe.to_json().expect("what was read can be written");
    assert_eq!(Recipe::from_json(&again, &limits).expect("it was read before"), recipe);
    let nothing = Documents::new(MemoryBlocks::new());
    for output in &recipe.outputs {
        let Ok(inferred) = infer(output, &Small, &limits) else { continue };
        let Ok(plan) = inferred.plan(&limits) else { continue };
        assert!(plan.largest <= limits.elements && plan.work <= limits.work);
        // Only what needs no field has a value here.
        if output.fields().is_empty() {
            let evaluated = evaluate(&plan, &nothing).expect("what is planned can be computed");
            assert_eq!(&evaluated.labels, inferred.labels());
        }
    }
});
