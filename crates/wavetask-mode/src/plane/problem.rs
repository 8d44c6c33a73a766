//! The problem as the caller states it, and what is refused before anything is computed.

use std::fmt;
use std::ops::ControlFlow;

use num_complex::Complex;

use super::conductors::Openings;
use super::estimate::estimate;

/// The nine elements of a material tensor on the cells of the plane, in the order `xx, xy, xz, yx, yy, yz, zx, zy, zz`.
///
/// Each array is row-major with the second in-plane axis running fastest. Elements `x?` of a permittivity are taken at
/// the cell's Ex location, `y?` at Ey, `z?` at Ez; those of a permeability at the locations of H.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor(pub [Vec<Complex<f64>>; 9]);

impl Tensor {
    /// A diagonal tensor.
    pub fn diagonal(xx: Vec<Complex<f64>>, yy: Vec<Complex<f64>>, zz: Vec<Complex<f64>>) -> Self {
        let zero = || vec![Complex::default(); xx.len()];
        let [a, b, c, d, e, f] = [zero(), zero(), zero(), zero(), zero(), zero()];
        Self([xx, a, b, c, yy, d, e, f, zz])
    }
}

/// What lies at the lower edge of the plane along an axis. The upper edge is always a perfect electric conductor, as
/// is the lower one unless it is [`Symmetry::Magnetic`]. There is no absorber at a lower edge with a symmetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Symmetry {
    /// The edge of the plane.
    None,
    /// A plane of symmetry that is a perfect electric conductor (-1 in the client's notation).
    Electric,
    /// A plane of symmetry that is a perfect magnetic conductor (1 in the client's notation).
    Magnetic,
}

/// A bend about an axis in the plane, at a distance from the centre of the plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bend {
    /// Radius at `center` in micrometres; negative for a centre of curvature on the upper side.
    pub radius: f64,
    /// The in-plane axis (0 or 1) parallel to the axis of the bend.
    pub axis: usize,
    /// The coordinates in micrometres to which the radius belongs.
    pub center: [f64; 2],
}

/// Accuracy of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Enough for fields that are kept in single precision.
    Single,
    /// As accurate as the client's solver in double precision.
    Double,
}

/// Along the plane's normal, or against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Along the normal.
    Forward,
    /// Against the normal.
    Backward,
}

/// A cross-section, and which of its modes are wanted. Axes 0 and 1 lie in the plane, axis 2 is its normal.
#[derive(Clone, Debug)]
pub struct PlaneProblem {
    /// Grid lines along the two axes in micrometres, one more than cells.
    pub boundaries: [Vec<f64>; 2],
    /// Relative permittivity; magnitudes of nearly 1e8 and more stand for perfect conductors.
    pub permittivity: Tensor,
    /// Relative permeability; `None` for one.
    pub permeability: Option<Tensor>,
    /// Perfect conductors that the grid conforms to; the permittivity at open edges is that outside of them.
    pub openings: Option<Openings>,
    /// Frequency in hertz.
    pub frequency: f64,
    /// Modes wanted.
    pub num_modes: usize,
    /// The effective index nearest to which modes are sought; `None` for the largest refractive index of the plane.
    pub target_index: Option<f64>,
    /// Cells of absorber at both edges of each axis. Where both meet, the one at the lower edge goes first.
    pub num_pml: [usize; 2],
    /// Lower edges.
    pub symmetry: [Symmetry; 2],
    /// A bend, if any.
    pub bend: Option<Bend>,
    /// Angle in radians between the direction of propagation and the normal.
    pub angle_theta: f64,
    /// Angle in radians of the direction of propagation within the plane.
    pub angle_phi: f64,
    /// Accuracy.
    pub precision: Precision,
    /// Direction of propagation.
    pub direction: Direction,
}

impl PlaneProblem {
    /// The first mode, in double precision, of a straight guide without symmetry whose plane is not magnetic.
    pub fn new(boundaries: [Vec<f64>; 2], permittivity: Tensor, frequency: f64) -> Self {
        Self {
            boundaries,
            permittivity,
            permeability: None,
            openings: None,
            frequency,
            num_modes: 1,
            target_index: None,
            num_pml: [0, 0],
            symmetry: [Symmetry::None; 2],
            bend: None,
            angle_theta: 0.0,
            angle_phi: 0.0,
            precision: Precision::Double,
            direction: Direction::Forward,
        }
    }

