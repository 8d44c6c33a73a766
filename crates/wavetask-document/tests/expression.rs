//! Expressions as data: their JSON form, digest and limits, and what is known of them without a value.

use std::sync::Arc;

use wavetask_document::expression::{
    Coordinate, DataType, Dimension, Expression, ExpressionError, ExpressionLimits, Field, FieldType,
    Inferred, Labels, Operation, Schema, Step, Taken, Whole, infer,
};

/// Two fields of a task: `a` over x (descending), y and direction, complex; `b` over x (others) and time.
struct Fields;

impl Schema for Fields {
    fn field(&self, field: &Field) -> Result<FieldType, ExpressionError> {
        let numbers = |name: &str, values: &[f64]| Dimension::new(name, Coordinate::Numbers(values.to_vec()));
        let texts = |values: &[&str]| Coordinate::Text(values.iter().map(|&text| Arc::from(text)).collect());
        let (dimensions, data_type) = match &*field.path[0] {
            "a" => (
                vec![
                    numbers("x", &[4.0, 3.0, 2.0, 1.0]),
                    numbers("y", &[0.0, 0.5, 1.0]),
                    Dimension::new("direction", texts(&["+", "-"])),
                ],
                DataType::Complex,
            ),
            "b" => (vec![numbers("t", &[0.0, 1.0]), numbers("x", &[1.0, 3.0, 9.0])], DataType::Float),
            "wide" => {
                let along: Vec<f64> = (0..100_000).map(f64::from).collect();
                (vec![numbers("x", &along), numbers("y", &along)], DataType::Float)
            }
            "later" => return Err(ExpressionError::NotKnown { what: field.to_string() }),
            _ => {
                let source = "no monitor of that name".into();
                return Err(ExpressionError::Field { field: field.to_string(), source });
            }
        };
        Ok(FieldType {
            labels: Labels::new("field", dimensions)?,
            data_type,
            mesh: None,
            whole: Whole::Stored,
        })
    }
}

fn parse(expression: &str) -> Result<Expression, ExpressionError> {
    let text = format!("{{\"version\": 1, \"expression\": {expression}}}");
    Expression::from_json(&text, &ExpressionLimits::default())
}

fn field(name: &str) -> String {
    format!("{{\"field\": {{\"source\": {{\"task\": \"task-1\"}}, \"path\": [\"{name}\", \"value\"]}}}}")
}

fn inferred(expression: &str) -> Result<Inferred, ExpressionError> {
    infer(&parse(expression)?, &Fields, &ExpressionLimits::default())
}

/// What is read of each field.
fn reads(step: &Step) -> Vec<Vec<Taken>> {
    match &step.operation {
        Operation::Read { taken, .. } => vec![taken.clone()],
        Operation::Interpolate { of, .. } | Operation::Reduce { of, .. } | Operation::Unary { of, .. } => {
            reads(of)
        }
        Operation::Binary { left, right, .. } => [reads(&left.step), reads(&right.step)].concat(),
        Operation::Concat { parts, .. } => parts.iter().flat_map(reads).collect(),
        Operation::Lookup { at, .. } => at.iter().flat_map(|operand| reads(&operand.step)).collect(),
        other => panic!("unexpected {other:?}"),
    }
}

fn names(inferred: &Inferred) -> Vec<&str> {
    inferred.labels().dimensions.iter().map(|dimension| &*dimension.name).collect()
}

#[test]
fn the_digest_is_of_the_meaning_and_not_of_the_spelling() {
    let a = field("a");
    let one =
        parse(&format!("{{\"isel\": {{\"of\": {a}, \"indexers\": [[\"x\", {{\"index\": 1}}]]}}}}")).unwrap();
    let same =
        parse(&format!("{{\"isel\": {{ \"indexers\": [[\"x\",{{\"index\":1}}]], \"of\": {a} }} }}")).unwrap();
    let other =
        parse(&format!("{{\"isel\": {{\"of\": {a}, \"indexers\": [[\"x\", {{\"index\": 2}}]]}}}}")).unwrap();
    assert_eq!(one.digest().unwrap(), same.digest().unwrap());
    assert_ne!(one.digest().unwrap(), other.digest().unwrap());
    let number =
        |text: &str| parse(&format!("{{\"number\": {{\"value\": {text}}}}}")).unwrap().digest().unwrap();
    assert_eq!(number("1"), number("1.0e0"));
    assert_ne!(number("0.1"), number("0.10000000000000002"));
    let again = Expression::from_json(&one.to_json().unwrap(), &ExpressionLimits::default()).unwrap();
    assert_eq!(again, one);
    assert_eq!(one.fields().len(), 1);
}

