//! The averaged permittivity on many locations at once.

use num_complex::Complex64;
use rayon::prelude::*;

use super::cells::Cells;
use super::content::{Content, Meeting, Shapes};
use super::error::SubpixelError;
use super::formula::{Means, anisotropic, inverse, invert};
use super::opening::is_solid_conductor;
use super::specification::{Conductor, Dielectric, Metal, Specification};
use crate::geometry::Bounds;
use crate::media::{Medium, PERFECT_CONDUCTOR, Spectral, Tensor};
use crate::permittivity::{Component, Scene, check, value};

/// Which entries of the averaged tensor a solver uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coupling {
    /// The diagonal only: entries on it are the reciprocals of those of the inverse tensor, entries
    /// beside it come from fully anisotropic media alone.
    Diagonal,
    /// All entries of the tensor.
    Full,
}

/// The permittivity averaged as `specification` says, one component on the locations of `cells`, at a
/// frequency in hertz: row-major, z fastest.
///
/// Where one medium fills a cell, and where nothing is averaged, the answer is that of
/// [`crate::permittivity::on_grid`]. Runs on all cores of the current rayon pool and takes 16 bytes a point.
///
/// # Errors
/// Those of [`Specification::check`] and [`crate::permittivity::on_grid`].
pub fn on_grid(
    scene: &Scene,
    specification: &Specification,
    cells: &Cells,
    component: Component,
    coupling: Coupling,
    frequency: f64,
) -> Result<Vec<Complex64>, SubpixelError> {
    cells.check()?;
    specification.check(scene)?;
    let [xs, ys, zs] = cells.coordinates.each_ref().map(Vec::as_slice);
    let points = check(scene, [xs, ys, zs], frequency)?;
    let mut values = vec![Complex64::default(); points];
    let (Some(&[lowest, _]), Some(&[_, highest])) = (cells.extents[2].first(), cells.extents[2].last())
    else {
        return Ok(values);
    };
    let averager = Averager::new(scene, specification, component, coupling, frequency);
    let scratch = || (Vec::new(), Vec::new());
    values.par_chunks_mut(zs.len()).enumerate().for_each_init(
        scratch,
        |(candidates, found), (row, values)| {
            let (i, j) = (row / ys.len(), row % ys.len());
            let (across, along) = (cells.extents[0][i], cells.extents[1][j]);
            candidates.clear();
            scene.visit_overlapping(&[across, along, [lowest, highest]], |rank| candidates.push(rank));
            candidates.sort_unstable_by(|one, other| other.cmp(one));
            for (k, value) in values.iter_mut().enumerate() {
                let cell = [across, along, cells.extents[2][k]];
                *value = averager.value(&cell, [xs[i], ys[j], zs[k]], candidates, found);
            }
        },
    );
    Ok(values)
}

/// What decides how a medium's interfaces are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Dielectric,
    /// A custom medium that does not ask for averaging.
    Staircased,
    Metal,
    LossyMetal,
    PerfectMagnetic,
    PerfectElectric,
}

struct Averager<'a> {
    scene: &'a Scene,
    specification: &'a Specification,
    component: Component,
    coupling: Coupling,
    shapes: Shapes<'a>,
    media: Vec<Spectral<'a>>,
    classes: Vec<Class>,
    /// By medium: whether cells are averaged as if it were not there, as grids that conform to conductors want it.
    is_left_out: Vec<bool>,
    /// By medium: the component where it is the same everywhere.
    constants: Vec<Option<Complex64>>,
    has_sheets: bool,
}

impl<'a> Averager<'a> {
    fn new(
        scene: &'a Scene,
        specification: &'a Specification,
        component: Component,
        coupling: Coupling,
        frequency: f64,
    ) -> Self {
        let media: Vec<Spectral<'a>> = scene.media().iter().map(|medium| medium.at(frequency)).collect();
        let constants = media
            .iter()
            .map(|medium| medium.uniform().is_some().then(|| component.of(medium, [0.0; 3])))
            .collect();
        Self {
            scene,
            specification,
            component,
            coupling,
            shapes: Shapes::new(scene),
            classes: scene.media().iter().map(|medium| class_of(medium, frequency)).collect(),
            is_left_out: scene
                .media()
                .iter()
                .map(|medium| {
                    matches!(specification.electric, Conductor::Conformal { .. })
                        && is_solid_conductor(medium)
                })
                .collect(),
            media,
            constants,
            has_sheets: scene.media().iter().any(Medium::is_sheet),
        }
    }

