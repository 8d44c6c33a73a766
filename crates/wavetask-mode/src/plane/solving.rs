//! From the problem to its modes.

use num_complex::Complex;

use super::absorber::{Absorber, LIGHT_SPEED, Sampling, speeds, vacuum_impedance};
use super::conductors::Conductors;
use super::differences::Differences;
use super::equations::{Equations, System};
use super::medium::{Media, MediumCharacter, largest_index};
use super::normalisation::{Areas, direct, normalise, turn_round};
use super::problem::{Controls, Direction, ModeError, PlaneProblem, Precision, Symmetry};
use super::transformation::{Field, Jacobians};
use super::{PlaneMode, PlaneSolution};
use crate::eigen::{EigenError, Eigenpairs, Request, Scalar, Workspace, dissection, nearest};

type C = Complex<f64>;

/// The target is moved by this share, so that it does not hit an eigenvalue.
const TARGET_SHIFT: f64 = 10.0 * f32::EPSILON as f64;

/// What one plane leaves for the next of a frequency sweep: the plan of the factorisation, memory, and the last
/// modes as guesses. One for each thread.
#[derive(Debug, Default)]
pub struct PlaneWorkspace {
    real: Workspace<f64>,
    complex: Workspace<C>,
    /// Eigenvectors found last, and those before them.
    history: [Vec<Vec<C>>; 2],
}

