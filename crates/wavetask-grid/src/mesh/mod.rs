//! Conforming simplicial meshes of a scene: triangles in flat domains, tetrahedra in 3-D.
//!
//! The mesher knows nothing of documents or shapes. It asks three questions: which *region* owns a point
//! ([`Scene`]), how long the longest edge of a cell may be at a point ([`CellSize`]), and through which
//! axis-aligned *feature planes* cell faces must pass exactly (faces of boxes, monitor planes).
//!
//! ```text
//! feature planes ─▶ lines ─▶ box tree ─▶ simplices ─▶ interfaces ─▶ SimplexMesh ─▶ Facets, Locator
//!                  (tensor)  (size field) (conforming) (snap, cut)
//! ```
//!
//! Why this way:
//! - **Planes first.** Chips are stacks of layers. A tensor grid with lines at all planes makes every layer exact,
//!   however thin, with no tolerance to tune; nothing later moves a vertex off its plane.
//! - **Boxes are refined, not simplices.** Bisecting the simplices of a flat box keeps its flatness for ever
//!   and makes angles close to 180°. Halving the *box* along its longest side first makes it a cube
//!   and only then a smaller cube, so cells are well shaped wherever the size field asks for small ones, and flat
//!   cells remain only where it asks for nothing. The split order on a face depends on that face alone, so faces of
//!   neighbours always nest, and hanging vertices are closed with cones over box and face centres.
//! - **Curved and oblique interfaces last**, by moving near vertices onto them and splitting the edges that still
//!   cross (after Labelle and Shewchuk's isosurface stuffing, 2007, for several materials). The mesh stays
//!   conforming by construction, and the interface is met at vertices, so its error is of second order.
//!
//! Rejected: a constrained Delaunay mesher. In 2-D it gives better angles; in 3-D, robust boundary recovery is
//! a project of its own, and one method for both dimensions is one set of tests.
//!
//! The result depends on the request alone, not on the number of threads. Lengths are micrometres.

mod crossing;
mod facets;
mod fill;
mod interface;
mod lines;
mod locator;
mod simplex;
mod snap;
mod split;
mod tree;

pub use facets::{Beyond, Facet, Facets};
pub use locator::{Located, Locator};
pub use simplex::{Quality, SimplexMesh};

/// Region of points that belong to nothing at all. Cells of this region are always left out of the mesh.
pub const VOID: u32 = u32::MAX;

/// Fourth point of a triangle, and the absent second cell of a facet.
pub const NONE: u32 = u32::MAX;

/// Says which region owns a point.
pub trait Scene: Sync {
    /// Region that owns `point` (µm); [`VOID`] where nothing does. On an interface any of the touching regions will do.
    fn region(&self, point: [f64; 3]) -> u32;

    /// The one region that owns all of the box, if that is known cheaply; `None` when it is not.
    ///
    /// Saves the mesher from searching excluded boxes for small solids.
    fn uniform(&self, _low: [f64; 3], _high: [f64; 3]) -> Option<u32> {
        None
    }
}

/// Wanted length of the longest edge of a cell, in µm.
pub trait CellSize: Sync {
    /// Wanted longest edge at `point`; must be positive.
    fn at(&self, point: [f64; 3]) -> f64;

    /// Smallest wanted edge within a box, or any value found in it below `enough`.
    ///
    /// The default samples centre and corners, which is right for fields that vary slowly over a box
    /// or are smallest on feature planes. A field that knows its distance to a box should override it.
    fn smallest_within(&self, low: [f64; 3], high: [f64; 3], enough: f64) -> f64 {
        let centre = std::array::from_fn(|axis| 0.5 * (low[axis] + high[axis]));
        let mut smallest = self.at(centre);
        for corner in 0..8_usize {
            if smallest < enough {
                return smallest;
            }
            let repeats = (0..3).any(|axis| low[axis] == high[axis] && corner >> axis & 1 == 1);
            if !repeats {
                let point =
                    std::array::from_fn(|axis| if corner >> axis & 1 == 1 { high[axis] } else { low[axis] });
                smallest = smallest.min(self.at(point));
            }
        }
        smallest
    }
}

/// All that a mesh is made from.
#[expect(missing_debug_implementations, reason = "holds references to the caller's closures and traits")]
pub struct MeshRequest<'a> {
    /// Lower and upper bound of the domain along each axis. At most one axis may have no extent: the mesh is then made
    /// of triangles in that plane.
    pub bounds: [[f64; 2]; 3],
    /// Positions of planes normal to each axis that cells must not cross. Planes outside the bounds are ignored.
    pub feature_planes: [Vec<f64>; 3],
    /// Planes closer than this are taken as one (the lowest; a bound wins over a plane).
    pub fuse_tolerance: f64,
    /// Owner of each point.
    pub scene: &'a dyn Scene,
    /// Wanted longest edge.
    pub size: &'a dyn CellSize,
    /// Regions that are cut out exactly but have no cells in the mesh, such as fluids. [`VOID`] always is.
    /// They are refined only as far as their neighbours ask.
    pub excluded: &'a (dyn Fn(u32) -> bool + Sync),
    /// Most cells that the mesh may have, excluded regions included.
    pub maximum_cells: usize,
    /// Asked now and then from any thread; when it answers `false` the mesher stops with [`MeshError::Cancelled`].
    pub keep_going: &'a (dyn Fn() -> bool + Sync),
}

/// Why there is no mesh. Grouped by what the caller does next.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MeshError {
    /// The request contradicts itself: correct it.
    #[error("mesh request refused: {reason}")]
    Invalid {
        /// What is wrong, in words.
        reason: String,
    },
    /// The size field asks for more cells than allowed: ask for larger cells or allow more.
    #[error("the mesh needs about {needed} cells, {limit} are allowed; {hint}")]
    TooManyCells {
        /// Estimate of the cells that the request needs.
        needed: usize,
        /// The request's `maximum_cells`.
        limit: usize,
        /// What to change.
        hint: String,
    },
    /// Nothing is left once the excluded regions are gone: there is nothing to solve.
    #[error("no part of the domain belongs to a region that is meshed")]
    Empty,
    /// `keep_going` answered `false`.
    #[error("meshing was cancelled")]
    Cancelled,
}

impl MeshError {
    /// Stable code of the error, for logs and documents.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "MESH_INVALID",
            Self::TooManyCells { .. } => "MESH_TOO_MANY_CELLS",
            Self::Empty => "MESH_EMPTY",
            Self::Cancelled => "MESH_CANCELLED",
        }
    }
}

/// Makes the mesh.
///
/// # Errors
/// See [`MeshError`]. The cell limit is checked while the box tree grows, before simplices take memory.
pub fn generate(request: &MeshRequest<'_>) -> Result<SimplexMesh, MeshError> {
    let lines = lines::Lines::new(request)?;
    let boxes = tree::grow(request, &lines)?;
    let mut draft = fill::fill(request, &lines, boxes)?;
    interface::conform(request, &mut draft)?;
    simplex::finish(request, &lines, draft)
}

/// `Err(Cancelled)` when the caller no longer wants the mesh.
fn check(request: &MeshRequest<'_>) -> Result<(), MeshError> {
    if (request.keep_going)() { Ok(()) } else { Err(MeshError::Cancelled) }
}
