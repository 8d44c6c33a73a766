//! From a document to its result: grid, materials, modes at each frequency, the finished data.
//!
//! Frequencies are independent, so each thread takes a run of neighbouring ones.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use rayon::prelude::*;
use serde_json::Value;
use wavetask_document::ArraySource;
use wavetask_grid::media::PERFECT_CONDUCTOR;
use wavetask_solver::Refused;

use crate::controls::{Controls, Progress, Stage};
use crate::document::{ModeTask, Precision as Wanted};
use crate::error::{SolveError, refused};
use crate::estimate;
use crate::fields::{FrequencyModes, MaterialCharacter, Mode};
use crate::gauge::{SolverFields, to_output};
use crate::plane::{
    self, Bend, Direction, MediumCharacter, ModeError, Openings, PlaneProblem, PlaneWorkspace, Precision,
    Symmetry,
};
use crate::postprocess::{finish, sampled_frequencies};
use crate::publish::{is_single, publish};
use crate::rotation::{Reference, onto_plane};
use crate::scene::PlaneScene;
use crate::solution::Solution;

/// Share of the work that is done when the last mode is found.
const SOLVED: f64 = 0.9;

/// The plane of a task, and the one that is solved in its place where structures are turned.
#[derive(Debug)]
pub(crate) struct Planes {
    plane: PlaneScene,
    reference: Option<Reference>,
}

impl Planes {
    /// Reads grid and materials.
    ///
    /// # Errors
    /// What is not supported or contradicts itself.
    pub(crate) fn read(task: &ModeTask, document: &Value, arrays: &dyn ArraySource) -> Result<Self, Refused> {
        let plane = PlaneScene::read(task, document, arrays)?;
        let reference = Reference::of(task, &plane, document, arrays)?;
        Ok(Self { plane, reference })
    }

    /// What is solved: the task and its plane, or both with the structures turned.
    pub(crate) fn solved<'a>(&'a self, task: &'a ModeTask) -> (&'a ModeTask, &'a PlaneScene) {
        match &self.reference {
            Some(reference) => (&reference.task, &reference.scene),
            None => (task, &self.plane),
        }
    }
}

/// Solves a task.
pub(crate) fn solve(
    task: &ModeTask,
    document: &Value,
    arrays: &dyn ArraySource,
    controls: &Controls<'_>,
) -> Result<Solution, SolveError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(controls.threads)
        .build()
        .map_err(|error| SolveError::Internal(format!("threads could not be started: {error}")))?;
    pool.install(|| solve_here(task, document, arrays, controls))
}

fn solve_here(
    task: &ModeTask,
    document: &Value,
    arrays: &dyn ArraySource,
    controls: &Controls<'_>,
) -> Result<Solution, SolveError> {
    let mut log = Vec::new();
    let mut report = |stage: Stage, fraction: f64, message: String| {
        if !message.is_empty() {
            log.push(message.clone());
        }
        match (controls.progress)(Progress { stage, fraction, residual: None, message }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(SolveError::Cancelled { stage: stage.describe() }),
        }
    };
    let begin = Instant::now();
    report(Stage::Discretizing, 0.0, String::new())?;
    let planes = Planes::read(task, document, arrays)?;
    let (solved_task, scene) = planes.solved(task);
    let (openings, thin) = scene.openings()?.unzip();
    for note in scene.notes.iter().chain(&thin.flatten()) {
        report(Stage::Discretizing, 0.01, format!("WARNING: {note}"))?;
    }
    let frequencies = sampled_frequencies(solved_task);
    let [rows, columns] = scene.layout.solver_cells();
    let line = format!(
        "plane of {rows} x {columns} cells, {} modes at {} frequenc{}",
        task.spec.modes,
        frequencies.len(),
        if frequencies.len() == 1 { "y" } else { "ies" }
    );
    report(Stage::Solving, 0.02, line)?;
    let (modes, warning) = sweep(solved_task, scene, openings.as_ref(), &frequencies, controls)?;
    if let Some(warning) = warning {
        report(Stage::Finishing, SOLVED, format!("WARNING: {warning}"))?;
    }
    let solved = begin.elapsed().as_secs_f64();
    report(Stage::Finishing, SOLVED, format!("modes found in {solved:.3} s"))?;
    let mut finished = finish(solved_task, &scene.layout, modes)
        .map_err(|error| refused("mode_spec.sort_spec", "keep_modes", error.to_string()))?;
    let layout = &planes.plane.layout;
    if let Some(reference) = &planes.reference {
        finished = onto_plane(reference, task, layout, finished);
    }
    for warning in &finished.warnings {
        report(Stage::Finishing, 0.95, format!("WARNING: {warning}"))?;
    }
    let (data, arrays) = publish(document, task, layout, &finished, is_single(task), Solution::DATA_PATH)?;
    for (number, line) in indices(&finished.frequencies).into_iter().enumerate() {
        if number < 100 {
            report(Stage::Finishing, 0.98, line)?;
        }
    }
    Ok(Solution { data, arrays, log })
}

