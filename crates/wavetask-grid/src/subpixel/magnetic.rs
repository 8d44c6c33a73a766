//! Where the magnetic field vanishes.

use rayon::prelude::*;

use super::cells::Cells;
use super::content::{Meeting, Shapes};
use super::error::SubpixelError;
use super::specification::{Conductor, Specification};
use crate::media::Medium;
use crate::permittivity::Scene;

/// Whether the magnetic field along `axis` is in a perfect magnetic conductor on the locations of `cells`
/// ([`Cells::of_magnetic`]), as `specification` says: row-major, z fastest.
///
/// The client gives such media the permittivity of vacuum; all that they are is in the permeability.
///
/// # Errors
/// Coordinates that do not ascend.
pub fn magnetic_conductors(
    scene: &Scene,
    specification: &Specification,
    cells: &Cells,
    axis: usize,
) -> Result<Vec<bool>, SubpixelError> {
    cells.check()?;
    let [xs, ys, zs] = cells.coordinates.each_ref().map(Vec::as_slice);
    let mut conducts = vec![false; xs.len() * ys.len() * zs.len()];
    let (Some(&[lowest, _]), Some(&[_, highest])) = (cells.extents[2].first(), cells.extents[2].last())
    else {
        return Ok(conducts);
    };
    if !scene.media().iter().any(Medium::is_perfect_magnetic_conductor) {
        return Ok(conducts);
    }
    let shapes = Shapes::new(scene);
    let is_magnetic = |medium: usize| scene.media()[medium].is_magnetic_conductor_along(axis);
    let jump = |one: usize, other: usize| f64::from(u8::from(is_magnetic(one) != is_magnetic(other)));
    let is_heuristic = specification.magnetic == Conductor::Heuristic;
    let scratch = || (Vec::new(), Vec::new());
    conducts.par_chunks_mut(zs.len()).enumerate().for_each_init(
        scratch,
        |(candidates, found), (row, conducts)| {
            let (i, j) = (row / ys.len(), row % ys.len());
            let (across, along) = (cells.extents[0][i], cells.extents[1][j]);
            candidates.clear();
            scene.visit_overlapping(&[across, along, [lowest, highest]], |rank| candidates.push(rank));
            candidates.sort_unstable_by(|one, other| other.cmp(one));
            for (k, conducts) in conducts.iter_mut().enumerate() {
                *conducts = is_magnetic(scene.medium_of_rank(scene.rank_at([xs[i], ys[j], zs[k]])));
                let cell = [across, along, cells.extents[2][k]];
                if is_heuristic && shapes.meet(&cell, candidates, found) == Meeting::Mixed {
                    // As for electric conductors: wherever one cuts the cell of a component largely along its face.
                    let content = shapes.content(&cell, found, &jump);
                    let is_cut = content.shares.iter().any(|&(medium, _)| is_magnetic(medium));
                    *conducts |= is_cut && content.directions()[axis][axis] < 0.5;
                }
            }
        },
    );
    Ok(conducts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[test]
    fn fields_along_a_face_vanish_wherever_it_cuts_their_cell() {
        let plate =
            json!({"type": "Box", "center": [0.0, 5.0 - 0.2, 0.0], "size": ["Infinity", 10.0, "Infinity"]});
        let simulation = json!({"type": "Simulation",
            "structures": [{"geometry": plate, "medium": {"type": "PMCMedium"}}]});
        let scene =
            Scene::read(&simulation, "", &BTreeMap::<String, wavetask_document::Array>::new()).unwrap();
        let lines = [-2.0, -1.0, 0.0, 1.0, 2.0];
        let found = |axis: usize, magnetic: Conductor| -> Vec<bool> {
            let specification = Specification { magnetic, ..Specification::default() };
            let cells = Cells::of_magnetic([&lines; 3], axis).unwrap();
            let all = magnetic_conductors(&scene, &specification, &cells, axis).unwrap();
            (0..4).map(|row| all[4 * row]).collect()
        };
        // The face is at -0.2: H along it is at -0.5, in a cell from -1 to 0; H across it at -1, 0 and so on.
        assert_eq!(found(0, Conductor::Staircase), [false, false, true, true]);
        assert_eq!(found(0, Conductor::Heuristic), [false, true, true, true]);
        for method in [Conductor::Staircase, Conductor::Heuristic] {
            assert_eq!(found(1, method), [false, false, true, true]);
        }
    }
}
