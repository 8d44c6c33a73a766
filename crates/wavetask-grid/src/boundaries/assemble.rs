//! From the specification and the structures to the lines along each axis.

use crate::geometry::{Bounds, Scene};

use super::closeness::roughly;
use super::error::GridError;
use super::fixed::{Extent, mirrored, with_absorber};
use super::intervals::{Candidate, Intervals};
use super::layer::{Layer, Polygon, tangential};
use super::part::BoxRegion;
use super::specification::{AutoGrid, AxisGrid, External, Override, Specification};
use super::steps::graded;

/// The least step that the client accepts from a mesher, in micrometres: less is a mistaken unit.
const LEAST_STEP: f64 = 1e-6;

/// The share of the least step expected anywhere that the mesher does not go below by itself.
const LEAST_STEP_SHARE: f64 = 0.5;

/// Override structures of layers and lumped elements come before those of priority zero.
const INTERNAL_PRIORITY: i64 = -1;

/// The least step where there are gaps, as a share of the thinnest one's width.
const GAP_SHARE: f64 = 0.45;

/// A coordinate along some axes that grid lines shall pass through.
type Snapping = [Option<f64>; 3];

/// Something that takes part in the meshing.
#[derive(Clone, Debug)]
struct Item {
    bounds: Bounds,
    /// Whether its geometry is a box and not another shape.
    is_box: bool,
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

impl Item {
    fn of(steps: Override) -> Self {
        Self { bounds: steps.bounds, is_box: true, demand: Demand::Steps(steps) }
    }
}

/// Refractive indices: of the background, of the structures in the order of the document, and of the
/// structures among the overrides.
#[derive(Clone, Debug, Default)]
pub(super) struct Indices {
    pub(super) background: f64,
    pub(super) structures: Vec<f64>,
    pub(super) overrides: Vec<f64>,
    /// Of each structure, whether its geometry is a box.
    pub(super) boxes: Vec<bool>,
}

/// Makes the lines of all axes from a specification that has been read.
pub(super) struct Assembly<'a> {
    specification: &'a Specification,
    /// The layers to refine, each with its metal.
    layers: &'a [(Layer, Vec<Polygon>)],
    /// The domain first, then the structures as they cover each other, then the overrides.
    items: Vec<Item>,
    /// How many of the items are the domain and structures.
    structures: usize,
    /// The overrides by priority: of layers, of lumped elements, of the specification.
    overrides: Vec<(i64, Item)>,
    /// How many of the overrides are not of the specification.
    internal: usize,
    /// Of layers, then of lumped elements and of the specification.
    snapping: Vec<Snapping>,
    /// The least step expected along any axis, over all structures and overrides, in micrometres.
    expected: f64,
}

/// What changes from pass to pass.
#[derive(Clone, Debug)]
struct Pass {
    /// Where the first pass found that lines must be; nothing for axes that do not follow the scene.
    intervals: [Option<Intervals>; 3],
    /// Lines through gaps that passes before have found.
    gaps: Vec<Snapping>,
    /// A bound of the least step that gaps and small shapes ask for.
    least: f64,
}

impl<'a> Assembly<'a> {
    pub(super) fn new(
        specification: &'a Specification,
        layers: &'a [(Layer, Vec<Polygon>)],
        scene: &Scene,
        indices: &Indices,
    ) -> Result<Self, GridError> {
        let medium = |bounds: Bounds, index: Option<&f64>| Item {
            bounds,
            is_box: true,
            demand: Demand::Medium { index: index.copied().unwrap_or(0.0) },
        };
        let mut items = vec![medium(specification.domain.bounds(), Some(&indices.background))];
        for &index in scene.precedence() {
            let bounds = scene.structures()[index].geometry.bounds();
            let item = medium(bounds, indices.structures.get(index));
            items.push(Item { is_box: indices.boxes.get(index) == Some(&true), ..item });
        }
        let mut assembly = Self {
            specification,
            layers,
            structures: items.len(),
            items,
            overrides: Vec::new(),
            internal: 0,
            snapping: Vec::new(),
            expected: 0.0,
        };
        assembly.add_layers()?;
        let lumped = specification.lumped_overrides.iter().cloned();
        assembly.overrides.extend(lumped.map(|steps| (INTERNAL_PRIORITY, Item::of(steps))));
        assembly.internal = assembly.overrides.len();
        let mut index = indices.overrides.iter();
        for external in &specification.overrides {
            assembly.overrides.push(match external {
                External::Steps { priority, steps } => (*priority, Item::of(steps.clone())),
                External::Structure { priority, structure, .. } => {
                    (*priority, medium(structure.geometry.bounds(), index.next()))
                }
            });
        }
        assembly.snapping.extend(&specification.snapping);
        assembly.order_overrides();
        assembly.expected = assembly.expected_step();
        Ok(assembly)
    }