    /// Cells along the two axes.
    pub fn shape(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.boundaries[axis].len().saturating_sub(1))
    }

    /// Checks what the solver relies on.
    ///
    /// # Errors
    /// [`ModeError::Refused`] with the first rule that is broken, [`ModeError::TooLarge`].
    pub fn check(&self, memory_limit: Option<u64>) -> Result<(), ModeError> {
        let shape = self.shape();
        let cells = shape[0] * shape[1];
        let refuse = |feature: &'static str, message: String| Err(ModeError::Refused { feature, message });
        if cells == 0 {
            return refuse("plane", format!("the plane has {} x {} cells", shape[0], shape[1]));
        }
        for (axis, lines) in self.boundaries.iter().enumerate() {
            let ascending = lines.windows(2).all(|pair| pair[1] > pair[0]);
            if !ascending || lines.iter().any(|line| !line.is_finite()) {
                return refuse(
                    "grid",
                    format!("the grid lines of in-plane axis {axis} are not finite and ascending"),
                );
            }
        }
        if !(self.frequency.is_finite() && self.frequency > 0.0) {
            return refuse("frequency", format!("the frequency is {} Hz", self.frequency));
        }
        let tensors =
            [("permittivity", Some(&self.permittivity)), ("permeability", self.permeability.as_ref())];
        for (name, tensor) in tensors.into_iter().filter_map(|(name, tensor)| Some((name, tensor?))) {
            if tensor.0.iter().any(|element| element.len() != cells) {
                return refuse(name, format!("the {name} does not have one value for each of {cells} cells"));
            }
            if tensor.0.iter().flatten().any(|value| !value.is_finite()) {
                return refuse(name, format!("the {name} has values that are not finite"));
            }
            if [0, 4, 8].iter().any(|index| tensor.0[*index].contains(&Complex::default())) {
                return refuse(name, format!("the {name} is zero somewhere on its diagonal"));
            }
        }
        if let Some(openings) = &self.openings {
            let [first, second] = &openings.edges;
            let parts = [first, second, &openings.cells, &openings.corners];
            let is_part = |part: &f64| (0.0..=1.0).contains(part);
            if parts.iter().any(|parts| parts.len() != cells || !parts.iter().all(is_part)) {
                return refuse("openings", format!("the open parts are not {cells} numbers from 0 to 1"));
            }
        }
        if self.num_modes == 0 {
            return refuse("num_modes", "no modes are asked for".to_owned());
        }
        if self.target_index.is_some_and(|target| !target.is_finite()) {
            return refuse("target_neff", "the target index is not finite".to_owned());
        }
        if let Some(bend) = self.bend {
            if bend.axis > 1 || !bend.radius.is_finite() || bend.radius == 0.0 {
                return refuse(
                    "bend_radius",
                    format!("a bend of radius {} about axis {}", bend.radius, bend.axis),
                );
            }
            let across = 1 - bend.axis;
            let shifted = |line: &f64| (line + bend.radius - bend.center[across]) * bend.radius.signum();
            if self.boundaries[across].iter().any(|line| shifted(line) <= 0.0) {
                return refuse("bend_radius", "the centre of curvature lies within the plane".to_owned());
            }
        }
        let angles = [self.angle_theta, self.angle_phi];
        if angles.iter().any(|angle| !angle.is_finite())
            || self.angle_theta.abs() >= std::f64::consts::FRAC_PI_2
        {
            return refuse(
                "angle_theta",
                format!("the angle {} is not below a right angle", self.angle_theta),
            );
        }
        let needed = estimate(shape[0], shape[1], self.may_be_tensorial(), 1.0).bytes;
        if let Some(limit) = memory_limit.filter(|limit| needed > *limit) {
            return Err(ModeError::TooLarge { needed, limit });
        }
        Ok(())
    }

    /// Whether the problem has four field components for each cell rather than two.
    pub fn may_be_tensorial(&self) -> bool {
        let off_diagonal = |tensor: &Tensor| {
            [1, 2, 3, 5, 6, 7].iter().any(|index| tensor.0[*index].iter().any(|value| value.norm() > 1e-6))
        };
        self.angle_theta != 0.0
            || off_diagonal(&self.permittivity)
            || self.permeability.as_ref().is_some_and(off_diagonal)
    }
}

/// Limits and a channel back to the caller.
#[derive(Clone, Copy)]
pub struct Controls<'a> {
    /// Memory in bytes that the calculation may use; `None` for no limit.
    pub memory_limit: Option<u64>,
    /// Called some hundred times in a calculation; `Break` stops it soon after.
    pub proceed: &'a (dyn Fn() -> ControlFlow<()> + Sync),
}

impl Controls<'_> {
    /// No limits.
    pub fn unlimited() -> Self {
        Self { memory_limit: None, proceed: &|| ControlFlow::Continue(()) }
    }
}

impl fmt::Debug for Controls<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Controls").field("memory_limit", &self.memory_limit).finish_non_exhaustive()
    }
}

/// Why modes were not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModeError {
    /// The problem contradicts itself; the same problem is refused again.
    #[error("{message}")]
    Refused {
        /// The field of the problem, as the client calls it.
        feature: &'static str,
        /// What is wrong.
        message: String,
    },
    /// More memory or a coarser grid helps.
    #[error("the plane needs about {needed} bytes, {limit} are allowed")]
    TooLarge {
        /// Bytes estimated.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The caller asked to stop.
    #[error("the calculation was cancelled")]
    Cancelled,
    /// The eigensolver failed; another target index or grid may help.
    #[error("the modes were not found: {0}")]
    Eigen(#[source] crate::eigen::EigenError),
}

impl ModeError {
    /// A stable code for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "mode-plane-refused",
            Self::TooLarge { .. } => "mode-plane-too-large",
            Self::Cancelled => "cancelled",
            Self::Eigen(_) => "mode-not-converged",
        }
    }

    /// What the engineer may do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "Correct the named field of the mode specification or the grid.",
            Self::TooLarge { .. } => "Use a coarser grid, a smaller plane, or a worker with more memory.",
            Self::Cancelled => "Submit the task again if its result is wanted after all.",
            Self::Eigen(_) => "Set 'target_neff' near the modes wanted, or ask for fewer modes.",
        }
    }
}
