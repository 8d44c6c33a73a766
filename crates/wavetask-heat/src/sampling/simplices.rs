//! A field on triangles or tetrahedra, and the cuts that make a monitor's data of it.
//!
//! Monitors get the solver's own cells: planes cut tetrahedra into triangles, and cells that stick out of a
//! monitor are clipped at its faces. Values on cut edges are linear between their ends, as the solution is,
//! so nothing is lost or smoothed. Faces of neighbouring cells are always split along the same diagonal (from
//! the corner with the lowest number), so the result is conforming.

use std::collections::{HashMap, HashSet};

use wavetask_grid::mesh::{NONE, SimplexMesh};

use crate::contact::Unknowns;

/// Points, their values, and the cells between them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Simplices {
    /// Positions in µm.
    pub(crate) points: Vec<[f64; 3]>,
    /// The mesh point that a point is, or came from; points that cuts made have numbers of their own.
    origins: Vec<u32>,
    /// Values at the points.
    pub(crate) values: Vec<f64>,
    /// Points of each cell; triangles end with [`NONE`].
    pub(crate) cells: Vec<[u32; 4]>,
    /// Axis and position of the plane that triangles lie in; `None` for tetrahedra.
    pub(crate) normal: Option<(usize, f64)>,
    /// Distance in µm below which a point counts as on a cutting plane.
    tolerance: f64,
}

impl Simplices {
    /// The whole mesh with the values of its unknowns.
    pub(crate) fn new(mesh: &SimplexMesh, unknowns: &Unknowns, values: &[f64]) -> Self {
        let extent = mesh.bounds.iter().map(|[low, high]| high - low).fold(0.0, f64::max);
        Self {
            points: unknowns.points.iter().map(|&point| mesh.points[point as usize]).collect(),
            origins: unknowns.points.clone(),
            values: values.to_vec(),
            cells: unknowns.cells.clone(),
            normal: mesh.normal,
            tolerance: 1e-8 * extent,
        }
    }

    fn width(&self) -> usize {
        if self.normal.is_some() { 3 } else { 4 }
    }

    /// Side of a plane that each point is on: -1, 0 or 1.
    fn sides(&self, axis: usize, position: f64) -> Vec<i8> {
        self.points
            .iter()
            .map(|point| {
                let distance = point[axis] - position;
                if distance.abs() <= self.tolerance {
                    0
                } else if distance > 0.0 {
                    1
                } else {
                    -1
                }
            })
            .collect()
    }

    /// The triangles in which a plane cuts tetrahedra.
    pub(crate) fn slice(&self, axis: usize, position: f64) -> Self {
        let sides = &self.sides(axis, position);
        let mut cutter = Cutter::new(self, axis, position);
        let mut triangles: Vec<[u32; 3]> = Vec::new();
        let mut faces: HashSet<[u32; 3]> = HashSet::new();
        for cell in &self.cells {
            let on = |wanted: i8| cell.iter().copied().filter(move |&point| sides[point as usize] == wanted);
            let (above, below): (Vec<u32>, Vec<u32>) = (on(1).collect(), on(-1).collect());
            let zeros: Vec<u32> = on(0).collect();
            if above.is_empty() || below.is_empty() {
                // A face on the plane belongs to two cells and is wanted once.
                if let [a, b, c] = zeros[..] {
                    let mut face = [a, b, c].map(|point| self.origins[point as usize]);
                    face.sort_unstable();
                    if faces.insert(face) {
                        triangles.push([a, b, c]);
                    }
                }
                continue;
            }
            match (above.as_slice(), below.as_slice(), zeros.as_slice()) {
                (&[a, b], &[c, d], []) => {
                    let corners =
                        [(a, c), (a, d), (b, d), (b, c)].map(|(from, to)| cutter.edge(self, from, to));
                    triangles.push([corners[0], corners[1], corners[2]]);
                    triangles.push([corners[0], corners[2], corners[3]]);
                }
                _ => {
                    let mut corners = zeros.clone();
                    for &from in &above {
                        for &to in &below {
                            corners.push(cutter.edge(self, from, to));
                        }
                    }
                    if let [a, b, c] = corners[..] {
                        triangles.push([a, b, c]);
                    }
                }
            }
        }
        let mut result = cutter.finish(self, Some((axis, position)));
        for point in &mut result.points {
            if (point[axis] - position).abs() <= self.tolerance {
                point[axis] = position;
            }
        }
        result.cells = triangles.into_iter().map(|[a, b, c]| [a, b, c, NONE]).collect();
        result.orient();
        result.drop_unused();
        result
    }

