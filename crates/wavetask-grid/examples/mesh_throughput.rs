//! Meshes a cube of layers with a sphere and a slanted rod and prints time, memory and cell shapes.
//!
//! `cargo run --release -p wavetask-grid --example mesh_throughput -- [size near interfaces] [size in bulk]`

use std::time::Instant;

use wavetask_grid::mesh::{CellSize, Locator, MeshRequest, Scene, generate};

struct Chip;

fn to_sphere(p: [f64; 3]) -> f64 {
    ((p[0] - 0.3).powi(2) + (p[1] - 0.4).powi(2) + (p[2] - 0.7).powi(2)).sqrt() - 0.2
}

fn to_rod(p: [f64; 3]) -> f64 {
    let along = (p[0] + p[1] - 1.0) / 3.0_f64.sqrt() + (p[2] - 0.4) / 3.0_f64.sqrt();
    let off = [p[0] - 0.5, p[1] - 0.5, p[2] - 0.4].map(|c| c - along / 3.0_f64.sqrt());
    (off[0] * off[0] + off[1] * off[1] + off[2] * off[2]).sqrt() - 0.08
}

impl Scene for Chip {
    fn region(&self, p: [f64; 3]) -> u32 {
        if to_sphere(p) < 0.0 {
            1
        } else if to_rod(p) < 0.0 {
            2
        } else if p[2] > 0.5 {
            3
        } else {
            4
        }
    }
}

struct Field {
    near: f64,
    bulk: f64,
}

impl CellSize for Field {
    fn at(&self, p: [f64; 3]) -> f64 {
        let distance = to_sphere(p).abs().min(to_rod(p).abs()).min((p[2] - 0.5).abs());
        (self.near + 0.3 * distance).min(self.bulk)
    }
}

#[expect(clippy::print_stdout, reason = "the figures are the purpose")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<f64>());
    let near = arguments.next().transpose()?.unwrap_or(0.02);
    let bulk = arguments.next().transpose()?.unwrap_or(0.1);
    let start = Instant::now();
    let mesh = generate(&MeshRequest {
        bounds: [[0.0, 1.0]; 3],
        feature_planes: [vec![0.5], vec![], vec![0.5]],
        fuse_tolerance: 1e-6,
        scene: &Chip,
        size: &Field { near, bulk },
        excluded: &|_| false,
        maximum_cells: 200_000_000,
        keep_going: &|| true,
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let (points, cells) = (mesh.points.len(), mesh.cell_count());
    println!("{points} points, {cells} cells in {seconds:.2} s: {:.0} points/s", points as f64 / seconds);
    println!("mesh: {:.0} bytes per point", mesh.heap_bytes() as f64 / points as f64);
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        if let Some(kilobytes) = peak.and_then(|text| text.trim().parse::<f64>().ok()) {
            println!("peak: {:.0} bytes per point", kilobytes * 1024.0 / points as f64);
        }
    }
    println!("{:#?}", mesh.quality());
    let start = Instant::now();
    let locator = Locator::new(&mesh);
    println!("locator built in {:.2} s", start.elapsed().as_secs_f64());
    let count = 300_u32;
    let start = Instant::now();
    let found = (0..count * count)
        .filter(|&number| {
            let share = |index: u32| (f64::from(index) + 0.5) / f64::from(count);
            locator.locate([share(number % count), share(number / count), 0.45]).is_some()
        })
        .count();
    let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(count * count);
    println!("{found} points of a plane of {count} x {count} located, {each:.1} µs each");
    Ok(())
}
