//! Grid and materials of a task: what the scene contributes to the eigenproblem.
//!
//! Cells are averaged as the simulation's `subpixel` says, and of the averaged tensor the diagonal is kept: a full tensor
//! doubles the unknowns. No rule of averaging is accurate by itself. Where an automatic grid has put its lines on the
//! faces of a silicon strip (500 x 220 nm in glass, 20 steps per wavelength), polarized averaging, the contour path and the
//! full tensor all give the same means but at four corners, and the index is 4e-3 (TE) and 9e-3 (TM) off, as is that of a
//! slab, which has no corners. What is left is the grid's own error; [`crate::plane::remove_grid_error`] takes it off the
//! index, to 3e-4 and 7e-4.
//!
//! Perfect conductors are no matter of permittivities alone: where the simulation asks for `PECConformal`, the plane's edges
//! and cells count with what is outside of them.

use num_complex::Complex64;
use serde_json::Value;
use wavetask_document::ArraySource;
use wavetask_grid::SceneError;
use wavetask_grid::boundaries::{Grid, GridError, SceneSource};
use wavetask_grid::media::{Medium, PERFECT_CONDUCTOR};
use wavetask_grid::permittivity::{Component, PermittivityError, Scene, on_grid};
use wavetask_grid::subpixel::{
    self, Cells, Conductor, Coupling, Dielectric, Opening, Specification, SubpixelError, is_solid_conductor,
    magnetic_conductors,
};
use wavetask_protocol::chain;
use wavetask_solver::{Refusal, Refused};

use crate::document::ModeTask;
use crate::error::{SUBJECT, SolveError, refused};
use crate::layout::{Layout, component_coordinates};
use crate::plane::{Openings, Tensor, WithinCells};

/// The names of the axes.
const AXES: [char; 3] = ['x', 'y', 'z'];

/// What is missing of a cell whose edges are whole is a conductor in its middle if it is a larger part.
const ISLAND: f64 = 1e-3;

/// A task's plane with the materials around it.
#[derive(Debug)]
pub(crate) struct PlaneScene {
    pub(crate) layout: Layout,
    /// What the result is not: one sentence each, for the log.
    pub(crate) notes: Vec<String>,
    materials: Scene,
    /// How cells that an interface cuts are averaged; `None` takes materials at points.
    averaging: Option<Specification>,
    /// Where the plane is along its normal, µm.
    position: f64,
}

impl PlaneScene {
    /// Reads the scene, makes the grid and places the plane on it.
    ///
    /// # Errors
    /// What is not supported or contradicts itself.
    pub(crate) fn read(task: &ModeTask, document: &Value, arrays: &dyn ArraySource) -> Result<Self, Refused> {
        let (scene, path) = (task.scene(document), task.scene_prefix());
        let mut materials = Scene::read(scene, path, arrays).map_err(|error| refuse_medium(&error))?;
        let source = SceneSource { simulation: scene, path, arrays };
        let grid = Grid::of_simulation(&source).map_err(|error| refuse_grid(&error))?;
        let boundaries = grid.boundaries();
        materials
            .place_sheets(boundaries.each_ref().map(Vec::as_slice))
            .map_err(|error| refuse_medium(&error))?;
        let layout = Layout::new(task, &grid).map_err(|error| {
            refused("plane", "plane", format!("{error}: make the plane larger or the grid finer"))
        })?;
        let subpixel_path = if path.is_empty() { "subpixel".to_owned() } else { format!("{path}/subpixel") };
        let averaging = Specification::read(scene.get("subpixel"), &subpixel_path)
            .map_err(|error| refuse_averaging(&error, &subpixel_path))?;
        averaging.check(&materials).map_err(|error| refuse_averaging(&error, &subpixel_path))?;
        let averaging = (averaging != Specification::staircasing()).then_some(averaging);
        let position = task.plane.center[task.plane.normal];
        Ok(Self { layout, notes: Vec::new(), materials, averaging, position })
    }

    /// The structures and their media.
    pub(crate) fn materials(&self) -> &Scene {
        &self.materials
    }

    /// Whether a material of the scene has elements beside the diagonal of its tensor.
    pub(crate) fn has_tensors(&self) -> bool {
        self.materials.is_fully_anisotropic()
    }

    /// Whether a perfect conductor is in the scene, which needs double precision.
    pub(crate) fn has_conductors(&self) -> bool {
        self.materials.media().iter().any(|medium| {
            medium.is_perfect_conductor()
                || medium.is_perfect_magnetic_conductor()
                || medium.is_surface_metal()
        })
    }

