//! Gaps and strips of metal that are thinner than a cell.
//!
//! Along every grid line the outlines of the metal are followed. Where they cross the line more than once
//! within one cell, there is a gap or a strip that the grid does not see; a grid line through its
//! middle makes it seen.

use super::section::{Point, Polygon};

/// How many crossings of outlines with grid lines are looked at.
const MAXIMUM_CROSSINGS: usize = 50_000_000;

/// There are more crossings than [`MAXIMUM_CROSSINGS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    pub(super) limit: usize,
}

/// What is at an end of the domain, as far as gaps are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::boundaries) enum End {
    /// A conducting wall: a gap may be between it and metal.
    Wall,
    /// The other end of the domain.
    Periodic,
    /// Anything else.
    Open,
}

/// Positions in a cell are told apart by this share of its size.
pub(super) const RESOLUTION: f64 = 1e-3;

/// A crossing of a line: the number of the line, the cell along it, and where in the cell, from 0 to 1.
type Crossing = (i64, i64, f64);

/// Where to put lines across the two axes, and the width of the thinnest gap.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) lines: [Vec<f64>; 2],
    pub(super) width: f64,
}

/// Looks for gaps between the lines along both axes of a plane.
pub(super) fn find(lines: [&[f64]; 2], ends: [[End; 2]; 2], polygons: &[Polygon]) -> Result<Found, TooMany> {
    require_few(lines, polygons)?;
    let mut found = Found { lines: [Vec::new(), Vec::new()], width: f64::INFINITY };
    for across in 0..2 {
        let along = 1 - across;
        let mut crossings = walls(lines[along].len(), lines[across].len(), ends[across]);
        for ring in polygons.iter().flat_map(Polygon::rings) {
            crossings.extend(crossed(lines[along], lines[across], ring, along, ends[across]));
        }
        let (positions, width) = middles(lines[across], &crossings);
        found.lines[across] = positions;
        found.width = found.width.min(width);
    }
    Ok(found)
}

/// Counts the crossings before any is computed.
fn require_few(lines: [&[f64]; 2], polygons: &[Polygon]) -> Result<(), TooMany> {
    let mut count = 0;
    for along in 0..2 {
        let after = |point: &Point| lines[along].partition_point(|&line| line < point[along]);
        for ring in polygons.iter().flat_map(Polygon::rings) {
            let mut before = ring.last().map_or(0, after);
            for point in ring {
                let here = after(point);
                count += here.abs_diff(before);
                before = here;
            }
            if count > MAXIMUM_CROSSINGS {
                return Err(TooMany { limit: MAXIMUM_CROSSINGS });
            }
        }
    }
    Ok(())
}

/// Conducting walls count as crossings of every line, at its ends.
fn walls(lines: usize, cells: usize, ends: [End; 2]) -> Vec<Crossing> {
    let last_cell = index(cells) - 2;
    let mut crossings = Vec::new();
    for line in 0..index(lines) {
        if ends[0] == End::Wall {
            crossings.push((line, 0, 0.0));
        }
        if ends[1] == End::Wall {
            crossings.push((line, last_cell, 1.0));
        }
    }
    crossings
}

