//! Which averaging a simulation asks for at which interfaces.

use serde_json::Value;

use super::error::SubpixelError;
use crate::permittivity::Scene;
use crate::reading::{Fields, Part, SceneError, join};

/// At interfaces between dielectrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dielectric {
    /// The medium at the location.
    Staircase,
    /// Averages over the cell, by the direction of the interface.
    Polarized,
    /// Averages along the field's edge and over the face that it crosses, by the direction of the interface.
    ContourPath,
}

/// At interfaces of metals, whose permittivity has a real part below one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Metal {
    /// The medium at the location.
    Staircase,
    /// The mean over the cell; with `true`, only for components largely along the interface.
    Volumetric {
        /// Whether components largely across the interface take the medium at the location.
        staircase_normal: bool,
    },
}

/// At interfaces of perfect conductors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Conductor {
    /// The medium at the location.
    Staircase,
    /// The conductor wherever it cuts the cell of a component largely along the interface.
    Heuristic,
    /// Electric conductors only: the permittivity is that of what is outside of the conductor, and edges and faces of
    /// the grid count with their parts outside of it ([`super::openings`]).
    Conformal {
        /// Whether fields at edges of conductors that lie on the grid are corrected for their singularity.
        corrects_edges: bool,
    },
}

/// What to do at each kind of interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specification {
    /// Between dielectrics.
    pub dielectric: Dielectric,
    /// At metals.
    pub metal: Metal,
    /// At perfect electric conductors.
    pub electric: Conductor,
    /// At perfect magnetic conductors.
    pub magnetic: Conductor,
    /// At lossy metals that are not penetrable; `None` for their surface impedance.
    pub lossy_metal: Option<Metal>,
}

impl Default for Specification {
    /// What the client does by default.
    fn default() -> Self {
        Self {
            dielectric: Dielectric::Polarized,
            metal: Metal::Staircase,
            electric: Conductor::Conformal { corrects_edges: true },
            magnetic: Conductor::Staircase,
            lossy_metal: None,
        }
    }
}

impl Specification {
    /// No averaging anywhere.
    pub fn staircasing() -> Self {
        Self {
            dielectric: Dielectric::Staircase,
            metal: Metal::Staircase,
            electric: Conductor::Staircase,
            magnetic: Conductor::Staircase,
            lossy_metal: Some(Metal::Staircase),
        }
    }

    /// Reads the field `subpixel` of a simulation: true, false, or a `SubpixelSpec`.
    ///
    /// `path` is where `value` stands in the document. A missing field is the client's default, true.
    ///
    /// `timestep_reduction` of `PECConformal` is for solvers in time, which read it from the document.
    ///
    /// # Errors
    /// [`SubpixelError::Unsupported`] for methods that are not known.
    pub fn read(value: Option<&Value>, path: &str) -> Result<Self, SubpixelError> {
        let value = match value {
            None | Some(Value::Null | Value::Bool(true)) => return Ok(Self::default()),
            Some(Value::Bool(false)) => return Ok(Self::staircasing()),
            Some(value) => value,
        };
        let fields = Fields::of(Part::Medium, value, path)?;
        let mut read = Self::default();
        if let Some((kind, part)) = method(&fields, "dielectric")? {
            read.dielectric = match kind {
                "Staircasing" => Dielectric::Staircase,
                "PolarizedAveraging" => Dielectric::Polarized,
                "ContourPathAveraging" => Dielectric::ContourPath,
                _ => return Err(unsupported(&part, kind, "dielectric interfaces")),
            };
        }
        if let Some((kind, part)) = method(&fields, "metal")? {
            read.metal = metal(&fields, "metal", kind, &part)?;
        }
        if let Some((kind, part)) = method(&fields, "pec")? {
            read.electric = match kind {
                "Staircasing" => Conductor::Staircase,
                "HeuristicPECStaircasing" => Conductor::Heuristic,
                "PECConformal" => {
                    let options = Fields::of(Part::Medium, fields.required("pec")?, &part)?;
                    let corrects_edges = options.flag_or("edge_singularity_correction", true)?;
                    Conductor::Conformal { corrects_edges }
                }
                _ => return Err(unsupported(&part, kind, "perfect electric conductors")),
            };
        }
        if let Some((kind, part)) = method(&fields, "pmc")? {
            read.magnetic = match kind {
                "Staircasing" => Conductor::Staircase,
                "HeuristicPECStaircasing" => Conductor::Heuristic,
                _ => return Err(unsupported(&part, kind, "perfect magnetic conductors")),
            };
        }
        if let Some((kind, part)) = method(&fields, "lossy_metal")? {
            read.lossy_metal = match kind {
                "SurfaceImpedance" => None,
                _ => Some(metal(&fields, "lossy_metal", kind, &part)?),
            };
        }
        Ok(read)
    }