    /// The part on one side of a plane.
    pub(crate) fn clip(&self, axis: usize, position: f64, keep_upper: bool) -> Self {
        let mut sides = self.sides(axis, position);
        if !keep_upper {
            sides.iter_mut().for_each(|side| *side = -*side);
        }
        let mut cutter = Cutter::new(self, axis, position);
        let mut cells = Vec::with_capacity(self.cells.len());
        for cell in &self.cells {
            let corners = &cell[..self.width()];
            let sides = &sides;
            let on =
                |wanted: i8| corners.iter().copied().filter(move |&point| sides[point as usize] == wanted);
            let kept: Vec<u32> = on(1).collect();
            if kept.is_empty() {
                continue;
            }
            let dropped: Vec<u32> = on(-1).collect();
            if dropped.is_empty() {
                cells.push(*cell);
                continue;
            }
            let zeros: Vec<u32> = on(0).collect();
            let mut cut = |from: u32, to: u32| cutter.edge(self, from, to);
            match (kept.as_slice(), dropped.as_slice(), zeros.as_slice()) {
                (&[only], _, _) => {
                    let mut corners = vec![only];
                    corners.extend(&zeros);
                    corners.extend(dropped.iter().map(|&to| cut(only, to)));
                    let mut piece = [NONE; 4];
                    piece[..corners.len()].copy_from_slice(&corners);
                    cells.push(piece);
                }
                (&[a, b], &[c], []) if self.width() == 3 => {
                    split_quadrilateral([a, b, cut(b, c), cut(a, c)], NONE, &mut cells);
                }
                (&[a, b], &[c], &[apex]) => {
                    split_quadrilateral([a, b, cut(b, c), cut(a, c)], apex, &mut cells);
                }
                (&[a, b], &[c, d], _) => {
                    split_wedge([a, cut(a, c), cut(a, d), b, cut(b, c), cut(b, d)], &mut cells);
                }
                (&[a, b, c], &[d], _) => split_wedge([a, b, c, cut(a, d), cut(b, d), cut(c, d)], &mut cells),
                _ => {}
            }
        }
        let mut result = cutter.finish(self, self.normal);
        result.cells = cells;
        result.orient();
        result.drop_unused();
        result
    }

    /// Adds the mirror image about a plane that everything lies above; points on the plane stay single.
    pub(crate) fn with_mirror_image(mut self, axis: usize, position: f64) -> Self {
        let sides = self.sides(axis, position);
        let mut image_of: Vec<u32> = Vec::with_capacity(self.points.len());
        for (point, side) in sides.iter().enumerate() {
            if *side == 0 {
                self.points[point][axis] = position;
                image_of.push(point as u32);
                continue;
            }
            image_of.push(self.points.len() as u32);
            let mut image = self.points[point];
            image[axis] = 2.0 * position - image[axis];
            self.points.push(image);
            self.values.push(self.values[point]);
            self.origins.push(self.origins[point]);
        }
        let images = self
            .cells
            .iter()
            .map(|cell| mirrored(cell.map(|point| at(&image_of, point))))
            .collect::<Vec<_>>();
        self.cells.extend(images);
        self
    }

    /// The mirror image about a plane.
    pub(crate) fn mirror_image(mut self, axis: usize, position: f64) -> Self {
        for point in &mut self.points {
            point[axis] = 2.0 * position - point[axis];
        }
        for cell in &mut self.cells {
            *cell = mirrored(*cell);
        }
        self
    }

    /// Signed area or volume of a cell.
    fn measure(&self, cell: &[u32; 4]) -> f64 {
        let at = |place: usize| self.points[cell[place] as usize];
        let edge = |to: usize| -> [f64; 3] { std::array::from_fn(|axis| at(to)[axis] - at(0)[axis]) };
        let (first, second) = (edge(1), edge(2));
        let normal = [
            first[1] * second[2] - first[2] * second[1],
            first[2] * second[0] - first[0] * second[2],
            first[0] * second[1] - first[1] * second[0],
        ];
        match self.normal {
            Some((axis, _)) => normal[axis] / 2.0,
            None => normal.iter().zip(edge(3)).map(|(a, b)| a * b).sum::<f64>() / 6.0,
        }
    }

    /// Makes all measures positive and drops cells without any.
    fn orient(&mut self) {
        let mut cells = std::mem::take(&mut self.cells);
        cells.retain_mut(|cell| {
            let measure = self.measure(cell);
            if measure < 0.0 {
                cell.swap(0, 1);
            }
            measure != 0.0
        });
        self.cells = cells;
    }

