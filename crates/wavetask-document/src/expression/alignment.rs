//! Alignment: which labels two arrays have in common.

use std::collections::HashMap;
use std::sync::Arc;

use super::labels::key;
use super::selection::Taken;
use super::{Coordinate, Dimension, ExpressionError, Label, Labels};

/// Whether coordinates that differ are joined or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// The labels that both have remain, in the order of the first.
    Inner,
    /// They must be equal.
    Exact,
}

/// What is taken of two arrays so that dimensions of the same name have the same labels.
pub(super) fn align(
    operation: &'static str,
    left: &Labels,
    right: &Labels,
    join: Join,
) -> Result<(Vec<Taken>, Vec<Taken>), ExpressionError> {
    let mut of_left = vec![Taken::All; left.dimensions.len()];
    let mut of_right = vec![Taken::All; right.dimensions.len()];
    for (axis, dimension) in left.dimensions.iter().enumerate() {
        let Some(other) = right.axis(&dimension.name) else { continue };
        let (a, b) = (&dimension.coordinate, &right.dimensions[other].coordinate);
        if a == b || (a.is_empty() && b.is_empty()) {
            continue;
        }
        let refuse = |what: &str| {
            Err(ExpressionError::invalid(operation, format!("along {}: {what}", dimension.name)))
        };
        if join == Join::Exact {
            return refuse("the coordinates must be equal");
        }
        if a.has_duplicates() || b.has_duplicates() {
            return refuse("coordinates that differ and repeat a label cannot be joined");
        }
        let Some((places, others)) = common(a, b) else {
            return refuse("numbers and texts have no labels in common");
        };
        of_left[axis] = Taken::of_places(places, a.len());
        of_right[other] = Taken::of_places(others, b.len());
    }
    Ok((of_left, of_right))
}

/// The places in both of the labels that both have, in the order of the first.
fn common(a: &Coordinate, b: &Coordinate) -> Option<(Vec<usize>, Vec<usize>)> {
    fn join<K: std::hash::Hash + Eq>(
        a: impl Iterator<Item = K>,
        b: impl Iterator<Item = K>,
    ) -> (Vec<usize>, Vec<usize>) {
        let places: HashMap<K, usize> = b.enumerate().map(|(place, label)| (label, place)).collect();
        a.enumerate().filter_map(|(place, label)| Some((place, *places.get(&label)?))).unzip()
    }
    match (a, b) {
        (Coordinate::Numbers(a), Coordinate::Numbers(b)) => {
            Some(join(a.iter().map(|&label| key(label)), b.iter().map(|&label| key(label))))
        }
        (Coordinate::Text(a), Coordinate::Text(b)) => Some(join(a.iter(), b.iter())),
        _ if a.is_empty() || b.is_empty() => Some((Vec::new(), Vec::new())),
        _ => None,
    }
}

/// The labels of a result of two aligned arrays: the dimensions of the first, then those that only the second has. Of
/// labels that are left of selections those remain on which both agree and that no dimension has.
pub(super) fn merge(left: &Labels, right: &Labels) -> Labels {
    let mut dimensions: Vec<Dimension> = left.dimensions.clone();
    dimensions.extend(right.dimensions.iter().filter(|other| left.axis(&other.name).is_none()).cloned());
    let mut scalars = left.scalars.clone();
    for (name, label) in &right.scalars {
        if left.scalars.get(name).is_some_and(|other| !same(other, label)) {
            scalars.remove(name);
        } else {
            scalars.insert(name.clone(), label.clone());
        }
    }
    scalars.retain(|name, _| !dimensions.iter().any(|dimension| dimension.name == *name));
    Labels { dimensions, scalars }
}

fn same(a: &Label, b: &Label) -> bool {
    match (a, b) {
        (Label::Number(a), Label::Number(b)) => key(*a) == key(*b),
        (Label::Text(a), Label::Text(b)) => Arc::ptr_eq(a, b) || a == b,
        _ => false,
    }
}

/// The labels of what is taken of an array.
pub(super) fn taken(labels: &Labels, taken: &[Taken]) -> Labels {
    let mut result = Labels { dimensions: Vec::new(), scalars: labels.scalars.clone() };
    for (dimension, taken) in labels.dimensions.iter().zip(taken) {
        match taken {
            Taken::All => result.dimensions.push(dimension.clone()),
            Taken::One(place) => {
                if let Some(label) = dimension.coordinate.label(*place) {
                    result.scalars.insert(dimension.name.clone(), label);
                }
            }
            Taken::Places(places) => result.dimensions.push(Dimension {
                name: dimension.name.clone(),
                coordinate: Arc::new(dimension.coordinate.take(places.iter().copied())),
            }),
        }
    }
    result
}
