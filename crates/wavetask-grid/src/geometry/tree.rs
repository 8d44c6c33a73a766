//! A tree of bounding boxes over numbered items: the one index behind meshes, polygons, groups and scenes.
//!
//! Boxes are split at the median along the widest spread of their centres, so the tree is balanced
//! whatever the input, its depth is at most the binary logarithm of the number of items, and recursion
//! is safe. Items are numbers only; what an item is, and what a hit means, is the caller's.

use super::Bounds;

/// Items per leaf where testing an item is about as cheap as testing a box.
pub(crate) const CHEAP: usize = 4;

/// Items per leaf where testing an item costs far more than testing a box.
pub(crate) const COSTLY: usize = 1;

/// Stands for an infinite coordinate when boxes are sorted.
const FAR: f64 = 1e15;

#[derive(Debug)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    items: Vec<u32>,
}

#[derive(Debug)]
struct Node {
    bounds: Bounds,
    /// Of a leaf, where its items start; otherwise the second child (the first one follows its parent).
    start: u32,
    /// The number of items of a leaf; zero otherwise.
    count: u32,
    /// The greatest item below.
    greatest: u32,
}

impl Tree {
    /// A tree over the items `0..boxes.len()` with at most `leaf` items in a leaf.
    pub(crate) fn new(boxes: &[Bounds], leaf: usize) -> Self {
        let count = u32::try_from(boxes.len()).unwrap_or(u32::MAX);
        let mut items: Vec<u32> = (0..count).collect();
        let centers: Vec<[f64; 3]> = boxes
            .iter()
            .map(|bounds| bounds.map(|[low, high]| low.clamp(-FAR, FAR) + high.clamp(-FAR, FAR)))
            .collect();
        let mut nodes = Vec::with_capacity(2 * boxes.len().div_ceil(leaf) + 1);
        if !items.is_empty() {
            build(&mut nodes, &mut items, 0, leaf, boxes, &centers);
        }
        Self { nodes, items }
    }

    /// Visits the items whose leaf overlaps the box until `visit` answers true; whether it did.
    pub(crate) fn any_overlapping(&self, query: &Bounds, mut visit: impl FnMut(usize) -> bool) -> bool {
        let mut index = 0;
        let mut pending = Stack::default();
        if self.nodes.is_empty() {
            return false;
        }
        loop {
            let node = &self.nodes[index];
            if overlap(&node.bounds, query) {
                if node.count > 0 {
                    let start = node.start as usize;
                    if self.items[start..start + node.count as usize].iter().any(|&item| visit(item as usize))
                    {
                        return true;
                    }
                } else {
                    pending.push(node.start);
                    index += 1;
                    continue;
                }
            }
            match pending.pop() {
                Some(next) => index = next,
                None => return false,
            }
        }
    }

    /// The greatest item that `accepts` the point, asked only where it can be the answer.
    pub(crate) fn greatest_at(
        &self,
        point: [f64; 3],
        mut accepts: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut best: Option<u32> = None;
        let mut pending = Stack::default();
        if !self.nodes.is_empty() {
            pending.push(0);
        }
        while let Some(index) = pending.pop() {
            let node = &self.nodes[index];
            if best.is_some_and(|best| node.greatest <= best) || !super::within(&node.bounds, point) {
                continue;
            }
            if node.count > 0 {
                let start = node.start as usize;
                for &item in &self.items[start..start + node.count as usize] {
                    if best.is_none_or(|best| item > best) && accepts(item as usize) {
                        best = Some(item);
                    }
                }
            } else {
                let (first, second) = (index + 1, node.start as usize);
                // The child that may hold the greater item is popped first.
                let (later, sooner) = if self.nodes[first].greatest > self.nodes[second].greatest {
                    (second, first)
                } else {
                    (first, second)
                };
                pending.push(u32::try_from(later).unwrap_or(u32::MAX));
                pending.push(u32::try_from(sooner).unwrap_or(u32::MAX));
            }
        }
        best.map(|best| best as usize)
    }

    /// The least of `square_distance` over all items, or `limit` (a square) if none is less.
    ///
    /// The closure is told the least so far; it may return any greater number for an item beyond, and
    /// must not return less than the square of the distance to the item's box.
    pub(crate) fn nearest(
        &self,
        point: [f64; 3],
        limit: f64,
        mut square_distance: impl FnMut(usize, f64) -> f64,
    ) -> f64 {
        let mut best = limit;
        let mut pending = [(0_u32, 0.0_f64); STACK];
        let mut length = usize::from(!self.nodes.is_empty());
        while length > 0 {
            length -= 1;
            let (index, square) = pending[length];
            if square >= best {
                continue;
            }
            let node = &self.nodes[index as usize];
            if node.count > 0 {
                let start = node.start as usize;
                for &item in &self.items[start..start + node.count as usize] {
                    best = best.min(square_distance(item as usize, best));
                }
            } else {
                let children = [index + 1, node.start]
                    .map(|child| (child, square_to_box(&self.nodes[child as usize].bounds, point)));
                // The nearer child is popped first.
                let later = usize::from(children[0].1 <= children[1].1);
                for child in [children[later], children[1 - later]] {
                    if child.1 < best {
                        pending[length] = child;
                        length += 1;
                    }
                }
            }
        }
        best
    }
}

