//! Following modes over frequency, so that a number means the same mode everywhere.
//!
//! From one frequency on in both directions, each mode is followed to the one at the next frequency that it overlaps
//! most with, and takes the phase that it had. Modes that overlap enough with the one of the same number stay where they
//! are, so that nothing is exchanged without a reason.

use num_complex::Complex64;

use crate::document::Track;
use crate::fields::FrequencyModes;

use super::order::rearrange;
use super::overlap::{Overlaps, TangentialFields};

/// Overlap above which modes of neighbouring frequencies are the same, relative to a mode's with itself.
const SAME: f64 = 0.9;

/// Puts the modes at each frequency into the order of those at the first one, in phase with them.
pub(crate) fn follow(
    overlaps: &Overlaps<'_>,
    track: Track,
    modes: &mut [FrequencyModes],
    warnings: &mut Vec<String>,
) {
    let start = track.start(modes.len());
    let upwards: Vec<usize> = (start..modes.len()).collect();
    let downwards: Vec<usize> = (0..=start).rev().collect();
    for path in [downwards, upwards] {
        let count = modes[start].modes.len();
        let mut previous = overlaps.tangential_of_all(&modes[start]);
        let mut order: Vec<usize> = (0..count).collect();
        let mut phases = vec![0.0; count];
        for &place in &path[1..] {
            let next = overlaps.tangential_of_all(&modes[place]);
            let (pairs, amplitudes, thresholds) = matches(overlaps, &previous, &next);
            // The neighbour's modes are numbered as they were found; those of the first frequency are what counts.
            let amplitudes: Vec<Complex64> = order.iter().map(|&index| amplitudes[index]).collect();
            order = order.iter().map(|&index| pairs[index]).collect();
            for (number, (phase, amplitude)) in phases.iter_mut().zip(&amplitudes).enumerate() {
                *phase += amplitude.arg();
                if amplitude.norm() < thresholds[number] {
                    warnings.push(format!(
                        "mode {number} appears to change between {:.6e} Hz and its neighbour in frequency \
                         (overlap {:.2})",
                        modes[place].frequency,
                        amplitude.norm()
                    ));
                }
            }
            rearrange(&mut modes[place], &order);
            for (mode, phase) in modes[place].modes.iter_mut().zip(&phases) {
                if *phase != 0.0 {
                    mode.fields.scale(Complex64::from_polar(1.0, -phase));
                }
            }
            previous = next;
        }
    }
}

/// For each of `previous` its partner in `next`, their overlap, and the overlap above which they are the same.
fn matches(
    overlaps: &Overlaps<'_>,
    previous: &[TangentialFields],
    next: &[TangentialFields],
) -> (Vec<usize>, Vec<Complex64>, Vec<f64>) {
    let direction = if overlaps.task.forward { 1.0 } else { -1.0 };
    let between = |one: usize, other: usize| overlaps.overlap(&previous[one], &next[other]) * direction;
    let thresholds: Vec<f64> = next
        .iter()
        .map(
            |fields| {
                if overlaps.task.conjugated { SAME } else { SAME * overlaps.overlap(fields, fields).norm() }
            },
        )
        .collect();
    let mut pairs: Vec<usize> = (0..previous.len()).collect();
    let mut amplitudes: Vec<Complex64> = pairs.iter().map(|&index| between(index, index)).collect();
    let open: Vec<usize> =
        pairs.iter().copied().filter(|&index| amplitudes[index].norm() < thresholds[index]).collect();
    if open.len() <= 1 {
        return (pairs, amplitudes, thresholds);
    }
    let table: Vec<Vec<Complex64>> =
        open.iter().map(|&one| open.iter().map(|&other| between(one, other)).collect()).collect();
    let (mut rows, mut columns) = (vec![true; open.len()], vec![true; open.len()]);
    for _ in 0..open.len() {
        let mut best: Option<(f64, usize, usize)> = None;
        for row in (0..open.len()).filter(|&row| rows[row]) {
            for column in (0..open.len()).filter(|&column| columns[column]) {
                let size = table[row][column].norm();
                if best.is_none_or(|(largest, ..)| size > largest) {
                    best = Some((size, row, column));
                }
            }
        }
        let Some((_, row, column)) = best else { break };
        (rows[row], columns[column]) = (false, false);
        pairs[open[row]] = open[column];
        amplitudes[open[row]] = table[row][column];
    }
    (pairs, amplitudes, thresholds)
}
