//! From a problem to its solution: mesh, equations, temperatures, data.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use wavetask_document::Array;
use wavetask_grid::mesh::{Locator, SimplexMesh};

use crate::conditions::{self, Conditions};
use crate::contact::{self, Unknowns};
use crate::controls::{Controls, Progress, Stage};
use crate::equations::{self, Equations};
use crate::error::{SolveError, refused};
use crate::linear::{self, LinearError, Multigrid, MultigridOptions, conjugate_gradient};
use crate::meshing;
use crate::model::{Monitor, Problem};
use crate::region::Regions;
use crate::sampling::{Field, publish, spacing};
use crate::solution::{Solution, Statistics};

/// Time between two reports of progress.
const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Residual, relative to the solution in the energy norm, at which the iteration ends.
const TOLERANCE: f64 = 1e-9;

/// Iterations allowed.
const MAXIMUM_ITERATIONS: usize = 2000;

/// Shares of the whole work done when each stage begins, for the fraction reported.
const STAGE_BEGINS: [(Stage, f64); 4] =
    [(Stage::Meshing, 0.0), (Stage::Assembling, 0.4), (Stage::Solving, 0.5), (Stage::Sampling, 0.95)];

/// Reports progress at most a few times per second, from any thread.
struct Reporter<'a> {
    controls: &'a Controls<'a>,
    state: Mutex<(Instant, f64)>,
}

impl<'a> Reporter<'a> {
    fn new(controls: &'a Controls<'a>) -> Self {
        Self { controls, state: Mutex::new((Instant::now(), 0.0)) }
    }

    /// A report that is always sent, because it begins or ends something.
    fn report(&self, stage: Stage, share: f64, residual: Option<f64>, message: String) -> ControlFlow<()> {
        let place = STAGE_BEGINS.iter().position(|(known, _)| *known == stage).unwrap_or_default();
        let begin = STAGE_BEGINS[place].1;
        let end = STAGE_BEGINS.get(place + 1).map_or(1.0, |(_, begin)| *begin);
        let fraction = {
            let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            state.0 = Instant::now();
            state.1 = state.1.max(begin + share.clamp(0.0, 1.0) * (end - begin));
            state.1
        };
        (self.controls.progress)(Progress { stage, fraction, residual, message })
    }

    /// A report that is left out if the last one was a moment ago.
    fn tick(&self, stage: Stage, share: f64, residual: Option<f64>) -> ControlFlow<()> {
        let recent = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0.elapsed()
            < REPORT_INTERVAL;
        if recent { ControlFlow::Continue(()) } else { self.report(stage, share, residual, String::new()) }
    }
}

fn cancelled(stage: Stage) -> SolveError {
    SolveError::Cancelled { stage: stage.describe() }
}

/// Runs a calculation on the threads that the caller allows.
fn on_threads<T: Send>(
    controls: &Controls<'_>,
    work: impl FnOnce() -> Result<T, SolveError> + Send,
) -> Result<T, SolveError> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(controls.threads)
        .build()
        .map_err(|error| SolveError::Internal(format!("threads could not be started: {error}")))?;
    pool.install(work)
}

/// Solves a problem and records its monitors.
pub(crate) fn solve(problem: &Problem, controls: &Controls<'_>) -> Result<Solution, SolveError> {
    on_threads(controls, || solve_here(problem, controls))
}

