//! How large the cells may be at each point: the client's grid specifications as one field.
//!
//! `DistanceUnstructuredGrid`: `dl_interface` up to `distance_interface` from the nearest interface between
//! materials, `dl_bulk` from `distance_bulk` on, linear between. An interface belongs to the structure that
//! covers the other one there; if that one is among `non_refined_structures`, it does not count. Inside media of
//! `uniform_grid_mediums` the size is `dl_interface`. Refinement regions and lines add their own sizes.
//!
//! `UniformUnstructuredGrid`: `dl`, and within the bounds of round bodies the circumference over
//! `min_edges_per_circumference`, along sides the side over `min_edges_per_side`.
//!
//! The smallest of all holds, but never less than `relative_min_dl` times the largest extent of the domain.

mod boxes;
mod interfaces;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use wavetask_grid::geometry::{Bounds, FeatureLength};
use wavetask_grid::mesh;

use crate::model::{DistanceGrid, Grid, Problem, Refinement, UniformGrid};
use crate::region::{Regions, longest_axis};
use boxes::BoxTree;
pub(crate) use interfaces::Patch;

/// The field of cell sizes.
#[derive(Debug)]
pub(crate) struct Sizing {
    /// Size away from everything.
    bulk: f64,
    /// No size is smaller.
    smallest: f64,
    /// Axes along which the domain extends.
    flat_axis: Option<usize>,
    layers: Vec<Layer>,
}

/// A size near something, growing with the distance from it.
#[derive(Debug)]
struct Layer {
    places: Places,
    near: f64,
    distance_near: f64,
    far: f64,
    distance_far: f64,
}

#[derive(Debug)]
enum Places {
    Boxes(BoxTree),
    Line { start: [f64; 3], end: [f64; 3] },
}

impl Layer {
    /// The size at a distance.
    fn at(&self, distance: f64) -> f64 {
        if distance <= self.distance_near {
            self.near
        } else if distance >= self.distance_far {
            self.far
        } else {
            let share = (distance - self.distance_near) / (self.distance_far - self.distance_near);
            self.near + share * (self.far - self.near)
        }
    }

    /// The largest distance at which the size is surely at most `size`; zero if none is known.
    fn reach(&self, size: f64) -> f64 {
        if size < self.near || self.far < self.near {
            0.0
        } else if size >= self.far {
            self.distance_far
        } else {
            let share = (size - self.near) / (self.far - self.near);
            self.distance_near + share * (self.distance_far - self.distance_near)
        }
    }
}

/// What is known about the interfaces of a problem, for the mesher and the estimate.
#[derive(Debug)]
pub(crate) struct Interfaces {
    patches: Vec<Patch>,
}

impl Interfaces {
    /// Finds the visible interfaces in the part of the domain that is solved; fewer if `keep_going` says no.
    pub(crate) fn find(problem: &Problem, regions: &Regions<'_>, keep_going: &dyn Fn() -> bool) -> Self {
        let wanted = match &problem.grid {
            Grid::Distance(grid) => grid.dl_interface,
            Grid::Uniform(grid) => grid.dl,
        };
        let pieces = if problem.flat_axis().is_some() { 4096.0 } else { 400.0 };
        let finest = wanted.max(problem.smallest_cell()).max(largest_extent(problem) / pieces);
        Self { patches: interfaces::find(problem, regions, &problem.solved_bounds(), finest, keep_going) }
    }

    /// Finds them roughly, in milliseconds: pieces of curved interfaces are larger.
    pub(crate) fn find_roughly(problem: &Problem, regions: &Regions<'_>) -> Self {
        let finest = largest_extent(problem) / 64.0;
        Self { patches: interfaces::find(problem, regions, &problem.solved_bounds(), finest, &|| true) }
    }

    /// Planes that hold a visible planar interface, by axis.
    pub(crate) fn planes(&self, problem: &Problem) -> [Vec<f64>; 3] {
        let mut planes: [Vec<f64>; 3] = Default::default();
        let mut by_owner: HashMap<usize, Vec<&Patch>> = HashMap::new();
        for patch in &self.patches {
            for owner in patch.owners.iter().flatten() {
                by_owner.entry(*owner).or_default().push(patch);
            }
        }
        for (axis, list) in planes.iter_mut().enumerate() {
            if problem.size[axis] == 0.0 {
                continue;
            }
            list.extend(
                self.patches
                    .iter()
                    .filter(|patch| patch.bounds[axis][0] == patch.bounds[axis][1])
                    .map(|patch| patch.bounds[axis][0]),
            );
            // Faces that only small pieces of interface saw: keep those that such a piece touches.
            for (index, structure) in problem.scene.structures().iter().enumerate() {
                let Some(pieces) = by_owner.get(&index) else { continue };
                list.extend(structure.geometry.feature_planes(axis).into_iter().filter(|plane| {
                    pieces
                        .iter()
                        .any(|patch| patch.bounds[axis][0] <= *plane && *plane <= patch.bounds[axis][1])
                }));
            }
            list.sort_by(f64::total_cmp);
            list.dedup();
        }
        planes
    }
}

