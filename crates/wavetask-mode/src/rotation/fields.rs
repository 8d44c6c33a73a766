//! Fields of the turned waveguide on the plane as it was.
//!
//! On the reference plane, fields are known over the radius. A point of the plane at an angle has a radius and an azimuth
//! of its own: there, the field is that at its radius, turned by the azimuth and with the phase gathered on the way,
//! `exp(i n k₀ R α)`.

use num_complex::Complex64;

use super::Reference;
use crate::document::ModeTask;
use crate::fields::{FrequencyModes, MaterialCharacter, Mode, ModeFields};
use crate::layout::Layout;
use crate::postprocess::{FinishedModes, LIGHT_SPEED, normalize};
use crate::projection::{Continuation, Storage, colocation, stored_coordinates};

/// Puts the modes of the turned waveguide on the task's own plane, and normalises them there.
pub(crate) fn onto_plane(
    reference: &Reference,
    task: &ModeTask,
    layout: &Layout,
    finished: FinishedModes,
) -> FinishedModes {
    let FinishedModes { storage, frequencies, mut warnings } = finished;
    let components: [Places; 6] =
        std::array::from_fn(|component| Places::new(reference, task, layout, storage, component));
    let interpolated =
        (storage == Storage::Staggered).then(|| colocation(&reference.scene.layout, &reference.task.plane));
    let along = if task.forward == (reference.turn.radius >= 0.0) { 1.0 } else { -1.0 };
    let mut frequencies: Vec<FrequencyModes> = frequencies
        .into_iter()
        .map(|at| {
            let wave_number = std::f64::consts::TAU * at.frequency / LIGHT_SPEED;
            let modes = at
                .modes
                .into_iter()
                .map(|mode| {
                    let fields = match &interpolated {
                        Some(projection) => projection.apply_all(&mode.fields),
                        None => mode.fields,
                    };
                    // Phase per radian.
                    let phase = mode.index * (along * wave_number * reference.turn.radius.abs());
                    let components = std::array::from_fn(|component| {
                        components[component].values(reference, &fields, component, phase)
                    });
                    Mode { index: mode.index, fields: ModeFields { components } }
                })
                .collect();
            FrequencyModes { modes, character: MaterialCharacter::TensorialComplex, ..at }
        })
        .collect();
    normalize(task, layout, storage, &mut frequencies, &mut warnings);
    FinishedModes { storage, frequencies, warnings }
}

/// The points of one component on the plane.
struct Places {
    /// Azimuth relative to the reference plane and the direction of the radius, for each point along the lateral axis.
    azimuths: Vec<Azimuth>,
    continuation: Continuation,
    /// Whether the lateral axis is the first of the plane's two.
    lateral_first: bool,
}

#[derive(Clone, Copy)]
struct Azimuth {
    relative: f64,
    cosine: f64,
    sine: f64,
}

/// What known components are multiplied with at an azimuth.
#[derive(Clone, Copy)]
struct Factors {
    along_axis: Complex64,
    cosine: Complex64,
    sine: Complex64,
}

impl Places {
    fn new(
        reference: &Reference,
        task: &ModeTask,
        layout: &Layout,
        storage: Storage,
        component: usize,
    ) -> Self {
        let turn = &reference.turn;
        let (sine, cosine) = turn.angle.sin_cos();
        // The plane's points as seen from the centre of curvature.
        let along_normal = -turn.radius * sine;
        let center = task.plane.center[turn.lateral];
        let middle = along_normal.atan2(turn.radius * cosine);
        let points = stored_coordinates(layout, storage, component);
        let (mut radial, mut azimuths) = (Vec::new(), Vec::new());
        for &point in &points[turn.lateral] {
            let lateral = point - center + turn.radius * cosine;
            let radius = lateral.hypot(along_normal);
            // Where that radius is along the lateral axis of the reference plane.
            radial.push(center + radius.copysign(turn.radius) - turn.radius);
            azimuths.push(Azimuth {
                relative: along_normal.atan2(lateral) - middle,
                cosine: lateral / radius,
                sine: along_normal / radius,
            });
        }
        let lateral_first = layout.tangential[0] == turn.lateral;
        let axial = points[turn.axis].clone();
        let targets = if lateral_first { [radial, axial] } else { [axial, radial] };
        let known = stored_coordinates(&reference.scene.layout, Storage::Colocated, 0);
        let known = layout.tangential.map(|axis| known[axis].as_slice());
        let continuation = Continuation::new(known, targets.each_ref().map(Vec::as_slice));
        Self { azimuths, continuation, lateral_first }
    }

    fn values(
        &self,
        reference: &Reference,
        fields: &ModeFields,
        component: usize,
        phase: Complex64,
    ) -> Vec<Complex64> {
        let turn = &reference.turn;
        let (first, axis) = (component - component % 3, component % 3);
        let taken = |axis: usize| self.continuation.apply(&fields.components[first + axis]);
        let columns = self.continuation.columns();
        let factors: Vec<Factors> = self
            .azimuths
            .iter()
            .map(|azimuth| {
                let along_axis = (Complex64::i() * phase * azimuth.relative).exp();
                // The radius points along the lateral axis where the fields are known, or against it.
                let turned = if turn.radius < 0.0 { -along_axis } else { along_axis };
                Factors { along_axis, cosine: turned * azimuth.cosine, sine: turned * azimuth.sine }
            })
            .collect();
        let at = |place: usize| if self.lateral_first { place / columns } else { place % columns };
        if axis == turn.axis {
            let values = taken(axis).into_iter().enumerate();
            return values.map(|(place, value)| value * factors[at(place)].along_axis).collect();
        }
        let (lateral, normal) = (taken(turn.lateral), taken(turn.normal));
        let pairs = lateral.into_iter().zip(normal).enumerate();
        pairs
            .map(|(place, (lateral, normal))| {
                let Factors { cosine, sine, .. } = factors[at(place)];
                if axis == turn.lateral {
                    lateral * cosine - normal * sine
                } else {
                    lateral * sine + normal * cosine
                }
            })
            .collect()
    }
}
