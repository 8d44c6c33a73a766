//! Random expressions over random arrays, evaluated here and by xarray: labels equal, values equal within rounding.
//!
//! Fields lie in blocks of a few elements, so that every selection meets block borders. The expressions are built from
//! what inference says of their operands, so that nearly all mean something; those that inference refuses are dropped.

mod generator;
mod support;

use std::collections::BTreeMap;

use generator::Generator;
use serde_json::{Value, json};
use support::C;
use wavetask_document::expression::{
    Coordinate, DataType, Expression, ExpressionError, ExpressionLimits, Field, FieldType, Label, Labels,
    Schema, infer,
};
use wavetask_document::{Array, ArrayDescriptor, MemoryBlocks, Values};
use wavetask_expression::{Evaluated, Numbers, Reader, RecentBlocks, evaluate};

/// Random cases; xarray takes some milliseconds for each.
const CASES: usize = 3000;
/// Refusals that are compared.
const DRAWN: usize = 1_500;

/// A field's labels and where its values are.
struct Stored {
    labels: Labels,
    data_type: DataType,
    descriptor: ArrayDescriptor,
    values: Vec<C>,
}

/// Fields in blocks.
#[derive(Default)]
struct Fields {
    stored: BTreeMap<String, Stored>,
    blocks: MemoryBlocks,
}

impl Fields {
    fn store(&mut self, name: String, labels: Labels, data_type: DataType, values: Vec<C>) {
        let real = || values.iter().map(|value| value.re);
        let stored = match data_type {
            DataType::Complex => {
                Values::Complex128(values.iter().map(|value| [value.re, value.im]).collect())
            }
            #[expect(clippy::cast_possible_truncation, reason = "the values are small whole numbers")]
            DataType::Integer => Values::Int64(real().map(|value| value as i64).collect()),
            _ => Values::Float64(real().collect()),
        };
        let array = Array::new(labels.shape(), stored).expect("as many values as the shape says");
        // Every other one in bricks, where it has any elements.
        let extents: Vec<u64> = labels.shape().iter().map(|extent| extent.div_ceil(2) as u64).collect();
        let in_line = self.stored.len().is_multiple_of(2) || extents.is_empty() || extents.contains(&0);
        let descriptor = if in_line {
            array.store(&mut self.blocks, 32)
        } else {
            array.store_in_bricks(&mut self.blocks, &extents)
        };
        let descriptor = descriptor.expect("memory takes blocks");
        self.stored.insert(name, Stored { labels, data_type, descriptor, values });
    }
}

impl Schema for Fields {
    fn field(&self, field: &Field) -> Result<FieldType, ExpressionError> {
        let stored = &self.stored[&*field.path[0]];
        Ok(FieldType {
            labels: stored.labels.clone(),
            data_type: stored.data_type,
            mesh: None,
            whole: Default::default(),
        })
    }
}

/// Fields read through a cache of a few blocks.
struct BlockReader<'a> {
    fields: &'a Fields,
    blocks: RecentBlocks<MemoryBlocks>,
}

impl Reader for BlockReader<'_> {
    fn shape(&self, field: &Field) -> Result<Vec<usize>, ExpressionError> {
        Ok(self.fields.stored[&*field.path[0]].labels.shape())
    }

    fn read(&self, field: &Field, ranges: &[std::ops::Range<u64>]) -> Result<Array, ExpressionError> {
        let descriptor = &self.fields.stored[&*field.path[0]].descriptor;
        descriptor
            .load_part(ranges, &self.blocks, 1 << 30)
            .map_err(|error| ExpressionError::Field { field: field.to_string(), source: Box::new(error) })
    }
}

/// What xarray says of each case.
fn ask(fields: &Fields, cases: &[Expression]) -> Option<(Vec<Value>, Vec<C>)> {
    let folder = support::folder("xarray");
    let mut bytes: Vec<u8> = Vec::new();
    let mut listed = serde_json::Map::new();
    for (name, stored) in &fields.stored {
        let start = bytes.len() / 16;
        bytes.extend(stored.values.iter().flat_map(|value| [value.re, value.im]).flat_map(f64::to_le_bytes));
        let field = json!({"dimensions": stored.labels.dimensions, "type": stored.data_type, "start": start});
        listed.insert(name.clone(), field);
    }
    std::fs::write(folder.join("arrays.bin"), bytes).expect("the arrays are written");
    let task = json!({"fields": listed, "cases": cases}).to_string();
    std::fs::write(folder.join("cases.json"), task).expect("the cases are written");
    support::answers("xarray_cases.py", &folder)
}