    /// Takes overrides and snapping points from the layers, if an axis has an automatic grid.
    fn add_layers(&mut self) -> Result<(), GridError> {
        let Some(vacuum) = self.vacuum_step() else { return Ok(()) };
        let (domain, ends) = (self.specification.region(), &self.specification.ends);
        for (layer, polygons) in self.layers {
            let overrides = layer.overrides(vacuum, polygons, &domain, ends)?;
            self.overrides.extend(overrides.into_iter().map(|(priority, steps)| (priority, Item::of(steps))));
            self.snapping.extend(layer.snapping_points(polygons, &domain, ends)?);
        }
        Ok(())
    }

    /// Puts the overrides behind the structures, by priority.
    fn order_overrides(&mut self) {
        let mut ordered = self.overrides.clone();
        ordered.sort_by_key(|(priority, _)| *priority);
        self.items.truncate(self.structures);
        self.items.extend(ordered.into_iter().map(|(_, item)| item));
    }

    /// The least step in vacuum of the automatic grids; nothing if there is none.
    fn vacuum_step(&self) -> Option<f64> {
        let wavelength = self.specification.wavelength?;
        let size = self.extents_of_bounds();
        let steps = self.specification.axes.iter().filter_map(|grid| match grid {
            AxisGrid::Auto(auto) => Some(auto.bounded(wavelength / auto.steps_per_wavelength, size)),
            _ => None,
        });
        steps.reduce(f64::min)
    }

    /// The lines along all axes, absorbers and mirror images included.
    pub(super) fn lines(mut self) -> Result<[Vec<f64>; 3], GridError> {
        let intervals = [self.intervals(0, 0.0)?, self.intervals(1, 0.0)?, self.intervals(2, 0.0)?];
        let mut pass = Pass { intervals, gaps: Vec::new(), least: f64::INFINITY };
        let mut lines = self.pass(&mut pass)?;
        if self.layers.is_empty() {
            return Ok(lines);
        }
        let mut width = f64::INFINITY;
        let passes = self.layers.iter().map(|(layer, _)| layer.gap_passes).max().unwrap_or(0);
        for number in 0..passes {
            let known = pass.gaps.len();
            for (layer, polygons) in self.layers.iter().filter(|(layer, _)| layer.gap_passes > number) {
                let (found, thinnest) = layer.gaps(&lines, polygons, &self.specification.ends)?;
                for (axis, positions) in tangential(layer.axis).into_iter().zip(found) {
                    pass.gaps.extend(positions.into_iter().map(|position| {
                        let mut point = [None; 3];
                        point[axis] = Some(position);
                        point
                    }));
                }
                if layer.least_from_gaps {
                    width = width.min(thinnest);
                }
            }
            if pass.gaps.len() == known {
                break;
            }
            pass.least = GAP_SHARE * width;
            let refined = self.pass(&mut pass)?;
            if refined == lines {
                break;
            }
            lines = refined;
        }
        let mut small = Vec::new();
        pass.least = GAP_SHARE * width;
        for (layer, polygons) in self.layers {
            let (overrides, least) = layer.small_shapes(&lines, polygons);
            small.extend(overrides.into_iter().map(|steps| (INTERNAL_PRIORITY, Item::of(steps))));
            pass.least = pass.least.min(least);
        }
        if small.is_empty() {
            return Ok(lines);
        }
        self.overrides.splice(self.internal..self.internal, small);
        self.order_overrides();
        let least = self.least_step(&pass);
        for axis in 0..3 {
            pass.intervals[axis] = self.intervals(axis, least)?;
        }
        self.pass(&mut pass)
    }

    /// The lower bound of automatic steps that the user did not state.
    fn least_step(&self, pass: &Pass) -> f64 {
        (self.expected * LEAST_STEP_SHARE).min(pass.least)
    }

    fn pass(&self, pass: &mut Pass) -> Result<[Vec<f64>; 3], GridError> {
        Ok([self.axis(0, pass)?, self.axis(1, pass)?, self.axis(2, pass)?])
    }

    /// The intervals of an axis that follows the scene. Automatic steps that the user does not bound are not below
    /// `least`: nothing in the first pass.
    fn intervals(&self, axis: usize, least: f64) -> Result<Option<Intervals>, GridError> {
        match Graded::new(self, axis, least) {
            Some(graded) => Intervals::of(axis, graded.candidates(), self.specification.reach).map(Some),
            None => Ok(None),
        }
    }