fn index(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The crossings of an outline with lines at the coordinates `lines` of the axis `along` of the plane.
fn crossed(lines: &[f64], cells: &[f64], ring: &[Point], along: usize, ends: [End; 2]) -> Vec<Crossing> {
    let mut crossings: Vec<(Crossing, bool)> = Vec::new();
    let count = ring.len();
    let after: Vec<usize> =
        ring.iter().map(|point| lines.partition_point(|&line| line < point[along])).collect();
    for start in 0..count {
        let end = (start + 1) % count;
        if after[start] == after[end] {
            continue;
        }
        let at = |vertex: usize| [ring[vertex][along], ring[vertex][1 - along]];
        let (from, to) = (at(start), at(end));
        let mut steep = false;
        if after[start].abs_diff(after[end]) == 1 {
            let before = |vertex: usize| lines[(after[vertex] + lines.len() - 1) % lines.len()];
            let spacing = (before(start) - before(end)).abs();
            let rise = (from[1] - to[1]).abs();
            steep = (from[0] - to[0]).abs() < 2.0 * RESOLUTION * spacing.min(rise);
        }
        let reversed = after[start] > after[end];
        let (low, high, from, to) = if reversed {
            (after[end], after[start], to, from)
        } else {
            (after[start], after[end], from, to)
        };
        let first = crossings.len();
        for (line, &coordinate) in lines.iter().enumerate().take(high).skip(low) {
            let height = from[1] + (to[1] - from[1]) / (to[0] - from[0]) * (coordinate - from[0]);
            if height < cells[0] || height > cells[cells.len() - 1] {
                continue;
            }
            // A crossing on the first boundary is at the end of a cell before it.
            let above = cells.partition_point(|&boundary| boundary < height);
            let below = cells[(above + cells.len() - 1) % cells.len()];
            let place = (height - below) / (cells[above] - below);
            crossings.push(((index(line), index(above) - 1, place), !steep));
        }
        if reversed {
            crossings[first..].reverse();
        }
    }
    // An outline that leaves through an edge and returns through the same one makes no gap.
    let count = crossings.len();
    let edge = |number: usize| (crossings[number].0.0 * index(cells.len())) + crossings[number].0.1;
    let kept: Vec<Crossing> = (0..count)
        .filter(|&number| {
            let (before, after) = ((number + count - 1) % count, (number + 1) % count);
            crossings[number].1 && edge(number) != edge(after) && edge(number) != edge(before)
        })
        .map(|number| crossings[number].0)
        .collect();
    // What is nearly at a node crosses the edges on both sides of it.
    let last = index(cells.len()) - 1;
    let neighbours = |near: fn(f64) -> bool, step: i64, outside: i64, wrapped: i64, end: End, place: f64| {
        kept.iter()
            .filter(move |crossing| near(crossing.2))
            .map(move |&(line, cell, _)| (line, cell + step))
            .filter(move |&(_, cell)| cell != outside || end == End::Periodic)
            .map(move |(line, cell)| (line, if cell == outside { wrapped } else { cell }, place))
            .collect::<Vec<Crossing>>()
    };
    let before = neighbours(|place| place < RESOLUTION, -1, -1, last - 1, ends[0], 1.0);
    let behind = neighbours(|place| 1.0 - place < RESOLUTION, 1, last, 0, ends[1], 0.0);
    let mut all = kept.clone();
    all.extend(before);
    all.extend(behind);
    all
}

/// Positions in the middle between crossings that share a cell, and the least distance of such crossings.
///
/// Of the cells in a row, the first one with the most crossings decides.
fn middles(cells: &[f64], crossings: &[Crossing]) -> (Vec<f64>, f64) {
    let count = index(cells.len());
    #[expect(clippy::cast_possible_truncation, reason = "at most a thousand")]
    let mut places: Vec<(i64, i64)> = crossings
        .iter()
        .map(|&(line, cell, place)| (line * count + cell, (place / RESOLUTION).round_ties_even() as i64))
        .collect();
    places.sort_unstable();
    places.dedup();
    // By row: the crossings of the first cell with the most of them.
    let mut rows: std::collections::BTreeMap<i64, &[(i64, i64)]> = std::collections::BTreeMap::new();
    for chunk in places.chunk_by(|a, b| a.0 == b.0) {
        let row = rows.entry(chunk[0].0.rem_euclid(count)).or_insert(chunk);
        if chunk.len() > row.len() {
            *row = chunk;
        }
    }
    let (mut positions, mut width) = (Vec::new(), f64::INFINITY);
    for (row, chunk) in rows {
        let low = usize::try_from(row).unwrap_or(0);
        let Some(size) = cells.get(low + 1).map(|high| high - cells[low]) else { continue };
        for pair in chunk.windows(2) {
            let (one, other) = (pair[0].1 as f64, pair[1].1 as f64);
            positions.push(cells[low] + 0.5 * (one + other) * RESOLUTION * size);
            width = width.min((other - one) * RESOLUTION * size);
        }
    }
    (positions, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rectangle([left, right]: [f64; 2], [low, high]: [f64; 2]) -> Polygon {
        Polygon { exterior: vec![[left, low], [left, high], [right, high], [right, low]], hole: None }
    }

    #[test]
    fn a_gap_within_a_cell_gets_a_line() {
        let lines: Vec<f64> = (0..=10).map(f64::from).collect();
        let halves = [rectangle([-1.0, 11.0], [2.5, 4.3]), rectangle([-1.0, 11.0], [4.5, 6.5])];
        let found = find([&lines, &lines], [[End::Open; 2]; 2], &halves).expect("few");
        assert!(found.lines[0].is_empty());
        assert_eq!(found.lines[1], [4.4]);
        assert!((found.width - 0.2).abs() < 1e-12);
    }

    #[test]
    fn a_gap_to_a_wall_counts_and_one_to_an_open_end_does_not() {
        let lines: Vec<f64> = (0..=4).map(f64::from).collect();
        let metal = [rectangle([0.25, 2.5], [-1.0, 5.0])];
        let walled = find([&lines, &lines], [[End::Wall, End::Open], [End::Open; 2]], &metal).expect("few");
        assert_eq!(walled.lines, [vec![0.125], Vec::<f64>::new()]);
        let open = find([&lines, &lines], [[End::Open; 2]; 2], &metal).expect("few");
        assert!(open.lines.iter().all(Vec::is_empty));
    }
}
