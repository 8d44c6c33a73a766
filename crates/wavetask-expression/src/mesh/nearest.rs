//! The nearest of many points.

/// Points in a leaf of the tree.
const LEAF: usize = 8;

/// A tree over points: each half of a range lies on one side of a plane across its longest extent.
#[derive(Debug)]
pub(crate) struct NearestPoints<'a> {
    points: &'a [[f64; 3]],
    order: Vec<u32>,
    /// Of each inner node, in heap order: the axis that is cut, and where.
    cuts: Vec<(usize, f64)>,
}

impl<'a> NearestPoints<'a> {
    /// A tree over these points, of which there are fewer than 2^32.
    pub(crate) fn new(points: &'a [[f64; 3]]) -> Self {
        let depth = points.len().div_ceil(LEAF).max(1).next_power_of_two().trailing_zeros();
        let mut tree = Self {
            points,
            order: (0..points.len() as u32).collect(),
            cuts: vec![(0, 0.0); (1 << depth) - 1],
        };
        let mut order = std::mem::take(&mut tree.order);
        tree.arrange(&mut order, 0);
        tree.order = order;
        tree
    }

    fn arrange(&mut self, order: &mut [u32], node: usize) {
        if node >= self.cuts.len() {
            return;
        }
        let extent = |axis: usize| {
            let along = order.iter().map(|&point| self.points[point as usize][axis]);
            let [low, high] =
                along.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], at| [low.min(at), high.max(at)]);
            high - low
        };
        let extents = [extent(0), extent(1), extent(2)];
        let axis = (1..3).fold(0, |best, axis| if extents[axis] > extents[best] { axis } else { best });
        let middle = order.len() / 2;
        if middle < order.len() {
            let along = |point: &u32| self.points[*point as usize][axis];
            order.select_nth_unstable_by(middle, |a, b| along(a).total_cmp(&along(b)));
            self.cuts[node] = (axis, along(&order[middle]));
        }
        let (below, above) = order.split_at_mut(middle);
        self.arrange(below, 2 * node + 1);
        self.arrange(above, 2 * node + 2);
    }

    /// The nearest point; of several that are equally near the first. `None` if there is none.
    pub(crate) fn find(&self, target: [f64; 3]) -> Option<u32> {
        let mut best = (f64::INFINITY, None);
        self.search(target, 0, &self.order, &mut best);
        best.1
    }

    fn search(&self, target: [f64; 3], node: usize, order: &[u32], best: &mut (f64, Option<u32>)) {
        let Some(&(axis, cut)) = self.cuts.get(node) else {
            for &point in order {
                let position = self.points[point as usize];
                let distance: f64 = (0..3).map(|axis| (position[axis] - target[axis]).powi(2)).sum();
                let first = best.1.is_some_and(|other| point < other);
                if distance < best.0 || (distance == best.0 && first) {
                    *best = (distance, Some(point));
                }
            }
            return;
        };
        let (below, above) = order.split_at(order.len() / 2);
        let away = target[axis] - cut;
        let sides = [(2 * node + 1, below), (2 * node + 2, above)];
        let (near, far) = if away < 0.0 { (sides[0], sides[1]) } else { (sides[1], sides[0]) };
        self.search(target, near.0, near.1, best);
        if away * away <= best.0 {
            self.search(target, far.0, far.1, best);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_looking_at_all_finds() {
        let mut random = fastrand::Rng::with_seed(7);
        for count in [0, 1, 2, 9, 100, 1000] {
            // Few different positions, so that many are equally near.
            let mut position = || [0; 3].map(|_: i32| f64::from(random.i32(0..6)));
            let points: Vec<[f64; 3]> = (0..count).map(|_| position()).collect();
            let tree = NearestPoints::new(&points);
            for _ in 0..200 {
                let target = position().map(|at| at + 0.25);
                let distance =
                    |point: &[f64; 3]| (0..3).map(|axis| (point[axis] - target[axis]).powi(2)).sum::<f64>();
                let all =
                    (0..points.len()).min_by(|&a, &b| distance(&points[a]).total_cmp(&distance(&points[b])));
                assert_eq!(tree.find(target).map(|point| point as usize), all);
            }
        }
    }
}
