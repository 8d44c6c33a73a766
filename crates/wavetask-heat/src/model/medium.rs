//! Thermal materials: solids that conduct, and everything else, which takes no part.

use serde_json::Value;

use wavetask_solver::{Reader, class_of, join};

/// A material with the name that boundary conditions and grid specifications use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Medium {
    /// The client's name for it.
    pub(crate) name: Option<String>,
    /// How it conducts.
    pub(crate) thermal: Thermal,
}

/// What a material is to the heat equation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Thermal {
    /// Fluids and materials without thermal properties: no temperature is computed in them.
    Excluded,
    /// A solid.
    Solid(Conductivity),
}

/// Thermal conductivity in W/(µm K).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Conductivity {
    /// The same in every direction.
    Isotropic(f64),
    /// A symmetric positive definite tensor by rows.
    Tensor([[f64; 3]; 3]),
}

impl Medium {
    /// Whether temperature is computed in this material.
    pub(crate) const fn is_solid(&self) -> bool {
        matches!(self.thermal, Thermal::Solid(_))
    }
}

/// Reads any medium class: thermal classes themselves, `MultiPhysicsMedium`, and media with `heat_spec`.
pub(crate) fn read_medium(reader: &mut Reader, value: &Value, path: &str) -> Option<Medium> {
    reader.object(value, path)?;
    let name = value.get("name").and_then(Value::as_str).map(str::to_owned);
    let (specification, path) = match class_of(value) {
        "SolidMedium" | "SolidSpec" | "FluidMedium" | "FluidSpec" => (Some(value), path.to_owned()),
        "MultiPhysicsMedium" => {
            let heat = value.get("heat").filter(|heat| !heat.is_null());
            let optical = value
                .get("optical")
                .and_then(|optical| optical.get("heat_spec"))
                .filter(|heat| !heat.is_null());
            match heat {
                Some(heat) => (Some(heat), join(path, "heat")),
                None => (optical, join(path, "optical.heat_spec")),
            }
        }
        _ => (value.get("heat_spec").filter(|heat| !heat.is_null()), join(path, "heat_spec")),
    };
    let thermal = match specification {
        None => Thermal::Excluded,
        Some(specification) => read_thermal(reader, specification, &path)?,
    };
    Some(Medium { name, thermal })
}

fn read_thermal(reader: &mut Reader, value: &Value, path: &str) -> Option<Thermal> {
    match class_of(value) {
        "FluidMedium" | "FluidSpec" => Some(Thermal::Excluded),
        "SolidMedium" | "SolidSpec" => {
            if value
                .get("velocity")
                .and_then(Value::as_array)
                .is_some_and(|velocity| velocity.iter().any(|component| component.as_f64() != Some(0.0)))
            {
                reader.refuse(
                    join(path, "velocity"),
                    "SolidMedium.velocity",
                    "heat carried by a moving solid (`velocity`) is not supported",
                );
            }
            let conductivity = reader.field(value, "conductivity", path)?;
            if class_of(conductivity) == "AnisotropicConductivity" {
                return read_tensor(reader, conductivity, &join(path, "conductivity")).map(Thermal::Solid);
            }
            let conductivity = reader.positive_field(value, "conductivity", path)?;
            Some(Thermal::Solid(Conductivity::Isotropic(conductivity)))
        }
        other => {
            reader.refuse(path, other, format!("`{other}` is not a thermal material that is known here"));
            None
        }
    }
}

fn read_tensor(reader: &mut Reader, value: &Value, path: &str) -> Option<Conductivity> {
    let principal = [
        reader.positive_field(value, "xx", path)?,
        reader.positive_field(value, "yy", path)?,
        reader.positive_field(value, "zz", path)?,
    ];
    let rotation = match value.get("rotation").filter(|rotation| !rotation.is_null()) {
        None => IDENTITY,
        Some(rotation) => read_rotation(reader, rotation, &join(path, "rotation"))?,
    };
    let mut tensor = [[0.0; 3]; 3];
    for (row, entries) in tensor.iter_mut().enumerate() {
        for (column, entry) in entries.iter_mut().enumerate() {
            *entry = (0..3).map(|k| rotation[row][k] * principal[k] * rotation[column][k]).sum();
        }
    }
    Some(Conductivity::Tensor(tensor))
}