    /// Refuses a scene that needs what this server cannot do: the surface impedance of lossy metals.
    ///
    /// # Errors
    /// [`SubpixelError::Unsupported`] with the path of the first lossy metal.
    pub fn check(&self, scene: &Scene) -> Result<(), SubpixelError> {
        if self.lossy_metal.is_some() {
            return Ok(());
        }
        match (0..scene.structures().len()).find(|&index| scene.medium(index).is_surface_metal()) {
            None => Ok(()),
            Some(index) => Err(SubpixelError::Unsupported {
                path: join(&scene.structure_path(index), "medium"),
                what:
                    "the surface impedance of a LossyMetalMedium (`subpixel.lossy_metal`: SurfaceImpedance)"
                        .into(),
            }),
        }
    }
}

/// The class of a method and its path.
fn method<'a>(fields: &Fields<'a>, name: &str) -> Result<Option<(&'a str, String)>, SceneError> {
    let path = fields.path_of(name);
    let Some(value) = fields.optional(name) else { return Ok(None) };
    let Value::Object(map) = value else {
        return Err(Part::Medium.invalid(path, "an object is expected"));
    };
    let kind = map
        .get("type")
        .and_then(Value::as_str)
        .ok_or_else(|| Part::Medium.invalid(path.as_str(), "the field `type` is missing"))?;
    Ok(Some((kind, path)))
}

fn metal(fields: &Fields<'_>, name: &str, kind: &str, path: &str) -> Result<Metal, SubpixelError> {
    match kind {
        "Staircasing" => Ok(Metal::Staircase),
        "VolumetricAveraging" => {
            let options = Fields::of(Part::Medium, fields.required(name)?, path)?;
            let staircase_normal = options.flag_or("staircase_normal_component", true)?;
            Ok(Metal::Volumetric { staircase_normal })
        }
        _ => Err(unsupported(path, kind, "metal interfaces")),
    }
}

fn unsupported(path: &str, kind: &str, place: &str) -> SubpixelError {
    SubpixelError::Unsupported { path: path.into(), what: format!("the method `{kind}` at {place}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn flags_and_specifications() {
        let read = |value: Value| Specification::read(Some(&value), "subpixel");
        assert_eq!(read(json!(true)).unwrap(), Specification::default());
        assert_eq!(read(json!(false)).unwrap().dielectric, Dielectric::Staircase);
        assert_eq!(Specification::read(None, "").unwrap(), Specification::default());
        let specification = read(json!({
            "type": "SubpixelSpec",
            "dielectric": {"type": "ContourPathAveraging"},
            "metal": {"type": "VolumetricAveraging", "staircase_normal_component": false},
            "pec": {"type": "PECConformal"},
            "lossy_metal": {"type": "Staircasing"},
        }))
        .unwrap();
        assert_eq!(specification.dielectric, Dielectric::ContourPath);
        assert_eq!(specification.metal, Metal::Volumetric { staircase_normal: false });
        assert_eq!(specification.lossy_metal, Some(Metal::Staircase));
        assert_eq!(specification.electric, Conductor::Conformal { corrects_edges: true });
        let plain = json!({"pec": {"type": "PECConformal", "edge_singularity_correction": false}});
        assert_eq!(read(plain).unwrap().electric, Conductor::Conformal { corrects_edges: false });
        let error = read(json!({"dielectric": {"type": "Magic"}})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "subpixel/dielectric: the method `Magic` at dielectric interfaces is not supported"
        );
        assert_eq!(read(json!(3)).unwrap_err().code(), "medium-invalid");
    }
}