impl PlaneWorkspace {
    /// An empty workspace.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Finds the modes of a plane.
///
/// # Errors
/// [`ModeError`] says what each means for the caller.
pub fn solve(problem: &PlaneProblem, controls: &Controls<'_>) -> Result<PlaneSolution, ModeError> {
    solve_with(problem, &mut PlaneWorkspace::new(), controls)
}

/// As [`solve`], with what an earlier problem on the same grid left: faster, and the same modes.
///
/// # Errors
/// As [`solve`].
pub fn solve_with(
    problem: &PlaneProblem,
    workspace: &mut PlaneWorkspace,
    controls: &Controls<'_>,
) -> Result<PlaneSolution, ModeError> {
    problem.check(controls.memory_limit)?;
    let jacobians = Jacobians::of(problem);
    let conforming = problem.openings.as_ref().map(|openings| Conductors::of(problem, openings));
    let mut media = Media::of(problem, &jacobians, conforming.as_ref());
    let (differences, mut areas) = discretise(problem, &media);
    areas.open = conforming.as_ref().map(|conductors| conductors.edges.clone());
    media.replace_conductors(differences.largest());
    let character = media.character();
    let reciprocal = media.are_reciprocal();
    // Small openings are large elements.
    let conductors = media.have_conductors() || conforming.is_some();
    let diagonal = character == MediumCharacter::Diagonal;
    let conjugate = character == MediumCharacter::TensorialReal && problem.direction == Direction::Backward;
    let sign = if problem.direction == Direction::Backward && !conjugate { 1.0 } else { -1.0 };
    let real = diagonal && !media.are_complex() && !differences.is_complex();
    let equations =
        Equations { differences, media, diagonal, factor: C::new(0.0, sign), conductors: conforming };

    let scale = problem.angle_theta.cos().abs();
    let target = problem.target_index.unwrap_or_else(|| largest_index(&problem.permittivity)) / scale;
    let target = if target.abs() < 1.0 { target + TARGET_SHIFT } else { target * (1.0 + TARGET_SHIFT) };
    let shift = if diagonal { -target * target } else { target };
    let low = !conductors && diagonal;
    let pairs = if real {
        let PlaneWorkspace { real, history, .. } = workspace;
        eigenpairs(&equations, problem, C::from(shift), low, real, history, controls)?
    } else {
        let PlaneWorkspace { complex, history, .. } = workspace;
        eigenpairs(&equations, problem, C::from(shift), low, complex, history, controls)?
    };
    let solutions = pairs.solutions;
    let mut found: Vec<(C, Vec<C>)> = pairs
        .values
        .into_iter()
        .map(|value| if diagonal { (C::new(-value.re, 0.0 - value.im)).sqrt() } else { value })
        .zip(pairs.vectors)
        .collect();
    found.sort_by(|a, b| b.0.re.total_cmp(&a.0.re));
    let impedance = C::new(0.0, -1.0) / vacuum_impedance();
    let mut modes: Vec<PlaneMode> = Vec::with_capacity(found.len());
    for (index, vector) in found {
        let [e, mut h] = if diagonal {
            equations.diagonal_fields(&vector, index)
        } else {
            equations.tensor_fields(&vector)
        };
        h.iter_mut().flatten().for_each(|value| *value *= impedance);
        let mut mode = PlaneMode { index, e, h };
        if diagonal && problem.direction == Direction::Backward {
            turn_round(&mut mode);
        }
        if conjugate {
            mode.e.iter_mut().flatten().for_each(|value| *value = value.conj());
            mode.h.iter_mut().flatten().for_each(|value| *value = -value.conj());
        }
        modes.push(mode);
    }
    if reciprocal {
        if diagonal {
            direct(&areas, &mut modes, problem.direction == Direction::Backward);
        }
        normalise(&areas, &mut modes);
    }
    for mode in &mut modes {
        jacobians.restore(Field::Electric, &mut mode.e);
        jacobians.restore(Field::Magnetic, &mut mode.h);
        mode.index *= scale;
    }
    Ok(PlaneSolution { modes, character, solutions })
}

/// The difference operators with their absorbers, and the steps of the grid.
fn discretise(problem: &PlaneProblem, media: &Media) -> (Differences, Areas) {
    let shape = problem.shape();
    let angular_frequency = 2.0 * std::f64::consts::PI * problem.frequency;
    let wave_number = angular_frequency / LIGHT_SPEED;
    let steps = [0, 1].map(|axis| {
        let primal: Vec<f64> = problem.boundaries[axis].windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mut dual = vec![primal[0]];
        dual.extend(primal.windows(2).map(|pair| (pair[0] + pair[1]) / 2.0));
        [primal, dual]
    });
    let factors = |axis: usize, which: usize| -> Vec<C> {
        let absorber = Absorber {
            cells: problem.num_pml[axis],
            at_lower_edge: problem.symmetry[axis] == Symmetry::None,
            speeds: speeds(shape, axis, problem.num_pml[axis], [&media.permittivity, &media.permeability]),
            angular_frequency,
        };
        let sampling = if which == 0 { Sampling::Centres } else { Sampling::Edges };
        let steps = &steps[axis][which];
        let stretching = absorber.factors(steps, sampling);
        steps.iter().zip(stretching).map(|(step, factor)| (factor * (step * wave_number)).inv()).collect()
    };
    let differences = Differences {
        shape,
        forward: [factors(0, 0), factors(1, 0)],
        backward: [factors(0, 1), factors(1, 1)],
        magnetic: problem.symmetry.map(|symmetry| symmetry == Symmetry::Magnetic),
    };
    (differences, Areas { steps, open: None })
}

/// The residual that gives indices to far better than 1e-6.
///
/// The eigenvalues of diagonal media are corrected afterwards to an error of the order of the residual's square, those
/// of other media are not.
fn tolerance(equations: &Equations, problem: &PlaneProblem) -> f64 {
    match (equations.diagonal, problem.precision) {
        (true, Precision::Double) => 2e-6,
        (true, Precision::Single) => 5e-6,
        (false, Precision::Double) => 1e-8,
        (false, Precision::Single) => 1e-7,
    }
}

/// Guesses of the next modes of a sweep: the last ones, continued linearly where the ones before are recognised.
fn extrapolate([last, before]: &[Vec<Vec<C>>; 2]) -> Vec<Vec<C>> {
    last.iter()
        .map(|vector| {
            let overlaps = before.iter().filter(|other| other.len() == vector.len()).map(|other| {
                let product: C = other.iter().zip(vector).map(|(a, b)| a.conj() * b).sum();
                (product, other)
            });
            let best = overlaps.max_by(|a, b| a.0.norm_sqr().total_cmp(&b.0.norm_sqr()));
            match best {
                // Both have unit length.
                Some((product, other)) if product.norm_sqr() > 0.9 => {
                    vector.iter().zip(other).map(|(new, old)| new * 2.0 - old * product).collect()
                }
                _ => vector.clone(),
            }
        })
        .collect()
}

/// Eigenpairs with vectors over all unknowns.
fn eigenpairs<T: Scalar>(
    equations: &Equations,
    problem: &PlaneProblem,
    shift: C,
    low: bool,
    workspace: &mut Workspace<T>,
    history: &mut [Vec<Vec<C>>; 2],
    controls: &Controls<'_>,
) -> Result<Eigenpairs, ModeError> {
    let System { matrix, unknowns } = equations.assemble::<T>();
    let shape = equations.differences.shape;
    let cells = shape[0] * shape[1];
    let whole = cells * equations.components();
    let places: Vec<u32> = unknowns.iter().map(|unknown| unknown % cells as u32).collect();
    let kinds: Vec<u8> = unknowns.iter().map(|unknown| (*unknown as usize / cells) as u8).collect();
    let order = dissection::order(shape, &places, &kinds);
    let start = extrapolate(history)
        .iter()
        .filter(|guess| guess.len() == whole)
        .map(|guess| unknowns.iter().map(|unknown| T::narrow(guess[*unknown as usize])).collect())
        .collect();
    let request = Request {
        shift: T::narrow(shift),
        count: problem.num_modes,
        start,
        tolerance: tolerance(equations, problem),
        low_precision_factors: low,
    };
    let cancelled = || (controls.proceed)().is_break();
    let mut pairs =
        nearest(&matrix, &order, &request, workspace, &cancelled).map_err(|error| match error {
            EigenError::Cancelled => ModeError::Cancelled,
            EigenError::TooMany { .. } => {
                ModeError::Refused { feature: "num_modes", message: error.to_string() }
            }
            other => ModeError::Eigen(other),
        })?;
    if equations.diagonal {
        for (value, vector) in pairs.values.iter_mut().zip(&pairs.vectors) {
            if let Some(better) = equations.two_sided_quotient(&matrix, &unknowns, vector, *value) {
                *value = better;
            }
        }
    }
    for vector in &mut pairs.vectors {
        let mut full = vec![C::default(); whole];
        for (unknown, value) in unknowns.iter().zip(vector.iter()) {
            full[*unknown as usize] = *value;
        }
        *vector = full;
    }
    history.swap(0, 1);
    history[0] = pairs.vectors.clone();
    Ok(pairs)
}