fn largest_extent(problem: &Problem) -> f64 {
    problem.solved_bounds().iter().map(|[low, high]| high - low).fold(0.0, f64::max)
}

impl Sizing {
    /// The field of a problem.
    pub(crate) fn new(problem: &Problem, regions: &Regions<'_>, interfaces: &Interfaces) -> Self {
        let mut sizing = Self {
            bulk: problem.grid.bulk_size(),
            smallest: problem.smallest_cell(),
            flat_axis: problem.flat_axis(),
            layers: Vec::new(),
        };
        match &problem.grid {
            Grid::Distance(grid) => sizing.add_distance(problem, regions, interfaces, grid),
            Grid::Uniform(grid) => sizing.add_uniform(problem, grid),
        }
        sizing
    }

    fn add_distance(
        &mut self,
        problem: &Problem,
        regions: &Regions<'_>,
        interfaces: &Interfaces,
        grid: &DistanceGrid,
    ) {
        let not_refined = |owner: Option<usize>| {
            owner.is_some_and(|index| grid.non_refined_structures.contains(&problem.structures[index].name))
        };
        let refined: Vec<Bounds> = interfaces
            .patches
            .iter()
            .filter(|patch| {
                let [covering, other] = patch.owners;
                let media = [problem.medium(covering), problem.medium(other)];
                !not_refined(covering) && media[0] != media[1] && media.iter().any(|medium| medium.is_solid())
            })
            .map(|patch| patch.bounds)
            .collect();
        self.push(Layer {
            places: Places::Boxes(BoxTree::new(refined)),
            near: grid.dl_interface,
            distance_near: grid.distance_interface,
            far: grid.dl_bulk,
            distance_far: grid.distance_bulk,
        });
        let uniform: Vec<Bounds> = self.boxes_of_media(problem, regions, grid);
        self.push(Layer {
            places: Places::Boxes(BoxTree::new(uniform)),
            near: grid.dl_interface,
            distance_near: 0.0,
            far: grid.dl_bulk,
            distance_far: 0.0,
        });
        for refinement in &grid.refinements {
            self.push(match *refinement {
                Refinement::Region { bounds, dl_internal, transition_thickness } => Layer {
                    places: Places::Boxes(BoxTree::new(vec![bounds])),
                    near: dl_internal,
                    distance_near: 0.0,
                    far: grid.dl_bulk,
                    distance_far: transition_thickness,
                },
                Refinement::Line { start, end, dl_near, distance_near, distance_bulk } => Layer {
                    places: Places::Line { start, end },
                    near: dl_near,
                    distance_near,
                    far: grid.dl_bulk,
                    distance_far: distance_bulk,
                },
            });
        }
    }

    fn push(&mut self, layer: Layer) {
        if !matches!(&layer.places, Places::Boxes(boxes) if boxes.is_empty()) {
            self.layers.push(layer);
        }
    }

    /// Boxes that together hold the media with one size everywhere: exact for boxes that nothing covers,
    /// otherwise halved until they are small.
    fn boxes_of_media(&self, problem: &Problem, regions: &Regions<'_>, grid: &DistanceGrid) -> Vec<Bounds> {
        if grid.uniform_grid_mediums.is_empty() {
            return Vec::new();
        }
        let wanted = |owner: Option<usize>| {
            let refined = owner
                .is_none_or(|index| !grid.non_refined_structures.contains(&problem.structures[index].name));
            refined
                && problem
                    .medium(owner)
                    .name
                    .as_ref()
                    .is_some_and(|name| grid.uniform_grid_mediums.contains(name))
        };
        let bounds = problem.solved_bounds();
        let finest = (grid.dl_interface * 2.0).max(largest_extent(problem) / 256.0);
        let mut found = Vec::new();
        let mut open = vec![(bounds.map(|range| range[0]), bounds.map(|range| range[1]))];
        while let Some((low, high)) = open.pop() {
            let center: [f64; 3] = std::array::from_fn(|axis| (low[axis] + high[axis]) / 2.0);
            let longest = longest_axis(low, high);
            match mesh::Scene::uniform(regions, low, high) {
                Some(region) => {
                    if wanted(Regions::structure(region)) {
                        found.push(std::array::from_fn(|axis| [low[axis], high[axis]]));
                    }
                }
                None if high[longest] - low[longest] > finest => {
                    let mut lower_high = high;
                    lower_high[longest] = center[longest];
                    let mut upper_low = low;
                    upper_low[longest] = center[longest];
                    open.push((low, lower_high));
                    open.push((upper_low, high));
                }
                None => {
                    let candidates = regions.candidates_in(low, high);
                    let owners = (0..8_usize).map(|corner| {
                        let point = std::array::from_fn(|axis| {
                            let share = if corner >> axis & 1 == 1 { 0.75 } else { 0.25 };
                            low[axis] + share * (high[axis] - low[axis])
                        });
                        regions.owner_among(point, &candidates)
                    });
                    if owners.chain([regions.owner_among(center, &candidates)]).any(wanted) {
                        found.push(std::array::from_fn(|axis| [low[axis], high[axis]]));
                    }
                }
            }
        }
        found
    }

