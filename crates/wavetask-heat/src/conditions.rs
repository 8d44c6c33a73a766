//! Which boundary condition holds on which facet of the mesh.
//!
//! As the client documents its placements:
//! - `StructureBoundary`: the part of a structure's surface that later structures do not cover. A facet
//!   between two owners is on the surface of the covering one. Where the domain cuts a structure there is no
//!   surface, but a surface that coincides with a face of the domain counts.
//! - `StructureStructureInterface`: facets between the two structures.
//! - `MediumMediumInterface`: facets between owners of the two materials.
//! - `SimulationBoundary`, `StructureSimulationBoundary`: facets on faces of the domain; the second only
//!   where the structure is the owner.
//!
//! Where several hold, the client's drawing of boundary conditions decides: `SimulationBoundary` yields to all
//! others, `StructureStructureInterface` comes before all others, and among equals the later entry of
//! `boundary_spec` wins. Facets without a condition carry no heat flux if they end a solid.
//!
//! In a domain with symmetry only the upper half is solved; a condition for either of the two mirrored faces holds on
//! the one that is there, and the plane of symmetry carries no flux.

use std::collections::HashMap;

use wavetask_grid::mesh::{Beyond, Facet, SimplexMesh};

use crate::model::{Condition, Placement, Problem, Side};
use crate::region::Regions;

/// A condition on a facet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FacetCondition {
    /// Index of the facet in the mesh's table.
    pub(crate) facet: usize,
    /// What holds.
    pub(crate) condition: Condition,
    /// Conditions with a higher order win where facets meet.
    pub(crate) order: (u8, usize),
}

/// All conditions on the facets of a mesh.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    /// The facets with a condition.
    pub(crate) facets: Vec<FacetCondition>,
    /// How many facets each entry of `boundary_spec` got.
    pub(crate) counts: Vec<usize>,
    /// Entries that give a flux or convection on interfaces inside of solids, where they do nothing.
    pub(crate) between_solids: Vec<usize>,
}

/// Finds the condition of every facet.
pub(crate) fn resolve(problem: &Problem, regions: &Regions<'_>, mesh: &SimplexMesh) -> Conditions {
    let mut conditions = Conditions { counts: vec![0; problem.boundaries.len()], ..Conditions::default() };
    let extent = mesh.bounds.iter().map(|[low, high]| high - low).fold(0.0, f64::max);
    // The answer depends on what meets at the facet, except where a surface may coincide with the domain's face.
    let mut known: HashMap<(u32, Beyond), Option<usize>> = HashMap::new();
    for (index, facet) in mesh.interfaces.iter().enumerate() {
        let region = mesh.regions[facet.cell as usize];
        let beyond = match facet.beyond {
            Beyond::Cell(other) => Beyond::Excluded(mesh.regions[other as usize]),
            beyond => beyond,
        };
        let owner = Regions::structure(region);
        let local = matches!(facet.beyond, Beyond::Domain { .. }) && has_structure_boundary(problem, owner);
        let winner = if local {
            winner(problem, regions, region, beyond, || surface_is_here(problem, mesh, facet, owner, extent))
        } else {
            *known
                .entry((region, beyond))
                .or_insert_with(|| winner(problem, regions, region, beyond, || false))
        };
        let Some(winner) = winner else { continue };
        let spec = &problem.boundaries[winner];
        if matches!(facet.beyond, Beyond::Cell(_))
            && matches!(spec.condition, Condition::Flux(_) | Condition::Convection { .. })
        {
            if !conditions.between_solids.contains(&winner) {
                conditions.between_solids.push(winner);
            }
            continue;
        }
        conditions.counts[winner] += 1;
        conditions.facets.push(FacetCondition {
            facet: index,
            condition: spec.condition,
            order: (rank(&spec.placement), winner),
        });
    }
    conditions
}

const fn rank(placement: &Placement) -> u8 {
    match placement {
        Placement::Simulation(_) => 0,
        Placement::StructureSimulation(..) | Placement::Structure(_) | Placement::MediumMedium(_) => 1,
        Placement::StructureStructure(_) => 2,
    }
}

fn has_structure_boundary(problem: &Problem, owner: Option<usize>) -> bool {
    owner.is_some_and(|index| {
        let name = &problem.structures[index].name;
        problem
            .boundaries
            .iter()
            .any(|spec| matches!(&spec.placement, Placement::Structure(wanted) if wanted == name))
    })
}

/// Whether a structure ends at a facet on the domain's face, rather than going on outside.
fn surface_is_here(
    problem: &Problem,
    mesh: &SimplexMesh,
    facet: &Facet,
    owner: Option<usize>,
    extent: f64,
) -> bool {
    let Some(index) = owner else { return false };
    let normal = facet.normal(mesh);
    let centroid = facet.centroid(mesh);
    let step = 1e-6 * extent;
    let outside = std::array::from_fn(|axis| centroid[axis] + step * normal[axis]);
    !problem.scene.structures()[index].geometry.contains(outside)
}

/// The entry of `boundary_spec` that holds between a region and what is beyond.
fn winner(
    problem: &Problem,
    regions: &Regions<'_>,
    region: u32,
    beyond: Beyond,
    surface_is_here: impl Fn() -> bool,
) -> Option<usize> {
    let owner = Regions::structure(region);
    let name = |owner: Option<usize>| owner.map(|index| problem.structures[index].name.as_str());
    let medium = |owner: Option<usize>| problem.medium(owner).name.as_deref();
    let both = |names: &[String; 2], a: Option<&str>, b: Option<&str>| {
        let (Some(a), Some(b)) = (a, b) else { return false };
        (names[0] == a && names[1] == b) || (names[0] == b && names[1] == a)
    };
    let holds = |placement: &Placement| match beyond {
        Beyond::Domain { axis, upper } => {
            let side = Side { axis: axis.into(), upper };
            let on_side = |sides: &[Side]| {
                sides.contains(&side)
                    || (problem.symmetry[side.axis]
                        && upper
                        && sides.contains(&Side { upper: false, ..side }))
            };
            // The lower face of a mirrored axis is the plane of symmetry.
            let mirror = problem.symmetry[side.axis] && !upper;
            !mirror
                && match placement {
                    Placement::Simulation(sides) => on_side(sides),
                    Placement::StructureSimulation(wanted, sides) => {
                        name(owner) == Some(wanted) && on_side(sides)
                    }
                    Placement::Structure(wanted) => name(owner) == Some(wanted) && surface_is_here(),
                    Placement::StructureStructure(_) | Placement::MediumMedium(_) => false,
                }
        }
        Beyond::Excluded(other) | Beyond::Cell(other) => {
            let across = Regions::structure(other);
            match placement {
                Placement::Structure(wanted) => {
                    let covering = if regions.rank(owner) > regions.rank(across) { owner } else { across };
                    name(covering) == Some(wanted)
                }
                Placement::StructureStructure(names) => both(names, name(owner), name(across)),
                Placement::MediumMedium(names) => both(names, medium(owner), medium(across)),
                Placement::Simulation(_) | Placement::StructureSimulation(..) => false,
            }
        }
    };
    problem
        .boundaries
        .iter()
        .enumerate()
        .filter(|(_, spec)| holds(&spec.placement))
        .max_by_key(|(index, spec)| (rank(&spec.placement), *index))
        .map(|(index, _)| index)
}
