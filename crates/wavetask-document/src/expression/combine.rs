//! Inference of what combines elements: functions of one and of two, reductions, choices, and arrays beside one
//! another.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alignment::{Join, align, merge};
use super::infer::{Context, Inferred, Typed, axes_of};
use super::mesh;
use super::{
    BinaryFunction, Coordinate, DataType, Dimension, ExpressionError, Label, Labels, Reduction, UnaryFunction,
};

impl Context<'_> {
    pub(super) fn binary(
        &mut self,
        function: BinaryFunction,
        left: Inferred,
        right: Inferred,
    ) -> Result<Inferred, ExpressionError> {
        let mesh = mesh::common(&left, &right)?;
        let widest = left.data_type.max(right.data_type);
        let data_type = if function.is_comparison() {
            let ordered = !matches!(function, BinaryFunction::Equal | BinaryFunction::NotEqual);
            if ordered && widest == DataType::Complex {
                return Err(ExpressionError::invalid("binary", "complex numbers have no order"));
            }
            DataType::Boolean
        } else if widest == DataType::Boolean {
            let what = "arithmetic of two conditions; use `where`";
            return Err(ExpressionError::invalid("binary", what));
        } else {
            widest.max(DataType::Float)
        };
        let (left, right) = self.joined("binary", left, right, Join::Inner)?;
        let labels = merge(&left.labels, &right.labels);
        let (left, right) = (Box::new(left), Box::new(right));
        Ok(Inferred { labels, data_type, mesh, node: Typed::Binary { function, left, right } })
    }

    /// Both with equal coordinates along dimensions that both have.
    fn joined(
        &mut self,
        operation: &'static str,
        left: Inferred,
        right: Inferred,
        join: Join,
    ) -> Result<(Inferred, Inferred), ExpressionError> {
        let (of_left, of_right) = align(operation, &left.labels, &right.labels, join)?;
        Ok((left.take(self, of_left)?, right.take(self, of_right)?))
    }

    pub(super) fn choose(
        &mut self,
        of: Inferred,
        condition: Inferred,
        otherwise: Option<Inferred>,
    ) -> Result<Inferred, ExpressionError> {
        for operand in [Some(&of), Some(&condition), otherwise.as_ref()].into_iter().flatten() {
            mesh::refuse("where", operand)?;
        }
        if condition.data_type != DataType::Boolean {
            return Err(ExpressionError::invalid("where", "the condition is not a comparison"));
        }
        let join = if otherwise.is_some() { Join::Exact } else { Join::Inner };
        let (of, condition) = self.joined("where", of, condition, join)?;
        let mut labels = merge(&of.labels, &condition.labels);
        let mut data_type = of.data_type;
        let otherwise = match otherwise {
            Some(otherwise) => {
                align("where", &labels, &otherwise.labels, Join::Exact)?;
                labels = merge(&labels, &otherwise.labels);
                data_type = data_type.max(otherwise.data_type);
                Some(Box::new(otherwise))
            }
            None => {
                if data_type == DataType::Boolean {
                    let what = "a condition has no NaN for what is left out; say what it is otherwise";
                    return Err(ExpressionError::invalid("where", what));
                }
                data_type = data_type.max(DataType::Float);
                None
            }
        };
        let (of, condition) = (Box::new(of), Box::new(condition));
        Ok(Inferred { labels, data_type, mesh: None, node: Typed::Where { of, condition, otherwise } })
    }

    pub(super) fn concat(
        &mut self,
        parts: Vec<Inferred>,
        dimension: &Arc<str>,
        coordinate: Option<&Coordinate>,
    ) -> Result<Inferred, ExpressionError> {
        let refuse = |what: String| Err(ExpressionError::invalid("concat", what));
        let Some(first) = parts.first() else { return refuse("there is no part".into()) };
        let labels = first.labels.clone();
        let coordinate = match coordinate {
            Some(coordinate) if coordinate.len() == parts.len() => coordinate.clone(),
            Some(coordinate) => {
                return refuse(format!("{} labels for {} parts", coordinate.len(), parts.len()));
            }
            None => selected_at(&parts, dimension)?,
        };
        let mut scalars: BTreeMap<Arc<str>, Label> = labels.scalars.clone();
        let mut data_type = first.data_type;
        let mut aligned = Vec::with_capacity(parts.len());
        for part in parts {
            mesh::refuse("concat", &part)?;
            if part.labels.axis(dimension).is_some() {
                return refuse(format!("{dimension} is a dimension of a part"));
            }
            let names: Vec<Arc<str>> =
                labels.dimensions.iter().map(|dimension| dimension.name.clone()).collect();
            let axes = axes_of("concat", &part.labels, &names)?;
            if axes.len() != part.labels.dimensions.len() {
                return refuse("the parts have different dimensions".into());
            }
            align("concat", &labels, &part.labels, Join::Exact)?;
            scalars.retain(|name, label| part.labels.scalars.get(name) == Some(label));
            data_type = data_type.max(part.data_type);
            if (data_type == DataType::Boolean) != (part.data_type == DataType::Boolean) {
                return refuse("conditions and numbers beside one another".into());
            }
            aligned.push(part.transposed(axes));
        }
        scalars.remove(dimension);
        self.hold(coordinate.len())?;
        let mut dimensions = vec![Dimension::new(dimension.clone(), coordinate)];
        dimensions.extend(labels.dimensions);
        let labels = Labels { scalars, ..Labels::new("concat", dimensions)? };
        Ok(Inferred { labels, data_type, mesh: None, node: Typed::Concat { parts: aligned } })
    }
}

