//! Planes at an angle to the waveguide, solved as the client's `angle_rotation` does: the structures are turned until
//! the waveguide is normal to the plane, modes are found there, and their fields are put on the plane as it was.
//!
//! Stretching coordinates instead (an angle without rotation) makes the media tensors, which costs many times as much
//! and is less exact on a coarse grid. The price is that the turned scene must continue beyond the plane as it is at
//! the plane, of which the client takes no notice either.
//!
//! Straight guides and bends go the same way. Fields of a bend are known on a radius, which the plane meets at an angle;
//! a straight guide is a bend so wide that its phase fronts are planes.

mod fields;
mod turned_scene;

use serde_json::Value;
use wavetask_document::ArraySource;

pub(crate) use fields::onto_plane;

use crate::document::ModeTask;
use crate::scene::PlaneScene;
use turned_scene::{TurnedArrays, turned_scene};
use wavetask_solver::Refused;

/// Radius of a straight guide, as a multiple of the plane's longer side.
const STRAIGHT: f64 = 1e4;

/// How the waveguide lies to the plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Turn {
    /// The axis around which structures are turned.
    pub(crate) axis: usize,
    pub(crate) normal: usize,
    /// The third axis: in the plane, and across the waveguide.
    pub(crate) lateral: usize,
    /// From the normal towards the lateral axis to the waveguide, radians.
    pub(crate) angle: f64,
    /// Of the waveguide, µm; negative if the centre of curvature is on the upper side of the lateral axis.
    pub(crate) radius: f64,
}

impl Turn {
    /// The turn of a task that asks for one.
    fn of(task: &ModeTask) -> Self {
        let (spec, plane) = (&task.spec, &task.plane);
        let (phi_sine, phi_cosine) = spec.phi.sin_cos();
        let which = match spec.bend {
            Some(bend) => bend.axis,
            None => usize::from(phi_cosine.abs() >= 1.0),
        };
        let axis = plane.tangential()[which];
        let radius = spec.bend.map_or_else(
            || {
                let domain = task.domain.bounds();
                let extent = |axis: usize| {
                    let [low, high] = plane.bounds()[axis];
                    high.min(domain[axis][1]) - low.max(domain[axis][0])
                };
                STRAIGHT * plane.tangential().map(extent).into_iter().fold(0.0, f64::max)
            },
            |bend| bend.radius,
        );
        Self {
            axis,
            normal: plane.normal,
            lateral: plane.tangential()[1 - which],
            angle: spec.theta * if which == 1 { phi_cosine } else { phi_sine },
            radius,
        }
    }
}

/// The task with the waveguide normal to the plane.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) task: ModeTask,
    pub(crate) scene: PlaneScene,
    pub(crate) turn: Turn,
}

impl Reference {
    /// Turns the structures of a task's scene, if that is asked for.
    ///
    /// # Errors
    /// Structures that cannot be turned, and what the turned scene is refused for.
    pub(crate) fn of(
        task: &ModeTask,
        scene: &PlaneScene,
        document: &Value,
        arrays: &dyn ArraySource,
    ) -> Result<Option<Self>, Refused> {
        if !task.spec.rotated {
            return Ok(None);
        }
        let turn = Turn::of(task);
        let (turned, kept) = turned_scene(task, scene, &turn, document, arrays)?;
        let mut reference = task.clone();
        reference.spec.theta = 0.0;
        reference.spec.phi = 0.0;
        reference.spec.rotated = false;
        reference.components = [true; 6];
        let arrays = TurnedArrays::new(arrays, reference.scene_prefix(), kept);
        let mut turned = PlaneScene::read(&reference, &turned, &arrays)?;
        if scene.layout.symmetry[turn.lateral] != 0 {
            turned.notes.push(format!(
                "the plane is at an angle to the mirror across `{}`: fields on the mirrored half are not those of the mode",
                ["x", "y", "z"][turn.lateral]
            ));
        }
        Ok(Some(Self { task: reference, scene: turned, turn }))
    }
}
