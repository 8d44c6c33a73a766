//! The form in which expressions travel, their digest, and what can be refused without knowing their fields.

use wavetask_protocol::Digest;

use super::error::within;
use super::{
    Coordinate, Expression, ExpressionError, ExpressionLimits, Field, Fill, Indexer, Label, Places, Selector,
};
use crate::json;

/// Domain separation and version of [`Expression::digest`]: a change of what an expression means changes this.
const DIGEST_CONTEXT: &str = "wavetask expression digest v1";

/// The version of the JSON form.
const VERSION: u32 = 1;

/// The JSON form: what an expression is, and under which rules.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Versioned<E> {
    version: u32,
    expression: E,
}

impl Expression {
    /// Reads the JSON form, within limits.
    ///
    /// # Errors
    /// `Invalid` if it is not the form of an expression or of another version, `TooLarge` beyond the limits.
    pub fn from_json(text: &str, limits: &ExpressionLimits) -> Result<Self, ExpressionError> {
        within("json_bytes", limits.json_bytes, text.len() as u64)?;
        let versioned: Versioned<Self> = serde_json::from_str(text)
            .map_err(|error| ExpressionError::invalid("expression", error.to_string()))?;
        if versioned.version != VERSION {
            let what = format!("version {} is not known here, which has {VERSION}", versioned.version);
            return Err(ExpressionError::invalid("expression", what));
        }
        versioned.expression.check(limits)?;
        Ok(versioned.expression)
    }

    /// The JSON form.
    ///
    /// # Errors
    /// `Invalid` if a literal is not a finite number, for which JSON has no word.
    pub fn to_json(&self) -> Result<String, ExpressionError> {
        self.check_literals()?;
        serde_json::to_string(&Versioned { version: VERSION, expression: self })
            .map_err(|error| ExpressionError::invalid("expression", error.to_string()))
    }

    /// The digest under which the expression's value can be kept: equal for equal expressions, however their numbers
    /// are spelled and their keys ordered. Not whether they are equal in value: `a + b` and `b + a` differ.
    ///
    /// # Errors
    /// As [`to_json`](Self::to_json).
    pub fn digest(&self) -> Result<Digest, ExpressionError> {
        let text = self.to_json()?;
        let depth = crate::Limits::default().json_depth;
        let json = json::digest(&text, depth)
            .map_err(|error| ExpressionError::invalid("expression", error.to_string()))?;
        let mut hasher = blake3::Hasher::new_derive_key(DIGEST_CONTEXT);
        hasher.update(&json);
        Ok(Digest::from_bytes(*hasher.finalize().as_bytes()))
    }

    /// Checks size and literals: everything that can be said without knowing what the fields are.
    ///
    /// # Errors
    /// `TooLarge` beyond the limits, `Invalid` for a literal that is not finite.
    pub fn check(&self, limits: &ExpressionLimits) -> Result<(), ExpressionError> {
        let (mut nodes, mut literals) = (0_u64, 0_u64);
        let mut open = vec![(self, 1_u64)];
        while let Some((node, depth)) = open.pop() {
            within("depth", limits.depth, depth)?;
            nodes += 1;
            within("nodes", limits.nodes, nodes)?;
            literals = literals.saturating_add(node.literals());
            within("literals", limits.literals, literals)?;
            open.extend(node.children().into_iter().map(|child| (child, depth + 1)));
        }
        self.check_literals()
    }

    /// The fields that the expression refers to, those whose coordinates alone it uses included, in no order.
    pub fn fields(&self) -> Vec<&Field> {
        let mut fields = Vec::new();
        let mut open = vec![self];
        while let Some(node) = open.pop() {
            if let Self::Field(field) = node {
                fields.push(field);
            }
            open.extend(node.children());
        }
        fields
    }

    /// Refuses literals for which JSON has no word.
    pub(super) fn check_literals(&self) -> Result<(), ExpressionError> {
        let mut open = vec![self];
        while let Some(node) = open.pop() {
            if !node.is_finite() {
                return Err(ExpressionError::invalid(node.name(), "a literal is not a finite number"));
            }
            open.extend(node.children());
        }
        Ok(())
    }