const IDENTITY: [[f64; 3]; 3] = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// The matrix of a rotation about an axis (Rodrigues' formula).
fn read_rotation(reader: &mut Reader, value: &Value, path: &str) -> Option<[[f64; 3]; 3]> {
    if class_of(value) != "RotationAroundAxis" {
        let class = class_of(value).to_owned();
        reader.refuse(path, class.clone(), format!("`{class}` is not a rotation that is known here"));
        return None;
    }
    let angle = reader.finite_field(value, "angle", path)?;
    let direction = match value.get("axis") {
        None | Some(Value::Null) => IDENTITY[0],
        Some(Value::Number(axis)) => match axis.as_u64() {
            Some(axis @ 0..=2) => IDENTITY[usize::try_from(axis).ok()?],
            _ => {
                reader.refuse(join(path, "axis"), "malformed input", "an axis is 0, 1 or 2");
                return None;
            }
        },
        Some(_) => reader.finite_triple(value, "axis", path)?,
    };
    let length = direction.iter().map(|component| component * component).sum::<f64>().sqrt();
    if length == 0.0 {
        reader.refuse(join(path, "axis"), "malformed input", "the axis of a rotation must not be zero");
        return None;
    }
    let [x, y, z] = direction.map(|component| component / length);
    let (sine, cosine) = angle.sin_cos();
    let rest = 1.0 - cosine;
    Some([
        [cosine + rest * x * x, rest * x * y - sine * z, rest * x * z + sine * y],
        [rest * x * y + sine * z, cosine + rest * y * y, rest * y * z - sine * x],
        [rest * x * z - sine * y, rest * y * z + sine * x, cosine + rest * z * z],
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn solids_are_found_in_every_place_the_client_puts_them() {
        let solid = json!({"type": "SolidSpec", "conductivity": 2.0, "capacity": null});
        let places = [
            json!({"type": "Medium", "name": "m", "heat_spec": solid}),
            json!({"type": "MultiPhysicsMedium", "name": "m", "heat": solid, "optical": null}),
            json!({"type": "MultiPhysicsMedium", "name": "m", "heat": null, "optical": {"type": "Medium", "heat_spec": solid}}),
            json!({"type": "SolidMedium", "name": "m", "conductivity": 2.0}),
        ];
        for place in &places {
            let mut reader = Reader::default();
            let medium = read_medium(&mut reader, place, "medium").unwrap();
            assert_eq!(medium.name.as_deref(), Some("m"));
            assert_eq!(medium.thermal, Thermal::Solid(Conductivity::Isotropic(2.0)));
            assert!(reader.refusals().is_empty());
        }
    }

    #[test]
    fn a_rotated_tensor_keeps_its_principal_values() {
        let mut reader = Reader::default();
        let value = json!({"type": "AnisotropicConductivity", "xx": 1.0, "yy": 2.0, "zz": 3.0,
            "rotation": {"type": "RotationAroundAxis", "axis": 2, "angle": std::f64::consts::FRAC_PI_2}});
        let Some(Conductivity::Tensor(tensor)) = read_tensor(&mut reader, &value, "c") else { panic!() };
        for (row, expected) in [[2.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]].iter().enumerate() {
            for column in 0..3 {
                assert!((tensor[row][column] - expected[column]).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn a_moving_solid_is_refused_by_name() {
        let mut reader = Reader::default();
        let value = json!({"type": "SolidMedium", "conductivity": 1.0, "velocity": [0.0, 1.0, 0.0]});
        let _ = read_medium(&mut reader, &value, "medium");
        assert_eq!(reader.refusals()[0].feature, "SolidMedium.velocity");
    }
}
