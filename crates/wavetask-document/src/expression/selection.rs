//! Selections: which places along a dimension a `sel` or an `isel` takes.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::labels::key;
use super::{Coordinate, ExpressionError, Indexer, Label, SelectionMethod};

/// Which places of a dimension are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// All, in their order.
    All,
    /// One; the dimension disappears.
    One(usize),
    /// These, in this order.
    Places(Arc<[usize]>),
}

impl Taken {
    /// How many places of an extent are taken; `None` if the dimension disappears.
    pub(super) fn count(&self, extent: usize) -> Option<usize> {
        match self {
            Self::All => Some(extent),
            Self::One(_) => None,
            Self::Places(places) => Some(places.len()),
        }
    }

    /// The place that is taken at a place of the result.
    pub(super) fn place(&self, place: usize) -> usize {
        match self {
            Self::All => place,
            Self::One(only) => *only,
            Self::Places(places) => places[place],
        }
    }

    /// What is taken if `then` is taken of what is taken here, where this does not drop the dimension.
    pub(super) fn then(&self, then: &Self) -> Self {
        match (self, then) {
            (_, Self::All) => self.clone(),
            (Self::All, _) => then.clone(),
            (_, Self::One(place)) => Self::One(self.place(*place)),
            (_, Self::Places(places)) => {
                Self::Places(places.iter().map(|&place| self.place(place)).collect())
            }
        }
    }

    /// These places, or all if they are the whole of this extent in its order.
    pub(super) fn of_places(places: Vec<usize>, extent: usize) -> Self {
        let whole = places.len() == extent && places.iter().enumerate().all(|(at, &place)| at == place);
        if whole { Self::All } else { Self::Places(places.into()) }
    }
}

/// Selection by labels along one dimension.
#[derive(Debug)]
pub(super) struct ByLabel<'a> {
    /// The dimension's name.
    pub(super) name: &'a str,
    /// Its labels.
    pub(super) coordinate: &'a Coordinate,
    /// How labels are found that are not among them.
    pub(super) method: Option<SelectionMethod>,
}

impl ByLabel<'_> {
    fn refuse<T>(&self, what: impl std::fmt::Display) -> Result<T, ExpressionError> {
        Err(ExpressionError::invalid("sel", format!("along {}: {what}", self.name)))
    }

    /// The place of one label.
    pub(super) fn value(&self, label: &Label) -> Result<usize, ExpressionError> {
        let places = match label {
            Label::Number(number) => self.values(&Coordinate::Numbers(vec![*number])),
            Label::Text(text) => self.values(&Coordinate::Text(vec![text.clone()])),
        };
        Ok(places?[0])
    }

    /// The places of these labels.
    pub(super) fn values(&self, labels: &Coordinate) -> Result<Vec<usize>, ExpressionError> {
        if labels.is_empty() {
            return Ok(Vec::new());
        }
        if self.coordinate.has_duplicates() {
            return self.refuse("the coordinates repeat a label, so that a selection by label is not unique");
        }
        match (self.coordinate, labels) {
            (Coordinate::Numbers(numbers), Coordinate::Numbers(labels)) => match self.method {
                None => {
                    let places = places_of(numbers.iter().map(|&number| key(number)));
                    labels
                        .iter()
                        .map(|&label| match places.get(&key(label)) {
                            Some(&place) => Ok(place),
                            None => self.refuse(format_args!("no label {label}")),
                        })
                        .collect()
                }
                Some(SelectionMethod::Nearest) => {
                    let Some(order) = Order::of(numbers) else {
                        return self.refuse("`nearest` needs coordinates that are in order");
                    };
                    if numbers.is_empty() {
                        return self.refuse("there is no label");
                    }
                    Ok(labels.iter().map(|&label| nearest(numbers, order, label)).collect())
                }
            },
            (Coordinate::Text(_), _) | (_, Coordinate::Text(_)) if self.method.is_some() => {
                self.refuse("texts have no nearest")
            }
            (Coordinate::Text(texts), Coordinate::Text(labels)) => {
                let places = places_of(texts.iter());
                labels
                    .iter()
                    .map(|label| match places.get(label) {
                        Some(&place) => Ok(place),
                        None => self.refuse(format_args!("no label `{label}`")),
                    })
                    .collect()
            }
            _ => self.refuse("numbers and texts are never equal"),
        }
    }

    /// The places from one label to another, both included.
    pub(super) fn slice(
        &self,
        start: Option<f64>,
        stop: Option<f64>,
        step: Option<u64>,
    ) -> Result<Vec<usize>, ExpressionError> {
        if self.method.is_some() {
            return self.refuse("a slice has no nearest");
        }
        let step = match step.map(usize::try_from) {
            None => 1,
            Some(Ok(step)) if step > 0 => step,
            Some(_) => return self.refuse("the step of a slice is 1 or more"),
        };
        let length = self.coordinate.len();
        let range = if start.is_none() && stop.is_none() {
            0..length
        } else {
            let Some(numbers) = self.coordinate.numbers() else { return self.refuse("a slice of texts") };
            let Some(order) = Order::of(numbers) else {
                return self.refuse("a slice needs coordinates that are in order");
            };
            order.slice(numbers, start, stop)
        };
        Ok(range.step_by(step).collect())
    }
}

