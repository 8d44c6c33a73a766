//! The order of modes at each frequency by itself.

use crate::document::{ModeTask, Polarization, Quantity};
use crate::fields::FrequencyModes;
use crate::layout::Layout;
use crate::projection::CornerSurface;

use super::metrics;

/// Puts modes of the wanted polarization first, otherwise as they are.
pub(crate) fn prefer_polarization(
    task: &ModeTask,
    layout: &Layout,
    corners: &CornerSurface,
    modes: &mut [FrequencyModes],
) {
    let Some(polarization) = task.spec.polarization else { return };
    for at in modes {
        let fractions = metrics::values(task, layout, corners, Quantity::TeFraction, at);
        let group = |index: usize| {
            let fraction = fractions[index];
            let first = match polarization {
                Polarization::Te => fraction >= 0.5,
                Polarization::Tm => fraction <= 0.5,
            };
            if fraction.is_nan() { 2 } else { usize::from(!first) }
        };
        let mut order: Vec<usize> = (0..fractions.len()).collect();
        order.sort_by_key(|&index| group(index));
        rearrange(at, &order);
    }
}

/// Sorts by what `sort_spec` says: modes that pass the filter first, and within both groups by the key.
pub(crate) fn sort(task: &ModeTask, layout: &Layout, corners: &CornerSurface, modes: &mut [FrequencyModes]) {
    if task.spec.polarization.is_some() {
        return;
    }
    let sort = &task.spec.sort;
    for at in modes {
        let passes: Vec<bool> = match &sort.filter {
            None => vec![true; at.modes.len()],
            Some(filter) => metrics::values(task, layout, corners, filter.key, at)
                .into_iter()
                .map(|value| filter.passes(value))
                .collect(),
        };
        let mut order: Vec<usize> = (0..at.modes.len()).collect();
        if let Some(key) = sort.key {
            let mut values = metrics::values(task, layout, corners, key, at);
            if let Some(reference) = sort.reference {
                values.iter_mut().for_each(|value| *value = (*value - reference).abs());
            }
            order.sort_by(|&a, &b| ascending(values[a], values[b]));
            if sort.descending {
                order.reverse();
            }
        }
        order.sort_by_key(|&index| !passes[index]);
        rearrange(at, &order);
    }
}

/// Ascending, what is no number last.
fn ascending(a: f64, b: f64) -> std::cmp::Ordering {
    a.is_nan().cmp(&b.is_nan()).then(a.total_cmp(&b))
}

/// Puts the modes into the order of these indices.
pub(crate) fn rearrange(at: &mut FrequencyModes, order: &[usize]) {
    let mut modes: Vec<_> = std::mem::take(&mut at.modes).into_iter().map(Some).collect();
    at.modes = order.iter().filter_map(|&index| modes[index].take()).collect();
}
