//! What a mode calculation costs, before it is done.

use wavetask_solver::Estimate;

use crate::document::ModeTask;
use crate::layout::Layout;
use crate::plane::{PlaneEstimate, estimate as estimate_plane};
use crate::postprocess::sampled_frequencies;

/// Memory of a process with nothing in it, bytes.
const BASE_MEMORY: u64 = 48 << 20;

/// Seconds that reading, sampling materials and writing take at least.
const BASE_SECONDS: f64 = 0.05;

/// Estimates the cost of a task on its plane.
pub(crate) fn estimate(task: &ModeTask, layout: &Layout, has_tensors: bool) -> Estimate {
    let plane = plane(task, layout, has_tensors);
    let frequencies = sampled_frequencies(task).len();
    // Each further handful of modes asks for more steps of the iteration.
    let steps = 1.0 + task.spec.modes as f64 / 8.0;
    Estimate {
        unknowns: plane.unknowns,
        memory_bytes: BASE_MEMORY.saturating_add(plane.bytes).saturating_add(field_bytes(task, layout)),
        cpu_seconds: BASE_SECONDS + plane.seconds * steps * frequencies as f64,
    }
}

/// The cost of one frequency.
pub(crate) fn plane(task: &ModeTask, layout: &Layout, has_tensors: bool) -> PlaneEstimate {
    let [rows, columns] = layout.solver_cells();
    let is_tensor = has_tensors || task.spec.theta != 0.0;
    estimate_plane(rows, columns, is_tensor, 1.0)
}

/// Bytes of all modes' fields: as they are kept, and once more as they are written.
pub(crate) fn field_bytes(task: &ModeTask, layout: &Layout) -> u64 {
    let [rows, columns] = layout.output_cells();
    let frequencies = sampled_frequencies(task).len().max(task.frequencies.len());
    [rows, columns, frequencies, task.spec.modes]
        .into_iter()
        .fold(2 * 6 * 16_u64, |bytes, count| bytes.saturating_mul(count as u64))
}
