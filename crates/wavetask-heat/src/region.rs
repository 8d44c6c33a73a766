//! Regions of the mesh: which structure owns a point, and what that means for the heat equation.
//!
//! Every structure is a region of its own, even when two are of one material, because sources and
//! boundary conditions name structures. Region 0 is the background, region `n + 1` the structure `n`.

use std::collections::VecDeque;

use wavetask_grid::geometry::Geometry;
use wavetask_grid::mesh;

use crate::model::Problem;

/// The region of the background.
pub(crate) const BACKGROUND: u32 = 0;

/// Answers the mesher's questions about a problem.
///
/// The domain is halved until few structures can own points of each part, so scenes of thousands of structures cost
/// little more than scenes of ten. In each part the candidates are asked from the one that covers all others
/// downwards.
#[derive(Debug)]
pub(crate) struct Regions<'a> {
    problem: &'a Problem,
    /// Parts of the solved domain; the first is all of it.
    parts: Vec<Part>,
    /// By structure: how many it covers, plus one.
    ranks: Vec<u32>,
}

/// A box of the domain and the structures that can own points of it, in descending precedence.
#[derive(Debug)]
struct Part {
    candidates: Vec<usize>,
    /// Axis and position of the plane that halves the part, and the number of the lower half; the upper follows it.
    halves: Option<(usize, f64, usize)>,
}

/// A part with at most this many candidates is not halved.
const FEW: usize = 6;

/// Most parts.
const MAXIMUM_PARTS: usize = 1 << 17;

impl<'a> Regions<'a> {
    /// Prepares the answers.
    pub(crate) fn new(problem: &'a Problem) -> Self {
        let structures = problem.scene.structures();
        let mut ranks = vec![0; structures.len()];
        for (rank, &index) in (1..).zip(problem.scene.precedence()) {
            ranks[index] = rank;
        }
        let mut regions = Self { problem, parts: Vec::new(), ranks };
        regions.divide();
        regions
    }

    fn divide(&mut self) {
        let bounds = self.problem.solved_bounds();
        let (low, high) = (bounds.map(|range| range[0]), bounds.map(|range| range[1]));
        let all: Vec<usize> = self.problem.scene.precedence().iter().rev().copied().collect();
        self.parts.push(Part { candidates: self.candidates(low, high, &all), halves: None });
        // Breadth first, so that the limit on parts is felt everywhere alike.
        let mut open = VecDeque::from([(0, low, high)]);
        while let Some((number, low, high)) = open.pop_front() {
            let candidates = std::mem::take(&mut self.parts[number].candidates);
            if candidates.len() > FEW && self.parts.len() + 2 <= MAXIMUM_PARTS {
                // Structures that cross everywhere along an axis, such as layers, are not told apart by halving it.
                let mut axes = [0, 1, 2];
                axes.sort_by(|a, b| (high[*b] - low[*b]).total_cmp(&(high[*a] - low[*a])));
                for axis in axes {
                    let middle = (low[axis] + high[axis]) / 2.0;
                    if !(low[axis] < middle && middle < high[axis]) {
                        continue;
                    }
                    let (mut lower_high, mut upper_low) = (high, low);
                    lower_high[axis] = middle;
                    upper_low[axis] = middle;
                    let parts = [(low, lower_high), (upper_low, high)];
                    let halves = parts.map(|(low, high)| self.candidates(low, high, &candidates));
                    if halves.iter().map(Vec::len).sum::<usize>() < 2 * candidates.len() {
                        let first = self.parts.len();
                        self.parts[number].halves = Some((axis, middle, first));
                        self.parts.extend(halves.map(|candidates| Part { candidates, halves: None }));
                        open.extend([(first, low, lower_high), (first + 1, upper_low, high)]);
                        break;
                    }
                }
            }
            self.parts[number].candidates = candidates;
        }
    }

    /// The candidates of the smallest part that holds a box.
    fn candidates_around(&self, low: [f64; 3], high: [f64; 3]) -> &[usize] {
        let mut part = &self.parts[0];
        while let Some((axis, middle, lower)) = part.halves {
            // Points on the plane belong to the upper half, whose candidates include all that touch it.
            if low[axis] >= middle {
                part = &self.parts[lower + 1];
            } else if high[axis] < middle {
                part = &self.parts[lower];
            } else {
                break;
            }
        }
        &part.candidates
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

    /// Those of some structures that can own points of a box. The structures stand in descending precedence; the
    /// list ends with one that covers the box whole, if there is one.
    pub(crate) fn candidates(&self, low: [f64; 3], high: [f64; 3], among: &[usize]) -> Vec<usize> {
        let center: [f64; 3] = std::array::from_fn(|axis| (low[axis] + high[axis]) / 2.0);
        let half_diagonal = half_diagonal(low, high);
        let structures = self.problem.scene.structures();
        let mut found = Vec::new();
        for &index in among {
            let geometry = &structures[index].geometry;
            let bounds = geometry.bounds();
            if (0..3).any(|axis| bounds[axis][1] < low[axis] || bounds[axis][0] > high[axis]) {
                continue;
            }
            let clear = !surface_near(geometry, center, half_diagonal);
            let inside = geometry.contains(center);
            if inside || !clear {
                found.push(index);
            }
            if clear && inside {
                break;
            }
        }
        found
    }

    /// As [`Self::candidates`], of all structures.
    pub(crate) fn candidates_in(&self, low: [f64; 3], high: [f64; 3]) -> Vec<usize> {
        self.candidates(low, high, self.candidates_around(low, high))
    }

    /// The owner of a point among these structures, which stand in descending precedence.
    pub(crate) fn owner_among(&self, point: [f64; 3], among: &[usize]) -> Option<usize> {
        let structures = self.problem.scene.structures();
        among.iter().copied().find(|&index| structures[index].geometry.contains(point))
    }
}

impl mesh::Scene for Regions<'_> {
    fn region(&self, point: [f64; 3]) -> u32 {
        Self::of(self.owner_among(point, self.candidates_around(point, point)))
    }

