//! Dense vector kernels whose results do not depend on the number of threads.
//!
//! A floating-point sum depends on its order. Every reduction here adds up fixed chunks of [`CHUNK`] entries
//! and then the chunk sums from first to last, whichever thread computed them, so a solve on one core and on
//! sixty-four gives the same bits.

use rayon::prelude::*;

/// Entries per chunk of work: 32 KiB of one vector, so that a chunk of each operand stays in cache.
pub(super) const CHUNK: usize = 4096;

/// Below this length waking other threads costs more than it saves.
pub(super) const SEQUENTIAL_BELOW: usize = 4 * CHUNK;

/// Lanes of the partial sums inside a chunk: enough for two 512-bit registers.
const LANES: usize = 16;

fn chunk_dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a_body, a_tail) = a.as_chunks::<LANES>();
    let (b_body, b_tail) = b.as_chunks::<LANES>();
    for (x, y) in a_body.iter().zip(b_body) {
        for lane in 0..LANES {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    let tail: f64 = a_tail.iter().zip(b_tail).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f64>() + tail
}

/// The sum of `terms(chunk index)` over all chunks of a vector of length `length`, in chunk order.
pub(super) fn sum_chunks<const K: usize>(length: usize, term: impl Fn(usize) -> [f64; K] + Sync) -> [f64; K] {
    let chunks = length.div_ceil(CHUNK);
    let add = |mut total: [f64; K], part: [f64; K]| {
        for (sum, value) in total.iter_mut().zip(part) {
            *sum += value;
        }
        total
    };
    if length < SEQUENTIAL_BELOW {
        (0..chunks).map(&term).fold([0.0; K], add)
    } else {
        let parts: Vec<[f64; K]> = (0..chunks).into_par_iter().map(&term).collect();
        parts.into_iter().fold([0.0; K], add)
    }
}

fn chunk_of(vector: &[f64], chunk: usize) -> &[f64] {
    &vector[chunk * CHUNK..vector.len().min((chunk + 1) * CHUNK)]
}

/// `aᵀ b`.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    sum_chunks(a.len(), |chunk| [chunk_dot(chunk_of(a, chunk), chunk_of(b, chunk))])[0]
}

/// `[aᵀ b, aᵀ c]` with one pass over `a`.
pub(super) fn dot_two(a: &[f64], b: &[f64], c: &[f64]) -> [f64; 2] {
    sum_chunks(a.len(), |chunk| {
        let part = chunk_of(a, chunk);
        [chunk_dot(part, chunk_of(b, chunk)), chunk_dot(part, chunk_of(c, chunk))]
    })
}

/// The Euclidean norm.
pub(super) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// Calls `work(first index, chunk)` for each chunk of `vector`, in parallel when that pays.
pub(super) fn for_each_chunk(vector: &mut [f64], work: impl Fn(usize, &mut [f64]) + Sync) {
    if vector.len() < SEQUENTIAL_BELOW {
        vector.chunks_mut(CHUNK).enumerate().for_each(|(chunk, part)| work(chunk * CHUNK, part));
    } else {
        vector.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, part)| work(chunk * CHUNK, part));
    }
}

/// `y += factor · x`.
pub(super) fn add_scaled(y: &mut [f64], factor: f64, x: &[f64]) {
    for_each_chunk(y, |first, part| {
        for (value, term) in part.iter_mut().zip(&x[first..]) {
            *value += factor * term;
        }
    });
}

/// `y = x + factor · y`.
pub(super) fn scale_and_add(y: &mut [f64], factor: f64, x: &[f64]) {
    for_each_chunk(y, |first, part| {
        for (value, term) in part.iter_mut().zip(&x[first..]) {
            *value = term + factor * *value;
        }
    });
}

/// The first entry that is infinite or not a number.
pub(super) fn first_not_finite(vector: &[f64]) -> Option<usize> {
    vector.par_iter().position_first(|value| !value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_do_not_depend_on_the_number_of_threads() {
        let a: Vec<f64> = (0..100_003).map(|i| (f64::from(i) * 0.37).sin() * 1e3).collect();
        let b: Vec<f64> = (0..100_003).map(|i| (f64::from(i) * 0.11).cos() / 7.0).collect();
        let with_threads = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| (dot(&a, &b), dot_two(&a, &b, &a)))
        };
        let one = with_threads(1);
        assert_eq!(one, with_threads(2));
        assert_eq!(one, with_threads(5));
        let plain: f64 = a.iter().zip(&b).map(|(x, y)| x * y).sum();
        assert!((one.0 - plain).abs() < 1e-9 * a.len() as f64);
    }

    #[test]
    fn the_first_bad_entry_is_found() {
        let mut a = vec![1.0; 50_000];
        assert_eq!(first_not_finite(&a), None);
        a[40_000] = f64::NAN;
        a[31_234] = f64::INFINITY;
        assert_eq!(first_not_finite(&a), Some(31_234));
    }
}
