//! From a problem to its mesh.

use std::ops::ControlFlow;

use wavetask_grid::mesh::{self, MeshError, MeshRequest, SimplexMesh};

use crate::error::{SolveError, refused};
use crate::model::Problem;
use crate::region::Regions;
use crate::sizing::{Interfaces, Sizing};

/// Bytes of memory that a triangle or a tetrahedron costs at the peak of the whole calculation.
const BYTES_PER_CELL: [u64; 2] = [400, 180];

/// Most cells without a memory limit: the numbers of points must fit 32 bits with room.
const MAXIMUM_CELLS: usize = 1_500_000_000;

/// Meshes the part of the domain that is solved.
pub(crate) fn generate(
    problem: &Problem,
    regions: &Regions<'_>,
    memory_limit: Option<u64>,
    keep_going: &(dyn Fn() -> ControlFlow<()> + Sync),
) -> Result<SimplexMesh, SolveError> {
    let interfaces = Interfaces::find(problem, regions, &|| keep_going().is_continue());
    let sizing = Sizing::new(problem, regions, &interfaces);
    let mut feature_planes = interfaces.planes(problem);
    for monitor in problem.monitors.iter().filter(|monitor| monitor.conformal) {
        for (axis, [low, high]) in monitor.bounds().into_iter().enumerate() {
            feature_planes[axis].extend([low, high].into_iter().filter(|plane| plane.is_finite()));
        }
    }
    let bytes_per_cell = BYTES_PER_CELL[usize::from(problem.flat_axis().is_none())];
    let maximum_cells = memory_limit
        .map_or(MAXIMUM_CELLS, |bytes| usize::try_from(bytes / bytes_per_cell).unwrap_or(MAXIMUM_CELLS))
        .min(MAXIMUM_CELLS);
    let excluded = |region: u32| !problem.medium(Regions::structure(region)).is_solid();
    let request = MeshRequest {
        bounds: problem.solved_bounds(),
        feature_planes,
        fuse_tolerance: problem.grid.common().geometry_tolerance,
        scene: regions,
        size: &sizing,
        excluded: &excluded,
        maximum_cells,
        keep_going: &|| keep_going().is_continue(),
    };
    mesh::generate(&request).map_err(|error| match error {
        MeshError::Cancelled => SolveError::Cancelled { stage: "meshing" },
        MeshError::TooManyCells { needed, limit, .. } => SolveError::TooLarge {
            needed: format!("about {needed} cells"),
            allowed: format!("{limit} cells"),
        },
        MeshError::Empty => refused(
            "structures",
            "no solid",
            "no solid (`SolidMedium`) lies inside the domain: there is nothing to solve",
        )
        .into(),
        other => SolveError::Mesh(Box::new(other)),
    })
}
