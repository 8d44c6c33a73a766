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

/// One field over x, y and z, whose value says where it is.
struct Cube {
    descriptor: ArrayDescriptor,
    blocks: RecentBlocks<MemoryBlocks>,
}

impl Cube {
    fn new() -> Self {
        Self::stored(|array, blocks| array.store(blocks, BLOCK))
    }

    fn stored(store: impl FnOnce(&Array, &mut MemoryBlocks) -> std::io::Result<ArrayDescriptor>) -> Self {
        let mut blocks = MemoryBlocks::new();
        let values = (0..EXTENT.pow(3)).map(|place| place as f64).collect();
        let array =
            Array::new(vec![EXTENT; 3], Values::Float64(values)).expect("as many values as the shape says");
        let descriptor = store(&array, &mut blocks).expect("memory takes blocks");
        Self { descriptor, blocks: RecentBlocks::new(blocks, 1 << 20) }
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
        let along = Coordinate::Numbers((0..EXTENT).map(|place| place as f64).collect());
        let dimensions = ["x", "y", "z"].map(|name| Dimension::new(name, along.clone()));
        Ok(FieldType {
            labels: Labels::new("field", dimensions.into())?,
            data_type: DataType::Float,
            mesh: None,
            whole: Default::default(),
        })
    }
}

impl Reader for Cube {
    fn shape(&self, _: &Field) -> Result<Vec<usize>, ExpressionError> {
        Ok(vec![EXTENT; 3])
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