    fn axis(&self, axis: usize, pass: &mut Pass) -> Result<Vec<f64>, GridError> {
        let specification = self.specification;
        let domain = &specification.domain;
        let extent = Extent { axis, center: domain.center()[axis], size: domain.size()[axis] };
        let mut lines = match &specification.axes[axis] {
            AxisGrid::Uniform { step } => extent.uniform(*step)?,
            AxisGrid::Lines { coordinates } => extent.fitted(coordinates.clone(), false)?,
            AxisGrid::Steps { steps, offset } => extent.stepped(steps, *offset)?,
            grid @ (AxisGrid::QuasiUniform { .. } | AxisGrid::Auto(_)) => {
                self.require_usable(extent, self.least_demand(grid, self.extents_of_bounds()))?;
                let graded = Graded::new(self, axis, self.least_step(pass));
                let (Some(graded), Some(intervals)) = (graded, &mut pass.intervals[axis]) else {
                    return Err(GridError::none(axis, "the intervals of the grid are missing"));
                };
                let points = pass.gaps.iter().chain(&self.snapping).filter_map(|point| point[axis]);
                let lines = graded.lines(intervals, points)?;
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
        let vacuum = self.vacuum_step().unwrap_or(f64::INFINITY);
        let by_layers = self.layers.iter().map(|(layer, _)| layer.expected_step(vacuum));
        let by_grids = self.specification.axes.iter().map(|grid| self.least_demand(grid, size));
        let external = self.specification.overrides.iter().filter_map(|external| match external {
            External::Steps { steps, .. } => Some(steps),
            External::Structure { .. } => None,
        });
        let by_overrides = self.specification.lumped_overrides.iter().chain(external);
        by_grids
            .chain(by_layers)
            .chain(by_overrides.flat_map(|steps| steps.step.into_iter().flatten()))
            .fold(f64::INFINITY, f64::min)
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
    /// Bounds of the steps.
    least: f64,
    largest: f64,
    /// The size of the one cell along an axis without extent.
    collapsed: f64,
    /// The grid if it is automatic; the step of all items otherwise.
    auto: Option<&'a AutoGrid>,
    /// Where the grid is made: the upper half of the domain along axes of symmetry.
    center: [f64; 3],
    bounds: Bounds,
}

impl<'a> Graded<'a> {
    /// Nothing for an axis that does not follow the scene. `least` is the lower bound of automatic steps that the
    /// user has not bounded.
    fn new(assembly: &'a Assembly<'a>, axis: usize, least: f64) -> Option<Self> {
        let specification = assembly.specification;
        let (mut center, mut size) = (specification.domain.center(), specification.domain.size());
        let whole = size;
        for side in (0..3).filter(|&side| specification.symmetry[side] != 0) {
            center[side] += size[side] / 4.0;
            size[side] /= 2.0;
        }
        let bounds =
            std::array::from_fn(|side| [center[side] - size[side] / 2.0, center[side] + size[side] / 2.0]);
        let (scale, least, largest, vacuum, auto) = match &specification.axes[axis] {
            AxisGrid::Auto(auto) => {
                let least = if auto.least == 0.0 { least } else { auto.least };
                let vacuum = specification.wavelength? / auto.steps_per_wavelength;
                (auto.scale, least, auto.largest(whole), vacuum.min(auto.largest(size)), Some(auto))
            }
            AxisGrid::QuasiUniform { step, scale, least } => {
                let least = if *least == 0.0 { 0.5 * step } else { *least };
                (*scale, least, *step, *step, None)
            }
            AxisGrid::Uniform { .. } | AxisGrid::Lines { .. } | AxisGrid::Steps { .. } => return None,
        };
        Some(Self {
            assembly,
            axis,
            scale,
            least,
            largest,
            collapsed: vacuum.max(least),
            auto,
            center,
            bounds,
        })
    }

    /// The lines between the ends of the domain, given where they must be; snapping points come no nearer to them
    /// than the least step.
    fn lines(
        &self,
        intervals: &mut Intervals,
        points: impl Iterator<Item = f64>,
    ) -> Result<Vec<f64>, GridError> {
        let specification = self.assembly.specification;
        let intervals = intervals.snapped(points, self.least);
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
            // For a quasi-uniform grid the client makes boxes of all shapes, and takes their bounds again.
            let bounds = if self.auto.is_none() && !item.is_box {
                BoxRegion::from_bounds(bounds).bounds()
            } else {
                bounds
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
