//! From the specification and the structures to the lines along each axis.

use crate::geometry::{Bounds, Scene};

use super::closeness::roughly;
use super::error::GridError;
use super::fixed::{Extent, mirrored, with_absorber};
use super::intervals::{Candidate, Intervals};
use super::specification::{AutoGrid, AxisGrid, External, Override, Specification};
use super::steps::graded;

/// The least step that the client accepts from a mesher, in micrometres: less is a mistaken unit.
const LEAST_STEP: f64 = 1e-6;

/// The share of the least step expected anywhere that the mesher does not go below by itself.
const LEAST_STEP_SHARE: f64 = 0.5;

/// Override structures of lumped elements come before those of priority zero.
const INTERNAL_PRIORITY: i64 = -1;

/// Something that takes part in the meshing.
#[derive(Clone, Debug)]
struct Item {
    bounds: Bounds,
    demand: Demand,
}

#[derive(Clone, Debug)]
enum Demand {
    /// A medium of this refractive index; zero where no axis asks for it.
    Medium {
        index: f64,
    },
    Steps(Override),
}

/// Refractive indices: of the background, of the structures in the order of the document, and of the
/// structures among the overrides.
#[derive(Clone, Debug, Default)]
pub(super) struct Indices {
    pub(super) background: f64,
    pub(super) structures: Vec<f64>,
    pub(super) overrides: Vec<f64>,
}

/// Makes the lines of all axes from a specification that has been read.
pub(super) struct Assembly<'a> {
    specification: &'a Specification,
    /// The domain first, then the structures as they cover each other, then the overrides.
    items: Vec<Item>,
    /// The least step expected along any axis, over all structures and overrides, in micrometres.
    expected: f64,
}

impl<'a> Assembly<'a> {
    pub(super) fn new(specification: &'a Specification, scene: &Scene, indices: &Indices) -> Self {
        let medium = |bounds: Bounds, index: Option<&f64>| Item {
            bounds,
            demand: Demand::Medium { index: index.copied().unwrap_or(0.0) },
        };
        let mut items = vec![medium(specification.domain.bounds(), Some(&indices.background))];
        for &index in scene.precedence() {
            let bounds = scene.structures()[index].geometry.bounds();
            items.push(medium(bounds, indices.structures.get(index)));
        }
        let lumped = specification.lumped_overrides.iter().cloned();
        let mut overrides: Vec<(i64, Item)> = lumped
            .map(|steps| (INTERNAL_PRIORITY, Item { bounds: steps.bounds, demand: Demand::Steps(steps) }))
            .collect();
        let mut index = indices.overrides.iter();
        for external in &specification.overrides {
            overrides.push(match external {
                External::Steps { priority, steps } => {
                    (*priority, Item { bounds: steps.bounds, demand: Demand::Steps(steps.clone()) })
                }
                External::Structure { priority, structure, .. } => {
                    (*priority, medium(structure.geometry.bounds(), index.next()))
                }
            });
        }
        overrides.sort_by_key(|(priority, _)| *priority);
        items.extend(overrides.into_iter().map(|(_, item)| item));

        let mut assembly = Self { specification, items, expected: 0.0 };
        assembly.expected = assembly.expected_step();
        assembly
    }

    /// The lines along all axes, absorbers and mirror images included.
    pub(super) fn lines(&self) -> Result<[Vec<f64>; 3], GridError> {
        Ok([self.axis(0)?, self.axis(1)?, self.axis(2)?])
    }

    fn axis(&self, axis: usize) -> Result<Vec<f64>, GridError> {
        let specification = self.specification;
        let domain = &specification.domain;
        let extent = Extent { axis, center: domain.center()[axis], size: domain.size()[axis] };
        let mut lines = match &specification.axes[axis] {
            AxisGrid::Uniform { step } => extent.uniform(*step)?,
            AxisGrid::Lines { coordinates } => extent.fitted(coordinates.clone(), false)?,
            AxisGrid::Steps { steps, offset } => extent.stepped(steps, *offset)?,
            grid @ (AxisGrid::QuasiUniform { .. } | AxisGrid::Auto(_)) => {
                self.require_usable(extent, self.least_demand(grid, self.extents_of_bounds()))?;
                let lines = Graded::new(self, grid, axis).lines()?;
                let steps = lines.windows(2).map(|pair| pair[1] - pair[0]);
                self.require_usable(extent, steps.fold(f64::INFINITY, f64::min))?;
                lines
            }
        };
        if specification.symmetry[axis] != 0 {
            lines = mirrored(lines, extent.center);
        }
        Ok(with_absorber(lines, specification.absorber_layers[axis]))
    }