    /// What perfect conductors leave open of the plane's grid, if the grid is to conform to them and any is there; and a
    /// warning if one is so thin that the grid does not see it.
    ///
    /// # Errors
    /// Faults.
    pub(crate) fn openings(&self) -> Result<Option<(Openings, Option<String>)>, SolveError> {
        let corrects_edges = match &self.averaging {
            Some(Specification { electric: Conductor::Conformal { corrects_edges }, .. }) => *corrects_edges,
            _ => return Ok(None),
        };
        if !self.materials.media().iter().any(is_solid_conductor) {
            return Ok(None);
        }
        let layout = &self.layout;
        let boundaries = layout.solver.each_ref().map(Vec::as_slice);
        let of = |cells: Result<Cells, SubpixelError>| {
            let cells = cells.map_err(fault)?.on_plane(layout.normal, self.position);
            subpixel::openings(&self.materials, &cells).map_err(fault)
        };
        let [first, second] = layout.tangential;
        let edges = [of(Cells::of_edges(boundaries, first))?, of(Cells::of_edges(boundaries, second))?];
        let cells = of(Cells::of_faces(boundaries, layout.normal))?;
        let corners = of(Cells::of_corners(boundaries))?;
        if edges.iter().flatten().all(|edge| edge.share == 1.0 && !edge.is_pierced) {
            // No conductor comes to the plane.
            return Ok(None);
        }
        let warning = self.thin_conductor(&edges, &cells);
        let shares = |openings: &[Opening]| openings.iter().map(|opening| opening.share).collect();
        let openings = Openings {
            edges: edges.each_ref().map(|edges| shares(edges)),
            cells: shares(&cells),
            corners: shares(&corners),
            corrects_edges,
        };
        Ok(Some((openings, warning)))
    }

    /// A warning if a conductor passes between the corners of a cell: fields on its two sides are not told apart.
    fn thin_conductor(&self, edges: &[Vec<Opening>; 2], cells: &[Opening]) -> Option<String> {
        let [rows, columns] = self.layout.solver_cells();
        let found = (0..cells.len()).find(|&cell| {
            let (row, column) = (cell / columns, cell % columns);
            let next = |is_inner: bool, step: usize| if is_inner { cell + step } else { cell };
            let around = [
                edges[0][cell],
                edges[0][next(column + 1 < columns, 1)],
                edges[1][cell],
                edges[1][next(row + 1 < rows, columns)],
            ];
            let pierced = around.iter().filter(|edge| edge.is_pierced).count();
            let is_island =
                cells[cell].share < 1.0 - ISLAND && around.iter().all(|edge| edge.share > 1.0 - ISLAND);
            (pierced > 1 || is_island) && rows > 1 && columns > 1
        })?;
        let [along, across] = self.layout.tangential;
        let middle = |axis: usize, index: usize| {
            let lines = &self.layout.solver[axis];
            f64::midpoint(lines[index], lines[index + 1])
        };
        Some(format!(
            "a perfect conductor is thinner than the cell around {} = {:.6}, {} = {:.6}, and the fields on its two sides are \
             not told apart: put a grid line on it, or refine the grid",
            AXES[along],
            middle(along, found / columns),
            AXES[across],
            middle(across, found % columns),
        ))
    }

    /// The permittivity on the solver grid at a frequency, along the solver's axes.
    ///
    /// # Errors
    /// Arrays that cannot be read, and faults.
    pub(crate) fn permittivity(&self, frequency: f64) -> Result<Tensor, SolveError> {
        let layout = &self.layout;
        let axes = [layout.tangential[0], layout.tangential[1], layout.normal];
        let [rows, columns] = layout.solver_cells();
        let mut elements: [Vec<Complex64>; 9] = Default::default();
        for (place, element) in elements.iter_mut().enumerate() {
            let (row, column) = (axes[place / 3], axes[place % 3]);
            *element = if row == column {
                self.sample(Component::diagonal(row), frequency)?
            } else if self.has_tensors() {
                self.sample(Component::Entry(row, column), frequency)?
            } else {
                vec![Complex64::default(); rows * columns]
            };
        }
        Ok(Tensor(elements))
    }

    /// The permeability on the solver grid: one but for perfect magnetic conductors; `None` if none comes to the plane.
    ///
    /// # Errors
    /// Faults.
    pub(crate) fn permeability(&self) -> Result<Option<Tensor>, SolveError> {
        if !self.materials.media().iter().any(Medium::is_perfect_magnetic_conductor) {
            return Ok(None);
        }
        let layout = &self.layout;
        let staircasing = Specification::staircasing();
        let averaging = self.averaging.as_ref().unwrap_or(&staircasing);
        let boundaries = layout.solver.each_ref().map(Vec::as_slice);
        let along = |axis: usize| -> Result<Vec<Complex64>, SolveError> {
            let cells = Cells::of_magnetic(boundaries, axis).map_err(fault)?;
            let cells = cells.on_plane(layout.normal, self.position);
            let conducts = magnetic_conductors(&self.materials, averaging, &cells, axis).map_err(fault)?;
            Ok(conducts
                .into_iter()
                .map(|conducts| Complex64::from(if conducts { PERFECT_CONDUCTOR } else { 1.0 }))
                .collect())
        };
        let [first, second] = layout.tangential;
        let diagonal = [along(first)?, along(second)?, along(layout.normal)?];
        if diagonal.iter().flatten().all(|value| *value == Complex64::ONE) {
            return Ok(None);
        }
        let [xx, yy, zz] = diagonal;
        Ok(Some(Tensor::diagonal(xx, yy, zz)))
    }

