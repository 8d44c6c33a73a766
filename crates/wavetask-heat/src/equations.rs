//! The equations: linear elements on triangles and tetrahedra.
//!
//! The temperature is continuous and linear in each cell, so layers of different materials are exact, and the
//! error on smooth solutions falls with the square of the cell size. The weak form is
//!
//! ```text
//! ∫ ∇v·k∇T + ∫_convection c v T + ∫_contact [v][T]/R = ∫ v q + ∫_flux v f + ∫_convection c v T_ambient
//! ```
//!
//! Sources are integrated with a rule that is exact for quadratic integrands, so a source that is linear in a cell is
//! exact. In a flat domain everything is per micrometre of the missing axis.

use rayon::prelude::*;
use wavetask_grid::mesh::{NONE, SimplexMesh};

use crate::conditions::Conditions;
use crate::contact::Unknowns;
use crate::error::SolveError;
use crate::linear::{Assembler, CsrMatrix, Elements, LinearError, Pattern};
use crate::model::{Condition, Conductivity, HeatSource, Problem, Rate, Thermal};
use crate::region::Regions;

/// Matrix, right-hand side and what is needed to check the solution.
#[derive(Debug)]
pub(crate) struct Equations {
    /// The matrix with given temperatures taken out.
    pub(crate) matrix: CsrMatrix,
    /// The right-hand side for the temperature above [`Self::reference`].
    pub(crate) right_hand_side: Vec<f64>,
    /// The temperature in kelvin that is subtracted from all others, to lose no digits.
    pub(crate) reference: f64,
    /// Heat released by sources and brought in by given fluxes, by unknown, in W (W/µm in flat domains).
    pub(crate) load: Vec<f64>,
    /// Heat released by sources in W (W/µm).
    pub(crate) source_power: f64,
    /// Heat brought in by given fluxes in W (W/µm).
    pub(crate) flux_power: f64,
    /// Exchange with fluids.
    convection: Vec<Exchange>,
    /// The given temperatures in kelvin by unknown.
    pub(crate) fixed: Vec<Option<f64>>,
}

/// Exchange of heat with a fluid through a facet.
#[derive(Clone, Copy, Debug)]
struct Exchange {
    corners: [u32; 3],
    measure: f64,
    ambient: f64,
    coefficient: f64,
}

/// What cells contribute.
struct Cells<'a> {
    mesh: &'a SimplexMesh,
    conductivity: Vec<Option<Conductivity>>,
    sources: Vec<Vec<&'a Rate>>,
}

impl<'a> Cells<'a> {
    fn new(problem: &'a Problem, mesh: &'a SimplexMesh) -> Self {
        let count = problem.structures.len() + 1;
        let conductivity = (0..count as u32)
            .map(|region| match problem.medium(Regions::structure(region)).thermal {
                Thermal::Solid(conductivity) => Some(conductivity),
                Thermal::Excluded => None,
            })
            .collect();
        let sources = (0..count as u32)
            .map(|region| match Regions::structure(region) {
                None => Vec::new(),
                Some(index) => acting(&problem.sources, &problem.structures[index].name),
            })
            .collect();
        Self { mesh, conductivity, sources }
    }

    /// Measure of a cell and the gradients of its linear functions.
    fn gradients(&self, cell: usize) -> (f64, [[f64; 3]; 4]) {
        let corners = self.mesh.corners(cell);
        let edge =
            |to: usize| -> [f64; 3] { std::array::from_fn(|axis| corners[to][axis] - corners[0][axis]) };
        let mut gradients = [[0.0; 3]; 4];
        let measure = match self.mesh.normal {
            Some((axis, _)) => {
                let (first, second) = (edge(1), edge(2));
                let mut up = [0.0; 3];
                up[axis] = 1.0;
                let doubled = cross(first, second)[axis];
                gradients[1] = cross(second, up).map(|component| component / doubled);
                gradients[2] = cross(up, first).map(|component| component / doubled);
                doubled / 2.0
            }
            None => {
                let (first, second, third) = (edge(1), edge(2), edge(3));
                let normal = cross(second, third);
                let sixfold: f64 = (0..3).map(|axis| first[axis] * normal[axis]).sum();
                gradients[1] = normal.map(|component| component / sixfold);
                gradients[2] = cross(third, first).map(|component| component / sixfold);
                gradients[3] = cross(first, second).map(|component| component / sixfold);
                sixfold / 6.0
            }
        };
        gradients[0] =
            std::array::from_fn(|axis| -gradients[1][axis] - gradients[2][axis] - gradients[3][axis]);
        (measure, gradients)
    }