/// A function of each element.
pub(super) fn unary(function: UnaryFunction, of: Inferred) -> Result<Inferred, ExpressionError> {
    if of.data_type == DataType::Boolean {
        return Err(ExpressionError::invalid("unary", "a function of a condition; use `where`"));
    }
    let data_type = match (function, of.data_type) {
        (UnaryFunction::Negative | UnaryFunction::Conjugate, data_type) => data_type,
        (UnaryFunction::Angle, _) | (_, DataType::Complex) => DataType::Float,
        (_, data_type) => data_type,
    };
    let (labels, mesh) = (of.labels.clone(), of.mesh.clone());
    Ok(Inferred { labels, data_type, mesh, node: Typed::Unary { function, of: Box::new(of) } })
}

/// One number of all along some dimensions.
pub(super) fn reduce(
    function: Reduction,
    of: Inferred,
    dimensions: Option<&[Arc<str>]>,
    skip_nan: bool,
) -> Result<Inferred, ExpressionError> {
    mesh::refuse("reduce", &of)?;
    let refuse = |what: &str| Err(ExpressionError::invalid("reduce", what));
    let mut axes = match dimensions {
        Some(names) => axes_of("reduce", &of.labels, names)?,
        None => (0..of.labels.dimensions.len()).collect(),
    };
    axes.sort_unstable();
    let extreme = matches!(function, Reduction::Max | Reduction::Min | Reduction::Argmax);
    if extreme {
        if of.data_type == DataType::Complex {
            return refuse("complex numbers have no order");
        }
        if axes.iter().any(|&axis| of.labels.dimensions[axis].coordinate.is_empty()) {
            return refuse("there is no largest or smallest of nothing");
        }
    }
    if function == Reduction::Argmax && axes.len() != 1 {
        return refuse("argmax goes along one dimension");
    }
    let data_type = match (function, of.data_type) {
        (Reduction::Argmax, _) | (Reduction::Sum, DataType::Boolean) => DataType::Integer,
        (Reduction::Mean, data_type) => data_type.max(DataType::Float),
        (_, data_type) => data_type,
    };
    let mut labels = of.labels.clone();
    for &axis in axes.iter().rev() {
        labels.dimensions.remove(axis);
    }
    let node = Typed::Reduce { function, of: Box::new(of), axes, skip_nan };
    Ok(Inferred { labels, data_type, mesh: None, node })
}

/// The labels at which each part was selected along a dimension.
fn selected_at(parts: &[Inferred], dimension: &str) -> Result<Coordinate, ExpressionError> {
    let (mut numbers, mut texts) = (Vec::new(), Vec::new());
    for part in parts {
        match part.labels.scalars.get(dimension) {
            Some(Label::Number(number)) => numbers.push(*number),
            Some(Label::Text(text)) => texts.push(text.clone()),
            None => {
                let what =
                    format!("no label for each part along {dimension}, at which it was not selected either");
                return Err(ExpressionError::invalid("concat", what));
            }
        }
    }
    match (numbers.len(), texts.len()) {
        (_, 0) => Ok(Coordinate::Numbers(numbers)),
        (0, _) => Ok(Coordinate::Text(texts)),
        _ => Err(ExpressionError::invalid("concat", format!("numbers and texts along {dimension}"))),
    }
}