    fn require_usable(&self, extent: Extent, least: f64) -> Result<(), GridError> {
        if extent.size == 0.0 || least >= LEAST_STEP {
            return Ok(());
        }
        let reason = format!("a step of {least:e} um is below {LEAST_STEP:e} um; is the unit right?");
        Err(GridError::none(extent.axis, reason))
    }

    /// The extents of the domain as the client takes them from its bounds, rounding included.
    fn extents_of_bounds(&self) -> [f64; 3] {
        self.specification.domain.bounds().map(|[low, high]| high - low)
    }

    fn media(&self) -> impl Iterator<Item = f64> {
        self.items.iter().filter_map(|item| match item.demand {
            Demand::Medium { index } => Some(index),
            Demand::Steps(_) => None,
        })
    }

    /// The least step that a grid is expected to have, from its own parameters and the media.
    fn least_demand(&self, grid: &AxisGrid, size: [f64; 3]) -> f64 {
        let least = |steps: &mut dyn Iterator<Item = f64>| steps.fold(f64::INFINITY, f64::min);
        match grid {
            AxisGrid::Uniform { step } | AxisGrid::QuasiUniform { step, .. } => *step,
            AxisGrid::Lines { coordinates } => {
                least(&mut coordinates.windows(2).map(|pair| pair[1] - pair[0]))
            }
            AxisGrid::Steps { steps, .. } => least(&mut steps.iter().copied()),
            AxisGrid::Auto(auto) => {
                let wavelength = self.specification.wavelength.unwrap_or(f64::INFINITY);
                auto.bounded(least(&mut self.media().map(|index| auto.step(wavelength, index))), size)
            }
        }
    }

    fn expected_step(&self) -> f64 {
        let size = self.extents_of_bounds();
        let by_grids = self.specification.axes.iter().map(|grid| self.least_demand(grid, size));
        let by_overrides = self.items.iter().filter_map(|item| match &item.demand {
            Demand::Steps(steps) => Some(steps.step.into_iter().flatten()),
            Demand::Medium { .. } => None,
        });
        by_grids.chain(by_overrides.flatten()).fold(f64::INFINITY, f64::min)
    }
}

impl AutoGrid {
    /// The step in a medium of this refractive index.
    fn step(&self, wavelength: f64, index: f64) -> f64 {
        wavelength / index / self.steps_per_wavelength
    }

    fn largest(&self, size: [f64; 3]) -> f64 {
        size.into_iter().fold(0.0, f64::max) / self.steps_per_size
    }

    fn bounded(&self, step: f64, size: [f64; 3]) -> f64 {
        step.min(self.largest(size)).max(self.least)
    }
}

/// One axis whose steps follow the scene.
struct Graded<'a> {
    assembly: &'a Assembly<'a>,
    axis: usize,
    scale: f64,
    /// Bounds of the steps; the lower one as the user stated it, zero if not at all.
    least: f64,
    largest: f64,
    /// The lower bound that also counts the mesher's own choice: snapping points come no nearer.
    least_for_snapping: f64,
    /// The size of the one cell along an axis without extent.
    collapsed: f64,
    /// The grid if it is automatic; the step of all items otherwise.
    auto: Option<&'a AutoGrid>,
    /// Where the grid is made: the upper half of the domain along axes of symmetry.
    center: [f64; 3],
    bounds: Bounds,
}

