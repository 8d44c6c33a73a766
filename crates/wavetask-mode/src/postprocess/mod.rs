//! From the eigensolver's modes to what the client expects of them: interpolated to corners, normalised, in order,
//! followed over frequency, with group index.
//!
//! The steps and their order are the client's, because each sees what the one before left: sorting by area needs
//! interpolated fields, following modes needs them normalised, and derivatives in frequency need modes that were
//! followed.

mod group_index;
mod metrics;
mod order;
mod overlap;
mod resample;
mod track;

use num_complex::Complex64;
use rayon::prelude::*;

use crate::document::{Keep, ModeTask};
use crate::fields::{FrequencyModes, Mode};
use crate::layout::{Layout, Span};
use crate::projection::{CornerSurface, OverlapSurface, Storage, colocation, stored_coordinates};

use overlap::Overlaps;
pub(crate) use overlap::{Correction, LIGHT_SPEED};

/// A mode's field intensity at the plane's ends, relative to that of the whole plane, above which it does not belong to
/// the waveguide alone.
const DECAY: f64 = 1e-2;

/// Modes as the result has them.
#[derive(Debug)]
pub(crate) struct FinishedModes {
    pub(crate) storage: Storage,
    pub(crate) frequencies: Vec<FrequencyModes>,
    /// What the user should know.
    pub(crate) warnings: Vec<String>,
}

/// Why no mode is left.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter of `sort_spec` removes all modes: relax it, or change `keep_modes`")]
pub(crate) struct NothingKept;

/// The frequencies at which modes are computed: those asked for, or the few that are interpolated between, with a
/// neighbour on each side if derivatives are wanted.
pub(crate) fn sampled_frequencies(task: &ModeTask) -> Vec<f64> {
    let base = base_frequencies(task);
    match task.spec.group_index_step {
        None => base,
        Some(step) => base.iter().flat_map(|f| [f * (1.0 - step), *f, f * (1.0 + step)]).collect(),
    }
}

/// The frequencies at which modes are known before interpolation.
fn base_frequencies(task: &ModeTask) -> Vec<f64> {
    match &task.spec.sampling {
        Some(sampling) if is_resampled(task) => sampling.points.frequencies(&task.frequencies),
        _ => task.frequencies.clone(),
    }
}

/// Whether modes are computed at fewer frequencies than were asked for.
pub(crate) fn is_resampled(task: &ModeTask) -> bool {
    task.spec.sampling.as_ref().is_some_and(|sampling| sampling.points.len() < task.frequencies.len())
}

/// Does all of it. `modes` are on the Yee locations of the output grid, at [`sampled_frequencies`].
pub(crate) fn finish(
    task: &ModeTask,
    layout: &Layout,
    mut modes: Vec<FrequencyModes>,
) -> Result<FinishedModes, NothingKept> {
    let mut warnings = Vec::new();
    let storage = if task.colocate { Storage::Colocated } else { Storage::Staggered };
    if storage == Storage::Colocated {
        let projection = colocation(layout, &task.plane);
        each_mode(&mut modes, |mode| mode.fields = projection.apply_all(&mode.fields));
    }
    let surface = OverlapSurface::new(task, layout, storage);
    let overlaps = Overlaps { task, layout, surface: &surface };
    overlaps.normalize(&mut modes, &mut warnings);
    let corners = CornerSurface::new(task, layout, storage);
    order::prefer_polarization(task, layout, &corners, &mut modes);
    order::sort(task, layout, &corners, &mut modes);
    if let Some(track) = task.spec.track
        && modes.len() > 1
    {
        track::follow(&overlaps, track, &mut modes, &mut warnings);
    }
    keep(task, layout, &corners, &mut modes, &mut warnings)?;
    warn_of_edges(task, layout, storage, &modes, &mut warnings);
    if let Some(step) = task.spec.group_index_step {
        modes = group_index::differentiate(modes, step);
    }
    if let Some(sampling) = &task.spec.sampling
        && is_resampled(task)
        && !sampling.reduce
    {
        modes = resample::resample(&modes, &task.frequencies, sampling.method);
        overlaps.normalize(&mut modes, &mut warnings);
    }
    Ok(FinishedModes { storage, frequencies: modes, warnings })
}

/// Scales modes so that each overlaps with itself by one, as the client integrates them on the task's plane.
pub(crate) fn normalize(
    task: &ModeTask,
    layout: &Layout,
    storage: Storage,
    modes: &mut [FrequencyModes],
    warnings: &mut Vec<String>,
) {
    let surface = OverlapSurface::new(task, layout, storage);
    Overlaps { task, layout, surface: &surface }.normalize(modes, warnings);
}