#[test]
fn what_is_not_an_expression_is_refused_with_its_reason() {
    for (text, reason) in [
        ("{\"version\": 2, \"expression\": {\"number\": {\"value\": 1}}}", "version 2"),
        ("{\"version\": 1, \"expression\": {\"exec\": {}}}", "exec"),
        ("{\"version\": 1, \"expression\": {\"number\": {\"value\": 1, \"more\": 2}}}", "more"),
        ("{\"version\": 1, \"expression\": {\"number\": {\"value\": NaN}}}", "expected"),
    ] {
        let error = Expression::from_json(text, &ExpressionLimits::default()).unwrap_err();
        assert_eq!(error.code(), "expression_invalid");
        assert!(error.to_string().contains(reason), "{error}");
    }
    let number = Expression::Number { value: f64::NAN, imaginary: None };
    assert!(number.to_json().is_err() && number.digest().is_err());
}

#[test]
fn limits_name_themselves() {
    let mut deep = field("a");
    for _ in 0..60 {
        deep = format!("{{\"unary\": {{\"function\": \"negative\", \"of\": {deep}}}}}");
    }
    let error = parse(&deep).unwrap_err().to_string();
    assert!(error.contains("depth = 40"), "{error}");
    let part = "{\"number\": {\"value\": 1}}";
    let many =
        format!("{{\"concat\": {{\"dimension\": \"i\", \"parts\": [{}]}}}}", vec![part; 5000].join(","));
    assert!(parse(&many).unwrap_err().to_string().contains("nodes = 4096"));
    let list = vec!["1"; 1_000_001].join(",");
    let long = format!(
        "{{\"interp\": {{\"of\": {}, \"places\": [[\"x\", {{\"values\": [{list}]}}]]}}}}",
        field("a")
    );
    assert!(parse(&long).unwrap_err().to_string().contains("literals = 1000000"));
    let limits = ExpressionLimits { json_bytes: 10, ..ExpressionLimits::default() };
    assert!(
        Expression::from_json("{\"version\": 1}", &limits)
            .unwrap_err()
            .to_string()
            .contains("json_bytes = 10")
    );
    // Ten thousand million elements, as a whole and as one place of each.
    let plan = |text: &str| inferred(text).unwrap().plan(&ExpressionLimits::default());
    assert!(plan(&field("wide")).unwrap_err().to_string().contains("elements"));
    let one =
        format!("{{\"isel\": {{\"of\": {}, \"indexers\": [[\"x\", {{\"index\": -1}}]]}}}}", field("wide"));
    assert_eq!(plan(&one).unwrap().bytes_read, 800_000);
    // What is held at once: both operands while the sum is made, and not what has been used up.
    let both = format!(
        "{{\"binary\": {{\"function\": \"add\", \"left\": {one}, \"right\": {{\"unary\": {{\"function\": \
         \"negative\", \"of\": {one}}}}}}}}}"
    );
    let memory = plan(&both).unwrap().memory_bytes;
    assert!((3 * 800_000..=5 * 800_000).contains(&memory), "{memory}");
    let limits = ExpressionLimits { memory_bytes: memory - 1, ..ExpressionLimits::default() };
    let refused = inferred(&both).unwrap().plan(&limits).unwrap_err();
    assert!(refused.to_string().contains("memory_bytes = "), "{refused}");
    // The same labels again and again are held once each.
    let other = format!(
        "{{\"interp\": {{\"of\": {0}, \"places\": [[\"x\", {{\"coordinate_of\": {{\"expression\": {0}, \"dimension\": \
         \"x\"}}}}]]}}}}",
        field("wide")
    );
    let sum = |left: &str, right: &str| {
        format!("{{\"binary\": {{\"function\": \"add\", \"left\": {left}, \"right\": {right}}}}}")
    };
    let mut wide = other.clone();
    for _ in 0..5 {
        wide = sum(&wide, &wide);
    }
    assert!(inferred(&wide).unwrap_err().to_string().contains("labels"), "32 times 500,000 labels");
}

#[test]
fn labels_are_known_without_values() {
    let sum = format!(
        "{{\"binary\": {{\"function\": \"add\", \"left\": {}, \"right\": {}}}}}",
        field("a"),
        field("b")
    );
    let result = inferred(&sum).unwrap();
    assert_eq!(names(&result), ["x", "y", "direction", "t"]);
    assert_eq!(*result.labels().dimensions[0].coordinate, Coordinate::Numbers(vec![3.0, 1.0]));
    assert_eq!((result.shape(), result.data_type()), (vec![2, 3, 2, 2], DataType::Complex));
    assert_eq!(result.byte_length(), 2 * 3 * 2 * 2 * 16);
    let at = format!(
        "{{\"interp\": {{\"of\": {{\"sel\": {{\"of\": {}, \"selectors\": [[\"direction\", {{\"value\": \"-\"}}]]}}}}, \
         \"places\": [[\"y\", {{\"value\": 0.75}}], [\"x\", {{\"coordinate_of\": {{\"expression\": {}, \"dimension\": \
         \"x\"}}}}]]}}}}",
        field("a"),
        field("b")
    );
    let result = inferred(&at).unwrap();
    assert_eq!((names(&result), result.shape()), (vec!["x"], vec![3]));
    assert_eq!(result.labels().scalars.len(), 2);
    let error = inferred(&field("later")).unwrap_err();
    assert_eq!(error.code(), "expression_not_known");
}