    /// `∫ ∇v_i·k∇v_j` over a cell.
    fn stiffness<const WIDTH: usize>(&self, cell: usize, local: &mut [[f64; WIDTH]; WIDTH]) {
        let Some(conductivity) = self.conductivity[self.mesh.regions[cell] as usize] else { return };
        let (measure, gradients) = self.gradients(cell);
        for column in 0..WIDTH {
            let flux: [f64; 3] = match conductivity {
                Conductivity::Isotropic(value) => gradients[column].map(|component| value * component),
                Conductivity::Tensor(tensor) => {
                    tensor.map(|row| (0..3).map(|axis| row[axis] * gradients[column][axis]).sum())
                }
            };
            for row in 0..=column {
                let value = measure * (0..3).map(|axis| gradients[row][axis] * flux[axis]).sum::<f64>();
                local[row][column] = value;
                local[column][row] = value;
            }
        }
    }

    /// `∫ v_i q` over a cell.
    fn source<const WIDTH: usize>(&self, cell: usize, local: &mut [f64; WIDTH]) {
        let rates = &self.sources[self.mesh.regions[cell] as usize];
        if rates.is_empty() {
            return;
        }
        let measure = self.mesh.cell_measure(cell);
        let corners = self.mesh.corners(cell);
        // Barycentric coordinates of the points of the rule: one corner heavy, the others alike.
        let heavy = if WIDTH == 4 { 0.585_410_196_624_968_5 } else { 2.0 / 3.0 };
        let light = (1.0 - heavy) / (WIDTH - 1) as f64;
        for rate in rates {
            if let Rate::Constant(rate) = rate {
                for value in local.iter_mut() {
                    *value += rate * measure / WIDTH as f64;
                }
                continue;
            }
            for favoured in 0..WIDTH {
                let weight = |corner: usize| if corner == favoured { heavy } else { light };
                let point = std::array::from_fn(|axis| {
                    (0..WIDTH).map(|corner| weight(corner) * corners[corner][axis]).sum()
                });
                let heat = rate.at(point) * measure / WIDTH as f64;
                for (corner, value) in local.iter_mut().enumerate() {
                    *value += heat * weight(corner);
                }
            }
        }
    }
}

fn acting<'a>(sources: &'a [HeatSource], name: &str) -> Vec<&'a Rate> {
    if name.is_empty() {
        return Vec::new();
    }
    sources
        .iter()
        .filter(|source| source.structures.iter().any(|wanted| wanted == name))
        .map(|source| &source.rate)
        .collect()
}

/// Computes the equations of a meshed problem.
pub(crate) fn assemble(
    problem: &Problem,
    mesh: &SimplexMesh,
    conditions: &Conditions,
    unknowns: &Unknowns,
) -> Result<Equations, SolveError> {
    match mesh.dimension() {
        2 => assemble_in::<3, 2, 4>(problem, mesh, conditions, unknowns),
        _ => assemble_in::<4, 3, 6>(problem, mesh, conditions, unknowns),
    }
    .map_err(|error| match error {
        LinearError::NotFinite { .. } => SolveError::IllConditioned { reason: error.to_string() },
        other => SolveError::Internal(other.to_string()),
    })
}