fn each_mode(modes: &mut [FrequencyModes], change: impl Fn(&mut Mode) + Sync) {
    modes.par_iter_mut().for_each(|at| at.modes.par_iter_mut().for_each(&change));
}

/// Keeps as many modes as are wanted. They pass the filter at all frequencies.
fn keep(
    task: &ModeTask,
    layout: &Layout,
    corners: &CornerSurface,
    modes: &mut [FrequencyModes],
    warnings: &mut Vec<String>,
) -> Result<(), NothingKept> {
    if task.spec.polarization.is_some() {
        return Ok(());
    }
    let count = modes.first().map_or(0, |at| at.modes.len());
    let passing = || -> Vec<bool> {
        let mut passing = vec![true; count];
        if let Some(filter) = &task.spec.sort.filter {
            for at in modes.iter() {
                let values = metrics::values(task, layout, corners, filter.key, at);
                for (passes, value) in passing.iter_mut().zip(values) {
                    *passes &= filter.passes(value);
                }
            }
        }
        passing
    };
    let kept: Vec<bool> = match task.spec.sort.keep {
        Keep::All => return Ok(()),
        Keep::Filtered => passing(),
        Keep::First(wanted) => {
            let passed = passing().into_iter().filter(|passes| *passes).count();
            if task.spec.sort.filter.is_some() && passed < wanted {
                warnings.push(format!(
                    "{wanted} modes are kept, but only {passed} pass the filter of `sort_spec`"
                ));
            }
            (0..count).map(|index| index < wanted).collect()
        }
    };
    if !kept.contains(&true) {
        return Err(NothingKept);
    }
    for at in modes {
        let mut index = 0;
        at.modes.retain(|_| {
            index += 1;
            kept[index - 1]
        });
    }
    Ok(())
}

/// Warns of modes that do not decay towards the plane's ends.
fn warn_of_edges(
    task: &ModeTask,
    layout: &Layout,
    storage: Storage,
    modes: &[FrequencyModes],
    warnings: &mut Vec<String>,
) {
    let spans = layout.meaningful_bounds(&task.plane, storage == Storage::Colocated);
    // Per electric component and tangential axis, the stored points at the plane's ends; a mirror is no end.
    let edges: Vec<[Vec<usize>; 2]> = (0..3)
        .map(|component| {
            let coordinates = stored_coordinates(layout, storage, component);
            std::array::from_fn(|index| {
                let axis = layout.tangential[index];
                edge_points(&coordinates[axis], spans[axis], layout.solver_symmetry[index] != 0)
            })
        })
        .collect();
    let shapes: Vec<[usize; 2]> = (0..3)
        .map(|component| {
            let coordinates = stored_coordinates(layout, storage, component);
            layout.tangential.map(|axis| coordinates[axis].len())
        })
        .collect();
    let mut reported = 0_usize;
    for (frequency, at) in modes.iter().enumerate() {
        for (number, mode) in at.modes.iter().enumerate() {
            let (mut edge, mut whole) = (0.0, 0.0);
            for component in 0..3 {
                let values = &mode.fields.components[component];
                let [rows, columns] = shapes[component];
                whole += values.iter().map(Complex64::norm_sqr).sum::<f64>();
                for &row in &edges[component][0] {
                    edge += values[row * columns..(row + 1) * columns]
                        .iter()
                        .map(Complex64::norm_sqr)
                        .sum::<f64>();
                }
                for &column in &edges[component][1] {
                    edge += (0..rows).map(|row| values[row * columns + column].norm_sqr()).sum::<f64>();
                }
            }
            if edge > DECAY * whole {
                reported += 1;
                if reported <= 10 {
                    warnings.push(format!(
                        "the field of mode {number} at frequency {frequency} does not decay at the plane's ends"
                    ));
                }
            }
        }
    }
    if reported > 10 {
        warnings.push(format!("{} more modes do not decay at the plane's ends", reported - 10));
    }
}

fn edge_points(coordinates: &[f64], span: Span, mirrored: bool) -> Vec<usize> {
    let (Some([low, high]), true) = (span, coordinates.len() > 1) else { return Vec::new() };
    let slack = crate::layout::TOLERANCE * high.abs().max(low.abs()).max(1.0);
    let first = coordinates.partition_point(|&coordinate| coordinate < low - slack);
    let last = coordinates.partition_point(|&coordinate| coordinate <= high + slack);
    let mut points = Vec::new();
    if !mirrored && first < coordinates.len() {
        points.push(first);
    }
    if last > 0 {
        points.push(last - 1);
    }
    points
}
