//! The structures of a simulation with their media, in order of precedence.

use std::collections::HashMap;

use serde_json::Value;
use wavetask_document::ArraySource;

use super::sheet::Sheet;
use crate::geometry::tree::{COSTLY, Tree};
use crate::geometry::{self, Bounds, Geometry};
use crate::media::Medium;
use crate::reading::{Fields, Part, SceneError, join};

/// The structures of a simulation with their media and the background.
#[derive(Debug)]
pub struct Scene {
    structures: geometry::Scene,
    /// JSON path of the list of structures.
    path: String,
    /// Each medium of the document once; the first one is the background.
    media: Vec<Medium>,
    /// The medium of each structure, in the order of the document.
    medium_of: Vec<usize>,
    /// The rank of each structure: its place in ascending precedence.
    rank_of: Vec<usize>,
    /// By rank; only of structures whose medium has no thickness, once the grid is known.
    sheets: HashMap<usize, Sheet>,
    /// Over the bounding boxes in the order of precedence.
    tree: Tree,
}

impl Scene {
    /// Reads the structures and the background medium of a simulation (or scene) that the client wrote.
    ///
    /// `path` is where the simulation stands in the document: empty for the document itself,
    /// `simulation` in a mode solver's. Precedence follows the client: by priority, where
    /// `structure_priority_mode` may put conductors first, then by the order of the list.
    ///
    /// # Errors
    /// What [`Medium::read`] and [`crate::geometry::Scene::from_json`] refuse, and lumped elements.
    pub fn read(simulation: &Value, path: &str, arrays: &dyn ArraySource) -> Result<Self, SceneError> {
        let fields = Fields::of(Part::Medium, simulation, path)?;
        if fields.optional("lumped_elements").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            return Err(Part::Medium.unsupported(fields.path_of("lumped_elements"), "a lumped element"));
        }
        let structures = geometry::Scene::from_json(simulation, path, arrays)?;
        let mut media = vec![match fields.optional("medium") {
            Some(medium) => Medium::read(medium, &fields.path_of("medium"), arrays)?,
            None => Medium::vacuum(),
        }];
        if media[0].is_sheet() {
            return Err(Part::Medium.unsupported(fields.path_of("medium"), "a two-dimensional background"));
        }
        let path = fields.path_of("structures");
        // Media without arrays are told apart by their text.
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut medium_of = Vec::with_capacity(structures.structures().len());
        for (index, structure) in structures.structures().iter().enumerate() {
            let text = structure.medium.to_string();
            if let Some(&medium) = known.get(&text) {
                medium_of.push(medium);
                continue;
            }
            let medium = Medium::read(&structure.medium, &join(&join(&path, index), "medium"), arrays)?;
            if !medium.is_varying() {
                known.insert(text, media.len());
            }
            medium_of.push(media.len());
            media.push(medium);
        }
        let scene = Self::of(structures, path, media, medium_of);
        for (index, structure) in scene.structures().iter().enumerate() {
            if scene.medium(index).is_sheet() && flat_axis(&structure.geometry).is_none() {
                return Err(Part::Medium.invalid(
                    join(&scene.path, index),
                    "a two-dimensional medium needs a geometry of zero size along exactly one axis",
                ));
            }
        }
        Ok(scene)
    }

    fn of(structures: geometry::Scene, path: String, media: Vec<Medium>, medium_of: Vec<usize>) -> Self {
        let mut rank_of = vec![0; medium_of.len()];
        for (rank, &index) in structures.precedence().iter().enumerate() {
            rank_of[index] = rank;
        }
        let boxes = boxes(&structures);
        Self {
            tree: Tree::new(&boxes, COSTLY),
            structures,
            path,
            media,
            medium_of,
            rank_of,
            sheets: HashMap::new(),
        }
    }

    /// The structures in the order of the document.
    pub fn structures(&self) -> &[geometry::Structure] {
        self.structures.structures()
    }

    /// Indices of the structures in ascending precedence: each covers those before it.
    pub fn precedence(&self) -> &[usize] {
        self.structures.precedence()
    }

    /// JSON path of a structure, by its index in the document.
    pub fn structure_path(&self, structure: usize) -> String {
        join(&self.path, structure)
    }

    /// Each medium once, the background first.
    pub fn media(&self) -> &[Medium] {
        &self.media
    }

    /// The background medium.
    pub fn background(&self) -> &Medium {
        &self.media[0]
    }

    /// The medium of a structure, by its index in the document.
    pub fn medium(&self, structure: usize) -> &Medium {
        &self.media[self.medium_of[structure]]
    }

    /// The place in [`Self::media`] of a structure's medium; of the background for `None`.
    pub fn medium_index(&self, structure: Option<usize>) -> usize {
        structure.map_or(0, |structure| self.medium_of[structure])
    }

    /// Whether any medium has entries beside the diagonal of its tensor.
    pub fn is_fully_anisotropic(&self) -> bool {
        self.media.iter().any(Medium::is_fully_anisotropic)
    }

    /// The index of the structure that a point (µm) belongs to; `None` where only the background is.
    ///
    /// Sheets own the points of the plane that they were placed on, and none before.
    pub fn owner(&self, point: [f64; 3]) -> Option<usize> {
        self.rank_at(point).map(|rank| self.precedence()[rank])
    }

    /// The rank of the structure that a point belongs to.
    pub(crate) fn rank_at(&self, point: [f64; 3]) -> Option<usize> {
        self.tree.greatest_at(point, |rank| self.claims(rank, point))
    }

    /// Gives media without thickness the grid's: each sheet moves to the nearest grid boundary along its
    /// normal and fills half a cell on both sides, as the client's volumetric equivalent does.
    ///
    /// `boundaries` are those of the whole simulation's grid along each axis, ascending (µm).
    ///
    /// # Errors
    /// A sheet whose nearest boundary is the first or the last one has no cell on one side.
    pub fn place_sheets(&mut self, boundaries: [&[f64]; 3]) -> Result<(), SceneError> {
        let mut sheets = HashMap::new();
        for (index, structure) in self.structures.structures().iter().enumerate() {
            if !self.medium(index).is_sheet() {
                continue;
            }
            let Some(axis) = flat_axis(&structure.geometry) else { continue };
            let position = structure.geometry.bounds()[axis][0];
            let sheet = Sheet::new(axis, position, boundaries[axis]).ok_or_else(|| {
                Part::Medium.invalid(
                    join(&self.path, index),
                    "the grid has no cell on both sides of this two-dimensional medium",
                )
            })?;
            sheets.insert(self.rank_of[index], sheet);
        }
        let mut boxes = boxes(&self.structures);
        for (&rank, sheet) in &sheets {
            boxes[rank][sheet.axis] = [sheet.snapped; 2];
        }
        self.tree = Tree::new(&boxes, COSTLY);
        self.sheets = sheets;
        Ok(())
    }

    /// The path of a structure whose medium has no thickness and no grid to take it from.
    pub(super) fn unplaced_sheet(&self) -> Option<String> {
        (0..self.medium_of.len())
            .find(|&index| self.medium(index).is_sheet() && !self.sheets.contains_key(&self.rank_of[index]))
            .map(|index| join(&self.path, index))
    }

    /// Visits the ranks whose bounding box meets the given one.
    pub(crate) fn visit_overlapping(&self, region: &Bounds, mut visit: impl FnMut(usize)) {
        self.tree.any_overlapping(region, |rank| {
            visit(rank);
            false
        });
    }

    /// The extent along z of the structure of a rank, as the client clips by it.
    pub(super) fn heights(&self, rank: usize) -> [f64; 2] {
        match self.sheets.get(&rank) {
            Some(sheet) if sheet.axis == 2 => [sheet.snapped; 2],
            _ => self.geometry(rank).bounds()[2],
        }
    }

    /// Whether the structure of a rank contains the point, others aside.
    pub(super) fn claims(&self, rank: usize, point: [f64; 3]) -> bool {
        let geometry = self.geometry(rank);
        match self.sheets.get(&rank) {
            None => {
                !self.media[self.medium_of[self.precedence()[rank]]].is_sheet()
                    && geometry.contains_on_grid(point)
            }
            Some(sheet) if point[sheet.axis] == sheet.snapped => {
                geometry.contains_on_grid(sheet.with_normal(point, sheet.position))
            }
            Some(_) => false,
        }
    }

    /// The sheet of a rank.
    pub(crate) fn sheet(&self, rank: usize) -> Option<&Sheet> {
        self.sheets.get(&rank)
    }

    /// The highest rank below `rank` that has a volume and contains the point.
    pub(super) fn volume_below(&self, rank: usize, point: [f64; 3]) -> Option<usize> {
        self.tree.greatest_at(point, |candidate| {
            candidate < rank && !self.sheets.contains_key(&candidate) && self.claims(candidate, point)
        })
    }

    /// The place in [`Self::media`] of the medium of a rank; of the background for `None`.
    pub(crate) fn medium_of_rank(&self, rank: Option<usize>) -> usize {
        rank.map_or(0, |rank| self.medium_of[self.precedence()[rank]])
    }

    fn geometry(&self, rank: usize) -> &Geometry {
        &self.structures()[self.precedence()[rank]].geometry
    }
}

/// The bounding boxes in ascending precedence.
fn boxes(structures: &geometry::Scene) -> Vec<Bounds> {
    structures.precedence().iter().map(|&index| structures.structures()[index].geometry.bounds()).collect()
}

/// The axis along which the geometry has no size, if it is exactly one.
fn flat_axis(geometry: &Geometry) -> Option<usize> {
    let bounds = geometry.bounds();
    let mut flat = (0..3).filter(|&axis| bounds[axis][0] == bounds[axis][1]);
    match (flat.next(), flat.next()) {
        (Some(axis), None) => Some(axis),
        _ => None,
    }
}
