//! The permittivity on many points at once.

use num_complex::Complex64;
use rayon::prelude::*;

use super::component::Component;
use super::error::PermittivityError;
use super::scene::Scene;
use crate::media::{Medium, Spectral};

/// How many points one array may have.
pub const MAXIMUM_POINTS: usize = 1 << 31;

/// Stands for the background among ranks.
const BACKGROUND: u32 = u32::MAX;

/// One component of the permittivity on the tensor product of three lists of ascending coordinates (µm), at
/// a frequency in hertz: row-major, z fastest.
///
/// What the client's `epsilon_on_grid` gives without subpixel averaging. A frequency of infinity is
/// allowed. Runs on all cores of the current rayon pool and takes 16 bytes a point.
///
/// # Errors
/// Coordinates that do not ascend, more than [`MAXIMUM_POINTS`] points, and sheets that were not placed
/// with [`Scene::place_sheets`].
pub fn on_grid(
    scene: &Scene,
    coordinates: [&[f64]; 3],
    component: Component,
    frequency: f64,
) -> Result<Vec<Complex64>, PermittivityError> {
    let points = check(scene, coordinates, frequency)?;
    let media: Vec<Spectral<'_>> = scene.media().iter().map(|medium| medium.at(frequency)).collect();
    Ok(fill(scene, coordinates, component, &media, points))
}

/// The full permittivity tensor on one tensor product of coordinates: nine arrays in the order xx, xy, xz,
/// yx, …, each as [`on_grid`] gives it.
///
/// Entries beside the diagonal that no medium has are left empty.
///
/// # Errors
/// Those of [`on_grid`].
pub fn tensor_on_grid(
    scene: &Scene,
    coordinates: [&[f64]; 3],
    frequency: f64,
) -> Result<[Vec<Complex64>; 9], PermittivityError> {
    let points = check(scene, coordinates, frequency)?;
    let media: Vec<Spectral<'_>> = scene.media().iter().map(|medium| medium.at(frequency)).collect();
    let has_corners = scene.is_fully_anisotropic();
    Ok(std::array::from_fn(|place| {
        let (row, column) = (place / 3, place % 3);
        if row == column || has_corners {
            fill(scene, coordinates, Component::Entry(row, column), &media, points)
        } else {
            Vec::new()
        }
    }))
}

/// One component of the permittivity at scattered points (µm), at a frequency in hertz.
///
/// # Errors
/// Those of [`on_grid`], the order of points aside.
pub fn on_points(
    scene: &Scene,
    points: &[[f64; 3]],
    component: Component,
    frequency: f64,
) -> Result<Vec<Complex64>, PermittivityError> {
    check_frequency(frequency)?;
    check_sheets(scene)?;
    let media: Vec<Spectral<'_>> = scene.media().iter().map(|medium| medium.at(frequency)).collect();
    Ok(points
        .par_iter()
        .map(|&point| {
            let rank = scene.rank_at(point);
            value(scene, &media, component, rank, point)
        })
        .collect())
}

/// The number of points, if the question can be answered.
pub(crate) fn check(
    scene: &Scene,
    coordinates: [&[f64]; 3],
    frequency: f64,
) -> Result<usize, PermittivityError> {
    check_frequency(frequency)?;
    for (axis, list) in ['x', 'y', 'z'].into_iter().zip(coordinates) {
        let ascends = list.windows(2).all(|pair| pair[0] <= pair[1]) && list.iter().all(|at| !at.is_nan());
        if !ascends {
            return Err(PermittivityError::Coordinates { axis });
        }
    }
    let points = coordinates
        .iter()
        .try_fold(1_usize, |points, list| points.checked_mul(list.len()))
        .unwrap_or(usize::MAX);
    if points > MAXIMUM_POINTS {
        return Err(PermittivityError::TooManyPoints { points, limit: MAXIMUM_POINTS });
    }
    check_sheets(scene)?;
    Ok(points)
}

fn check_frequency(frequency: f64) -> Result<(), PermittivityError> {
    if frequency > 0.0 { Ok(()) } else { Err(PermittivityError::Frequency { frequency }) }
}

fn check_sheets(scene: &Scene) -> Result<(), PermittivityError> {
    scene.unplaced_sheet().map_or(Ok(()), |path| Err(PermittivityError::UnplacedSheet { path }))
}

/// The component at a point that belongs to a rank.
pub(crate) fn value(
    scene: &Scene,
    media: &[Spectral<'_>],
    component: Component,
    rank: Option<usize>,
    point: [f64; 3],
) -> Complex64 {
    let medium = &media[scene.medium_of_rank(rank)];
    let Some((rank, sheet)) = rank.and_then(|rank| Some((rank, scene.sheet(rank)?))) else {
        return component.of(medium, point);
    };
    let neighbours =
        sheet.sides(point).map(|side| &media[scene.medium_of_rank(scene.volume_below(rank, side))]);
    sheet.equivalent(component, medium, neighbours, point)
}

fn fill(
    scene: &Scene,
    [xs, ys, zs]: [&[f64]; 3],
    component: Component,
    media: &[Spectral<'_>],
    points: usize,
) -> Vec<Complex64> {
    let mut values = vec![Complex64::default(); points];
    let (Some(&lowest), Some(&highest)) = (zs.first(), zs.last()) else { return values };
    // By medium: its value where it is the same everywhere.
    let constants: Vec<Option<Complex64>> = media
        .iter()
        .zip(scene.media())
        .map(|(medium, source): (&Spectral<'_>, &Medium)| {
            let is_constant = medium.uniform().is_some() && !source.is_sheet();
            is_constant.then(|| component.of(medium, [0.0; 3]))
        })
        .collect();
    let scratch = || (vec![BACKGROUND; zs.len()], Vec::new());
    values.par_chunks_mut(zs.len()).enumerate().for_each_init(
        scratch,
        |(owners, candidates), (row, values)| {
            let (x, y) = (xs[row / ys.len()], ys[row % ys.len()]);
            candidates.clear();
            scene.visit_overlapping(&[[x; 2], [y; 2], [lowest, highest]], |rank| candidates.push(rank));
            candidates.sort_unstable_by(|one, other| other.cmp(one));
            owners.fill(BACKGROUND);
            claim(scene, candidates, [x, y], zs, owners);
            for ((value_, &owner), &z) in values.iter_mut().zip(owners.iter()).zip(zs) {
                let rank = (owner != BACKGROUND).then_some(owner as usize);
                *value_ = match constants[scene.medium_of_rank(rank)] {
                    Some(constant) => constant,
                    None => value(scene, media, component, rank, [x, y, z]),
                };
            }
        },
    );
    values
}

/// Lets the candidates, from the highest rank down, claim the points of a row that are free.
fn claim(scene: &Scene, candidates: &[usize], [x, y]: [f64; 2], zs: &[f64], owners: &mut [u32]) {
    let mut free = zs.len();
    for &rank in candidates {
        if free == 0 {
            break;
        }
        let [low, high] = scene.heights(rank);
        let start = zs.partition_point(|&z| z < low);
        let end = zs.partition_point(|&z| z <= high);
        for index in start..end {
            if owners[index] == BACKGROUND && scene.claims(rank, [x, y, zs[index]]) {
                owners[index] = u32::try_from(rank).unwrap_or(BACKGROUND);
                free -= 1;
            }
        }
    }
}
