//! Interfaces with a thermal resistance: points on them are doubled, so that the temperature can jump.
//!
//! A point is split into as many unknowns as there are groups of cells around it that are still connected by
//! facets without resistance. At the rim of such an interface, where cells connect around it, the point stays one.

use std::collections::{HashMap, HashSet};

use wavetask_grid::mesh::{Beyond, Facet, NONE, SimplexMesh};

use crate::conditions::Conditions;
use crate::model::Condition;

/// Unknowns of a mesh: its points, some of them several times.
#[derive(Debug)]
pub(crate) struct Unknowns {
    /// The unknowns of each cell, in the order of its points.
    pub(crate) cells: Vec<[u32; 4]>,
    /// The mesh point of each unknown; the first ones are the points themselves.
    pub(crate) points: Vec<u32>,
    /// Facets with a resistance: unknowns on one side, then on the other, and the resistance in K µm²/W.
    pub(crate) contacts: Vec<Contact>,
    /// Further unknowns of a point, where there are.
    pub(crate) copies: HashMap<u32, Vec<u32>>,
}

/// A facet with a thermal resistance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contact {
    /// Index of the facet in the mesh's table.
    pub(crate) facet: usize,
    /// Unknowns at its corners, on the side of the facet's cell and on the other.
    pub(crate) sides: [[u32; 3]; 2],
    /// Thermal resistance in K µm²/W.
    pub(crate) resistance: f64,
}

/// Numbers the unknowns of a mesh.
pub(crate) fn number(mesh: &SimplexMesh, conditions: &Conditions) -> Unknowns {
    let mut unknowns = Unknowns {
        cells: mesh.cells.clone(),
        points: (0..mesh.points.len() as u32).collect(),
        contacts: Vec::new(),
        copies: HashMap::new(),
    };
    let resistances: Vec<(usize, f64)> = conditions
        .facets
        .iter()
        .filter_map(|entry| match entry.condition {
            Condition::ContactResistance(resistance) => Some((entry.facet, resistance)),
            _ => None,
        })
        .collect();
    if resistances.is_empty() {
        return unknowns;
    }
    let mut separated: HashSet<[u32; 2]> = HashSet::new();
    let mut around: HashMap<u32, Vec<u32>> = HashMap::new();
    for &(facet, _) in &resistances {
        let facet = &mesh.interfaces.facets[facet];
        if let Beyond::Cell(other) = facet.beyond {
            separated.insert([facet.cell.min(other), facet.cell.max(other)]);
        }
        for &point in facet.corners() {
            around.entry(point).or_default();
        }
    }
    for (index, cell) in mesh.cells.iter().enumerate() {
        for point in &cell[..=mesh.dimension()] {
            if let Some(list) = around.get_mut(point) {
                list.push(index as u32);
            }
        }
    }
    let mut points: Vec<(u32, Vec<u32>)> = around.into_iter().collect();
    points.sort_unstable_by_key(|(point, _)| *point);
    for (point, cells) in points {
        for group in groups(mesh, &cells, &separated).into_iter().skip(1) {
            let copy = unknowns.points.len() as u32;
            unknowns.points.push(point);
            unknowns.copies.entry(point).or_default().push(copy);
            for cell in group {
                for place in &mut unknowns.cells[cell as usize] {
                    if *place == point {
                        *place = copy;
                    }
                }
            }
        }
    }
    for (index, resistance) in resistances {
        let facet = &mesh.interfaces.facets[index];
        let Beyond::Cell(other) = facet.beyond else { continue };
        let sides = [facet.cell, other].map(|cell| unknowns.of_facet(mesh, facet, cell));
        unknowns.contacts.push(Contact { facet: index, sides, resistance });
    }
    unknowns
}

impl Unknowns {
    /// The unknowns at the corners of a facet as one of its cells sees them; edges end with
    /// [`NONE`](wavetask_grid::mesh::NONE).
    pub(crate) fn of_facet(&self, mesh: &SimplexMesh, facet: &Facet, cell: u32) -> [u32; 3] {
        if self.contacts_absent() {
            return facet.points;
        }
        let cell = cell as usize;
        facet.points.map(|point| {
            let place = mesh.cell(cell).iter().position(|&candidate| candidate == point);
            place.map_or(point, |place| self.cells[cell][place])
        })
    }

    fn contacts_absent(&self) -> bool {
        self.copies.is_empty()
    }

    /// The given temperature in kelvin of each unknown; where conditions meet, the one with the higher order.
    pub(crate) fn fixed_temperatures(&self, mesh: &SimplexMesh, conditions: &Conditions) -> Vec<Option<f64>> {
        let mut fixed: Vec<Option<f64>> = vec![None; self.points.len()];
        let mut entries: Vec<_> = conditions
            .facets
            .iter()
            .filter_map(|entry| match entry.condition {
                Condition::Temperature(temperature) => Some((entry.order, entry.facet, temperature)),
                _ => None,
            })
            .collect();
        entries.sort_unstable_by_key(|(order, facet, _)| (*order, *facet));
        for (_, index, temperature) in entries {
            let facet = &mesh.interfaces.facets[index];
            let across = match facet.beyond {
                Beyond::Cell(other) => Some(other),
                _ => None,
            };
            for cell in [Some(facet.cell), across].into_iter().flatten() {
                for unknown in self.of_facet(mesh, facet, cell) {
                    if unknown != NONE {
                        fixed[unknown as usize] = Some(temperature);
                    }
                }
            }
        }
        fixed
    }
}

/// Groups of cells around a point that are connected by facets without resistance.
fn groups(mesh: &SimplexMesh, cells: &[u32], separated: &HashSet<[u32; 2]>) -> Vec<Vec<u32>> {
    let mut group_of: Vec<usize> = (0..cells.len()).collect();
    fn root(group_of: &mut [usize], mut place: usize) -> usize {
        while group_of[place] != place {
            group_of[place] = group_of[group_of[place]];
            place = group_of[place];
        }
        place
    }
    for (first, &a) in cells.iter().enumerate() {
        for (second, &b) in cells[..first].iter().enumerate() {
            let points = mesh.cell(b as usize);
            let shared = mesh.cell(a as usize).iter().filter(|point| points.contains(point)).count();
            if shared == mesh.dimension() && !separated.contains(&[a.min(b), a.max(b)]) {
                let (a, b) = (root(&mut group_of, first), root(&mut group_of, second));
                group_of[a.max(b)] = a.min(b);
            }
        }
    }
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut place_of: HashMap<usize, usize> = HashMap::new();
    for (place, &cell) in cells.iter().enumerate() {
        let root = root(&mut group_of, place);
        let group = *place_of.entry(root).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(cell);
    }
    groups
}
