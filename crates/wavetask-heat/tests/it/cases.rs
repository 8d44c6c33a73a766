//! Problems with known solutions.

use std::f64::consts::PI;

use serde_json::{Value, json};

use crate::common::{
    Arrays, boundary, cuboid, faces, fluid, monitor, push, samples, simulation, solid, solve, source,
    spatial, structure, surface, temperature, uniform,
};

const INF: f64 = f64::INFINITY;

/// A problem and its solution.
pub(crate) struct Case {
    /// What it is.
    pub(crate) name: &'static str,
    /// The simulation with this cell size, and its arrays.
    pub(crate) build: fn(f64) -> (Value, Arrays),
    /// Temperature above 300 K at a point.
    pub(crate) rise: fn([f64; 3]) -> f64,
    /// Largest rise.
    pub(crate) scale: f64,
    /// Cell sizes, each half of the one before; the second is the moderate one.
    pub(crate) sizes: [f64; 3],
    /// Whether linear elements give the points' temperatures exactly, whatever the cell size.
    pub(crate) exact: bool,
}

/// What one mesh gives.
pub(crate) struct Outcome {
    /// Cell size in µm.
    pub(crate) size: f64,
    /// Mesh points.
    pub(crate) unknowns: usize,
    /// Largest error at a mesh point, relative to the largest rise.
    pub(crate) largest: f64,
    /// Root of the mean square error at mesh points, relative to the largest rise.
    pub(crate) mean: f64,
    /// Difference between released and leaving heat, relative to the heat released (or 1 W).
    pub(crate) balance: f64,
}