    fn value(
        &self,
        cell: &Bounds,
        point: [f64; 3],
        candidates: &[usize],
        found: &mut Vec<usize>,
    ) -> Complex64 {
        if self.has_sheets
            && let Some(rank) = self.scene.rank_at(point)
            && self.scene.sheet(rank).is_some()
        {
            return value(self.scene, &self.media, self.component, Some(rank), point);
        }
        match self.shapes.meet(cell, candidates, found) {
            Meeting::Uniform(medium) => self.of(medium, point),
            Meeting::Mixed => self.averaged(cell, point, found),
        }
    }

    /// The component of one medium.
    fn of(&self, medium: usize, point: [f64; 3]) -> Complex64 {
        self.constants[medium].unwrap_or_else(|| self.component.of(&self.media[medium], point))
    }

    /// The medium of the location, as without averaging.
    fn staircased(&self, point: [f64; 3]) -> Complex64 {
        value(self.scene, &self.media, self.component, self.scene.rank_at(point), point)
    }

    fn averaged(&self, cell: &Bounds, point: [f64; 3], ranks: &[usize]) -> Complex64 {
        if self.is_staircased_anyway(ranks) {
            return self.staircased(point);
        }
        let mean = |medium: usize| self.media[medium].diagonal(point).into_iter().sum::<Complex64>() / 3.0;
        let jump = |one: usize, other: usize| {
            let is_surface = self.is_left_out[one] || self.is_left_out[other];
            if is_surface { 0.0 } else { (mean(one) - mean(other)).norm() }
        };
        let mut content = self.shapes.content(cell, ranks, &jump);
        if let [(medium, _)] = content.shares[..] {
            // A conductor without thickness has no share.
            let has_sheet = ranks.iter().any(|&rank| {
                let medium = self.scene.medium_of_rank(Some(rank));
                self.classes[medium] == Class::PerfectElectric && !self.is_left_out[medium]
            });
            return if has_sheet { self.staircased(point) } else { self.of(medium, point) };
        }
        let cuts_conductor = content.shares.iter().any(|&(medium, _)| self.is_left_out[medium]);
        if cuts_conductor {
            content = content.without(|medium| self.is_left_out[medium]);
            match content.shares[..] {
                [] => return PERFECT_CONDUCTOR.into(),
                [(medium, _)] => return self.of(medium, point),
                _ => {}
            }
        }
        let class = content.shares.iter().map(|&(medium, _)| self.classes[medium]).max();
        let specification = self.specification;
        match class.unwrap_or(Class::Dielectric) {
            Class::Staircased => self.staircased_in(&content, point),
            Class::PerfectElectric => self.conductor(specification.electric, &content, point),
            // What it does to the field is a matter of the permeability.
            Class::PerfectMagnetic => self.staircased_in(&content, point),
            Class::Metal => self.metal(specification.metal, &content, point),
            Class::LossyMetal => {
                self.metal(specification.lossy_metal.unwrap_or(Metal::Staircase), &content, point)
            }
            Class::Dielectric => match specification.dielectric {
                Dielectric::Staircase => self.staircased_in(&content, point),
                // The path of a contour ends at a conductor.
                Dielectric::ContourPath if !cuts_conductor => {
                    self.contour_path(cell, &content, ranks, &jump, point)
                }
                Dielectric::Polarized | Dielectric::ContourPath => self.polarized(&content, point),
            },
        }
    }

    /// The medium of the location; that of most of the cell, if conductors are left out and the location is in one.
    fn staircased_in(&self, content: &Content, point: [f64; 3]) -> Complex64 {
        let medium = self.scene.medium_of_rank(self.scene.rank_at(point));
        match content.largest() {
            Some(largest) if self.is_left_out[medium] => self.of(largest, point),
            _ => self.staircased(point),
        }
    }

    /// Whether no method of the specification averages between these structures.
    fn is_staircased_anyway(&self, ranks: &[usize]) -> bool {
        let class = ranks
            .iter()
            .map(|&rank| self.classes[self.scene.medium_of_rank(Some(rank))])
            .fold(Class::Dielectric, Ord::max);
        let specification = self.specification;
        class <= Class::Staircased
            && self.classes[0] <= Class::Staircased
            && specification.dielectric == Dielectric::Staircase
    }

    /// Whether the component is largely along the interface; means and entries beside the diagonal are not.
    fn is_along(&self, content: &Content) -> bool {
        match self.component {
            Component::Entry(row, column) if row == column => content.directions()[row][row] < 0.5,
            _ => false,
        }
    }

    fn conductor(&self, method: Conductor, content: &Content, point: [f64; 3]) -> Complex64 {
        match method {
            Conductor::Heuristic if self.is_along(content) => PERFECT_CONDUCTOR.into(),
            // What does not conduct along all axes does not conform.
            Conductor::Heuristic | Conductor::Staircase | Conductor::Conformal { .. } => {
                self.staircased_in(content, point)
            }
        }
    }