fn solve_here(problem: &Problem, controls: &Controls<'_>) -> Result<Solution, SolveError> {
    let reporter = Reporter::new(controls);
    let regions = Regions::new(problem);
    let mut log = Vec::new();
    let mut statistics = Statistics::default();

    let mesh = mesh_here(problem, &regions, &reporter, controls, &mut log, &mut statistics)?;
    let begin = Instant::now();
    let conditions = conditions::resolve(problem, &regions, &mesh);
    log_conditions(problem, &conditions, &mut log);
    let unknowns = contact::number(&mesh, &conditions);
    let equations = equations::assemble(problem, &mesh, &conditions, &unknowns)?;
    statistics.unknowns = unknowns.points.len();
    statistics.source_power = equations.source_power;
    statistics.assembly_seconds = begin.elapsed().as_secs_f64();
    let line = format!(
        "{} unknowns; sources release {:.6e} {}",
        unknowns.points.len(),
        equations.source_power,
        power_unit(problem)
    );
    log.push(line.clone());
    let begin = Instant::now();
    if reporter.report(Stage::Solving, 0.0, None, line).is_break() {
        return Err(cancelled(Stage::Solving));
    }
    let temperature = temperatures(problem, &mesh, &unknowns, &equations, &reporter, &mut statistics)?;
    statistics.boundary_power =
        equations::boundary_power(problem, &mesh, &unknowns, &equations, &temperature);
    statistics.solving_seconds = begin.elapsed().as_secs_f64();
    statistics.lowest_temperature = temperature.iter().copied().fold(f64::INFINITY, f64::min);
    statistics.highest_temperature = temperature.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let line = format!(
        "solved in {} iterations to relative residual {:.2e}; temperature from {:.6} to {:.6} K; {:.6e} {} leave through boundaries",
        statistics.iterations,
        statistics.residual,
        statistics.lowest_temperature,
        statistics.highest_temperature,
        statistics.boundary_power,
        power_unit(problem),
    );
    log.push(line.clone());

    let begin = Instant::now();
    if reporter.report(Stage::Sampling, 0.0, None, line).is_break() {
        return Err(cancelled(Stage::Sampling));
    }
    drop(equations);
    let field =
        Field { problem, mesh: &mesh, unknowns: &unknowns, values: &temperature, spacing: spacing(problem) };
    let locator = OnceLock::new();
    let (data, arrays) = record(&problem.monitors, &reporter, |monitor, data, arrays| {
        let recorded = field.record(monitor, || locator.get_or_init(|| Locator::new(&mesh)))?;
        publish("TemperatureData", "temperature", monitor, recorded, data, arrays);
        Ok(())
    })?;
    statistics.sampling_seconds = begin.elapsed().as_secs_f64();
    finish(&reporter, &mut log, &statistics);
    Ok(Solution { data, arrays, log, statistics })
}

/// Meshes a problem and records the mesh.
pub(crate) fn mesh(
    problem: &Problem,
    monitors: &[Monitor],
    controls: &Controls<'_>,
) -> Result<Solution, SolveError> {
    on_threads(controls, || {
        let reporter = Reporter::new(controls);
        let regions = Regions::new(problem);
        let mut log = Vec::new();
        let mut statistics = Statistics::default();
        let mesh = mesh_here(problem, &regions, &reporter, controls, &mut log, &mut statistics)?;
        statistics.unknowns = mesh.points.len();
        let begin = Instant::now();
        let unknowns = contact::number(&mesh, &Conditions::default());
        let zeros = vec![0.0; mesh.points.len()];
        let field =
            Field { problem, mesh: &mesh, unknowns: &unknowns, values: &zeros, spacing: spacing(problem) };
        let (data, arrays) = record(monitors, &reporter, |monitor, data, arrays| {
            let recorded = field.record_mesh(monitor)?;
            publish("VolumeMeshData", "mesh", monitor, recorded, data, arrays);
            Ok(())
        })?;
        statistics.sampling_seconds = begin.elapsed().as_secs_f64();
        finish(&reporter, &mut log, &statistics);
        Ok(Solution { data, arrays, log, statistics })
    })
}

/// Records monitors one by one.
fn record(
    monitors: &[Monitor],
    reporter: &Reporter<'_>,
    mut one: impl FnMut(
        &Monitor,
        &mut Vec<serde_json::Value>,
        &mut BTreeMap<String, Array>,
    ) -> Result<(), SolveError>,
) -> Result<(Vec<serde_json::Value>, BTreeMap<String, Array>), SolveError> {
    let mut data = Vec::with_capacity(monitors.len());
    let mut arrays = BTreeMap::new();
    for (index, monitor) in monitors.iter().enumerate() {
        if reporter.tick(Stage::Sampling, index as f64 / monitors.len() as f64, None).is_break() {
            return Err(cancelled(Stage::Sampling));
        }
        one(monitor, &mut data, &mut arrays)?;
    }
    Ok((data, arrays))
}

fn finish(reporter: &Reporter<'_>, log: &mut Vec<String>, statistics: &Statistics) {
    let line = format!(
        "seconds: meshing {:.3}, assembling {:.3}, solving {:.3}, recording {:.3}",
        statistics.meshing_seconds,
        statistics.assembly_seconds,
        statistics.solving_seconds,
        statistics.sampling_seconds
    );
    log.push(line.clone());
    // Everything is there already: a wish to stop comes too late to matter.
    let _ = reporter.report(Stage::Sampling, 1.0, None, line);
}