/// A warning if there is nothing in the plane that could guide light; the box of metal that a plane is has modes all the
/// same.
fn emptiness(problem: &PlaneProblem) -> Result<Option<String>, Refused> {
    let permittivity = &problem.permittivity;
    if permittivity.0.iter().any(|element| element.windows(2).any(|pair| pair[0] != pair[1])) {
        return Ok(None);
    }
    // Conductors without thickness leave no trace in the permittivity.
    let is_cut = |openings: &Openings| openings.edges.iter().flatten().any(|part| (0.0..1.0).contains(part));
    let is_closed = |openings: &Openings| openings.edges.iter().flatten().all(|part| *part == 0.0);
    if problem.openings.as_ref().is_some_and(|openings| is_cut(openings) && !is_closed(openings)) {
        return Ok(None);
    }
    let value = permittivity.0[0].first().copied().unwrap_or_default().re;
    if value == PERFECT_CONDUCTOR {
        let message =
            "the plane is filled with a perfect conductor and has no modes: move it to the waveguide";
        return Err(refused("plane", "plane without material", message));
    }
    Ok(Some(format!(
        "the medium is the same everywhere in the plane (permittivity {value:.4}): its modes are those of the metal box \
         around it; move the plane to the waveguide"
    )))
}

/// The effective indices as lines of a log.
fn indices(modes: &[FrequencyModes]) -> Vec<String> {
    modes
        .iter()
        .map(|at| {
            let list: Vec<String> =
                at.modes.iter().map(|mode| format!("{:.7}{:+.3e}i", mode.index.re, mode.index.im)).collect();
            format!("{:.6e} Hz: effective index {}", at.frequency, list.join(", "))
        })
        .collect()
}

