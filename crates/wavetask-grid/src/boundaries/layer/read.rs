//! Reading the refinement of a layer.

use super::{Corners, Layer, Refinement, Snapped};
use crate::boundaries::error::GridError;
use crate::boundaries::json::Node;
use crate::boundaries::part::BoxRegion;

/// The client's defaults.
const CORNER_ANGLE: f64 = 0.25 * std::f64::consts::PI;
const ALIGNED_ANGLE: f64 = std::f64::consts::PI / 180.0;
const REFINED_CELLS: f64 = 3.0;
const STEPS_PER_SHAPE: f64 = 2.0;

/// How often gaps may be looked for.
const MAXIMUM_PASSES: i64 = 1000;

impl Layer {
    pub(in crate::boundaries) fn read(node: &Node<'_>) -> Result<Self, GridError> {
        if node.kind()? != "LayerRefinementSpec" {
            return Err(node.unsupported_kind("the refinement of the type"));
        }
        let axis = node.required("axis")?.axis()?;
        let center = node.optional("center").map_or(Ok([0.0; 3]), |node| node.three(Node::finite))?;
        let size = node.required("size")?.three(Node::number)?;
        if size.iter().any(|&size| size < 0.0) || size[axis].is_infinite() {
            return Err(GridError::invalid(
                format!("{}/size", node.path),
                "sizes that are not negative, and a finite thickness, are expected",
            ));
        }
        let corner_refinement = defaulted(node, "corner_refinement", Some(Refinement::default()), |node| {
            read_refinement(node).map(Some)
        })?;
        let corners =
            defaulted(node, "corner_finder", Some(Corners::default()), |node| read_corners(node).map(Some))?;
        let edge_refinement = match node.value.get("in_plane_edge_refinement") {
            None => corner_refinement,
            Some(value) if value.is_null() => None,
            Some(value) if value == "mirror_corner" => corner_refinement,
            Some(_) => Some(read_refinement(&node.required("in_plane_edge_refinement")?)?),
        };
        let snapped = match node.value.get("bounds_snapping").map(|value| value.as_str()) {
            None | Some(Some("lower")) => Snapped::Lower,
            Some(None) => Snapped::None,
            Some(Some("upper")) => Snapped::Upper,
            Some(Some("center")) => Snapped::Center,
            Some(Some("bounds")) => Snapped::Both,
            Some(Some(_)) => {
                return Err(node.required("bounds_snapping")?.unsupported("this snapping to bounds"));
            }
        };
        let truth = |name: &str| node.optional(name).map_or(Ok(true), |node| node.truth());
        let passes = node.optional("gap_meshing_iters").map_or(Ok(1), |node| node.integer())?;
        let gap_passes = usize::try_from(passes.min(MAXIMUM_PASSES)).map_err(|_| {
            GridError::invalid(format!("{}/gap_meshing_iters", node.path), "a number of passes is expected")
        })?;
        Ok(Self {
            axis,
            region: BoxRegion { center, size },
            steps_along_axis: node
                .optional("min_steps_along_axis")
                .map(|node| node.positive())
                .transpose()?,
            bounds_refinement: node
                .optional("bounds_refinement")
                .map(|node| read_refinement(&node))
                .transpose()?,
            snapped,
            corners,
            corner_snapping: truth("corner_snapping")?,
            corner_refinement,
            edge_refinement: edge_refinement.filter(|_| corners.is_some()),
            steps_per_shape: defaulted(node, "min_steps_per_geometry", Some(STEPS_PER_SHAPE), |node| {
                node.positive().map(Some)
            })?,
            inside_only: truth("refinement_inside_sim_only")?,
            gap_passes,
            least_from_gaps: truth("dl_min_from_gap_width")?,
            disjoint: truth("interior_disjoint_geometries")?,
            path: node.path.clone(),
        })
    }
}

impl Default for Refinement {
    fn default() -> Self {
        Self { factor: None, step: None, cells: REFINED_CELLS }
    }
}

impl Default for Corners {
    fn default() -> Self {
        Self { angle: CORNER_ANGLE, aligned: ALIGNED_ANGLE }
    }
}

/// A field that null turns off and whose absence means the default.
fn defaulted<T>(
    node: &Node<'_>,
    name: &str,
    default: Option<T>,
    read: impl Fn(&Node<'_>) -> Result<Option<T>, GridError>,
) -> Result<Option<T>, GridError> {
    match node.value.get(name) {
        None => Ok(default),
        Some(value) if value.is_null() => Ok(None),
        Some(_) => read(&node.required(name)?),
    }
}

fn read_refinement(node: &Node<'_>) -> Result<Refinement, GridError> {
    let number = |name: &str| node.optional(name).map(|node| node.positive()).transpose();
    Ok(Refinement {
        factor: number("refinement_factor")?,
        step: number("dl")?,
        cells: number("num_cells")?.unwrap_or(REFINED_CELLS),
    })
}

fn read_corners(node: &Node<'_>) -> Result<Corners, GridError> {
    if let Some(medium) = node.optional("medium")
        && medium.text()? != "metal"
    {
        return Err(medium.unsupported("the search for corners of other materials than metal"));
    }
    for (name, what) in [
        ("distance_threshold", "the simplification of outlines before corners are sought"),
        ("corner_rounding_collapse_extent", "the collapse of rounded corners"),
        ("concave_resolution", "a least step from concave features"),
        ("convex_resolution", "a least step from convex features"),
        ("mixed_resolution", "a least step from mixed features"),
    ] {
        if let Some(option) = node.optional(name) {
            return Err(option.unsupported(what));
        }
    }
    let angle = |name: &str, default: f64| node.optional(name).map_or(Ok(default), |node| node.finite());
    Ok(Corners {
        angle: angle("angle_threshold", CORNER_ANGLE)?,
        aligned: angle("axis_aligned_angle_threshold", ALIGNED_ANGLE)?,
    })
}