    /// The permittivity within the plane's cells, from which the index without the leading error of the grid follows.
    /// `None` if interfaces between dielectrics are not averaged, as these errors are then others.
    ///
    /// # Errors
    /// As [`Self::permittivity`].
    pub(crate) fn within_cells(&self, frequency: f64) -> Result<Option<WithinCells>, SolveError> {
        let layout = &self.layout;
        let Some(averaging) = &self.averaging else { return Ok(None) };
        let media = self.materials.media();
        let applies = averaging.dielectric != Dielectric::Staircase
            && !self.has_tensors()
            && !media.iter().any(Medium::is_sheet);
        if !applies {
            return Ok(None);
        }
        let average = |cells: &Cells, row: usize, column: usize| {
            let (component, coupling) = (Component::Entry(row, column), Coupling::Full);
            subpixel::on_grid(&self.materials, averaging, cells, component, coupling, frequency)
                .map_err(fault)
        };
        let boundaries = layout.solver.each_ref().map(Vec::as_slice);
        let halved = |lines: &[f64]| {
            let middles = lines.windows(2).map(|pair| f64::midpoint(pair[0], pair[1]));
            let pairs = lines.iter().zip(middles).flat_map(|(line, middle)| [*line, middle]);
            pairs.chain(lines.last().copied()).collect::<Vec<f64>>()
        };
        let fine = boundaries.map(halved);
        let fine = fine.each_ref().map(Vec::as_slice);
        let quarters =
            Cells::of_yee(fine, Component::Mean).map_err(fault)?.on_plane(layout.normal, self.position);
        let [first, second] = layout.tangential;
        // Along the normal averages are plain means.
        let mean = average(&quarters, layout.normal, layout.normal)?;
        let is_isotropic = media.iter().all(|medium| {
            let tensor = medium.tensor(frequency);
            tensor[0][0] == tensor[1][1] && tensor[0][0] == tensor[2][2]
        });
        let quarters = if is_isotropic {
            [mean.clone(), mean.clone(), mean]
        } else {
            [average(&quarters, first, first)?, average(&quarters, second, second)?, mean]
        };
        let crossings = Cells::of_yee(boundaries, Component::Entry(first, second))
            .map_err(fault)?
            .on_plane(layout.normal, self.position);
        let beside = average(&crossings, first, second)?;
        let crossings = if beside.iter().any(|value| *value != Complex64::default()) {
            Some([average(&crossings, first, first)?, beside, average(&crossings, second, second)?])
        } else {
            None
        };
        Ok(Some(WithinCells { quarters, crossings }))
    }

    /// An element of the tensor where the client has it: on the diagonal at the component of the electric field, beside
    /// it at the cells' corners. Averages are over the plane, which is where the structures are cut.
    fn sample(&self, component: Component, frequency: f64) -> Result<Vec<Complex64>, SolveError> {
        let boundaries = self.layout.solver.each_ref().map(Vec::as_slice);
        let sampled = match (&self.averaging, component) {
            (Some(averaging), _) => Cells::of_yee(boundaries, component).and_then(|cells| {
                let cells = cells.on_plane(self.layout.normal, self.position);
                // The diagonal alone: it makes the errors fall with the square of the step, and a full tensor would
                // double the unknowns.
                subpixel::on_grid(
                    &self.materials,
                    averaging,
                    &cells,
                    component,
                    Coupling::Diagonal,
                    frequency,
                )
            }),
            (None, Component::Entry(row, column)) if row == column => {
                let coordinates = component_coordinates(&self.layout.solver, row);
                let coordinates = coordinates.each_ref().map(Vec::as_slice);
                on_grid(&self.materials, coordinates, component, frequency).map_err(SubpixelError::from)
            }
            (None, _) => {
                let corners = boundaries.map(|boundaries| &boundaries[..boundaries.len() - 1]);
                on_grid(&self.materials, corners, component, frequency).map_err(SubpixelError::from)
            }
        };
        sampled.map_err(fault)
    }
}

fn fault(error: SubpixelError) -> SolveError {
    match error {
        SubpixelError::Permittivity(PermittivityError::TooManyPoints { points, limit }) => {
            SolveError::TooLarge { needed: format!("{points} points"), allowed: format!("{limit} points") }
        }
        other => SolveError::Internal(other.to_string()),
    }
}

fn refuse_averaging(error: &SubpixelError, path: &str) -> Refused {
    let path = match error {
        SubpixelError::Unsupported { path, .. } => path,
        SubpixelError::Specification(error) => error.path(),
        _ => path,
    };
    refuse(path, error.code(), &chain(error), error.hint())
}

fn refuse_medium(error: &SceneError) -> Refused {
    refuse(error.path(), error.code(), &chain(error), error.hint())
}

fn refuse_grid(error: &GridError) -> Refused {
    refuse(error.path(), error.code(), &chain(error), error.hint())
}

fn refuse(path: &str, feature: &str, message: &str, hint: &str) -> Refused {
    Refused::single(SUBJECT, Refusal::of_part(path, feature, message, hint))
}
