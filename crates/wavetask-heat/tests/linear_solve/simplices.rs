//! Meshes of triangles and tetrahedra, and the stiffness of one of them.

/// Gradients of the shape functions times the volume of a simplex, and the volume; `D + 1` corners.
pub(crate) fn stiffness<const D: usize, const N: usize>(
    corners: &[[f64; D]; N],
    local: &mut [[f64; N]; N],
) -> f64 {
    // Inverse of the edge matrix by Gauss-Jordan.
    let mut edges = [[0.0; D]; D];
    let mut inverse = [[0.0; D]; D];
    for i in 0..D {
        inverse[i][i] = 1.0;
        for j in 0..D {
            edges[i][j] = corners[i + 1][j] - corners[0][j];
        }
    }
    let mut determinant = 1.0;
    for k in 0..D {
        let pivot = (k..D).max_by(|&a, &b| edges[a][k].abs().total_cmp(&edges[b][k].abs())).unwrap();
        if pivot != k {
            edges.swap(k, pivot);
            inverse.swap(k, pivot);
            determinant = -determinant;
        }
        determinant *= edges[k][k];
        let scale = 1.0 / edges[k][k];
        for j in 0..D {
            edges[k][j] *= scale;
            inverse[k][j] *= scale;
        }
        for row in 0..D {
            if row != k {
                let factor = edges[row][k];
                for j in 0..D {
                    edges[row][j] -= factor * edges[k][j];
                    inverse[row][j] -= factor * inverse[k][j];
                }
            }
        }
    }
    let factorial: usize = (1..=D).product();
    let volume = determinant.abs() / factorial as f64;
    let mut gradients = [[0.0; D]; N];
    for i in 0..D {
        for axis in 0..D {
            gradients[i + 1][axis] = inverse[axis][i];
            gradients[0][axis] -= inverse[axis][i];
        }
    }
    for i in 0..N {
        for j in 0..N {
            local[i][j] = volume * (0..D).map(|axis| gradients[i][axis] * gradients[j][axis]).sum::<f64>();
        }
    }
    volume
}

/// Points, cells and which of the points lie on the boundary.
pub(crate) struct Mesh<const D: usize> {
    pub(crate) points: Vec<[f64; D]>,
    pub(crate) cells: Vec<[u32; 4]>,
    pub(crate) boundary: Vec<bool>,
}

/// The unit square or cube, in simplices along the diagonals, interior points moved by a tenth of an edge.
pub(crate) fn unit_mesh<const D: usize>(edge: usize) -> Mesh<D> {
    let count = edge + 1;
    let (mut points, mut boundary) = (Vec::new(), Vec::new());
    for number in 0..count.pow(D as u32) {
        let mut rest = number;
        let mut point = [0.0; D];
        let mut on_boundary = false;
        for (axis, value) in point.iter_mut().enumerate() {
            let i = rest % count;
            rest /= count;
            on_boundary |= i == 0 || i == edge;
            let shift = if i == 0 || i == edge { 0.0 } else { 0.1 * ((number * 7 + axis * 3) as f64).sin() };
            *value = (i as f64 + shift) / edge as f64;
        }
        points.push(point);
        boundary.push(on_boundary);
    }
    let orders: &[&[usize]] = if D == 2 {
        &[&[0, 1], &[1, 0]]
    } else {
        &[&[0, 1, 2], &[0, 2, 1], &[1, 0, 2], &[1, 2, 0], &[2, 0, 1], &[2, 1, 0]]
    };
    let mut cells = Vec::new();
    for number in 0..edge.pow(D as u32) {
        let mut rest = number;
        let mut corner = 0;
        for axis in 0..D {
            corner += (rest % edge) * count.pow(axis as u32);
            rest /= edge;
        }
        for order in orders {
            let mut node = corner;
            let mut cell = [node as u32; 4];
            for (place, &axis) in order.iter().enumerate() {
                node += count.pow(axis as u32);
                cell[place + 1] = node as u32;
            }
            cells.push(cell);
        }
    }
    Mesh { points, cells, boundary }
}