impl<'a> Graded<'a> {
    fn new(assembly: &'a Assembly<'a>, grid: &'a AxisGrid, axis: usize) -> Self {
        let specification = assembly.specification;
        let (mut center, mut size) = (specification.domain.center(), specification.domain.size());
        let whole = size;
        for side in (0..3).filter(|&side| specification.symmetry[side] != 0) {
            center[side] += size[side] / 4.0;
            size[side] /= 2.0;
        }
        let bounds =
            std::array::from_fn(|side| [center[side] - size[side] / 2.0, center[side] + size[side] / 2.0]);
        let base = Self {
            assembly,
            axis,
            scale: 1.4,
            least: 0.0,
            largest: 0.0,
            least_for_snapping: 0.0,
            collapsed: 0.0,
            auto: None,
            center,
            bounds,
        };
        match grid {
            AxisGrid::Auto(auto) => {
                let mut limited = auto.clone();
                if limited.least == 0.0 {
                    limited.least = assembly.expected * LEAST_STEP_SHARE;
                }
                let wavelength = specification.wavelength.unwrap_or(f64::INFINITY);
                Self {
                    scale: auto.scale,
                    least: auto.least,
                    largest: auto.largest(whole),
                    least_for_snapping: limited.least,
                    collapsed: limited.bounded(wavelength / auto.steps_per_wavelength, size),
                    auto: Some(auto),
                    ..base
                }
            }
            AxisGrid::QuasiUniform { step, scale, least } => {
                let least = if *least == 0.0 { 0.5 * step } else { *least };
                Self {
                    scale: *scale,
                    least,
                    largest: *step,
                    least_for_snapping: least,
                    collapsed: step.max(least),
                    ..base
                }
            }
            _ => base,
        }
    }

    fn lines(&self) -> Result<Vec<f64>, GridError> {
        let specification = self.assembly.specification;
        let mut intervals = Intervals::of(self.axis, self.candidates())?;
        let points = specification.snapping.iter().filter_map(|point| point[self.axis]);
        let intervals = intervals.snapped(points, self.least_for_snapping);
        if intervals.is_flat() {
            let center = self.center[self.axis];
            return Ok(vec![center - self.collapsed / 2.0, center + self.collapsed / 2.0]);
        }
        let lengths: Vec<f64> = intervals.cuts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let periodic = specification.periodic[self.axis] && specification.symmetry[self.axis] == 0;
        let steps = graded(self.axis, &intervals.steps, &lengths, self.scale, periodic)?;

        let mut lines = Vec::with_capacity(steps.len() + 1);
        let mut end = 0.0;
        lines.push(intervals.cuts[0]);
        for step in steps {
            end += step;
            lines.push(end + intervals.cuts[0]);
        }
        let [low, high] = self.bounds[self.axis];
        let last = lines.len() - 1;
        if !roughly(lines[0], low) || !roughly(lines[last], high) {
            return Err(GridError::none(self.axis, "the steps do not fill the domain"));
        }
        lines[0] = low;
        lines[last] = high;
        Ok(lines)
    }

    /// What asks for a step along the axis and meets the domain; the domain first.
    fn candidates(&self) -> Vec<Candidate> {
        let meets = |bounds: &Bounds, side: usize| {
            bounds[side][0] <= self.bounds[side][1] && bounds[side][1] >= self.bounds[side][0]
        };
        let items = &self.assembly.items;
        let mut candidates = Vec::with_capacity(items.len());
        for (number, item) in items.iter().enumerate() {
            let bounds = if number == 0 { self.bounds } else { item.bounds };
            let inside = match &item.demand {
                Demand::Steps(steps) if !steps.inside_only => meets(&bounds, self.axis),
                _ => (0..3).all(|side| meets(&bounds, side)),
            };
            let Some((step, enforced, shadow)) = self.demand(&item.demand).filter(|_| inside) else {
                continue;
            };
            // The bounds are applied in this order: a lower bound above the upper one wins.
            let step = step.min(self.largest).max(self.least);
            candidates.push(Candidate { bounds, step, enforced, shadow });
        }
        candidates
    }

    /// The step, and whether it is enforced and casts a shadow; nothing if the axis is left alone.
    fn demand(&self, demand: &Demand) -> Option<(f64, bool, bool)> {
        match (demand, self.auto) {
            (Demand::Medium { index }, Some(auto)) => {
                let wavelength = self.assembly.specification.wavelength?;
                Some((auto.step(wavelength, *index), false, true))
            }
            (Demand::Steps(steps), Some(_)) => Some((steps.step[self.axis]?, steps.enforced, steps.shadow)),
            // A quasi-uniform grid keeps the places of its items only.
            (Demand::Medium { .. }, None) => Some((self.largest, false, true)),
            (Demand::Steps(steps), None) => steps.step[self.axis].map(|_| (self.largest, false, true)),
        }
    }
}