    /// Drops points that no cell uses and renumbers.
    fn drop_unused(&mut self) {
        let mut number = vec![NONE; self.points.len()];
        for point in self.cells.iter().flatten().filter(|&&point| point != NONE) {
            number[*point as usize] = 0;
        }
        let mut count = 0;
        for (point, number) in number.iter_mut().enumerate() {
            if *number == 0 {
                *number = count as u32;
                self.points[count] = self.points[point];
                self.values[count] = self.values[point];
                self.origins[count] = self.origins[point];
                count += 1;
            }
        }
        self.points.truncate(count);
        self.values.truncate(count);
        self.origins.truncate(count);
        for cell in &mut self.cells {
            *cell = cell.map(|point| at(&number, point));
        }
    }
}

fn at(numbers: &[u32], point: u32) -> u32 {
    if point == NONE { NONE } else { numbers[point as usize] }
}

/// The same points, turning the other way.
fn mirrored([a, b, c, d]: [u32; 4]) -> [u32; 4] {
    [b, a, c, d]
}

/// Points that cuts make, each once.
struct Cutter {
    axis: usize,
    position: f64,
    made: HashMap<[u32; 2], u32>,
    points: Vec<[f64; 3]>,
    values: Vec<f64>,
    next: u32,
}

impl Cutter {
    fn new(field: &Simplices, axis: usize, position: f64) -> Self {
        Self {
            axis,
            position,
            made: HashMap::new(),
            points: Vec::new(),
            values: Vec::new(),
            next: field.points.len() as u32,
        }
    }

    /// The point in which the plane cuts an edge.
    fn edge(&mut self, field: &Simplices, a: u32, b: u32) -> u32 {
        let key = [a.min(b), a.max(b)];
        if let Some(&made) = self.made.get(&key) {
            return made;
        }
        let [low, high] = key.map(|point| field.points[point as usize]);
        let share = (self.position - low[self.axis]) / (high[self.axis] - low[self.axis]);
        let mut point: [f64; 3] = std::array::from_fn(|axis| low[axis] + share * (high[axis] - low[axis]));
        point[self.axis] = self.position;
        let [low, high] = key.map(|point| field.values[point as usize]);
        self.points.push(point);
        self.values.push(low + share * (high - low));
        self.made.insert(key, self.next);
        self.next += 1;
        self.next - 1
    }

    fn finish(self, field: &Simplices, normal: Option<(usize, f64)>) -> Simplices {
        let mut origins = field.origins.clone();
        origins.extend((field.points.len() as u32..).take(self.points.len()));
        let mut points = field.points.clone();
        points.extend(self.points);
        let mut values = field.values.clone();
        values.extend(self.values);
        Simplices { points, origins, values, cells: Vec::new(), normal, tolerance: field.tolerance }
    }
}

/// A quadrilateral, or a pyramid over it, split along the diagonal from its lowest corner.
fn split_quadrilateral([a, b, c, d]: [u32; 4], apex: u32, cells: &mut Vec<[u32; 4]>) {
    if a.min(c) < b.min(d) {
        cells.extend([[a, b, c, apex], [a, c, d, apex]]);
    } else {
        cells.extend([[b, c, d, apex], [b, d, a, apex]]);
    }
}

