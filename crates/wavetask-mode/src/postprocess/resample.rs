//! Modes at many frequencies from those at few.
//!
//! Every quantity at a new frequency is a sum of the known ones with real weights: two of them for straight lines, all of
//! them for polynomials and splines. The weights depend on frequencies alone, so they are computed once.

use num_complex::Complex64;
use rayon::prelude::*;

use crate::document::Method;
use crate::fields::{Derivatives, FrequencyModes, Mode, ModeFields};

/// Interpolates.
pub(crate) fn resample(known: &[FrequencyModes], wanted: &[f64], method: Method) -> Vec<FrequencyModes> {
    let places: Vec<f64> = known.iter().map(|at| at.frequency).collect();
    wanted
        .par_iter()
        .map(|&frequency| {
            let weights = weights(&places, frequency, method);
            combine(known, &weights, frequency)
        })
        .collect()
}

fn combine(known: &[FrequencyModes], weights: &[f64], frequency: f64) -> FrequencyModes {
    let used: Vec<(&FrequencyModes, f64)> =
        known.iter().zip(weights.iter().copied()).filter(|(_, weight)| *weight != 0.0).collect();
    let closest = known
        .iter()
        .min_by(|a, b| (a.frequency - frequency).abs().total_cmp(&(b.frequency - frequency).abs()))
        .unwrap_or(&known[0]);
    let modes = (0..known[0].modes.len())
        .map(|number| {
            let index = used.iter().map(|(at, weight)| at.modes[number].index * weight).sum();
            let components = std::array::from_fn(|component| {
                let length = known[0].modes[number].fields.components[component].len();
                let mut sum = vec![Complex64::default(); length];
                for (at, weight) in &used {
                    let values = &at.modes[number].fields.components[component];
                    for (sum, value) in sum.iter_mut().zip(values) {
                        *sum += value * weight;
                    }
                }
                sum
            });
            Mode { index, fields: ModeFields { components } }
        })
        .collect::<Vec<_>>();
    let derivatives = known[0].derivatives.as_ref().map(|_| {
        (0..modes.len())
            .map(|number| {
                let sum = |value: fn(&Derivatives) -> f64| {
                    used.iter()
                        .filter_map(|(at, weight)| {
                            at.derivatives.as_ref().map(|all| value(&all[number]) * weight)
                        })
                        .sum()
                };
                Derivatives {
                    group_index: sum(|derivatives| derivatives.group_index),
                    dispersion: sum(|derivatives| derivatives.dispersion),
                }
            })
            .collect()
    });
    FrequencyModes { frequency, modes, character: closest.character, derivatives }
}

/// The weight of each known place in the value at another one.
fn weights(places: &[f64], place: f64, method: Method) -> Vec<f64> {
    let mut weights = vec![0.0; places.len()];
    if let Some(exact) = places.iter().position(|&known| known == place) {
        weights[exact] = 1.0;
        return weights;
    }
    match method {
        Method::Linear => {
            let before = segment(places, place);
            let share = (place - places[before]) / (places[before + 1] - places[before]);
            weights[before] = 1.0 - share;
            weights[before + 1] = share;
        }
        Method::Polynomial => {
            for (index, weight) in weights.iter_mut().enumerate() {
                *weight = places
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| *other != index)
                    .map(|(_, other)| (place - other) / (places[index] - other))
                    .product();
            }
        }
        Method::Cubic => return cubic_weights(places, place),
    }
    weights
}

/// The segment that a place lies in, or the outermost one on its side.
fn segment(places: &[f64], place: f64) -> usize {
    places.partition_point(|&known| known <= place).clamp(1, places.len() - 1) - 1
}

/// Weights of the cubic spline whose third derivative does not jump at the second and the last but one place.
fn cubic_weights(places: &[f64], place: f64) -> Vec<f64> {
    let count = places.len();
    // Scaled, so that the equations are well conditioned whatever the unit.
    let length = (places[count - 1] - places[0]) / (count - 1) as f64;
    let x: Vec<f64> = places.iter().map(|known| (known - places[0]) / length).collect();
    let steps: Vec<f64> = x.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // Second derivatives m of the spline of values y: matrix · m = right · y.
    let mut matrix = vec![vec![0.0; count]; count];
    let mut right = vec![vec![0.0; count]; count];
    matrix[0][..3].copy_from_slice(&[steps[1], -(steps[0] + steps[1]), steps[0]]);
    let (a, b) = (steps[count - 3], steps[count - 2]);
    matrix[count - 1][count - 3..].copy_from_slice(&[b, -(a + b), a]);
    for row in 1..count - 1 {
        let (before, after) = (steps[row - 1], steps[row]);
        matrix[row][row - 1..=row + 1].copy_from_slice(&[before, 2.0 * (before + after), after]);
        right[row][row - 1] = 6.0 / before;
        right[row][row] = -6.0 / before - 6.0 / after;
        right[row][row + 1] = 6.0 / after;
    }
    let second = solve(matrix, right);
    let t = (place - places[0]) / length;
    let left = segment(&x, t);
    let step = steps[left];
    let (to_end, from_start) = ((x[left + 1] - t) / step, (t - x[left]) / step);
    let curve = |share: f64| (share.powi(3) - share) * step * step / 6.0;
    (0..count)
        .map(|index| {
            let straight = match index {
                index if index == left => to_end,
                index if index == left + 1 => from_start,
                _ => 0.0,
            };
            straight + curve(to_end) * second[left][index] + curve(from_start) * second[left + 1][index]
        })
        .collect()
}

/// Solves for several right-hand sides by elimination with pivoting.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    let count = matrix.len();
    for column in 0..count {
        let pivot = (column..count)
            .max_by(|&a, &b| matrix[a][column].abs().total_cmp(&matrix[b][column].abs()))
            .unwrap_or(column);
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        let (pivot_row, pivot_right) = (matrix[column].clone(), right[column].clone());
        for row in (0..count).filter(|&row| row != column) {
            let factor = matrix[row][column] / pivot_row[column];
            for (value, pivot) in matrix[row].iter_mut().zip(&pivot_row) {
                *value -= factor * pivot;
            }
            for (value, pivot) in right[row].iter_mut().zip(&pivot_right) {
                *value -= factor * pivot;
            }
        }
    }
    for (row, values) in right.iter_mut().enumerate() {
        let pivot = matrix[row][row];
        values.iter_mut().for_each(|value| *value /= pivot);
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_is_exact_for_what_it_stands_for() {
        let places = [1.0e14, 1.2e14, 1.3e14, 1.7e14, 2.0e14];
        let line = |x: f64| 3.0 - x / 1e14;
        let cubic = |x: f64| (x / 1e14).powi(3) - 2.0 * (x / 1e14).powi(2) + 0.5;
        let quartic = |x: f64| cubic(x) + 0.3 * (x / 1e14).powi(4);
        for place in [0.95e14, 1.1e14, 1.3e14, 1.55e14, 1.99e14] {
            let value = |method, of: &dyn Fn(f64) -> f64| -> f64 {
                weights(&places, place, method).iter().zip(places).map(|(weight, x)| weight * of(x)).sum()
            };
            assert!((value(Method::Linear, &line) - line(place)).abs() < 1e-12);
            assert!((value(Method::Cubic, &cubic) - cubic(place)).abs() < 1e-11);
            assert!((value(Method::Polynomial, &quartic) - quartic(place)).abs() < 1e-11);
        }
    }
}
