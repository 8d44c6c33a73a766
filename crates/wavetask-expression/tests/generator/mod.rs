//! Random fields and random expressions over them.

use std::sync::Arc;

use fastrand::Rng;
use num_complex::Complex;
use wavetask_document::expression::{
    BinaryFunction, Coordinate, DataType, Dimension, Expression, ExpressionLimits, Field, Fill, Indexer,
    Inferred, InterpolationMethod, Label, Labels, Places, Reduction, Schema, SelectionMethod, Selector,
    UnaryFunction, infer,
};

type C = Complex<f64>;

/// Makes fields and expressions.
pub(crate) struct Generator {
    random: Rng,
    /// What was made on the way and is refused here.
    pub(crate) refused: Vec<Expression>,
}

/// A field's name, labels, type and values.
pub(crate) type MadeField = (&'static str, Labels, DataType, Vec<C>);

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Rng::with_seed(seed), refused: Vec::new() }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.u32(0..100) < percent
    }

    fn one_of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.random.usize(0..choices.len())].clone()
    }

    /// A number with few digits, so that equal ones occur.
    fn number(&mut self) -> f64 {
        f64::from(self.random.i32(-12..=12)) / 4.0
    }

    /// So many different labels out of a few, in an order: ascending, descending, none.
    fn coordinate(&mut self, count: usize, order: u8) -> Vec<f64> {
        let mut labels: Vec<f64> = (-4..8).map(|label| f64::from(label) / 2.0).collect();
        self.random.shuffle(&mut labels);
        labels.truncate(count);
        match order {
            0 => labels.sort_by(f64::total_cmp),
            1 => labels.sort_by(|a, b| b.total_cmp(a)),
            _ => {}
        }
        labels
    }

    /// A field of every sort.
    pub(crate) fn fields(&mut self) -> Vec<MadeField> {
        let mut along = |name: &str, count, order| {
            Dimension::new(name, Coordinate::Numbers(self.coordinate(count, order)))
        };
        let directions = Coordinate::Text(vec!["+".into(), "-".into()]);
        let modes = Coordinate::Numbers(vec![0.0, 1.0, 2.0]);
        let sorts = [
            ("plane", vec![along("x", 5, 0), along("y", 4, 1)], DataType::Float, 0),
            ("spectrum", vec![along("x", 6, 0), along("f", 3, 0)], DataType::Complex, 0),
            ("unsorted", vec![along("x", 6, 2)], DataType::Float, 20),
            (
                "modes",
                vec![
                    Dimension::new("direction", directions),
                    along("f", 3, 1),
                    Dimension::new("mode_index", modes),
                ],
                DataType::Complex,
                5,
            ),
            ("one", vec![along("x", 1, 0), along("y", 4, 0)], DataType::Float, 0),
            ("single", vec![along("y", 1, 0)], DataType::Float, 0),
            ("empty", vec![along("x", 0, 0), along("y", 3, 0)], DataType::Float, 0),
            ("line", vec![along("y", 7, 0)], DataType::Float, 25),
            ("falling", vec![along("f", 5, 1)], DataType::Complex, 20),
            ("scalar", vec![], DataType::Float, 0),
            ("count", vec![along("y", 3, 2), along("x", 4, 1)], DataType::Integer, 0),
            (
                "volume",
                vec![along("x", 3, 0), along("y", 2, 0), along("z", 3, 1), along("f", 2, 0)],
                DataType::Complex,
                3,
            ),
        ];
        sorts
            .into_iter()
            .map(|(name, dimensions, data_type, missing)| {
                let labels = Labels::new("field", dimensions).expect("different names");
                let count = labels.shape().iter().product();
                let values = (0..count).map(|_| self.value(data_type, missing)).collect();
                (name, labels, data_type, values)
            })
            .collect()
    }

    fn value(&mut self, data_type: DataType, missing: u32) -> C {
        if self.chance(missing) {
            return C::new(f64::NAN, 0.0);
        }
        let fine = self.chance(60);
        let mut part = || if fine { 6.0 * self.random.f64() - 3.0 } else { self.number() };
        match data_type {
            DataType::Complex => C::new(part(), part()),
            DataType::Integer => C::new(part().round(), 0.0),
            _ => C::new(part(), 0.0),
        }
    }

    /// An expression that means something over some of these fields.
    pub(crate) fn expression(&mut self, schema: &dyn Schema, names: &[String]) -> Expression {
        let limits = ExpressionLimits::default();
        let mut known = self.leaf(schema, names);
        let mut wanted = self.random.usize(1..5);
        for _ in 0..40 {
            let candidate = self.wrap(&known, schema, names);
            let Some(expression) = candidate else { continue };
            let Ok(inferred) = infer(&expression, schema, &limits) else {
                self.refused.push(expression);
                continue;
            };
            // Arrays that have grown beyond what is worth comparing are dropped.
            let count = inferred.shape().iter().product::<usize>();
            if count > 4000 || (count == 0 && self.chance(90)) {
                continue;
            }
            known = (expression, inferred);
            wanted -= 1;
            if wanted == 0 {
                break;
            }
        }
        known.0
    }

    fn leaf(&mut self, schema: &dyn Schema, names: &[String]) -> (Expression, Inferred) {
        let name: Arc<str> = Arc::from(self.one_of(names));
        let source = serde_json::from_str("{\"task\": \"task-1\"}").expect("a source");
        let expression = Expression::Field(Field { source, part: Default::default(), path: vec![name] });
        let inferred = infer(&expression, schema, &ExpressionLimits::default()).expect("a field");
        (expression, inferred)
    }

    /// A second operand: a field, part of one, or a number.
    fn operand(&mut self, schema: &dyn Schema, names: &[String]) -> Expression {
        if self.chance(30) {
            let imaginary = self.chance(20).then(|| self.number());
            return Expression::Number { value: self.number(), imaginary };
        }
        let leaf = self.leaf(schema, names);
        let wrapped = if self.chance(50) { self.wrap(&leaf, schema, names) } else { None };
        wrapped
            .filter(|wrapped| infer(wrapped, schema, &ExpressionLimits::default()).is_ok())
            .unwrap_or(leaf.0)
    }

    fn wrap(
        &mut self,
        (expression, inferred): &(Expression, Inferred),
        schema: &dyn Schema,
        names: &[String],
    ) -> Option<Expression> {
        let of = Box::new(expression.clone());
        let mut dimensions = inferred.labels().dimensions.clone();
        self.random.shuffle(&mut dimensions);
        let some = self.random.usize(dimensions.len().min(1)..=dimensions.len());
        let chosen = &dimensions[..some];
        let names_of =
            |dimensions: &[Dimension]| dimensions.iter().map(|d| d.name.clone()).collect::<Vec<_>>();
        let kind = self.random.u32(0..15);
        if chosen.is_empty() && matches!(kind, 0..=5) {
            return None;
        }
        Some(match kind {
            0 | 1 => {
                let method = self.chance(40).then_some(SelectionMethod::Nearest);
                let selectors = chosen
                    .iter()
                    .map(|d| Some((d.name.clone(), self.selector(&d.coordinate, method.is_some())?)))
                    .collect::<Option<_>>()?;
                Expression::Sel { of, selectors, method }
            }
            2 => {
                let indexers = chosen
                    .iter()
                    .map(|d| Some((d.name.clone(), self.indexer(d.coordinate.len())?)))
                    .collect::<Option<_>>()?;
                Expression::Isel { of, indexers }
            }
            3..=5 => {
                let places =
                    chosen.iter().map(|d| (d.name.clone(), self.places(schema, names, &d.name))).collect();
                let method = self.one_of(&[InterpolationMethod::Linear, InterpolationMethod::Nearest]);
                let fill = match self.random.u32(0..4) {
                    0 => None,
                    1 => Some(Fill::Value(self.number())),
                    2 => Some(Fill::Nan),
                    _ => Some(Fill::Extrapolate),
                };
                Expression::Interp { of, places, method, fill }
            }
            6 => {
                let function = self.one_of(&[
                    UnaryFunction::Negative,
                    UnaryFunction::Absolute,
                    UnaryFunction::Real,
                    UnaryFunction::Imaginary,
                    UnaryFunction::Conjugate,
                    UnaryFunction::Angle,
                ]);
                Expression::Unary { function, of }
            }
            7 | 8 => {
                let function = self.one_of(&[
                    BinaryFunction::Add,
                    BinaryFunction::Subtract,
                    BinaryFunction::Multiply,
                    BinaryFunction::Divide,
                    BinaryFunction::Power,
                ]);
                if function == BinaryFunction::Power {
                    let value = self.one_of(&[2.0, 3.0, 0.5, -1.0, 0.0]);
                    return Some(Expression::Binary {
                        function,
                        left: of,
                        right: Box::new(Expression::Number { value, imaginary: None }),
                    });
                }
                let other = Box::new(self.operand(schema, names));
                let (left, right) = if self.chance(50) { (of, other) } else { (other, of) };
                Expression::Binary { function, left, right }
            }
            9 => {
                let function = self.one_of(&[
                    Reduction::Sum,
                    Reduction::Mean,
                    Reduction::Max,
                    Reduction::Min,
                    Reduction::Argmax,
                ]);
                let mut dimensions = names_of(chosen);
                if function == Reduction::Argmax {
                    dimensions.truncate(1);
                }
                let all = dimensions.is_empty();
                if all && function == Reduction::Argmax {
                    return None;
                }
                Expression::Reduce {
                    function,
                    of,
                    dimensions: (!all).then_some(dimensions),
                    skip_nan: self.chance(70),
                }
            }
            10 => {
                let otherwise = self.chance(50).then(|| Box::new(self.operand(schema, names)));
                Expression::Where { condition: Box::new(self.condition(schema, names)), of, otherwise }
            }
            11 => {
                let other = Expression::Number { value: self.number(), imaginary: None };
                let sum = Expression::Binary {
                    function: BinaryFunction::Multiply,
                    left: of.clone(),
                    right: Box::new(other),
                };
                let mut parts = vec![*of, sum];
                parts.rotate_left(self.random.usize(0..2));
                let labels = Coordinate::Numbers(self.coordinate(2, 2));
                Expression::Concat { parts, dimension: "part".into(), coordinate: Some(labels) }
            }
            12 | 13 => return self.lookup(*of, inferred),
            _ if self.chance(50) => Expression::Transpose { of, dimensions: names_of(&dimensions) },
            _ => {
                let single: Vec<Dimension> =
                    chosen.iter().filter(|d| d.coordinate.len() == 1).cloned().collect();
                let named = self.chance(50) && !single.is_empty();
                Expression::Squeeze { of, dimensions: named.then(|| names_of(&single)) }
            }
        })
    }

    /// A table, of one dimension or two, at real numbers.
    fn lookup(&mut self, of: Expression, inferred: &Inferred) -> Option<Expression> {
        if matches!(inferred.data_type(), DataType::Complex | DataType::Boolean) {
            return None;
        }
        let count = self.random.usize(1..=2);
        let mut dimensions = Vec::new();
        for name in &["T", "n"][..count] {
            let places = self.random.usize(1..6);
            let order = self.random.u8(0..3);
            dimensions.push(Dimension::new(*name, Coordinate::Numbers(self.coordinate(places, order))));
        }
        let values: usize = dimensions.iter().map(|dimension| dimension.coordinate.len()).product();
        let numbers = |random: &mut Rng| (0..values).map(|_| 6.0 * random.f64() - 3.0).collect::<Vec<f64>>();
        let imaginary = self.chance(30).then(|| numbers(&mut self.random));
        let table = Expression::Array { dimensions, values: numbers(&mut self.random), imaginary };
        let other = Expression::Number { value: self.number(), imaginary: None };
        let function = BinaryFunction::Multiply;
        let product = |left: Expression, right: Expression| Expression::Binary {
            function,
            left: Box::new(left),
            right: Box::new(right),
        };
        let second = if self.chance(60) { product(of.clone(), other) } else { other };
        let mut at: Vec<(Arc<str>, Expression)> = vec![("T".into(), of), ("n".into(), second)];
        at.truncate(count);
        if self.chance(50) {
            at.reverse();
        }
        let method = self.one_of(&[InterpolationMethod::Linear, InterpolationMethod::Nearest]);
        Some(Expression::Lookup { table: Box::new(table), at, method })
    }

    /// A comparison of a field, whose values are the same to the last digit on both sides.
    fn condition(&mut self, schema: &dyn Schema, names: &[String]) -> Expression {
        let function = self.one_of(&[
            BinaryFunction::Equal,
            BinaryFunction::NotEqual,
            BinaryFunction::Less,
            BinaryFunction::LessOrEqual,
            BinaryFunction::Greater,
            BinaryFunction::GreaterOrEqual,
        ]);
        let left = Box::new(self.leaf(schema, names).0);
        let right = if self.chance(60) {
            Expression::Number { value: self.number(), imaginary: None }
        } else {
            self.leaf(schema, names).0
        };
        Expression::Binary { function, left, right: Box::new(right) }
    }

    fn selector(&mut self, coordinate: &Coordinate, nearest: bool) -> Option<Selector> {
        let mut label = || {
            let own = coordinate.label(self.random.usize(0..coordinate.len().max(1)))?;
            match own {
                Label::Number(number) if nearest => Some(Label::Number(number + self.number() / 2.0)),
                own => Some(own),
            }
        };
        let labels: Vec<Label> = [label()?, label()?, label()?].into();
        let many = || -> Coordinate {
            let numbers: Option<Vec<f64>> =
                labels.iter().map(|l| if let Label::Number(n) = l { Some(*n) } else { None }).collect();
            match numbers {
                Some(numbers) => Coordinate::Numbers(numbers),
                None => {
                    Coordinate::Text(labels.iter().map(|l| l.to_string().trim_matches('`').into()).collect())
                }
            }
        };
        Some(match self.random.u32(0..3) {
            0 => Selector::Value(labels[0].clone()),
            1 => Selector::Values(many()),
            _ if nearest => return None,
            _ => {
                let mut bound = || self.chance(70).then(|| self.number());
                Selector::Slice { start: bound(), stop: bound(), step: self.chance(30).then_some(2) }
            }
        })
    }

    fn indexer(&mut self, extent: usize) -> Option<Indexer> {
        let length = i64::try_from(extent).ok()?;
        let kind = self.random.u32(0..3);
        if kind < 2 && length == 0 {
            return None;
        }
        Some(match kind {
            0 => Indexer::Index(self.random.i64(-length..length)),
            1 => Indexer::Indices(
                (0..self.random.usize(0..5)).map(|_| self.random.i64(-length..length)).collect(),
            ),
            _ => {
                let mut bound = || self.chance(70).then(|| self.random.i64(-length - 2..=length + 2));
                let (start, stop) = (bound(), bound());
                let step = self.chance(60).then(|| self.one_of(&[1, 2, 3, -1, -2]));
                Indexer::Slice { start, stop, step }
            }
        })
    }

    fn places(&mut self, schema: &dyn Schema, names: &[String], dimension: &Arc<str>) -> Places {
        match self.random.u32(0..5) {
            0 => Places::Value(self.number()),
            1 => {
                let (expression, inferred) = self.leaf(schema, names);
                if inferred.labels().axis(dimension).is_some_and(|axis| inferred.shape()[axis] > 0) {
                    let expression = Box::new(expression);
                    return Places::CoordinateOf { expression, dimension: dimension.clone() };
                }
                Places::Value(self.number())
            }
            _ => {
                let count = self.random.usize(1..6);
                Places::Values(
                    (0..count).map(|_| self.number() + f64::from(self.random.u8(0..2)) * 0.1).collect(),
                )
            }
        }
    }
}