    /// The operation's name in the JSON form.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Number { .. } => "number",
            Self::Array { .. } => "array",
            Self::Field(_) => "field",
            Self::Sel { .. } => "sel",
            Self::Isel { .. } => "isel",
            Self::Interp { .. } => "interp",
            Self::Unary { .. } => "unary",
            Self::Binary { .. } => "binary",
            Self::Reduce { .. } => "reduce",
            Self::Where { .. } => "where",
            Self::Lookup { .. } => "lookup",
            Self::Concat { .. } => "concat",
            Self::Transpose { .. } => "transpose",
            Self::Squeeze { .. } => "squeeze",
        }
    }

    /// The expressions directly within this one.
    fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number { .. } | Self::Array { .. } | Self::Field(_) => Vec::new(),
            Self::Isel { of, .. }
            | Self::Unary { of, .. }
            | Self::Reduce { of, .. }
            | Self::Transpose { of, .. }
            | Self::Squeeze { of, .. } => vec![of],
            Self::Sel { of, selectors, .. } => {
                let others = selectors.iter().filter_map(|(_, selector)| match selector {
                    Selector::CoordinateOf { expression, .. } => Some(&**expression),
                    _ => None,
                });
                std::iter::once(&**of).chain(others).collect()
            }
            Self::Interp { of, places, .. } => {
                let others = places.iter().filter_map(|(_, places)| match places {
                    Places::CoordinateOf { expression, .. } => Some(&**expression),
                    _ => None,
                });
                std::iter::once(&**of).chain(others).collect()
            }
            Self::Binary { left, right, .. } => vec![left, right],
            Self::Where { of, condition, otherwise } => [Some(of), Some(condition), otherwise.as_ref()]
                .into_iter()
                .flatten()
                .map(|child| &**child)
                .collect(),
            Self::Lookup { table, at, .. } => {
                std::iter::once(&**table).chain(at.iter().map(|(_, at)| at)).collect()
            }
            Self::Concat { parts, .. } => parts.iter().collect(),
        }
    }

    /// The expressions directly within this one, to be changed.
    pub(super) fn children_mut(&mut self) -> Vec<&mut Self> {
        match self {
            Self::Number { .. } | Self::Array { .. } | Self::Field(_) => Vec::new(),
            Self::Isel { of, .. }
            | Self::Unary { of, .. }
            | Self::Reduce { of, .. }
            | Self::Transpose { of, .. }
            | Self::Squeeze { of, .. } => vec![of],
            Self::Sel { of, selectors, .. } => {
                let others = selectors.iter_mut().filter_map(|(_, selector)| match selector {
                    Selector::CoordinateOf { expression, .. } => Some(&mut **expression),
                    _ => None,
                });
                std::iter::once(&mut **of).chain(others).collect()
            }
            Self::Interp { of, places, .. } => {
                let others = places.iter_mut().filter_map(|(_, places)| match places {
                    Places::CoordinateOf { expression, .. } => Some(&mut **expression),
                    _ => None,
                });
                std::iter::once(&mut **of).chain(others).collect()
            }
            Self::Binary { left, right, .. } => vec![left, right],
            Self::Where { of, condition, otherwise } => [Some(of), Some(condition), otherwise.as_mut()]
                .into_iter()
                .flatten()
                .map(|child| &mut **child)
                .collect(),
            Self::Lookup { table, at, .. } => {
                std::iter::once(&mut **table).chain(at.iter_mut().map(|(_, at)| at)).collect()
            }
            Self::Concat { parts, .. } => parts.iter_mut().collect(),
        }
    }

    /// Operations, fields and literals in all, and labels, indices and values written out in all.
    pub(super) fn size(&self) -> (u64, u64) {
        let (mut nodes, mut literals) = (0, 0_u64);
        let mut open = vec![self];
        while let Some(node) = open.pop() {
            nodes += 1;
            literals = literals.saturating_add(node.literals());
            open.extend(node.children());
        }
        (nodes, literals)
    }

    /// Labels, indices and values written out in this node.
    fn literals(&self) -> u64 {
        let count = match self {
            Self::Array { dimensions, values, imaginary } => {
                dimensions.iter().map(|dimension| dimension.coordinate.len()).sum::<usize>()
                    + values.len()
                    + imaginary.as_ref().map_or(0, Vec::len)
            }
            Self::Field(field) => field.path.len(),
            Self::Sel { selectors, .. } => selectors
                .iter()
                .map(|(_, selector)| if let Selector::Values(values) = selector { values.len() } else { 1 })
                .sum(),
            Self::Isel { indexers, .. } => indexers
                .iter()
                .map(|(_, indexer)| if let Indexer::Indices(indices) = indexer { indices.len() } else { 1 })
                .sum(),
            Self::Interp { places, .. } => places
                .iter()
                .map(|(_, places)| if let Places::Values(values) = places { values.len() } else { 1 })
                .sum(),
            Self::Concat { coordinate, .. } => coordinate.as_ref().map_or(0, Coordinate::len),
            Self::Reduce { dimensions, .. } | Self::Squeeze { dimensions, .. } => {
                dimensions.as_ref().map_or(0, Vec::len)
            }
            Self::Transpose { dimensions, .. } => dimensions.len(),
            Self::Lookup { at, .. } => at.len(),
            Self::Number { .. } | Self::Unary { .. } | Self::Binary { .. } | Self::Where { .. } => 1,
        };
        count as u64
    }

    /// Whether every number written out in this node is finite.
    fn is_finite(&self) -> bool {
        let all = |numbers: &[f64]| numbers.iter().all(|number| number.is_finite());
        match self {
            Self::Number { value, imaginary } => value.is_finite() && imaginary.is_none_or(f64::is_finite),
            Self::Array { dimensions, values, imaginary } => {
                dimensions.iter().all(|dimension| dimension.coordinate.is_finite())
                    && all(values)
                    && imaginary.as_ref().is_none_or(|values| all(values))
            }
            Self::Sel { selectors, .. } => selectors.iter().all(|(_, selector)| match selector {
                Selector::Value(Label::Number(number)) => number.is_finite(),
                Selector::Values(values) => values.is_finite(),
                Selector::Slice { start, stop, .. } => {
                    start.is_none_or(f64::is_finite) && stop.is_none_or(f64::is_finite)
                }
                Selector::Value(Label::Text(_)) | Selector::CoordinateOf { .. } => true,
            }),
            Self::Interp { places, fill, .. } => {
                let places = places.iter().all(|(_, places)| match places {
                    Places::Value(value) => value.is_finite(),
                    Places::Values(values) => all(values),
                    Places::CoordinateOf { .. } => true,
                });
                places && !matches!(fill, Some(Fill::Value(value)) if !value.is_finite())
            }
            Self::Concat { coordinate, .. } => coordinate.as_ref().is_none_or(Coordinate::is_finite),
            _ => true,
        }
    }
}
