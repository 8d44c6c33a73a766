//! Properties of modes by which they are sorted and filtered.

use num_complex::Complex64;
use rayon::prelude::*;

use crate::document::{ModeTask, Quantity};
use crate::fields::{FrequencyModes, Mode};
use crate::layout::Layout;
use crate::projection::CornerSurface;

/// A property of all modes at a frequency.
pub(crate) fn values(
    task: &ModeTask,
    layout: &Layout,
    corners: &CornerSurface,
    quantity: Quantity,
    at: &FrequencyModes,
) -> Vec<f64> {
    at.modes.par_iter().map(|mode| value(task, layout, corners, quantity, mode)).collect()
}

fn value(task: &ModeTask, layout: &Layout, corners: &CornerSurface, quantity: Quantity, mode: &Mode) -> f64 {
    let shares = |first_component| along_propagation(task, layout, corners, mode, first_component);
    let transverse = |which: usize| {
        let [first, second, _] = shares(0);
        [first, second][which] / (first + second)
    };
    let waveguide = |first_component| {
        let [first, second, along] = shares(first_component);
        1.0 - along / (first + second + along)
    };
    match quantity {
        Quantity::EffectiveIndex => mode.index.re,
        Quantity::Attenuation => mode.index.im,
        Quantity::TeFraction => transverse(0),
        Quantity::TmFraction => 1.0 - transverse(0),
        Quantity::WaveguideTeFraction => waveguide(0),
        Quantity::WaveguideTmFraction => waveguide(3),
        Quantity::Area => {
            let intensity = intensity(corners, mode);
            let weighted = |power: i32| -> f64 {
                intensity.iter().zip(&corners.areas).map(|(value, area)| value.powi(power) * area).sum()
            };
            weighted(1).powi(2) / weighted(2) * task.spec.theta.cos()
        }
        Quantity::FillFraction => fill_fraction(task, layout, corners, mode),
    }
}

/// The sum of the squared electric components at the corners.
fn intensity(corners: &CornerSurface, mode: &Mode) -> Vec<f64> {
    let mut intensity = vec![0.0; corners.areas.len()];
    for component in 0..3 {
        let values = corners.projection.apply(&mode.fields, component);
        for (sum, value) in intensity.iter_mut().zip(values) {
            *sum += value.norm_sqr();
        }
    }
    intensity
}

/// Integrals of the squared components of the electric (0) or magnetic (3) field along two transverse axes and the
/// propagation axis.
fn along_propagation(
    task: &ModeTask,
    layout: &Layout,
    corners: &CornerSurface,
    mode: &Mode,
    first_component: usize,
) -> [f64; 3] {
    let axes = [layout.tangential[0], layout.tangential[1], layout.normal];
    let fields = axes.map(|axis| corners.projection.apply(&mode.fields, first_component + axis));
    let (phi_sine, phi_cosine) = task.spec.phi.sin_cos();
    let (theta_sine, theta_cosine) = task.spec.theta.sin_cos();
    let mut sums = [0.0; 3];
    for (index, area) in corners.areas.iter().enumerate() {
        let [x, y, z] = [fields[0][index], fields[1][index], fields[2][index]];
        let (x, y) = (x * phi_cosine + y * phi_sine, y * phi_cosine - x * phi_sine);
        let (x, z) = (x * theta_cosine - z * theta_sine, x * theta_sine + z * theta_cosine);
        for (sum, value) in sums.iter_mut().zip([x, y, z]) {
            *sum += Complex64::norm_sqr(&value) * area;
        }
    }
    sums
}

fn fill_fraction(task: &ModeTask, layout: &Layout, corners: &CornerSurface, mode: &Mode) -> f64 {
    let Some(bounds) = task.spec.sort.bounding_box else { return 0.0 };
    let intensity = intensity(corners, mode);
    let [along, across] = &corners.coordinates;
    let [first, second] = layout.tangential.map(|axis| bounds[axis]);
    let (mut inside, mut whole) = (0.0, 0.0);
    for (row, x) in along.iter().enumerate() {
        for (column, y) in across.iter().enumerate() {
            let place = row * across.len() + column;
            let part = intensity[place] * corners.areas[place];
            whole += part;
            if (first[0]..=first[1]).contains(x) && (second[0]..=second[1]).contains(y) {
                inside += part;
            }
        }
    }
    if whole == 0.0 { 0.0 } else { inside / whole }
}