    fn uniform(&self, low: [f64; 3], high: [f64; 3]) -> Option<u32> {
        let center: [f64; 3] = std::array::from_fn(|axis| (low[axis] + high[axis]) / 2.0);
        let half_diagonal = half_diagonal(low, high);
        let structures = self.problem.scene.structures();
        for &index in self.candidates_around(low, high) {
            let geometry = &structures[index].geometry;
            let bounds = geometry.bounds();
            if (0..3).any(|axis| bounds[axis][1] < low[axis] || bounds[axis][0] > high[axis]) {
                continue;
            }
            if geometry.as_aligned_box().is_some() {
                if (0..3).all(|axis| bounds[axis][0] <= low[axis] && high[axis] <= bounds[axis][1]) {
                    return Some(Self::of(Some(index)));
                }
                return None;
            }
            if surface_near(geometry, center, half_diagonal) {
                return None;
            }
            if geometry.contains(center) {
                return Some(Self::of(Some(index)));
            }
        }
        Some(BACKGROUND)
    }
}

/// Whether a surface may come as near to a point as this; far from the surface that costs next to nothing.
pub(crate) fn surface_near(geometry: &Geometry, point: [f64; 3], radius: f64) -> bool {
    // Rounding may not hide a surface that touches the ball.
    let limit = radius * (1.0 + 1e-9);
    geometry.distance_within(point, limit) < limit
}

/// Half the diagonal of a box.
pub(crate) fn half_diagonal(low: [f64; 3], high: [f64; 3]) -> f64 {
    (0..3).map(|axis| (high[axis] - low[axis]).powi(2)).sum::<f64>().sqrt() / 2.0
}

/// The axis along which a box is longest; the lowest of equals.
pub(crate) fn longest_axis(low: [f64; 3], high: [f64; 3]) -> usize {
    (0..3).fold(
        0,
        |longest, axis| if high[axis] - low[axis] > high[longest] - low[longest] { axis } else { longest },
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::{Value, json};
    use wavetask_document::Array;
    use wavetask_grid::mesh::Scene;

    use super::*;

    fn problem(structures: &[Value]) -> Problem {
        let simulation = json!({
            "type": "HeatChargeSimulation", "center": [0.0, 0.0, 0.0], "size": [10.0, 10.0, 10.0],
            "medium": {"type": "SolidMedium", "conductivity": 1.0}, "structures": structures,
            "grid_spec": {"type": "UniformUnstructuredGrid", "dl": 1.0},
            "boundary_spec": [{"placement": {"type": "SimulationBoundary"},
                "condition": {"type": "TemperatureBC", "temperature": 300.0}}],
        });
        Problem::read(&simulation, &BTreeMap::<String, Array>::new()).unwrap()
    }

    fn shape(round: bool, center: [f64; 3], extent: [f64; 3], priority: i64) -> Value {
        let geometry = if round {
            json!({"type": "Sphere", "center": center, "radius": extent[0]})
        } else {
            json!({"type": "Box", "center": center, "size": extent})
        };
        json!({"type": "Structure", "name": null, "geometry": geometry, "priority": priority,
            "medium": {"type": "FluidMedium"}})
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn the_owner_is_that_of_the_scene(
            shapes in prop::collection::vec(
                (any::<bool>(), prop::array::uniform3(-5.0..5.0_f64), prop::array::uniform3(0.1..6.0_f64), -1_i64..2), 0..40),
            points in prop::collection::vec(prop::array::uniform3(-5.0..5.0_f64), 60),
            sides in prop::array::uniform3(0.01..2.0_f64),
        ) {
            let structures: Vec<Value> = shapes.iter().map(|s| shape(s.0, s.1, s.2, s.3)).collect();
            let problem = problem(&structures);
            let regions = Regions::new(&problem);
            for &point in &points {
                let expected = Regions::of(problem.scene.owner(point));
                prop_assert_eq!(regions.region(point), expected);
                let high: [f64; 3] = std::array::from_fn(|axis| (point[axis] + sides[axis]).min(5.0));
                if let Some(region) = regions.uniform(point, high) {
                    for corner in 0..8_usize {
                        let inside = std::array::from_fn(|axis| {
                            let share = if corner >> axis & 1 == 1 { 0.999 } else { 0.001 };
                            point[axis] + share * (high[axis] - point[axis])
                        });
                        prop_assert_eq!(Regions::of(problem.scene.owner(inside)), region);
                    }
                }
                let candidates = regions.candidates_in(point, high);
                prop_assert_eq!(Regions::of(regions.owner_among(point, &candidates)), expected);
            }
        }
    }
}