/// The value of an expression.
fn value(fields: &Fields, case: &Expression) -> Result<Evaluated, ExpressionError> {
    let limits = ExpressionLimits::default();
    let plan = infer(case, fields, &limits)?.plan(&limits)?;
    evaluate(&plan, &BlockReader { fields, blocks: RecentBlocks::new(fields.blocks.clone(), 256) })
}

/// Expressions that mean nothing, here and in xarray.
fn refused() -> Vec<Expression> {
    let line = |labels: &str, values: &str| {
        format!(
            "{{\"array\": {{\"dimensions\": [{{\"name\": \"x\", \"coordinate\": {labels}}}], \"values\": {values}}}}}"
        )
    };
    let (plain, twice) = (line("[1, 2, 3]", "[4, 5, 6]"), line("[1, 2, 2]", "[4, 5, 6]"));
    let (unsorted, empty) = (line("[1, 3, 2]", "[4, 5, 6]"), line("[]", "[]"));
    let on = |operation: &str, of: &str, rest: &str| format!("{{\"{operation}\": {{\"of\": {of}, {rest}}}}}");
    let sum = |a: &str, b: &str| {
        format!("{{\"binary\": {{\"function\": \"add\", \"left\": {a}, \"right\": {b}}}}}")
    };
    let beyond = on("interp", &plain, "\"places\": [[\"x\", {\"values\": [7, 8, 9]}]]");
    let condition = sum(&plain, &plain).replace("add", "less");
    let along = |dimension: &str, what: &str| format!("[[\"{dimension}\", {{{what}}}]]");
    let selections = [
        ("sel", &plain, "x", "\"value\": 2.5"),
        ("sel", &plain, "x", "\"values\": [1, 4]"),
        ("sel", &plain, "q", "\"value\": 1"),
        ("sel", &unsorted, "x", "\"slice\": {\"start\": 0.5}"),
        ("nearest", &unsorted, "x", "\"value\": 1"),
        ("nearest", &twice, "x", "\"value\": 1"),
        ("nearest", &plain, "x", "\"slice\": {\"start\": 1}"),
        ("isel", &plain, "x", "\"index\": 3"),
        ("isel", &plain, "x", "\"indices\": [0, -4]"),
        ("isel", &plain, "x", "\"slice\": {\"step\": 0}"),
        ("interp", &twice, "x", "\"value\": 1.5"),
        ("interp", &empty, "x", "\"value\": 1.5"),
        ("interp", &plain, "q", "\"value\": 1.5"),
    ];
    let mut texts = Vec::new();
    for (operation, of, dimension, what) in selections {
        let what = along(dimension, what);
        texts.push(match operation {
            "isel" => on("isel", of, &format!("\"indexers\": {what}")),
            "interp" => on("interp", of, &format!("\"places\": {what}")),
            "nearest" => on("sel", of, &format!("\"selectors\": {what}, \"method\": \"nearest\"")),
            _ => on("sel", of, &format!("\"selectors\": {what}")),
        });
    }
    let at = |table: &str, places: &str| format!("{{\"lookup\": {{\"table\": {table}, \"at\": {places}}}}}");
    let three = "{\"number\": {\"value\": 3}}";
    texts.extend([
        at(&twice, &format!("[[\"x\", {three}]]")),
        at(&empty, &format!("[[\"x\", {three}]]")),
        at(&plain, &format!("[[\"q\", {three}]]")),
        sum(&plain, &twice),
        on("where", &plain, &format!("\"condition\": {condition}, \"otherwise\": {beyond}")),
        on("reduce", &plain, "\"function\": \"sum\", \"dimensions\": [\"q\"]"),
        on("reduce", &empty, "\"function\": \"max\""),
        on("reduce", &beyond, "\"function\": \"argmax\", \"dimensions\": [\"x\"]"),
        format!("{{\"concat\": {{\"parts\": [{plain}, {unsorted}], \"dimension\": \"i\", \"coordinate\": [0, 1]}}}}"),
        on("transpose", &plain, "\"dimensions\": [\"q\"]"),
        on("squeeze", &plain, "\"dimensions\": [\"x\"]"),
    ]);
    texts
        .iter()
        .map(|text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
        .collect()
}

/// Why our value is not xarray's; `None` if it is.
fn difference(fields: &Fields, case: &Expression, answer: &Value, values: &[C]) -> Option<String> {
    let ours = match (value(fields, case), answer["error"].as_str()) {
        // That the largest of nothing but NaN has no place is known only once values are.
        (Err(error), Some(_)) if error.to_string().contains("all along the dimension are NaN") => {
            return None;
        }
        (Err(error), theirs) => return Some(format!("refused here ({error}), there {theirs:?}")),
        (Ok(_), Some(theirs)) => return Some(format!("refused there: {theirs}")),
        (Ok(ours), None) => ours,
    };
    let dimensions = support::dimensions(answer);
    let same =
        |ours: &Coordinate, theirs: &Coordinate| ours == theirs || (ours.is_empty() && theirs.is_empty());
    if !support::are_named(&ours.labels, &dimensions, same) {
        return Some(format!("labels {:?}, there {dimensions:?}", ours.labels.dimensions));
    }
    let scalars: BTreeMap<std::sync::Arc<str>, Label> =
        serde_json::from_value(answer["scalars"].clone()).expect("scalars");
    if scalars != ours.labels.scalars {
        return Some(format!("left of selections {:?}, there {scalars:?}", ours.labels.scalars));
    }
    let theirs: DataType = serde_json::from_value(answer["type"].clone()).expect("a type");
    // Integers are computed as floats here.
    if theirs != ours.data_type && (theirs, ours.data_type) != (DataType::Integer, DataType::Float) {
        return Some(format!("{:?}, there {theirs:?}", ours.data_type));
    }
    let theirs = support::numbers(answer, values);
    let ours: Vec<C> = match ours.values {
        Numbers::Real(values) => values.into_iter().map(|value| C::new(value, 0.0)).collect(),
        Numbers::Complex(values) => values,
    };
    let largest = answer["largest"].as_f64().expect("a number");
    let wrong = support::first_difference(&ours, theirs, largest)?;
    Some(format!("at {wrong}: {ours:?}, there {theirs:?}"))
}

/// What was drawn and refused here is refused there, too, but for what is refused on purpose.
fn check_refusals(fields: &Fields, drawn: &[Expression], answers: &[Value]) {
    const ON_PURPOSE: [&str; 4] = [
        // NumPy orders them by their real parts first, which nobody means.
        "complex numbers have no order",
        // Which of the places is meant is a matter of chance.
        "repeat a label",
        "a slice needs coordinates that are in order",
        // `concat` adds a dimension; xarray also joins along one that is there.
        "is a dimension of a part",
    ];
    let mut agreed = 0;
    for (case, answer) in drawn.iter().zip(answers) {
        let ours = value(fields, case).expect_err("refused here").to_string();
        let on_purpose = ON_PURPOSE.iter().any(|reason| ours.contains(reason));
        let there = answer["error"].is_string();
        agreed += usize::from(there);
        assert!(there || on_purpose, "{case:?} is refused here ({ours}) and not there");
    }
    assert!(drawn.len() == DRAWN && agreed > DRAWN / 2, "{agreed} of {} are refused there, too", drawn.len());
}

#[test]
fn random_expressions_are_what_xarray_says() {
    let mut fields = Fields::default();
    let mut generator = Generator::new(20_240_611);
    for round in 0..6 {
        for (name, labels, data_type, values) in generator.fields() {
            fields.store(format!("{name}{round}"), labels, data_type, values);
        }
    }
    let names: Vec<String> = fields.stored.keys().cloned().collect();
    let cases: Vec<Expression> = (0..CASES).map(|_| generator.expression(&fields, &names)).collect();
    let refused: Vec<Expression> = refused();
    let drawn: Vec<Expression> = generator.refused.into_iter().take(DRAWN).collect();
    let asked = [cases.as_slice(), refused.as_slice(), drawn.as_slice()].concat();
    let Some((answers, values)) = ask(&fields, &asked) else { return };
    check_refusals(&fields, &drawn, &answers[CASES + refused.len()..]);
    for (case, answer) in refused.iter().zip(&answers[CASES..]) {
        let ours = value(&fields, case).expect_err("refused here");
        assert_eq!(ours.code(), "expression_invalid", "{ours}");
        assert!(answer["error"].is_string(), "{case:?} is refused here ({ours}) and not there");
    }
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut differing = Vec::new();
    for (case, answer) in cases.iter().zip(&answers) {
        *seen.entry(case.name()).or_default() += 1;
        if let Some(difference) = difference(&fields, case, answer, &values) {
            differing.push(format!("{}\n  {difference}", serde_json::to_string(case).expect("JSON")));
        }
    }
    eprintln!("outermost operations: {seen:?}");
    assert!(
        differing.is_empty(),
        "{} of {CASES}:\n{}",
        differing.len(),
        differing[..differing.len().min(8)].join("\n")
    );
    for operation in [
        "sel",
        "isel",
        "interp",
        "unary",
        "binary",
        "reduce",
        "where",
        "lookup",
        "concat",
        "transpose",
        "squeeze",
    ] {
        assert!(
            seen.get(operation).is_some_and(|&count| count > 20),
            "too few cases of {operation}: {seen:?}"
        );
    }
}
