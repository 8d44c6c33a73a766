//! Only the blocks that a slice touches are read, each once.

use std::ops::Range;

use wavetask_document::expression::{
    Coordinate, DataType, Dimension, Expression, ExpressionError, ExpressionLimits, Field, FieldType, Labels,
    Schema, infer,
};
use wavetask_document::{Array, ArrayDescriptor, MemoryBlocks, Values};
use wavetask_expression::{Evaluated, Numbers, Reader, RecentBlocks, evaluate};

const EXTENT: usize = 64;
const BLOCK: u64 = 4096;

/// One field over x, y and z, or fewer of them, whose value says where it is.
struct Cube {
    extents: Vec<usize>,
    descriptor: ArrayDescriptor,
    blocks: RecentBlocks<MemoryBlocks>,
}

impl Cube {
    fn new() -> Self {
        Self::stored(|array, blocks| array.store(blocks, BLOCK))
    }

    fn stored(store: impl FnOnce(&Array, &mut MemoryBlocks) -> std::io::Result<ArrayDescriptor>) -> Self {
        Self::of(vec![EXTENT; 3], store)
    }

    fn of(
        extents: Vec<usize>,
        store: impl FnOnce(&Array, &mut MemoryBlocks) -> std::io::Result<ArrayDescriptor>,
    ) -> Self {
        let mut blocks = MemoryBlocks::new();
        let values = (0..extents.iter().product()).map(|place: usize| place as f64).collect();
        let array = Array::new(extents.clone(), Values::Float64(values)).expect("as many as the shape says");
        let descriptor = store(&array, &mut blocks).expect("memory takes blocks");
        Self { extents, descriptor, blocks: RecentBlocks::new(blocks, 1 << 20) }
    }

    fn value(&self, expression: &str) -> Evaluated {
        let field = "{\"field\": {\"source\": {\"task\": \"task-1\"}, \"path\": [\"cube\"]}}";
        let expression: Expression =
            serde_json::from_str(&expression.replace("CUBE", field)).expect("an expression");
        let limits = ExpressionLimits::default();
        let plan = infer(&expression, self, &limits).and_then(|inferred| inferred.plan(&limits));
        plan.and_then(|plan| evaluate(&plan, self)).expect("a value")
    }
}

impl Schema for Cube {
    fn field(&self, _: &Field) -> Result<FieldType, ExpressionError> {
        let along = |extent: usize| Coordinate::Numbers((0..extent).map(|place| place as f64).collect());
        let names = ["x", "y", "z"].into_iter().zip(&self.extents);
        let dimensions = names.map(|(name, &extent)| Dimension::new(name, along(extent))).collect();
        Ok(FieldType {
            labels: Labels::new("field", dimensions)?,
            data_type: DataType::Float,
            mesh: None,
            whole: Default::default(),
        })
    }
}

impl Reader for Cube {
    fn shape(&self, _: &Field) -> Result<Vec<usize>, ExpressionError> {
        Ok(self.extents.clone())
    }

    fn read(&self, _: &Field, ranges: &[Range<u64>]) -> Result<Array, ExpressionError> {
        Ok(self.descriptor.load_part(ranges, &self.blocks, 1 << 30).expect("the blocks are there"))
    }
}

#[test]
fn a_plane_across_the_outermost_axis_reads_its_own_bytes() {
    let cube = Cube::new();
    let plane = cube.value("{\"sel\": {\"of\": {\"unary\": {\"function\": \"negative\", \"of\": CUBE}}, \"selectors\": [[\"x\", {\"value\": 7}]]}}");
    let Numbers::Real(values) = plane.values else { panic!("real") };
    assert_eq!(values[65], -((7 * EXTENT * EXTENT + 65) as f64));
    assert_eq!(cube.blocks.bytes_read(), (EXTENT * EXTENT * 8) as u64);
}

#[test]
fn values_between_planes_read_both_of_them() {
    let cube = Cube::new();
    let between = "{\"interp\": {\"of\": CUBE, \"places\": [[\"x\", {\"values\": [7.5, 40.25]}], [\"y\", {\"value\": 3.5}]]}}";
    let Numbers::Real(values) = cube.value(between).values else { panic!("real") };
    let place = 7.5 * (EXTENT * EXTENT) as f64 + 3.5 * EXTENT as f64 + 5.0;
    assert!((values[5] - place).abs() < 1e-9);
    // Two rows of each of four planes: within one block of 4096 bytes.
    assert_eq!(cube.blocks.bytes_read(), 4 * BLOCK);
}

