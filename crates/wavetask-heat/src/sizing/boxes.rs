//! Distances to many boxes: a balanced tree of bounding boxes.

use wavetask_grid::geometry::Bounds;

/// Boxes (possibly flat) that are asked for the nearest one.
#[derive(Debug)]
pub(crate) struct BoxTree {
    /// The boxes in the order of the tree.
    boxes: Vec<Bounds>,
    /// Bounds of the ranges in heap order; the root is 0.
    nodes: Vec<Bounds>,
    /// First node of the last level.
    first_leaf: usize,
}

const LEAF: usize = 4;

impl BoxTree {
    pub(crate) fn new(mut boxes: Vec<Bounds>) -> Self {
        let depth = boxes.len().div_ceil(LEAF).max(1).next_power_of_two().trailing_zeros();
        arrange(&mut boxes, depth);
        let first_leaf = (1_usize << depth) - 1;
        let mut nodes = vec![EMPTY; 2 * first_leaf + 1];
        for leaf in 0..=first_leaf {
            for bounds in &boxes[leaf_range(leaf, depth, boxes.len())] {
                nodes[first_leaf + leaf] = union(&nodes[first_leaf + leaf], bounds);
            }
        }
        for node in (0..first_leaf).rev() {
            nodes[node] = union(&nodes[2 * node + 1], &nodes[2 * node + 2]);
        }
        Self { boxes, nodes, first_leaf }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// Distance from a box to the nearest one here, or some distance found that is at most `enough`; infinite
    /// when there is none.
    pub(crate) fn distance(&self, from: &Bounds, enough: f64) -> f64 {
        if self.boxes.is_empty() {
            return f64::INFINITY;
        }
        let enough = enough * enough;
        let depth = (self.first_leaf + 1).trailing_zeros();
        let mut best = f64::INFINITY;
        // Depth first: at most one pending sibling per level, so a small stack suffices.
        let mut stack = [(0_usize, 0.0_f64); 64];
        stack[0] = (0, gap_squared(&self.nodes[0], from));
        let mut length = 1;
        while length > 0 {
            length -= 1;
            let (node, gap) = stack[length];
            if gap >= best {
                continue;
            }
            if node >= self.first_leaf {
                for bounds in &self.boxes[leaf_range(node - self.first_leaf, depth, self.boxes.len())] {
                    best = best.min(gap_squared(bounds, from));
                }
                if best <= enough {
                    break;
                }
                continue;
            }
            let mut children =
                [2 * node + 1, 2 * node + 2].map(|child| (child, gap_squared(&self.nodes[child], from)));
            if children[0].1 < children[1].1 {
                children.swap(0, 1);
            }
            for child in children {
                if child.1 < best {
                    stack[length] = child;
                    length += 1;
                }
            }
        }
        best.sqrt()
    }
}

const EMPTY: Bounds = [[f64::INFINITY, f64::NEG_INFINITY]; 3];

fn union(a: &Bounds, b: &Bounds) -> Bounds {
    std::array::from_fn(|axis| [a[axis][0].min(b[axis][0]), a[axis][1].max(b[axis][1])])
}

fn gap_squared(a: &Bounds, b: &Bounds) -> f64 {
    let mut sum = 0.0;
    for axis in 0..3 {
        let gap = (a[axis][0] - b[axis][1]).max(b[axis][0] - a[axis][1]).max(0.0);
        sum += gap * gap;
    }
    sum
}

/// Boxes of a leaf: the tree halves the number of boxes at each level, as [`arrange`] does.
fn leaf_range(leaf: usize, depth: u32, count: usize) -> std::ops::Range<usize> {
    let (mut start, mut end) = (0, count);
    for level in (0..depth).rev() {
        let middle = start + (end - start) / 2;
        if leaf >> level & 1 == 0 { end = middle } else { start = middle }
    }
    start..end
}

fn arrange(boxes: &mut [Bounds], depth: u32) {
    if depth == 0 || boxes.len() < 2 {
        return;
    }
    let all = boxes.iter().fold(EMPTY, |all, bounds| union(&all, bounds));
    let extent = |axis: usize| all[axis][1] - all[axis][0];
    let axis = (0..3).fold(0, |longest, axis| if extent(axis) > extent(longest) { axis } else { longest });
    let middle = boxes.len() / 2;
    boxes.select_nth_unstable_by(middle, |a, b| {
        (a[axis][0] + a[axis][1]).total_cmp(&(b[axis][0] + b[axis][1]))
    });
    let (left, right) = boxes.split_at_mut(middle);
    arrange(left, depth - 1);
    arrange(right, depth - 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_same_distances_as_looking_at_every_box() {
        let mut state = 1_u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / f64::from(1_u32 << 31)
        };
        let mut random_box = |size: f64| -> Bounds {
            std::array::from_fn(|_| {
                let low = next();
                [low, low + size * next()]
            })
        };
        let boxes: Vec<Bounds> = (0..333).map(|_| random_box(0.02)).collect();
        let tree = BoxTree::new(boxes.clone());
        for _ in 0..200 {
            let from = random_box(0.1);
            let expected = boxes.iter().map(|b| gap_squared(b, &from)).fold(f64::INFINITY, f64::min).sqrt();
            assert_eq!(tree.distance(&from, 0.0), expected);
        }
        assert!(BoxTree::new(Vec::new()).distance(&random_box(1.0), 0.0).is_infinite());
        assert_eq!(BoxTree::new(boxes[..1].to_vec()).distance(&boxes[0], 0.0), 0.0);
    }
}