impl Case {
    /// Solves with a cell size and compares at the mesh points inside the first monitor.
    pub(crate) fn outcome(&self, size: f64) -> Outcome {
        let (simulation, arrays) = (self.build)(size);
        let solution = solve(&simulation, &arrays).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        let (mut largest, mut sum, mut count) = (0.0_f64, 0.0, 0.0);
        for (point, value) in samples(&solution, 0) {
            let error = (value - 300.0 - (self.rise)(point)) / self.scale;
            largest = largest.max(error.abs());
            sum += error * error;
            count += 1.0;
        }
        assert!(count > 0.0, "{}: no data", self.name);
        let statistics = solution.statistics;
        // Problems without sources pass about one watt through.
        let heat = if statistics.source_power == 0.0 { 1.0 } else { statistics.source_power.abs() };
        Outcome {
            size,
            unknowns: statistics.unknowns,
            largest,
            mean: f64::sqrt(sum / count),
            balance: (statistics.source_power - statistics.boundary_power).abs() / heat,
        }
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    vec![
        Case {
            name: "slab with a source, 2-D",
            build: |dl| (slab(dl, true), Arrays::new()),
            rise: |[x, _, _]| 5.0 * x * (2.0 - x) / (2.0 * 2.0),
            scale: 1.25,
            sizes: [0.4, 0.2, 0.1],
            exact: true,
        },
        Case {
            name: "slab with a source, 3-D",
            build: |dl| (slab(dl, false), Arrays::new()),
            rise: |[x, _, _]| 5.0 * x * (2.0 - x) / (2.0 * 2.0),
            scale: 1.25,
            sizes: [0.8, 0.4, 0.2],
            exact: true,
        },
        Case {
            name: "two layers with sources",
            build: two_layers,
            rise: two_layers_rise,
            scale: 100.0,
            sizes: [0.16, 0.08, 0.04],
            exact: false,
        },
        Case {
            name: "slab with convection on one side",
            build: convection_slab,
            // Leaving heat q L through c: surface rise q L / c, then the parabola.
            rise: |[x, _, _]| 3.0 * 2.0 / 4.0 + 3.0 * (4.0 - x * x) / (2.0 * 0.5),
            scale: 13.5,
            sizes: [0.4, 0.2, 0.1],
            exact: false,
        },
        Case {
            name: "slab with a given flux",
            build: flux_slab,
            rise: |[x, _, _]| 0.7 * x / 0.2,
            scale: 7.0,
            sizes: [0.4, 0.2, 0.1],
            exact: true,
        },
        Case {
            name: "two layers with a thermal contact resistance",
            build: contact_slab,
            // 10 K across 1/2 + 3 + 1/4 K µm²/W.
            rise: |[x, _, _]| {
                let flux = 10.0 / (1.0 / 2.0 + 3.0 + 1.0 / 4.0);
                if x <= 1.0 { flux * x / 2.0 } else { 10.0 - flux * (2.0 - x) / 4.0 }
            },
            scale: 10.0,
            sizes: [0.4, 0.2, 0.1],
            exact: true,
        },
        Case {
            name: "coaxial shells, 2-D",
            build: |dl| (shells(dl, "2d", None), Arrays::new()),
            rise: |point| shells_rise(point, None),
            scale: 100.0,
            sizes: [0.1, 0.05, 0.025],
            exact: false,
        },
        Case {
            name: "coaxial shells with convection, 2-D",
            build: |dl| (shells(dl, "2d", Some(CONVECTION)), Arrays::new()),
            rise: |point| shells_rise(point, Some(CONVECTION)),
            scale: 100.0,
            sizes: [0.1, 0.05, 0.025],
            exact: false,
        },
        Case {
            name: "coaxial shells, 3-D",
            build: |dl| (shells(dl, "3d", None), Arrays::new()),
            rise: |point| shells_rise(point, None),
            scale: 100.0,
            sizes: [0.12, 0.06, 0.03],
            exact: false,
        },
        Case {
            name: "coaxial shells with convection, 3-D",
            build: |dl| (shells(dl, "3d", Some(CONVECTION)), Arrays::new()),
            rise: |point| shells_rise(point, Some(CONVECTION)),
            scale: 100.0,
            sizes: [0.12, 0.06, 0.03],
            exact: false,
        },
        Case {
            name: "sphere with a source in a shell, 3-D",
            build: sphere,
            rise: sphere_rise,
            scale: SPHERE_SOURCE * (0.25 / (6.0 * 3.0) + 0.125 / 3.0 * (2.0 - 1.0)),
            sizes: [0.1, 0.05, 0.025],
            exact: false,
        },
        Case {
            name: "slab with a linearly varying source",
            build: varying_slab,
            // q = 6 a x: T = a x (L² - x²) / k.
            rise: |[x, _, _]| 2.0 * x * (4.0 - x * x) / 3.0,
            scale: 2.0 * 16.0 / (3.0 * 3.0 * 1.732_050_807_568_877_2),
            sizes: [0.4, 0.2, 0.1],
            exact: false,
        },
        Case {
            name: "manufactured sine, 2-D",
            build: |dl| sine(dl, true),
            rise: |[x, _, z]| 10.0 * (PI * x).sin() * (PI * z).sin(),
            scale: 10.0,
            sizes: [0.1, 0.05, 0.025],
            exact: false,
        },
        Case {
            name: "manufactured sine, 3-D",
            build: |dl| sine(dl, false),
            rise: |[x, y, z]| 10.0 * (PI * x).sin() * (PI * y).sin() * (PI * z).sin(),
            scale: 10.0,
            sizes: [0.16, 0.08, 0.04],
            exact: false,
        },
    ]
}

/// A slab 0 < x < 2 with nothing at its other faces, and a monitor of everything.
fn bare_slab(dl: f64, flat: bool) -> Value {
    let depth = if flat { 0.0 } else { 1.0 };
    let mut simulation = simulation([1.0, 0.0, 0.0], [2.0, depth, 1.0], uniform(dl));
    push(&mut simulation, "monitors", monitor("all", [0.0; 3], [INF; 3], true));
    simulation
}

fn whole(conductivity: f64) -> Value {
    structure("slab", cuboid([-INF; 3], [INF; 3]), solid("solid", conductivity))
}

fn slab(dl: f64, flat: bool) -> Value {
    let mut simulation = bare_slab(dl, flat);
    push(&mut simulation, "structures", whole(2.0));
    push(&mut simulation, "sources", source(&["slab"], 5.0));
    push(&mut simulation, "boundary_spec", boundary(faces(&["x-", "x+"]), temperature(300.0)));
    simulation
}

const LAYERS: [f64; 3] = [0.2, 0.5, 0.9];
const LAYER_CONDUCTIVITY: [f64; 2] = [15.0, 2.0];
const LAYER_SOURCE: [f64; 2] = [1000.0, 300.0];
const LAYER_RISE: [f64; 2] = [100.0, 0.0];

/// Two layers between fluids: the arrangement of the client's own tutorial of its heat solver.
fn two_layers(dl: f64) -> (Value, Arrays) {
    let [r1, r0, r2] = LAYERS;
    let mut simulation = simulation([0.5, 0.0, 0.0], [1.0, 0.0, 0.5], uniform(dl));
    let layer = |half: f64| cuboid([-half, -INF, -INF], [half, INF, INF]);
    push(&mut simulation, "structures", structure("top", layer(r2), solid("solid2", LAYER_CONDUCTIVITY[1])));
    push(
        &mut simulation,
        "structures",
        structure("bottom", layer(r0), solid("solid1", LAYER_CONDUCTIVITY[0])),
    );
    push(&mut simulation, "structures", structure("core", layer(r1), fluid("outside")));
    push(&mut simulation, "sources", source(&["bottom"], LAYER_SOURCE[0]));
    push(&mut simulation, "sources", source(&["top"], LAYER_SOURCE[1]));
    let interface = |mediums: [&str; 2]| json!({"type": "MediumMediumInterface", "mediums": mediums});
    push(
        &mut simulation,
        "boundary_spec",
        boundary(interface(["outside", "solid1"]), temperature(300.0 + LAYER_RISE[0])),
    );
    push(
        &mut simulation,
        "boundary_spec",
        boundary(interface(["solid2", "outside"]), temperature(300.0 + LAYER_RISE[1])),
    );
    push(&mut simulation, "monitors", monitor("all", [0.0; 3], [INF; 3], true));
    (simulation, Arrays::new())
}

fn two_layers_rise([x, _, _]: [f64; 3]) -> f64 {
    let [r1, r0, r2] = LAYERS;
    let [k1, k2] = LAYER_CONDUCTIVITY;
    let [s1, s2] = LAYER_SOURCE;
    // T = A + B (x - r0) - s (x - r0)² / 2k on each side, with equal temperature and flux at r0.
    let (a, b) = (r0 - r1, r2 - r0);
    let flux = (LAYER_RISE[0] - LAYER_RISE[1] + s1 * a * a / (2.0 * k1) - s2 * b * b / (2.0 * k2))
        / (a / k1 + b / k2);
    let level = LAYER_RISE[1] + flux * b / k2 + s2 * b * b / (2.0 * k2);
    let d = x - r0;
    if d <= 0.0 {
        level - flux * d / k1 - s1 * d * d / (2.0 * k1)
    } else {
        level - flux * d / k2 - s2 * d * d / (2.0 * k2)
    }
}

fn convection_slab(dl: f64) -> (Value, Arrays) {
    let mut simulation = bare_slab(dl, true);
    push(&mut simulation, "structures", whole(0.5));
    push(&mut simulation, "sources", source(&["slab"], 3.0));
    push(
        &mut simulation,
        "boundary_spec",
        boundary(
            faces(&["x+"]),
            json!({"type": "ConvectionBC", "ambient_temperature": 300.0, "transfer_coeff": 4.0}),
        ),
    );
    (simulation, Arrays::new())
}

fn flux_slab(dl: f64) -> (Value, Arrays) {
    let mut simulation = bare_slab(dl, true);
    push(&mut simulation, "structures", whole(0.2));
    push(&mut simulation, "boundary_spec", boundary(faces(&["x-"]), temperature(300.0)));
    push(
        &mut simulation,
        "boundary_spec",
        boundary(
            json!({"type": "StructureSimulationBoundary", "structure": "slab", "surfaces": ["x+"]}),
            json!({"type": "HeatFluxBC", "flux": 0.7}),
        ),
    );
    (simulation, Arrays::new())
}

fn contact_slab(dl: f64) -> (Value, Arrays) {
    let mut simulation = bare_slab(dl, true);
    push(&mut simulation, "structures", structure("left", cuboid([-INF; 3], [INF; 3]), solid("a", 2.0)));
    push(
        &mut simulation,
        "structures",
        structure("right", cuboid([1.0, -INF, -INF], [3.0, INF, INF]), solid("b", 4.0)),
    );
    push(&mut simulation, "boundary_spec", boundary(faces(&["x-"]), temperature(300.0)));
    push(&mut simulation, "boundary_spec", boundary(faces(&["x+"]), temperature(310.0)));
    push(
        &mut simulation,
        "boundary_spec",
        boundary(
            json!({"type": "StructureStructureInterface", "structures": ["left", "right"]}),
            json!({"type": "ThermalContactResistance", "resistance": 3.0}),
        ),
    );
    // Points on the interface have two temperatures; look beside it.
    simulation["monitors"] = json!([monitor("left", [0.5, 0.0, 0.0], [0.999, INF, INF], true)]);
    (simulation, Arrays::new())
}

const CONVECTION: f64 = 40.0;

/// Two shells around a fluid core that is held at 400 K, in a fluid at 300 K.
fn shells(dl: f64, kind: &str, convection: Option<f64>) -> Value {
    let [r1, r0, r2] = LAYERS;
    let flat = kind == "2d";
    let depth = if flat { 0.0 } else { 0.3 };
    let mut simulation = simulation([0.0; 3], [2.0, depth, 2.0], uniform(dl));
    let cylinder = |radius: f64| {
        json!({"type": "Cylinder", "axis": 1, "radius": radius, "center": [0.0, 0.0, 0.0],
            "length": "Infinity", "sidewall_angle": 0.0, "reference_plane": "middle"})
    };
    push(
        &mut simulation,
        "structures",
        structure("top", cylinder(r2), solid("solid2", LAYER_CONDUCTIVITY[1])),
    );
    push(
        &mut simulation,
        "structures",
        structure("bottom", cylinder(r0), solid("solid1", LAYER_CONDUCTIVITY[0])),
    );
    push(&mut simulation, "structures", structure("core", cylinder(r1), fluid("inside")));
    push(&mut simulation, "sources", source(&["bottom"], LAYER_SOURCE[0]));
    push(&mut simulation, "sources", source(&["top"], LAYER_SOURCE[1]));
    push(&mut simulation, "boundary_spec", boundary(surface("core"), temperature(400.0)));
    let outer = match convection {
        None => temperature(300.0),
        Some(coefficient) => {
            json!({"type": "ConvectionBC", "ambient_temperature": 300.0, "transfer_coeff": coefficient})
        }
    };
    push(&mut simulation, "boundary_spec", boundary(surface("top"), outer));
    let section = if flat { [INF; 3] } else { [INF, 0.0, INF] };
    push(
        &mut simulation,
        "monitors",
        monitor("all", [0.0, 0.03, 0.0].map(|c| if flat { 0.0 } else { c }), section, true),
    );
    simulation
}

fn shells_rise([x, _, z]: [f64; 3], convection: Option<f64>) -> f64 {
    let [r1, r0, r2] = LAYERS;
    let [k1, k2] = LAYER_CONDUCTIVITY;
    let [s1, s2] = LAYER_SOURCE;
    let r = x.hypot(z);
    // T = A_i + B_i ln r - s_i r² / 4 k_i. Flux times radius: g_i = k_i B_i - s_i r² / 2, continuous at r0:
    // k1 B1 - s1 r0²/2 = k2 B2 - s2 r0²/2. So B2 = (k1 B1 + c) / k2 with
    let c = (s2 - s1) * r0 * r0 / 2.0;
    // Inner: A1 = 100 - B1 ln r1 + s1 r1²/4k1. Temperature at r0 gives A2; the outer condition gives B1.
    // Everything is linear in B1: evaluate the outer residual for two values.
    let outer = |b1: f64| {
        let a1 = 100.0 - b1 * r1.ln() + s1 * r1 * r1 / (4.0 * k1);
        let b2 = (k1 * b1 + c) / k2;
        let at_r0 = a1 + b1 * r0.ln() - s1 * r0 * r0 / (4.0 * k1);
        let a2 = at_r0 - b2 * r0.ln() + s2 * r0 * r0 / (4.0 * k2);
        let end = a2 + b2 * r2.ln() - s2 * r2 * r2 / (4.0 * k2);
        let leaving = -(k2 * b2 / r2 - s2 * r2 / 2.0);
        let residual = match convection {
            None => end,
            Some(coefficient) => coefficient * end - leaving,
        };
        (residual, a1, a2, b2)
    };
    let (zero, one) = (outer(0.0).0, outer(1.0).0);
    let b1 = -zero / (one - zero);
    let (_, a1, a2, b2) = outer(b1);
    if r <= r0 {
        a1 + b1 * r.ln() - s1 * r * r / (4.0 * k1)
    } else {
        a2 + b2 * r.ln() - s2 * r * r / (4.0 * k2)
    }
}

const SPHERE_SOURCE: f64 = 120.0;

/// A sphere of radius 0.5 with a source in a shell up to radius 1, which a fluid holds at 300 K; an eighth of it.
fn sphere(dl: f64) -> (Value, Arrays) {
    let mut simulation = simulation([0.0; 3], [2.2; 3], uniform(dl));
    simulation["symmetry"] = json!([1, 1, 1]);
    let ball = |radius: f64| json!({"type": "Sphere", "center": [0.0, 0.0, 0.0], "radius": radius});
    push(&mut simulation, "structures", structure("shell", ball(1.0), solid("shell", 1.0)));
    push(&mut simulation, "structures", structure("ball", ball(0.5), solid("ball", 3.0)));
    push(&mut simulation, "sources", source(&["ball"], SPHERE_SOURCE));
    push(&mut simulation, "boundary_spec", boundary(surface("shell"), temperature(300.0)));
    push(&mut simulation, "monitors", monitor("all", [0.5; 3], [1.0; 3], true));
    (simulation, Arrays::new())
}

fn sphere_rise([x, y, z]: [f64; 3]) -> f64 {
    let r = (x * x + y * y + z * z).sqrt();
    let outside = |r: f64| SPHERE_SOURCE * 0.125 / 3.0 * (1.0 / r - 1.0);
    if r >= 0.5 { outside(r) } else { outside(0.5) + SPHERE_SOURCE * (0.25 - r * r) / (6.0 * 3.0) }
}

fn varying_slab(dl: f64) -> (Value, Arrays) {
    let mut simulation = bare_slab(dl, true);
    push(&mut simulation, "structures", whole(3.0));
    push(
        &mut simulation,
        "sources",
        json!({"type": "HeatSource", "structures": ["slab"], "rate": "SpatialDataArray"}),
    );
    push(&mut simulation, "boundary_spec", boundary(faces(&["x-", "x+"]), temperature(300.0)));
    let mut arrays = Arrays::new();
    spatial(
        &mut arrays,
        "sources/0/rate",
        [vec![-1.0, 0.3, 2.5], vec![0.0], vec![-1.0, 1.0]],
        |[x, _, _]| 12.0 * x,
    );
    (simulation, arrays)
}

fn sine(dl: f64, flat: bool) -> (Value, Arrays) {
    let depth = if flat { 0.0 } else { 1.0 };
    let mut simulation = simulation([0.5, if flat { 0.0 } else { 0.5 }, 0.5], [1.0, depth, 1.0], uniform(dl));
    push(&mut simulation, "structures", whole(2.0));
    push(
        &mut simulation,
        "sources",
        json!({"type": "HeatSource", "structures": ["slab"], "rate": "SpatialDataArray"}),
    );
    let sides: &[&str] = if flat { &["x-", "x+", "z-", "z+"] } else { &["x-", "x+", "y-", "y+", "z-", "z+"] };
    push(&mut simulation, "boundary_spec", boundary(faces(sides), temperature(300.0)));
    push(&mut simulation, "monitors", monitor("all", [0.0; 3], [INF; 3], true));
    let steps = if flat { 400 } else { 140 };
    let list: Vec<f64> = (0..=steps).map(|step| f64::from(step) / f64::from(steps)).collect();
    let mut arrays = Arrays::new();
    let dimension = if flat { 2.0 } else { 3.0 };
    let coordinates = [list.clone(), if flat { vec![0.0] } else { list.clone() }, list];
    spatial(&mut arrays, "sources/0/rate", coordinates, move |[x, y, z]| {
        let along_y = if flat { 1.0 } else { (PI * y).sin() };
        2.0 * 10.0 * dimension * PI * PI * (PI * x).sin() * along_y * (PI * z).sin()
    });
    (simulation, arrays)
}
