//! Measures how long it takes to describe a gigabyte: `cargo run --release -p wavetask-document --example describe_speed`.
#![expect(clippy::print_stdout, reason = "this is its purpose")]

use std::time::Instant;

use wavetask_document::{ArrayView, ElementType, describe_on};

fn main() {
    let bytes: Vec<u8> = (0..(1_u64 << 27)).flat_map(|index| (index as f64).to_le_bytes()).collect();
    let shape = [512, 512, 512];
    let view = ArrayView { path: "a", element_type: ElementType::Float64, shape: &shape, bytes: &bytes };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, cores] {
        let begin = Instant::now();
        let document = describe_on("{}", std::slice::from_ref(&view), threads).expect("fits");
        let seconds = begin.elapsed().as_secs_f64();
        let blocks = document.arrays["a"].blocks.len();
        println!("1 GiB in {blocks} blocks on {threads} of {cores} cores: {seconds:.2} s");
    }
    // Small arrays are what most simulations have.
    let small: Vec<ArrayView<'_>> = Vec::from(["x", "y", "z"])
        .into_iter()
        .map(|path| ArrayView {
            path,
            element_type: ElementType::Float64,
            shape: &[100],
            bytes: &bytes[..800],
        })
        .collect();
    let begin = Instant::now();
    for _ in 0..10_000 {
        describe_on("{}", &small, cores).expect("fits");
    }
    println!("three arrays of 100 numbers: {:.1} µs", begin.elapsed().as_secs_f64() * 100.0);
}