    fn add_uniform(&mut self, problem: &Problem, grid: &UniformGrid) {
        let domain = problem.solved_bounds();
        let mut by_size: Vec<(f64, Vec<Bounds>)> = Vec::new();
        for (index, structure) in problem.scene.structures().iter().enumerate() {
            if grid.non_refined_structures.contains(&problem.structures[index].name) {
                continue;
            }
            for feature in structure.geometry.feature_sizes() {
                let size = match feature.length {
                    FeatureLength::Circumference { radius } if grid.min_edges_per_circumference > 0.0 => {
                        2.0 * std::f64::consts::PI * radius / grid.min_edges_per_circumference
                    }
                    FeatureLength::Side { length } if grid.min_edges_per_side > 0.0 => {
                        length / grid.min_edges_per_side
                    }
                    _ => continue,
                };
                let outside = (0..3).any(|axis| {
                    feature.bounds[axis][1] < domain[axis][0] || feature.bounds[axis][0] > domain[axis][1]
                });
                if size >= grid.dl || outside {
                    continue;
                }
                match by_size.iter_mut().find(|(known, _)| (known / size - 1.0).abs() < 1e-9) {
                    Some((_, boxes)) => boxes.push(feature.bounds),
                    None => by_size.push((size, vec![feature.bounds])),
                }
            }
        }
        for (size, boxes) in by_size {
            self.push(Layer {
                places: Places::Boxes(BoxTree::new(boxes)),
                near: size,
                distance_near: 0.0,
                far: grid.dl,
                distance_far: 0.0,
            });
        }
    }

    /// The smallest size in a box, or some size found in it below `enough`.
    pub(crate) fn in_box(&self, bounds: &Bounds, enough: f64) -> f64 {
        let mut smallest = self.bulk;
        for layer in &self.layers {
            if smallest <= self.smallest || smallest < enough {
                break;
            }
            if layer.near >= smallest {
                continue;
            }
            let distance = match &layer.places {
                Places::Boxes(boxes) => boxes.distance(bounds, layer.reach(enough)),
                Places::Line { start, end } => self.distance_to_line(*start, *end, bounds),
            };
            smallest = smallest.min(layer.at(distance));
        }
        smallest.max(self.smallest)
    }

    /// A distance from a box to a segment that is never too long: from the centre, less half the diagonal.
    fn distance_to_line(&self, start: [f64; 3], end: [f64; 3], bounds: &Bounds) -> f64 {
        let ignored = |axis: usize| Some(axis) == self.flat_axis;
        let center = bounds.map(|[low, high]| (low + high) / 2.0);
        let half: f64 = bounds.iter().map(|[low, high]| (high - low).powi(2)).sum::<f64>().sqrt() / 2.0;
        let along: [f64; 3] =
            std::array::from_fn(|axis| if ignored(axis) { 0.0 } else { end[axis] - start[axis] });
        let away: [f64; 3] =
            std::array::from_fn(|axis| if ignored(axis) { 0.0 } else { center[axis] - start[axis] });
        let length_squared: f64 = along.iter().map(|component| component * component).sum();
        let share = if length_squared > 0.0 {
            (along.iter().zip(away).map(|(a, b)| a * b).sum::<f64>() / length_squared).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let distance = (0..3).map(|axis| (away[axis] - share * along[axis]).powi(2)).sum::<f64>().sqrt();
        (distance - half).max(0.0)
    }
}

impl mesh::CellSize for Sizing {
    fn at(&self, point: [f64; 3]) -> f64 {
        self.in_box(&point.map(|coordinate| [coordinate, coordinate]), 0.0)
    }

    fn smallest_within(&self, low: [f64; 3], high: [f64; 3], enough: f64) -> f64 {
        self.in_box(&std::array::from_fn(|axis| [low[axis], high[axis]]), enough)
    }
}