/// `CELL`, `FACET` and `CONTACT` are the numbers of unknowns of a cell, a facet and a pair of facets.
fn assemble_in<const CELL: usize, const FACET: usize, const CONTACT: usize>(
    problem: &Problem,
    mesh: &SimplexMesh,
    conditions: &Conditions,
    unknowns: &Unknowns,
) -> Result<Equations, LinearError> {
    let count = unknowns.points.len();
    let cells = Cells::new(problem, mesh);
    let cell_elements = Elements::new(count, &unknowns.cells, CELL)?;

    let mut load = vec![0.0; count];
    cell_elements.add_to_vector::<CELL>(&mut load, |cell, local| cells.source(cell, local))?;
    let source_power = load.iter().sum();

    let mut convection = Vec::new();
    let mut flux_power = 0.0;
    for entry in &conditions.facets {
        let facet = &mesh.interfaces.facets[entry.facet];
        let corners = unknowns.of_facet(mesh, facet, facet.cell);
        match entry.condition {
            Condition::Flux(flux) if flux != 0.0 => {
                let heat = flux * facet.measure(mesh);
                flux_power += heat;
                for &corner in &corners[..FACET] {
                    load[corner as usize] += heat / FACET as f64;
                }
            }
            Condition::Convection { ambient, coefficient } => {
                convection.push(Exchange { corners, measure: facet.measure(mesh), ambient, coefficient });
            }
            _ => {}
        }
    }
    let fixed = unknowns.fixed_temperatures(mesh, conditions);
    let reference = fixed
        .iter()
        .flatten()
        .copied()
        .chain(convection.iter().map(|exchange| exchange.ambient))
        .reduce(f64::min)
        .unwrap_or_default();

    let mut right_hand_side = load.clone();
    for exchange in &convection {
        let heat = exchange.coefficient * exchange.measure * (exchange.ambient - reference);
        for &corner in &exchange.corners[..FACET] {
            right_hand_side[corner as usize] += heat / FACET as f64;
        }
    }

    let convection_nodes: Vec<[u32; 3]> = convection.iter().map(|exchange| exchange.corners).collect();
    let convection_elements = Elements::new(count, &convection_nodes, FACET)?;
    let contact_nodes: Vec<[u32; CONTACT]> = unknowns
        .contacts
        .iter()
        .map(|contact| std::array::from_fn(|place| contact.sides[place / FACET][place % FACET]))
        .collect();
    let contact_elements = Elements::new(count, &contact_nodes, CONTACT)?;
    let pattern = Pattern::from_elements(&[&cell_elements, &convection_elements, &contact_elements])?;
    let mut assembler = Assembler::new(pattern);
    assembler.add::<CELL>(&cell_elements, |cell, local| cells.stiffness(cell, local))?;
    assembler.add::<FACET>(&convection_elements, |index, local| {
        let exchange = &convection[index];
        mass(exchange.coefficient * exchange.measure, local);
    })?;
    assembler.add::<CONTACT>(&contact_elements, |index, local| {
        let contact = &unknowns.contacts[index];
        let mut single = [[0.0; FACET]; FACET];
        mass(mesh.interfaces.facets[contact.facet].measure(mesh) / contact.resistance, &mut single);
        for (row, values) in local.iter_mut().enumerate() {
            for (column, value) in values.iter_mut().enumerate() {
                let sign = if row / FACET == column / FACET { 1.0 } else { -1.0 };
                *value = sign * single[row % FACET][column % FACET];
            }
        }
    })?;
    let mut matrix = assembler.finish();
    let above: Vec<Option<f64>> = fixed.iter().map(|value| value.map(|value| value - reference)).collect();
    matrix.fix_unknowns(&above, &mut right_hand_side)?;
    Ok(Equations { matrix, right_hand_side, reference, load, source_power, flux_power, convection, fixed })
}

/// `scale / measure · ∫ v_i v_j` over a facet.
fn mass<const FACET: usize>(scale: f64, local: &mut [[f64; FACET]; FACET]) {
    let off_diagonal = scale / (FACET * (FACET + 1)) as f64;
    for (row, values) in local.iter_mut().enumerate() {
        for (column, value) in values.iter_mut().enumerate() {
            *value = if row == column { 2.0 * off_diagonal } else { off_diagonal };
        }
    }
}

