//! Regions of the mesh: which structure owns a point, and what that means for the heat equation.
//!
//! Every structure is a region of its own, even when two are of one material, because sources and
//! boundary conditions name structures. Region 0 is the background, region `n + 1` the structure `n`.

use wavetask_grid::geometry::Bounds;
use wavetask_grid::mesh;

use crate::model::Problem;

/// The region of the background.
pub(crate) const BACKGROUND: u32 = 0;

/// Answers the mesher's questions about a problem.
///
/// Structures are asked from the one that covers all others downwards; those whose bounding box does not hold
/// the point are passed over without being asked.
#[derive(Debug)]
pub(crate) struct Regions<'a> {
    problem: &'a Problem,
    /// Structures from the highest precedence to the lowest, with their bounds.
    descending: Vec<(usize, Bounds)>,
    /// By structure: how many it covers, plus one.
    ranks: Vec<u32>,
}

impl<'a> Regions<'a> {
    /// Prepares the answers.
    pub(crate) fn new(problem: &'a Problem) -> Self {
        let structures = problem.scene.structures();
        let domain = problem.bounds();
        let descending = problem
            .scene
            .precedence()
            .iter()
            .rev()
            .map(|&index| (index, structures[index].geometry.bounds()))
            .filter(|(_, bounds)| overlap(bounds, &domain))
            .collect();
        let mut ranks = vec![0; structures.len()];
        for (rank, &index) in (1..).zip(problem.scene.precedence()) {
            ranks[index] = rank;
        }
        Self { problem, descending, ranks }
    }

    /// The place of an owner in the order of precedence: the background has 0, and the higher one covers.
    pub(crate) fn rank(&self, owner: Option<usize>) -> u32 {
        owner.map_or(0, |index| self.ranks[index])
    }

    /// The structure that a region stands for; `None` for the background.
    pub(crate) const fn structure(region: u32) -> Option<usize> {
        if region == BACKGROUND { None } else { Some(region as usize - 1) }
    }

    /// The region of an owner.
    pub(crate) fn of(owner: Option<usize>) -> u32 {
        owner.map_or(BACKGROUND, |index| index as u32 + 1)
    }

    /// Structures that can own points of a box, from the highest precedence to the lowest, ended by one that
    /// covers the box whole, if there is one.
    pub(crate) fn candidates(&self, low: [f64; 3], high: [f64; 3], among: Option<&[usize]>) -> Vec<usize> {
        let center: [f64; 3] = std::array::from_fn(|axis| (low[axis] + high[axis]) / 2.0);
        let half_diagonal = half_diagonal(low, high);
        let mut found = Vec::new();
        let mut consider = |index: usize, bounds: &Bounds| {
            if (0..3).any(|axis| bounds[axis][1] < low[axis] || bounds[axis][0] > high[axis]) {
                return false;
            }
            let geometry = &self.problem.scene.structures()[index].geometry;
            let clear = geometry.distance_to_surface(center) > half_diagonal;
            let inside = geometry.contains(center);
            if inside || !clear {
                found.push(index);
            }
            clear && inside
        };
        match among {
            None => {
                for (index, bounds) in &self.descending {
                    if consider(*index, bounds) {
                        break;
                    }
                }
            }
            Some(list) => {
                for &index in list {
                    if consider(index, &self.problem.scene.structures()[index].geometry.bounds()) {
                        break;
                    }
                }
            }
        }
        found
    }

    /// The owner of a point among these structures, which stand in descending precedence.
    pub(crate) fn owner_among(&self, point: [f64; 3], among: &[usize]) -> Option<usize> {
        let structures = self.problem.scene.structures();
        among.iter().copied().find(|&index| structures[index].geometry.contains(point))
    }
}

impl mesh::Scene for Regions<'_> {
    fn region(&self, point: [f64; 3]) -> u32 {
        let structures = self.problem.scene.structures();
        let owner = self.descending.iter().find(|(index, bounds)| {
            bounds
                .iter()
                .zip(point)
                .all(|([low, high], coordinate)| *low <= coordinate && coordinate <= *high)
                && structures[*index].geometry.contains(point)
        });
        Self::of(owner.map(|(index, _)| *index))
    }

    fn uniform(&self, low: [f64; 3], high: [f64; 3]) -> Option<u32> {
        let center: [f64; 3] = std::array::from_fn(|axis| (low[axis] + high[axis]) / 2.0);
        let half_diagonal = half_diagonal(low, high);
        for (index, bounds) in &self.descending {
            if (0..3).any(|axis| bounds[axis][1] < low[axis] || bounds[axis][0] > high[axis]) {
                continue;
            }
            let geometry = &self.problem.scene.structures()[*index].geometry;
            if geometry.as_aligned_box().is_some() {
                if (0..3).all(|axis| bounds[axis][0] <= low[axis] && high[axis] <= bounds[axis][1]) {
                    return Some(Self::of(Some(*index)));
                }
                return None;
            }
            if geometry.distance_to_surface(center) <= half_diagonal {
                return None;
            }
            if geometry.contains(center) {
                return Some(Self::of(Some(*index)));
            }
        }
        Some(BACKGROUND)
    }
}

pub(crate) fn half_diagonal(low: [f64; 3], high: [f64; 3]) -> f64 {
    (0..3).map(|axis| (high[axis] - low[axis]).powi(2)).sum::<f64>().sqrt() / 2.0
}

fn overlap(a: &Bounds, b: &Bounds) -> bool {
    a.iter().zip(b).all(|(a, b)| a[0] <= b[1] && b[0] <= a[1])
}