/// Nodes that can be pending: each level of the balanced tree leaves at most two, and there are at most 33.
const STACK: usize = 72;

/// Nodes still to visit.
struct Stack {
    nodes: [u32; STACK],
    length: usize,
}

impl Default for Stack {
    fn default() -> Self {
        Self { nodes: [0; STACK], length: 0 }
    }
}

impl Stack {
    fn push(&mut self, node: u32) {
        self.nodes[self.length] = node;
        self.length += 1;
    }

    fn pop(&mut self) -> Option<usize> {
        self.length = self.length.checked_sub(1)?;
        Some(self.nodes[self.length] as usize)
    }
}

/// Appends the subtree of `items` (which start at `offset` of the whole list) and returns its greatest item.
fn build(
    nodes: &mut Vec<Node>,
    items: &mut [u32],
    offset: usize,
    leaf: usize,
    boxes: &[Bounds],
    centers: &[[f64; 3]],
) -> u32 {
    let mut bounds = [[f64::INFINITY, f64::NEG_INFINITY]; 3];
    let mut spread = bounds;
    for &item in items.iter() {
        for axis in 0..3 {
            let [low, high] = boxes[item as usize][axis];
            bounds[axis] = [bounds[axis][0].min(low), bounds[axis][1].max(high)];
            let center = centers[item as usize][axis];
            spread[axis] = [spread[axis][0].min(center), spread[axis][1].max(center)];
        }
    }
    let place = nodes.len();
    let start = u32::try_from(offset).unwrap_or(u32::MAX);
    let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
    nodes.push(Node { bounds, start, count, greatest: 0 });
    let greatest = if items.len() <= leaf {
        items.iter().copied().max().unwrap_or(0)
    } else {
        let width = |axis: usize| spread[axis][1] - spread[axis][0];
        let axis = (0..3).max_by(|&one, &other| width(one).total_cmp(&width(other))).unwrap_or(0);
        let middle = items.len() / 2;
        items.select_nth_unstable_by(middle, |&one, &other| {
            centers[one as usize][axis].total_cmp(&centers[other as usize][axis])
        });
        let (left, right) = items.split_at_mut(middle);
        let one = build(nodes, left, offset, leaf, boxes, centers);
        nodes[place].start = u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        nodes[place].count = 0;
        one.max(build(nodes, right, offset + middle, leaf, boxes, centers))
    };
    nodes[place].greatest = greatest;
    greatest
}

fn overlap(one: &Bounds, other: &Bounds) -> bool {
    one.iter().zip(other).all(|(one, other)| one[0] <= other[1] && other[0] <= one[1])
}

pub(crate) fn square_to_box(bounds: &Bounds, point: [f64; 3]) -> f64 {
    bounds
        .iter()
        .zip(point)
        .map(|([low, high], coordinate)| (low - coordinate).max(coordinate - high).max(0.0).powi(2))
        .sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn boxes() -> impl Strategy<Value = Vec<Bounds>> {
        prop::collection::vec(prop::array::uniform3((-5.0..5.0, 0.0..2.0)), 0..80).prop_map(|boxes| {
            boxes.into_iter().map(|sides| sides.map(|(low, size)| [low, low + size])).collect()
        })
    }

    proptest! {
        #[test]
        fn queries_equal_those_without_a_tree(boxes in boxes(), leaf in 1..6_usize, point in prop::array::uniform3(-6.0..6.0)) {
            let tree = Tree::new(&boxes, leaf);
            let holds = |item: usize| crate::geometry::within(&boxes[item], point);

            prop_assert_eq!(tree.greatest_at(point, holds), (0..boxes.len()).rfind(|&item| holds(item)));
            prop_assert_eq!(
                tree.any_overlapping(&point.map(|coordinate| [coordinate, coordinate]), holds),
                (0..boxes.len()).any(holds)
            );
            let square = |item: usize, _: f64| square_to_box(&boxes[item], point);
            let nearest = (0..boxes.len()).map(|item| square(item, 0.0)).fold(f64::INFINITY, f64::min);
            prop_assert_eq!(tree.nearest(point, f64::INFINITY, square), nearest);
            prop_assert_eq!(tree.nearest(point, 1.5, square), nearest.min(1.5));
        }
    }

    #[test]
    fn identical_boxes_keep_the_tree_balanced() {
        let boxes = vec![[[0.0, 1.0]; 3]; 100_000];
        let tree = Tree::new(&boxes, COSTLY);
        assert_eq!(tree.greatest_at([0.5; 3], |item| item % 1000 == 7), Some(99_007));
    }

    #[test]
    fn infinite_boxes_are_found() {
        let mut boxes = vec![[[f64::NEG_INFINITY, f64::INFINITY]; 3]; 9];
        boxes.push([[3.0, 4.0]; 3]);
        let tree = Tree::new(&boxes, CHEAP);
        let greatest = |point| tree.greatest_at(point, |item| crate::geometry::within(&boxes[item], point));
        assert_eq!(greatest([3.5; 3]), Some(9));
        assert_eq!(greatest([1e12; 3]), Some(8));
    }
}