#[test]
fn a_plane_across_the_innermost_axis_reads_each_block_once() {
    let cube = Cube::new();
    let plane = cube.value("{\"isel\": {\"of\": CUBE, \"indexers\": [[\"z\", {\"indices\": [-1, 0]}], [\"x\", {\"slice\": {\"stop\": 4}}]]}}");
    assert_eq!(plane.labels.shape(), [4, EXTENT, 2]);
    let Numbers::Real(values) = plane.values else { panic!("real") };
    assert_eq!(values[..4], [63.0, 0.0, 127.0, 64.0]);
    assert_eq!(cube.blocks.bytes_read(), 4 * (EXTENT * EXTENT * 8) as u64);
}

#[test]
fn a_plane_of_a_field_in_bricks_reads_one_layer_of_them() {
    let planes = [("x", [7, 0, 0]), ("y", [0, 7, 0]), ("z", [0, 0, 7])];
    for ((dimension, place), thick) in planes.into_iter().zip([16_u64, 10, 4]) {
        let cube = Cube::stored(|array, blocks| array.store_in_bricks(blocks, &[16, 10, 4]));
        let plane =
            format!("{{\"isel\": {{\"of\": CUBE, \"indexers\": [[\"{dimension}\", {{\"index\": 7}}]]}}}}");
        let Numbers::Real(values) = cube.value(&plane).values else { panic!("real") };
        let first = (place[0] * EXTENT + place[1]) * EXTENT + place[2];
        assert_eq!((values.len(), values[0]), (EXTENT * EXTENT, first as f64));
        assert_eq!(cube.blocks.bytes_read(), thick * (EXTENT * EXTENT * 8) as u64, "across {dimension}");
    }
}

#[test]
fn places_far_apart_are_read_one_by_one_however_many_there_are() {
    // A long line: one number of each second block.
    let block = 16 * BLOCK;
    let elements = block as usize / 8;
    let line = || Cube::of(vec![200 * elements], |array, blocks| array.store(blocks, block));
    let taken = |line: &Cube, places: &[usize]| {
        let indexers = format!("[[\"x\", {{\"indices\": {places:?}}}]]");
        let value = line.value(&format!("{{\"isel\": {{\"of\": CUBE, \"indexers\": {indexers}}}}}"));
        let Numbers::Real(values) = value.values else { panic!("real") };
        assert_eq!(values, places.iter().map(|&place| place as f64).collect::<Vec<_>>());
        line.blocks.bytes_read()
    };
    let apart: Vec<usize> = (0..100).map(|at| 2 * at * elements + 5).collect();
    assert_eq!(taken(&line(), &apart), 100 * block);
    // The same place many times is not many places.
    let mut often = vec![5; 100 * elements];
    often.push(150 * elements);
    assert_eq!(taken(&line(), &often), 2 * block);
    // Places that lie closely, in any order and some twice.
    assert_eq!(taken(&line(), &[90, 3, 7, 90, elements + 1000]), 2 * block);
    // Columns of a box in bricks: those that hold none are not read.
    let boxed =
        Cube::of(vec![128, 128, EXTENT], |array, blocks| array.store_in_bricks(blocks, &[16, 16, 64]));
    let columns = "{\"isel\": {\"of\": CUBE, \"indexers\": [[\"x\", {\"indices\": [0, 32, 64, 96, 5]}],
        [\"y\", {\"indices\": [96, 64, 32, 0, 5]}]]}}";
    let Numbers::Real(values) = boxed.value(columns).values else { panic!("real") };
    assert_eq!(values[EXTENT + 3], (64 * EXTENT + 3) as f64);
    assert_eq!(values[(4 * 5 + 2) * EXTENT], ((5 * 128 + 32) * EXTENT) as f64);
    assert_eq!(boxed.blocks.bytes_read(), 4 * 4 * 16 * 16 * 64 * 8);
}