    fn metal(&self, method: Metal, content: &Content, point: [f64; 3]) -> Complex64 {
        match method {
            Metal::Volumetric { staircase_normal } if !staircase_normal || self.is_along(content) => {
                content.shares.iter().map(|&(medium, share)| self.of(medium, point) * share).sum()
            }
            Metal::Volumetric { .. } | Metal::Staircase => self.staircased_in(content, point),
        }
    }

    fn polarized(&self, content: &Content, point: [f64; 3]) -> Complex64 {
        match self.isotropic(content, point) {
            Some(means) => self.component_of_inverse(&inverse(&content.directions(), means)),
            None => self.anisotropic(content, point),
        }
    }

    /// The means of the media if all are isotropic at the point.
    fn isotropic(&self, content: &Content, point: [f64; 3]) -> Option<Means> {
        let mut means = Means::default();
        for &(medium, share) in &content.shares {
            let medium = &self.media[medium];
            let [one, other, another] = medium.diagonal(point);
            let has_corners = medium.uniform().is_some_and(|tensor| {
                (0..3).any(|row| {
                    (0..3).any(|column| row != column && tensor[row][column] != Complex64::default())
                })
            });
            if has_corners || one != other || one != another {
                return None;
            }
            means.parallel += one * share;
            means.series += share / one;
        }
        Some(means)
    }

    fn anisotropic(&self, content: &Content, point: [f64; 3]) -> Complex64 {
        let tensors = content.shares.iter().map(|&(medium, share)| {
            let entry = |row, column| self.media[medium].entry(row, column, point);
            (std::array::from_fn(|row| std::array::from_fn(|column| entry(row, column))), share)
        });
        let has_corners =
            content.shares.iter().any(|&(medium, _)| self.scene.media()[medium].is_fully_anisotropic());
        let tensor = anisotropic(content.normal(), tensors);
        if has_corners || self.coupling == Coupling::Full {
            self.entry_of(&tensor)
        } else {
            self.component_of_inverse(&invert(&tensor))
        }
    }

    fn entry_of(&self, tensor: &Tensor) -> Complex64 {
        match self.component {
            Component::Entry(row, column) => tensor[row][column],
            Component::Mean => (tensor[0][0] + tensor[1][1] + tensor[2][2]) / 3.0,
        }
    }

    fn component_of_inverse(&self, inverse: &Tensor) -> Complex64 {
        match (self.coupling, self.component) {
            (Coupling::Full, _) => self.entry_of(&invert(inverse)),
            (Coupling::Diagonal, Component::Entry(row, column)) if row == column => inverse[row][row].inv(),
            (Coupling::Diagonal, Component::Entry(..)) => Complex64::default(),
            (Coupling::Diagonal, Component::Mean) => {
                (inverse[0][0].inv() + inverse[1][1].inv() + inverse[2][2].inv()) / 3.0
            }
        }
    }

    /// Media in series along the edge of the component, in parallel on the face across it.
    fn contour_path(
        &self,
        cell: &Bounds,
        content: &Content,
        ranks: &[usize],
        jump: &dyn Fn(usize, usize) -> f64,
        point: [f64; 3],
    ) -> Complex64 {
        let Component::Entry(axis, column) = self.component else {
            return self.polarized(content, point);
        };
        if axis != column || self.isotropic(content, point).is_none() {
            return self.polarized(content, point);
        }
        let mut face = *cell;
        face[axis] = [point[axis]; 2];
        let mut edge = point.map(|coordinate| [coordinate; 2]);
        edge[axis] = cell[axis];
        let means = |region: &Bounds| {
            let content = self.shapes.content(region, ranks, jump);
            self.isotropic(&content, point).unwrap_or_default()
        };
        let means = Means { parallel: means(&face).parallel, series: means(&edge).series };
        inverse(&content.directions(), means)[axis][axis].inv()
    }
}

fn class_of(medium: &Medium, frequency: f64) -> Class {
    if medium.is_perfect_conductor() {
        return Class::PerfectElectric;
    }
    if medium.is_perfect_magnetic_conductor() {
        return Class::PerfectMagnetic;
    }
    if medium.is_surface_metal() {
        return Class::LossyMetal;
    }
    if !medium.is_averaged_at_boundary() {
        return Class::Staircased;
    }
    let tensor = medium.tensor(frequency);
    if (0..3).any(|axis| tensor[axis][axis].re < 1.0) { Class::Metal } else { Class::Dielectric }
}
