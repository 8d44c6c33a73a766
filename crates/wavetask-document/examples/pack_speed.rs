//! Measures packs: megabytes a second and shrinkage for the sorts of arrays that simulations have.
//!
//! `cargo run --release -p wavetask-document --example pack_speed`: one thread, blocks of 1 MiB, 64 MiB of each.
#![expect(clippy::print_stdout, reason = "this is its purpose")]

use std::time::Instant;

use wavetask_document::Digest;
use wavetask_document::pack::{self, Compression, FrameKind, MAGIC, Reader};

const COUNT: usize = 8 << 20;
const BLOCK: usize = 1 << 20;

fn floats(value: impl Fn(usize) -> f64) -> Vec<u8> {
    (0..COUNT).flat_map(|index| value(index).to_le_bytes()).collect()
}

/// Reproducible noise from 0 to 1.
fn noise(index: usize) -> f64 {
    let mut word = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word ^= word >> 29;
    word = word.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^= word >> 32;
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

/// Coordinates in a cube of 200 cells a side, from 0 to 1.
fn place(index: usize) -> [f64; 3] {
    [index / 40_000 % 200, index / 200 % 200, index % 200].map(|cell| cell as f64 / 200.0)
}

fn main() {
    let cases: Vec<(&str, u8, Vec<u8>)> = vec![
        (
            "smooth float64",
            8,
            floats(|index| {
                let [x, y, z] = place(index);
                (9.0 * x).sin() * (7.0 * y).cos() + z * z
            }),
        ),
        (
            "smooth + 1e-6 noise",
            8,
            floats(|index| {
                let [x, y, z] = place(index);
                (9.0 * x).sin() * (7.0 * y).cos() + z * z + 1e-6 * noise(index)
            }),
        ),
        (
            "binary permittivity",
            8,
            floats(|index| {
                let [x, y, _] = place(index);
                if (x - 0.5).hypot(y - 0.5) < 0.3 { 12.1104 } else { 2.0852 }
            }),
        ),
        ("binary, fine pattern", 8, floats(|index| if noise(index / 3) < 0.5 { 12.1104 } else { 2.0852 })),
        ("random float64 0..1", 8, floats(noise)),
        (
            "random bytes",
            8,
            (0..COUNT)
                .flat_map(|index| {
                    ((noise(index) * 2f64.powi(53)) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
                })
                .collect(),
        ),
        (
            "complex64 wave",
            8,
            (0..COUNT)
                .flat_map(|index| {
                    let [x, y, z] = place(index);
                    let phase = 40.0 * x + 11.0 * y;
                    let size = (-((y - 0.5) * 6.0).powi(2) - z).exp();
                    let mut pair = [0; 8];
                    pair[..4].copy_from_slice(&((size * phase.cos()) as f32).to_le_bytes());
                    pair[4..].copy_from_slice(&((size * phase.sin()) as f32).to_le_bytes());
                    pair
                })
                .collect(),
        ),
        (
            "int32 cells",
            4,
            (0..2 * COUNT)
                .flat_map(|index| {
                    let (cell, corner) = (index / 4, index % 4);
                    let node = cell / 6 + [0, 1, 67, 4489][corner];
                    i32::try_from(node).unwrap_or(0).to_le_bytes()
                })
                .collect(),
        ),
    ];
    println!("{:22} {:>6} {:>7} {:>9} {:>9} {:>9}", "", "codec", "ratio", "pack", "unpack", "as it is");
    for (name, width, bytes) in &cases {
        let digests: Vec<Digest> = bytes.chunks(BLOCK).map(Digest::of).collect();
        let run = |compression| {
            let mut best = (f64::INFINITY, Vec::new());
            for _ in 0..3 {
                let mut body = Vec::with_capacity(bytes.len() + (1 << 20));
                body.extend_from_slice(&MAGIC);
                let begin = Instant::now();
                for (block, digest) in bytes.chunks(BLOCK).zip(&digests) {
                    pack::encode_block(digest, block, *width, compression, &mut body).expect("fits");
                }
                pack::end(&mut body);
                let seconds = begin.elapsed().as_secs_f64();
                if seconds < best.0 {
                    best = (seconds, body);
                }
            }
            best
        };
        let (seconds, body) = run(Compression::WherePays);
        let (seconds_raw, _) = run(Compression::Never);
        let mut codecs = [0; 3];
        let begin = Instant::now();
        let mut reader = Reader::default();
        let mut at = 0;
        for received in body.chunks(1 << 16) {
            reader.feed(received);
            while let Some(frame) = reader.next().expect("whole") {
                assert!(frame.kind == FrameKind::Block && frame.bytes == bytes[at..at + frame.bytes.len()]);
                at += frame.bytes.len();
            }
        }
        reader.finish().expect("whole");
        let unpack = begin.elapsed().as_secs_f64();
        assert_eq!(at, bytes.len());
        let mut offset = MAGIC.len();
        while body[offset] != 0 {
            codecs[usize::from(body[offset + 1])] += 1;
            let mut length = [0; 4];
            length.copy_from_slice(&body[offset + 8..offset + 12]);
            offset += pack::HEADER_BYTES + u32::from_le_bytes(length) as usize;
        }
        let codec =
            (0..3).max_by_key(|&codec| codecs[codec]).map_or("", |codec| ["raw", "zstd", "shuf"][codec]);
        let speed = |seconds: f64| format!("{:.0} MB/s", bytes.len() as f64 / 1e6 / seconds);
        println!(
            "{name:22} {codec:>6} {:>7.2} {:>9} {:>9} {:>9}",
            bytes.len() as f64 / body.len() as f64,
            speed(seconds),
            speed(unpack),
            speed(seconds_raw)
        );
    }
}