/// The modes at all frequencies, and a warning if the plane has nothing that could guide them.
fn sweep(
    task: &ModeTask,
    scene: &PlaneScene,
    openings: Option<&Openings>,
    frequencies: &[f64],
    controls: &Controls<'_>,
) -> Result<(Vec<FrequencyModes>, Option<String>), SolveError> {
    let lanes = lanes(task, scene, frequencies.len(), controls)?;
    let done = AtomicUsize::new(0);
    let stopped = Mutex::new(false);
    let proceed = || {
        let fraction =
            0.02 + (SOLVED - 0.02) * done.load(Ordering::Relaxed) as f64 / frequencies.len() as f64;
        // One thread reports at a time, so that the fraction never goes back.
        let mut stopped = stopped.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let progress = Progress { stage: Stage::Solving, fraction, residual: None, message: String::new() };
        *stopped |= (controls.progress)(progress).is_break();
        if *stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let limits = plane::Controls { memory_limit: None, proceed: &proceed };
    let longest = frequencies.len().div_ceil(lanes);
    let warning = OnceLock::new();
    let runs: Result<Vec<Vec<FrequencyModes>>, SolveError> = frequencies
        .par_chunks(longest)
        .map(|run| {
            // Each frequency starts from its neighbour's modes, and from noise, lest one that has nothing in common
            // with them be missed; the order of elimination is found once.
            let mut workspace = PlaneWorkspace::new();
            run.iter()
                .map(|&frequency| {
                    let problem = problem(task, scene, openings, frequency)?;
                    if let Some(empty) = emptiness(&problem)? {
                        warning.get_or_init(|| empty);
                    }
                    let modes = at_frequency(task, scene, &problem, &mut workspace, &limits)?;
                    done.fetch_add(1, Ordering::Relaxed);
                    Ok(modes)
                })
                .collect()
        })
        .collect();
    Ok((runs?.into_iter().flatten().collect(), warning.into_inner()))
}

/// How many frequencies are solved at the same time: as many as there are threads, if memory allows.
fn lanes(
    task: &ModeTask,
    scene: &PlaneScene,
    frequencies: usize,
    controls: &Controls<'_>,
) -> Result<usize, SolveError> {
    let threads = rayon::current_num_threads().min(frequencies).max(1);
    let Some(limit) = controls.memory_limit else { return Ok(threads) };
    let each = estimate::plane(task, &scene.layout, scene.has_tensors()).bytes.max(1);
    let fields = estimate::field_bytes(task, &scene.layout);
    let fitting = usize::try_from(limit.saturating_sub(fields) / each).unwrap_or(usize::MAX);
    if fitting == 0 {
        let gibibytes = |bytes: u64| format!("{:.2} GiB of memory", bytes as f64 / f64::from(1 << 30));
        return Err(SolveError::TooLarge {
            needed: gibibytes(each.saturating_add(fields)),
            allowed: gibibytes(limit),
        });
    }
    Ok(threads.min(fitting))
}

fn at_frequency(
    task: &ModeTask,
    scene: &PlaneScene,
    problem: &PlaneProblem,
    workspace: &mut PlaneWorkspace,
    limits: &plane::Controls<'_>,
) -> Result<FrequencyModes, SolveError> {
    let frequency = problem.frequency;
    let mut found =
        plane::solve_with(problem, workspace, limits).map_err(|error| failure(error, frequency))?;
    if problem.openings.is_none()
        && problem.permeability.is_none()
        && let Some(within) = scene.within_cells(frequency)?
    {
        plane::remove_grid_error(problem, &within, &mut found);
    }
    if found.modes.len() < task.spec.modes {
        return Err(refused(
            "mode_spec.num_modes",
            "num_modes",
            format!(
                "{} modes are asked for, but the plane has {} at {frequency:.6e} Hz",
                task.spec.modes,
                found.modes.len()
            ),
        )
        .into());
    }
    let modes = found
        .modes
        .into_iter()
        .map(|mode| {
            let fields = SolverFields { electric: mode.e, magnetic: mode.h };
            Mode { index: mode.index, fields: to_output(fields, &scene.layout) }
        })
        .collect();
    let character = match found.character {
        MediumCharacter::Diagonal => MaterialCharacter::Diagonal,
        MediumCharacter::TensorialReal => MaterialCharacter::TensorialReal,
        MediumCharacter::TensorialComplex => MaterialCharacter::TensorialComplex,
    };
    Ok(FrequencyModes { frequency, modes, character, derivatives: None })
}

fn problem(
    task: &ModeTask,
    scene: &PlaneScene,
    openings: Option<&Openings>,
    frequency: f64,
) -> Result<PlaneProblem, SolveError> {
    let layout = &scene.layout;
    let single = match task.spec.precision {
        Wanted::Single => true,
        Wanted::Double => false,
        Wanted::Auto => !scene.has_conductors(),
    };
    Ok(PlaneProblem {
        boundaries: layout.tangential.map(|axis| layout.solver[axis].clone()),
        permittivity: scene.permittivity(frequency)?,
        permeability: scene.permeability()?,
        openings: openings.cloned(),
        frequency,
        num_modes: task.spec.modes,
        target_index: task.spec.target,
        num_pml: task.spec.absorber,
        symmetry: layout.solver_symmetry.map(|sign| match sign {
            1 => Symmetry::Magnetic,
            -1 => Symmetry::Electric,
            _ => Symmetry::None,
        }),
        bend: task.spec.bend.map(|bend| Bend {
            radius: bend.radius,
            axis: bend.axis,
            center: layout.tangential.map(|axis| task.plane.center[axis]),
        }),
        angle_theta: task.spec.theta,
        angle_phi: task.spec.phi,
        precision: if single { Precision::Single } else { Precision::Double },
        direction: if task.forward { Direction::Forward } else { Direction::Backward },
    })
}

fn failure(error: ModeError, frequency: f64) -> SolveError {
    match error {
        ModeError::Refused { feature, message } => {
            refused(format!("mode_spec.{feature}"), feature, message).into()
        }
        ModeError::TooLarge { needed, limit } => {
            SolveError::TooLarge { needed: format!("{needed} bytes"), allowed: format!("{limit} bytes") }
        }
        ModeError::Cancelled => SolveError::Cancelled { stage: Stage::Solving.describe() },
        other => SolveError::Modes { frequency, source: Box::new(other) },
    }
}