fn places_of<K: std::hash::Hash + Eq>(labels: impl Iterator<Item = K>) -> HashMap<K, usize> {
    labels.enumerate().map(|(place, label)| (label, place)).collect()
}

/// The order of coordinates that are in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
}

impl Order {
    fn of(numbers: &[f64]) -> Option<Self> {
        if numbers.is_sorted() {
            Some(Self::Ascending)
        } else if numbers.is_sorted_by(|a, b| a >= b) {
            Some(Self::Descending)
        } else {
            None
        }
    }

    fn slice(self, numbers: &[f64], start: Option<f64>, stop: Option<f64>) -> Range<usize> {
        let first = start.map_or(0, |start| match self {
            Self::Ascending => numbers.partition_point(|&number| number < start),
            Self::Descending => numbers.partition_point(|&number| number > start),
        });
        let end = stop.map_or(numbers.len(), |stop| match self {
            Self::Ascending => numbers.partition_point(|&number| number <= stop),
            Self::Descending => numbers.partition_point(|&number| number >= stop),
        });
        first..end.max(first)
    }
}

/// The place of the nearest label; of two that are equally near the larger.
fn nearest(numbers: &[f64], order: Order, label: f64) -> usize {
    let above = match order {
        Order::Ascending => numbers.partition_point(|&number| number < label),
        Order::Descending => numbers.partition_point(|&number| number >= label),
    };
    // The neighbours: the smaller or equal one, and the larger or equal one.
    let (smaller, larger) = match order {
        Order::Ascending if numbers.get(above) == Some(&label) => return above,
        Order::Ascending => (above.checked_sub(1), (above < numbers.len()).then_some(above)),
        Order::Descending => ((above < numbers.len()).then_some(above), above.checked_sub(1)),
    };
    match (smaller, larger) {
        (Some(smaller), Some(larger)) => {
            if label - numbers[smaller] < numbers[larger] - label {
                smaller
            } else {
                larger
            }
        }
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => 0,
    }
}

/// What an indexer takes along a dimension of this extent.
pub(super) fn by_place(name: &str, extent: usize, indexer: &Indexer) -> Result<Taken, ExpressionError> {
    let place = |index: i64| {
        let from_end = index.unsigned_abs() as usize;
        let place = if index < 0 { extent.checked_sub(from_end) } else { Some(from_end) };
        place.filter(|&place| place < extent).ok_or_else(|| {
            ExpressionError::invalid("isel", format!("along {name}: no place {index} of {extent}"))
        })
    };
    Ok(match indexer {
        Indexer::Index(index) => Taken::One(place(*index)?),
        Indexer::Indices(indices) => {
            let places = indices.iter().map(|&index| place(index)).collect::<Result<_, _>>()?;
            Taken::of_places(places, extent)
        }
        Indexer::Slice { start, stop, step } => {
            let step = step.unwrap_or(1);
            if step == 0 {
                return Err(ExpressionError::invalid(
                    "isel",
                    format!("along {name}: the step of a slice is 0"),
                ));
            }
            Taken::of_places(slice_places(extent, *start, *stop, step), extent)
        }
    })
}

/// The places of a slice as Python has it; the step is not 0.
fn slice_places(extent: usize, start: Option<i64>, stop: Option<i64>, step: i64) -> Vec<usize> {
    // An extent is that of an array in memory, so it fits; one more on either side does, too.
    let length = extent as i64;
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let bound = |bound: Option<i64>, otherwise: i64| match bound {
        None => otherwise,
        Some(bound) if bound < 0 => bound.saturating_add(length).clamp(low, high),
        Some(bound) => bound.clamp(low, high),
    };
    let (first, end) = if step > 0 {
        (bound(start, low), bound(stop, high))
    } else {
        (bound(start, high), bound(stop, low))
    };
    let mut places = Vec::new();
    let mut at = first;
    while (step > 0 && at < end) || (step < 0 && at > end) {
        // Between the bounds, so neither negative nor beyond the extent.
        places.push(at as usize);
        at = at.saturating_add(step);
    }
    places
}