#[test]
fn what_is_left_out_is_not_read() {
    let (a, b) = (field("a"), field("b"));
    let read =
        |text: String| reads(&inferred(&text).unwrap().plan(&ExpressionLimits::default()).unwrap().step);
    // A plane of a sum: one place of the shared dimension in both, nothing else left out.
    let plane = read(format!(
        "{{\"sel\": {{\"of\": {{\"binary\": {{\"function\": \"multiply\", \"left\": {a}, \"right\": {b}}}}}, \
         \"selectors\": [[\"x\", {{\"value\": 3}}]]}}}}"
    ));
    assert_eq!(plane, [vec![Taken::One(1), Taken::All, Taken::All], vec![Taken::All, Taken::One(1)],]);
    // Values between coordinates: the two neighbours, and of what is selected afterwards only that.
    let between = read(format!(
        "{{\"isel\": {{\"of\": {{\"interp\": {{\"of\": {a}, \"places\": [[\"x\", {{\"values\": [1.5, 3.5, 3.6]}}]]}}}}, \
         \"indexers\": [[\"y\", {{\"index\": -1}}], [\"x\", {{\"slice\": {{\"start\": 1}}}}]]}}}}"
    ));
    assert_eq!(between, [vec![Taken::Places([0, 1].into()), Taken::One(2), Taken::All]]);
    // One part of several beside one another.
    let part = read(format!(
        "{{\"isel\": {{\"of\": {{\"concat\": {{\"parts\": [{b}, {b}, {b}], \"dimension\": \"i\", \"coordinate\": \
         [0, 1, 2]}}}}, \"indexers\": [[\"i\", {{\"indices\": [2, 0, 2]}}], [\"t\", {{\"index\": 0}}]]}}}}"
    ));
    assert_eq!(part, vec![vec![Taken::One(0), Taken::All]; 2]);
}

#[test]
fn a_table_has_the_labels_of_the_places_in_it() {
    let table = |places: &str, values: &str| {
        format!(
            "{{\"array\": {{\"dimensions\": [{{\"name\": \"T\", \"coordinate\": {places}}}], \"values\": {values}}}}}"
        )
    };
    let lookup =
        |table: &str, at: &str| format!("{{\"lookup\": {{\"table\": {table}, \"at\": [[\"T\", {at}]]}}}}");
    let sound = table("[3, 1, 2]", "[30, 10, 20]");
    let found = lookup(&sound, &field("b"));
    let of_b = inferred(&found).unwrap();
    assert_eq!((names(&of_b), of_b.shape()), (vec!["t", "x"], vec![2, 3]));
    assert_eq!(of_b.data_type(), DataType::Float);
    let expression = parse(&found).unwrap();
    assert_eq!(expression.fields().len(), 1);
    assert_eq!(
        Expression::from_json(&expression.to_json().unwrap(), &ExpressionLimits::default()).unwrap(),
        expression
    );
    // Of a part of its result, a part of the field is read.
    let part = format!("{{\"isel\": {{\"of\": {found}, \"indexers\": [[\"t\", {{\"index\": 1}}]]}}}}");
    let plan = inferred(&part).unwrap().plan(&ExpressionLimits::default()).unwrap();
    assert_eq!((plan.bytes_read, reads(&plan.step)), (24, vec![vec![Taken::One(1), Taken::All]]));
    for (text, why) in [
        (lookup(&sound, &field("a")), "real number"),
        (lookup(&table("[1, 1]", "[1, 2]"), &field("b")), "repeats a place"),
        (lookup(&table("[]", "[]"), &field("b")), "no places"),
        (lookup(&table("[\"low\", \"high\"]", "[1, 2]"), &field("b")), "no places that are numbers"),
        (lookup("{\"number\": {\"value\": 1}}", &field("b")), "one or two dimensions"),
        (lookup(&sound, &field("b")).replace("[[\"T\"", "[[\"q\""), "no dimension q"),
    ] {
        let error = inferred(&text).unwrap_err();
        assert!(error.to_string().contains(why), "{text}: {error}");
    }
    let mut deep = found;
    for _ in 0..40 {
        deep = format!("{{\"unary\": {{\"function\": \"negative\", \"of\": {deep}}}}}");
    }
    let error = parse(&deep).unwrap_err().to_string();
    assert!(error.contains("depth = 40"), "{error}");
}