fn mesh_here(
    problem: &Problem,
    regions: &Regions<'_>,
    reporter: &Reporter<'_>,
    controls: &Controls<'_>,
    log: &mut Vec<String>,
    statistics: &mut Statistics,
) -> Result<SimplexMesh, SolveError> {
    let begin = Instant::now();
    if reporter.report(Stage::Meshing, 0.0, None, "meshing".into()).is_break() {
        return Err(cancelled(Stage::Meshing));
    }
    let mesh = meshing::generate(problem, regions, controls.memory_limit, &|| {
        // How much is left is not known; the share approaches the whole.
        let seconds = begin.elapsed().as_secs_f64();
        reporter.tick(Stage::Meshing, seconds / (seconds + 5.0), None)
    })?;
    statistics.cells = mesh.cell_count();
    statistics.meshing_seconds = begin.elapsed().as_secs_f64();
    let kind = if mesh.normal.is_some() { "triangles" } else { "tetrahedra" };
    let line = format!("mesh of {} points and {} {kind}", mesh.points.len(), mesh.cell_count());
    log.push(line.clone());
    if reporter.report(Stage::Assembling, 0.0, None, line).is_break() {
        return Err(cancelled(Stage::Assembling));
    }
    Ok(mesh)
}

const fn power_unit(problem: &Problem) -> &'static str {
    let mut axis = 0;
    while axis < 3 {
        if problem.size[axis] == 0.0 {
            return "W/µm";
        }
        axis += 1;
    }
    "W"
}

fn log_conditions(problem: &Problem, conditions: &Conditions, log: &mut Vec<String>) {
    for (index, count) in conditions.counts.iter().enumerate() {
        if *count == 0 && !conditions.between_solids.contains(&index) {
            log.push(format!("WARNING: boundary_spec[{index}] holds nowhere: its place is not in the domain, or other entries come first there"));
        }
    }
    for index in &conditions.between_solids {
        log.push(format!(
            "WARNING: boundary_spec[{index}] gives a flux or convection; where it meets an interface between two solids, heat passes as without it"
        ));
    }
    if problem.symmetry.contains(&true) {
        log.push("symmetry: the upper half along each mirrored axis is solved".into());
    }
}

fn temperatures(
    problem: &Problem,
    mesh: &SimplexMesh,
    unknowns: &Unknowns,
    equations: &Equations,
    reporter: &Reporter<'_>,
    statistics: &mut Statistics,
) -> Result<Vec<f64>, SolveError> {
    let fail = |error| linear_error(problem, mesh, unknowns, error);
    let multigrid = Multigrid::new(&equations.matrix, &MultigridOptions::default()).map_err(fail)?;
    let mut rise = vec![0.0; unknowns.points.len()];
    let options = linear::Options { tolerance: TOLERANCE, maximum_iterations: MAXIMUM_ITERATIONS };
    let mut progress = |_: usize, residual: f64| {
        let share = if residual > 0.0 { residual.log10() / TOLERANCE.log10() } else { 1.0 };
        reporter.tick(Stage::Solving, share, Some(residual))
    };
    let result = conjugate_gradient(
        &equations.matrix,
        &multigrid,
        &equations.right_hand_side,
        &mut rise,
        &options,
        &mut progress,
    )
    .map_err(fail)?;
    statistics.iterations = result.iterations;
    statistics.residual = result.relative_residual;
    for (value, fixed) in rise.iter_mut().zip(&equations.fixed) {
        *value = fixed.unwrap_or(*value + equations.reference);
    }
    Ok(rise)
}

fn linear_error(
    problem: &Problem,
    mesh: &SimplexMesh,
    unknowns: &Unknowns,
    error: LinearError,
) -> SolveError {
    match error {
        LinearError::Singular { first_row, .. } => {
            let [x, y, z] = mesh.points[unknowns.points[first_row] as usize];
            let name = unknowns
                .cells
                .iter()
                .position(|cell| cell.contains(&(first_row as u32)))
                .and_then(|cell| Regions::structure(mesh.regions[cell]))
                .map(|index| problem.structures[index].name.clone())
                .filter(|name| !name.is_empty())
                .map_or(String::new(), |name| format!(" (structure `{name}`)"));
            refused(
                "boundary_spec",
                "no condition fixes the temperature",
                format!(
                    "the solid around ({x:.6}, {y:.6}, {z:.6}){name} touches no TemperatureBC or ConvectionBC, so its steady temperature is not defined"
                ),
            )
            .into()
        }
        LinearError::Cancelled { .. } => cancelled(Stage::Solving),
        LinearError::NotConverged { iterations, relative_residual, .. } => SolveError::NotConverged {
            iterations,
            residual: relative_residual,
            reason: "the limit of iterations is reached".into(),
        },
        LinearError::Stagnated { iteration, relative_residual, .. } => SolveError::NotConverged {
            iterations: iteration,
            residual: relative_residual,
            reason: "the residual no longer falls".into(),
        },
        LinearError::NotPositiveDefinite { .. }
        | LinearError::PreconditionerNotPositive { .. }
        | LinearError::NonPositiveDiagonal { .. }
        | LinearError::NotFinite { .. } => SolveError::IllConditioned { reason: error.to_string() },
        other => SolveError::Internal(other.to_string()),
    }
}
