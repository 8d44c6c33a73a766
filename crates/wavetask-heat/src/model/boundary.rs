//! Boundary conditions: what holds, and where.

use serde_json::Value;

use wavetask_solver::{Reader, class_of, join};

/// One entry of `boundary_spec`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BoundarySpec {
    /// Where it holds.
    pub(crate) placement: Placement,
    /// What holds.
    pub(crate) condition: Condition,
}

/// A face of the simulation domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Side {
    /// The axis that the face is normal to.
    pub(crate) axis: usize,
    /// Whether it is the face at the larger coordinate.
    pub(crate) upper: bool,
}

/// Where a boundary condition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// The part of a structure's surface that later structures do not cover.
    Structure(String),
    /// The surface of the later of two structures inside the earlier.
    StructureStructure([String; 2]),
    /// Wherever two materials touch.
    MediumMedium([String; 2]),
    /// Faces of the domain.
    Simulation(Vec<Side>),
    /// Faces of the domain where a structure fills it.
    StructureSimulation(String, Vec<Side>),
}

/// What holds on a boundary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Condition {
    /// Given temperature in kelvin.
    Temperature(f64),
    /// Given heat flux *into* the solid in W/µm².
    ///
    /// The client's own documentation of its heat solver states the condition as `k ∂T/∂n = f` on the
    /// boundary of the domain; with the outward normal, as usual, a positive flux heats the solid.
    Flux(f64),
    /// Exchange with a fluid: the flux leaving the solid is `coefficient · (T − ambient)`.
    Convection {
        /// Temperature of the fluid in kelvin.
        ambient: f64,
        /// Coefficient of heat transfer in W/(µm² K).
        coefficient: f64,
    },
    /// A thin layer between two solids: the flux is the jump of temperature over the resistance in K µm²/W.
    ContactResistance(f64),
}

impl Condition {
    /// Whether this condition alone makes the temperature unique.
    pub(crate) const fn fixes_temperature(self) -> bool {
        match self {
            Self::Temperature(_) => true,
            Self::Convection { coefficient, .. } => coefficient > 0.0,
            Self::Flux(_) | Self::ContactResistance(_) => false,
        }
    }
}

pub(crate) fn read_boundaries(reader: &mut Reader, simulation: &Value) -> Vec<BoundarySpec> {
    let mut boundaries = Vec::new();
    for (index, value) in reader.list(simulation, "boundary_spec", "").iter().enumerate() {
        let path = format!("boundary_spec[{index}]");
        let placement = reader
            .field(value, "placement", &path)
            .and_then(|placement| read_placement(reader, placement, &join(&path, "placement")));
        let condition = reader
            .field(value, "condition", &path)
            .and_then(|condition| read_condition(reader, condition, &join(&path, "condition")));
        if let (Some(placement), Some(condition)) = (placement, condition) {
            if matches!(condition, Condition::ContactResistance(_))
                && !matches!(placement, Placement::MediumMedium(_) | Placement::StructureStructure(_))
            {
                reader.refuse(
                    join(&path, "placement"),
                    "ThermalContactResistance",
                    "`ThermalContactResistance` stands between two solids: place it on a MediumMediumInterface or a StructureStructureInterface",
                );
            }
            boundaries.push(BoundarySpec { placement, condition });
        }
    }
    boundaries
}

fn read_placement(reader: &mut Reader, value: &Value, path: &str) -> Option<Placement> {
    match class_of(value) {
        "StructureBoundary" => {
            reader.text_field(value, "structure", path).map(|name| Placement::Structure(name.to_owned()))
        }
        "StructureStructureInterface" => {
            pair(reader, value, "structures", path).map(Placement::StructureStructure)
        }
        "MediumMediumInterface" => pair(reader, value, "mediums", path).map(Placement::MediumMedium),
        "SimulationBoundary" => Some(Placement::Simulation(read_sides(reader, value, path))),
        "StructureSimulationBoundary" => {
            let name = reader.text_field(value, "structure", path)?.to_owned();
            Some(Placement::StructureSimulation(name, read_sides(reader, value, path)))
        }
        other => {
            reader.refuse(path, other, format!("boundary conditions cannot be placed on `{other}`"));
            None
        }
    }
}

fn pair(reader: &mut Reader, value: &Value, key: &str, path: &str) -> Option<[String; 2]> {
    let names = reader.text_list(value, key, path);
    match <[String; 2]>::try_from(names) {
        Ok(names) => Some(names),
        Err(_) => {
            reader.refuse(join(path, key), "malformed input", "two names are expected here");
            None
        }
    }
}

fn read_sides(reader: &mut Reader, value: &Value, path: &str) -> Vec<Side> {
    if value.get("surfaces").is_none() {
        return (0..3).flat_map(|axis| [Side { axis, upper: false }, Side { axis, upper: true }]).collect();
    }
    let mut sides = Vec::new();
    for (index, name) in reader.text_list(value, "surfaces", path).iter().enumerate() {
        let axis = match name.as_bytes() {
            [b'x', _] => 0,
            [b'y', _] => 1,
            [b'z', _] => 2,
            _ => 3,
        };
        match (axis, name.as_bytes().get(1)) {
            (0..=2, Some(b'-')) => sides.push(Side { axis, upper: false }),
            (0..=2, Some(b'+')) => sides.push(Side { axis, upper: true }),
            _ => reader.refuse(
                format!("{path}.surfaces[{index}]"),
                "malformed input",
                format!("the faces are x-, x+, y-, y+, z-, z+, not `{name}`"),
            ),
        }
    }
    sides
}

fn read_condition(reader: &mut Reader, value: &Value, path: &str) -> Option<Condition> {
    match class_of(value) {
        "TemperatureBC" => reader.positive_field(value, "temperature", path).map(Condition::Temperature),
        "HeatFluxBC" => reader.finite_field(value, "flux", path).map(Condition::Flux),
        "ConvectionBC" => {
            if value.get("emissivity").and_then(Value::as_f64).is_some_and(|emissivity| emissivity != 0.0) {
                reader.refuse(
                    join(path, "emissivity"),
                    "ConvectionBC.emissivity",
                    "radiation of a surface (`emissivity`) is not supported",
                );
            }
            let ambient = reader.positive_field(value, "ambient_temperature", path)?;
            let coefficient = reader.field(value, "transfer_coeff", path)?;
            if coefficient.is_object() {
                let class = class_of(coefficient).to_owned();
                reader.refuse(
                    join(path, "transfer_coeff"),
                    class.clone(),
                    format!("a temperature-dependent coefficient of heat transfer (`{class}`) is not supported: give a number"),
                );
                return None;
            }
            let coefficient = reader.finite_field(value, "transfer_coeff", path)?;
            if coefficient < 0.0 {
                reader.refuse(
                    join(path, "transfer_coeff"),
                    "negative value",
                    "the coefficient of heat transfer must not be negative",
                );
                return None;
            }
            Some(Condition::Convection { ambient, coefficient })
        }
        "ThermalContactResistance" => {
            reader.positive_field(value, "resistance", path).map(Condition::ContactResistance)
        }
        "RadiationBC" => {
            reader.refuse(path, "RadiationBC", "radiation of a surface (`RadiationBC`) is not supported");
            None
        }
        other @ ("VoltageBC" | "CurrentBC" | "InsulatingBC" | "SurfaceRecombinationBC") => {
            reader.refuse(
                path,
                other,
                format!(
                    "`{other}` belongs to electric conduction and charge transport, which are not supported"
                ),
            );
            None
        }
        other => {
            reader.refuse(path, other, format!("the boundary condition `{other}` is not supported"));
            None
        }
    }
}
