//! Grid and materials of a task: what the scene contributes to the eigenproblem.

use num_complex::Complex64;
use serde_json::Value;
use wavetask_document::ArraySource;
use wavetask_grid::boundaries::{Grid, GridError, SceneSource};
use wavetask_grid::media::MediumError;
use wavetask_grid::permittivity::{Component, PermittivityError, Scene, on_grid};

use crate::document::ModeTask;
use crate::error::{Refused, SolveError};
use crate::layout::{Layout, component_coordinates};
use crate::plane::Tensor;

/// A task's plane with the materials around it.
#[derive(Debug)]
pub(crate) struct PlaneScene {
    pub(crate) layout: Layout,
    materials: Scene,
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
        let layout = Layout::new(task, boundaries).map_err(|error| {
            Refused::single("plane", "plane", format!("{error}: make the plane larger or the grid finer"))
        })?;
        Ok(Self { layout, materials })
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

    /// The permittivity on the solver grid at a frequency, along the solver's axes.
    ///
    /// # Errors
    /// Arrays that cannot be read, and faults.
    pub(crate) fn permittivity(&self, frequency: f64) -> Result<Tensor, SolveError> {
        let layout = &self.layout;
        let axes = [layout.tangential[0], layout.tangential[1], layout.normal];
        let [rows, columns] = layout.solver_cells();
        let corners: [Vec<f64>; 3] =
            layout.solver.each_ref().map(|boundaries| boundaries[..boundaries.len() - 1].to_vec());
        let mut elements: [Vec<Complex64>; 9] = Default::default();
        for (place, element) in elements.iter_mut().enumerate() {
            let (row, column) = (axes[place / 3], axes[place % 3]);
            *element = if row == column {
                // Each element of the diagonal is where its component of the electric field is.
                let coordinates = component_coordinates(&layout.solver, row);
                self.sample(&coordinates, Component::diagonal(row), frequency)?
            } else if self.has_tensors() {
                self.sample(&corners, Component::Entry(row, column), frequency)?
            } else {
                vec![Complex64::default(); rows * columns]
            };
        }
        Ok(Tensor(elements))
    }

    fn sample(
        &self,
        coordinates: &[Vec<f64>; 3],
        component: Component,
        frequency: f64,
    ) -> Result<Vec<Complex64>, SolveError> {
        on_grid(&self.materials, coordinates.each_ref().map(Vec::as_slice), component, frequency).map_err(
            |error| match error {
                PermittivityError::TooManyPoints { points, limit } => SolveError::TooLarge {
                    needed: format!("{points} points"),
                    allowed: format!("{limit} points"),
                },
                other => SolveError::Internal(other.to_string()),
            },
        )
    }
}

fn refuse_medium(error: &MediumError) -> Refused {
    refuse(error.path(), error.code(), &with_causes(error), error.hint())
}

fn refuse_grid(error: &GridError) -> Refused {
    refuse(error.path(), error.code(), &with_causes(error), error.hint())
}

fn refuse(path: &str, feature: &str, message: &str, hint: &str) -> Refused {
    let message = message.strip_prefix(path).map_or(message, |rest| rest.trim_start_matches(": "));
    Refused::single(client_path(path), feature, format!("{message}; {hint}"))
}

/// An error with everything below it.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        if !text.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = source.source();
    }
    text
}

/// `structures/3/geometry` in the client's notation: `structures[3].geometry`.
fn client_path(path: &str) -> String {
    let mut client = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if part.bytes().all(|byte| byte.is_ascii_digit()) {
            client.push_str(&format!("[{part}]"));
        } else {
            if !client.is_empty() {
                client.push('.');
            }
            client.push_str(part);
        }
    }
    client
}