/// Heat in W (W/µm) that leaves through boundaries: at given temperatures, by convection, less given fluxes.
pub(crate) fn boundary_power(
    problem: &Problem,
    mesh: &SimplexMesh,
    unknowns: &Unknowns,
    equations: &Equations,
    temperature: &[f64],
) -> f64 {
    match mesh.dimension() {
        2 => boundary_power_in::<3>(problem, mesh, unknowns, equations, temperature),
        _ => boundary_power_in::<4>(problem, mesh, unknowns, equations, temperature),
    }
}

fn boundary_power_in<const CELL: usize>(
    problem: &Problem,
    mesh: &SimplexMesh,
    unknowns: &Unknowns,
    equations: &Equations,
    temperature: &[f64],
) -> f64 {
    let cells = Cells::new(problem, mesh);
    let fixed = |unknown: u32| equations.fixed[unknown as usize].is_some();
    // Heat that conduction carries away from unknowns of given temperature, by chunks so that the order of the sum
    // does not depend on the threads.
    let parts: Vec<f64> = unknowns
        .cells
        .par_chunks(8192)
        .enumerate()
        .map(|(chunk, list)| {
            let mut conducted = 0.0;
            for (place, cell) in list.iter().enumerate() {
                let corners = &cell[..CELL];
                if !corners.iter().any(|&unknown| fixed(unknown)) {
                    continue;
                }
                let mut stiffness = [[0.0; CELL]; CELL];
                cells.stiffness(chunk * 8192 + place, &mut stiffness);
                for (row, _) in stiffness.iter().zip(corners).filter(|(_, unknown)| fixed(**unknown)) {
                    conducted += row
                        .iter()
                        .zip(corners)
                        .map(|(entry, &unknown)| {
                            entry * (temperature[unknown as usize] - equations.reference)
                        })
                        .sum::<f64>();
                }
            }
            conducted
        })
        .collect();
    let mut conducted: f64 = parts.into_iter().sum();
    for contact in &unknowns.contacts {
        let facet = CELL - 1;
        let scale = mesh.interfaces.facets[contact.facet].measure(mesh) / contact.resistance;
        for (row, column) in (0..facet).flat_map(|row| (0..facet).map(move |column| (row, column))) {
            let weight = if row == column { 2.0 } else { 1.0 } / (facet * (facet + 1)) as f64;
            let [here, there] = contact.sides.map(|side| temperature[side[column] as usize]);
            let heat = scale * weight * (here - there);
            for (side, sign) in contact.sides.iter().zip([1.0, -1.0]) {
                if fixed(side[row]) {
                    conducted += sign * heat;
                }
            }
        }
    }
    let mut leaving = -equations.flux_power;
    for exchange in &equations.convection {
        let corners = exchange.corners.iter().filter(|&&corner| corner != NONE);
        let (sum, number) = corners
            .fold((0.0, 0.0), |(sum, number), &corner| (sum + temperature[corner as usize], number + 1.0));
        leaving += exchange.coefficient * exchange.measure * (sum / number - exchange.ambient);
        for &corner in exchange.corners.iter().filter(|&&corner| corner != NONE) {
            if equations.fixed[corner as usize].is_some() {
                // Part of the heat that leaves at this unknown leaves by convection and is counted already.
                let share = exchange.corners.iter().filter(|&&other| other != NONE).map(|&other| {
                    let weight = if other == corner { 2.0 } else { 1.0 };
                    weight * (temperature[other as usize] - exchange.ambient)
                });
                leaving -=
                    exchange.coefficient * exchange.measure * share.sum::<f64>() / (number * (number + 1.0));
            }
        }
    }
    let brought: f64 = equations
        .fixed
        .iter()
        .zip(&equations.load)
        .filter(|(fixed, _)| fixed.is_some())
        .map(|(_, load)| load)
        .sum();
    leaving + brought - conducted
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}
