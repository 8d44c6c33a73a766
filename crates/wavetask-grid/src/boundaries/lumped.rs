//! What lumped elements ask of an automatic grid: finer steps around them, and lines through their ends.

use crate::geometry::Bounds;

use super::error::GridError;
use super::json::Node;
use super::specification::Override;

/// Adds the overrides and the snapping points of one lumped element.
pub(super) fn read(
    element: &Node<'_>,
    overrides: &mut Vec<Override>,
    snapping: &mut Vec<[Option<f64>; 3]>,
) -> Result<(), GridError> {
    // Nothing is stated as null and turns the refinement off; a missing field is the default.
    let cells = match element.value.get("num_grid_cells") {
        None => Some(1.0),
        Some(value) if value.is_null() => None,
        Some(_) => Some(element.required("num_grid_cells")?.positive()?),
    };
    let snaps = element.optional("enable_snapping_points").map_or(Ok(true), |node| node.truth())?;
    let center = element.optional("center").map_or(Ok([0.0; 3]), |node| node.three(Node::finite))?;
    let along = |axis: usize, coordinate: f64| {
        let mut point = [None; 3];
        point[axis] = Some(coordinate);
        point
    };
    match element.kind()? {
        "LumpedResistor" | "LinearLumpedElement" => {
            let size = element.required("size")?.three(Node::finite)?;
            let voltage = element.required("voltage_axis")?.axis()?;
            if let Some(cells) = cells {
                let step = size[voltage] / cells;
                let padded = size.map(|extent| if extent > 0.0 { extent } else { 4.0 * step });
                overrides.push(refinement(element, center, padded, [step; 3])?);
            }
            if snaps {
                let flat = (0..3).filter(|&axis| size[axis] == 0.0);
                snapping.extend(flat.map(|axis| along(axis, center[axis])));
                for side in [-1.0, 1.0] {
                    snapping.push(along(voltage, center[voltage] + side * size[voltage] / 2.0));
                }
            }
        }
        "CoaxialLumpedResistor" => {
            let outer = element.required("outer_diameter")?.positive()?;
            let inner = element.required("inner_diameter")?.positive()?;
            let normal = element.required("normal_axis")?.axis()?;
            if let Some(cells) = cells {
                let step = (outer - inner) / cells / 2.0;
                let (mut size, mut steps) = ([outer; 3], [step; 3]);
                size[normal] = step * 2.0;
                steps[normal] = step / 2.0;
                overrides.push(refinement(element, center, size, steps)?);
            }
            if snaps {
                snapping.push(along(normal, center[normal]));
            }
        }
        _ => return Err(element.unsupported_kind("the lumped element")),
    }
    Ok(())
}

fn refinement(
    element: &Node<'_>,
    center: [f64; 3],
    size: [f64; 3],
    steps: [f64; 3],
) -> Result<Override, GridError> {
    if steps.iter().any(|&step| step <= 0.0) {
        return Err(element.invalid("a lumped element must have an extent along its voltage"));
    }
    let bounds: Bounds =
        std::array::from_fn(|axis| [-1.0, 1.0].map(|side| center[axis] + side * size[axis] / 2.0));
    Ok(Override { bounds, step: steps.map(Some), enforced: false, shadow: false, inside_only: true })
}