/// A wedge with the triangles `0 1 2` and `3 4 5`, split so that each of its quadrilaterals is cut along the diagonal
/// from its lowest corner.
fn split_wedge(wedge: [u32; 6], cells: &mut Vec<[u32; 4]>) {
    const TURNED: [[usize; 6]; 6] = [
        [0, 1, 2, 3, 4, 5],
        [1, 2, 0, 4, 5, 3],
        [2, 0, 1, 5, 3, 4],
        [3, 5, 4, 0, 2, 1],
        [4, 3, 5, 1, 0, 2],
        [5, 4, 3, 2, 1, 0],
    ];
    let lowest = (0..6).fold(0, |lowest, place| if wedge[place] < wedge[lowest] { place } else { lowest });
    let [a, b, c, d, e, f] = TURNED[lowest].map(|place| wedge[place]);
    if b.min(f) < c.min(e) {
        cells.extend([[a, b, c, f], [a, b, f, e], [a, e, f, d]]);
    } else {
        cells.extend([[a, b, c, e], [a, e, c, f], [a, e, f, d]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A box of `n³` cubes, each cut into six tetrahedra, with a linear field.
    fn cubes(n: u32) -> Simplices {
        let mut points = Vec::new();
        let number = |i: u32, j: u32, k: u32| (i * (n + 1) + j) * (n + 1) + k;
        for i in 0..=n {
            for j in 0..=n {
                for k in 0..=n {
                    points.push([i, j, k].map(|index| f64::from(index) / f64::from(n)));
                }
            }
        }
        let mut cells = Vec::new();
        for i in 0..n {
            for j in 0..n {
                for k in 0..n {
                    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                        let mut corner = [i, j, k];
                        let mut cell = [number(i, j, k); 4];
                        for (place, axis) in order.iter().enumerate() {
                            corner[*axis] += 1;
                            cell[place + 1] = number(corner[0], corner[1], corner[2]);
                        }
                        cells.push(cell);
                    }
                }
            }
        }
        let values = points.iter().map(|point| field(*point)).collect();
        let origins = (0..points.len() as u32).collect();
        let mut cubes = Simplices { points, origins, values, cells, normal: None, tolerance: 1e-9 };
        cubes.orient();
        cubes
    }

    fn field([x, y, z]: [f64; 3]) -> f64 {
        1.0 + 2.0 * x - 3.0 * y + 0.5 * z
    }

    fn check(simplices: &Simplices, measure: f64) {
        let sum: f64 = simplices.cells.iter().map(|cell| simplices.measure(cell)).sum();
        assert!((sum - measure).abs() < 1e-12, "{sum} is not {measure}");
        assert!(simplices.cells.iter().all(|cell| simplices.measure(cell) > 0.0));
        for (point, value) in simplices.points.iter().zip(&simplices.values) {
            assert!((field(*point) - value).abs() < 1e-12);
        }
        // Conforming: every facet belongs to one or two cells, and single ones lie on the hull.
        let mut facets: HashMap<Vec<u32>, usize> = HashMap::new();
        for cell in &simplices.cells {
            let width = simplices.width();
            for skipped in 0..width {
                let mut facet: Vec<u32> =
                    (0..width).filter(|&place| place != skipped).map(|place| cell[place]).collect();
                facet.sort_unstable();
                *facets.entry(facet).or_default() += 1;
            }
        }
        let low: [f64; 3] = std::array::from_fn(|axis| {
            simplices.points.iter().map(|p| p[axis]).fold(f64::INFINITY, f64::min)
        });
        let high: [f64; 3] = std::array::from_fn(|axis| {
            simplices.points.iter().map(|p| p[axis]).fold(f64::NEG_INFINITY, f64::max)
        });
        for (facet, count) in facets {
            assert!(count <= 2);
            if count == 1 {
                let on_hull = (0..3).any(|axis| {
                    [low[axis], high[axis]].iter().any(|&bound| {
                        low[axis] != high[axis]
                            && facet
                                .iter()
                                .all(|&point| (simplices.points[point as usize][axis] - bound).abs() < 1e-9)
                    })
                });
                assert!(on_hull, "a hole");
            }
        }
    }

    #[test]
    fn clipping_keeps_volume_values_and_conformity() {
        let cubes = cubes(4);
        check(&cubes, 1.0);
        let clipped = cubes.clip(0, 0.3, true);
        check(&clipped, 0.7);
        let clipped = clipped.clip(1, 0.61, false).clip(2, 0.25, true).clip(2, 0.9, false);
        check(&clipped, 0.7 * 0.61 * 0.65);
        assert!(cubes.clip(0, 2.0, true).cells.is_empty());
        check(&cubes.clip(0, -1.0, true), 1.0);
    }

    #[test]
    fn slices_are_whole_on_and_off_mesh_planes() {
        let cubes = cubes(4);
        for position in [0.0, 0.1, 0.25, 0.5, 0.77, 1.0] {
            for axis in 0..3 {
                let slice = cubes.slice(axis, position);
                assert_eq!(slice.normal, Some((axis, position)));
                check(&slice, 1.0);
                let clipped = slice.clip((axis + 1) % 3, 0.3, true).clip((axis + 2) % 3, 0.6, false);
                check(&clipped, 0.42);
            }
        }
        assert!(cubes.slice(1, 1.5).cells.is_empty());
    }

    #[test]
    fn mirror_images_join_on_the_plane() {
        let half = cubes(2);
        let points = half.points.len();
        let whole = half.clone().with_mirror_image(0, 0.0);
        assert_eq!(whole.points.len(), 2 * points - 9);
        let sum: f64 = whole.cells.iter().map(|cell| whole.measure(cell)).sum();
        assert!((sum - 2.0).abs() < 1e-12);
        assert!(whole.cells.iter().all(|cell| whole.measure(cell) > 0.0));
        let image = half.mirror_image(0, 0.0);
        assert!(image.cells.iter().all(|cell| image.measure(cell) > 0.0));
        assert!(image.points.iter().all(|point| point[0] <= 0.0));
    }
}
