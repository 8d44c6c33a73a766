//! The order of the dimensions of tidy3d's classes of labelled arrays.
//!
//! HDF5 files hold an array's values and its coordinates by name, but not in which order they are the array's
//! dimensions: the class says it, whose name the JSON has in the array's place.

/// The names of the dimensions of arrays of a class, outermost first; `None` for classes that are not known here.
pub fn dimensions_of(class: &str) -> Option<&'static [&'static str]> {
    Some(match class {
        "SpatialDataArray" => &["x", "y", "z"],
        "SpatialVoltageDataArray" => &["x", "y", "z", "voltage"],
        "ScalarFieldDataArray" | "FieldProjectionCartesianDataArray" => &["x", "y", "z", "f"],
        "ScalarFieldTimeDataArray" => &["x", "y", "z", "t"],
        "ScalarModeFieldDataArray" => &["x", "y", "z", "f", "mode_index"],
        "FieldProjectionAngleDataArray" => &["r", "theta", "phi", "f"],
        "FieldProjectionKSpaceDataArray" => &["ux", "uy", "r", "f"],
        "DiffractionDataArray" => &["orders_x", "orders_y", "f"],
        "FluxDataArray" | "FreqDataArray" => &["f"],
        "FluxTimeDataArray" | "TimeDataArray" => &["t"],
        "ModeAmpsDataArray" => &["direction", "f", "mode_index"],
        "ModeIndexDataArray"
        | "ModeDispersionDataArray"
        | "GroupIndexDataArray"
        | "FreqModeDataArray"
        | "ImpedanceFreqModeDataArray" => &["f", "mode_index"],
        "ModeDataArray" => &["mode_index"],
        "HeatDataArray" => &["T"],
        "ChargeDataArray" => &["n", "p"],
        "SteadyVoltageDataArray" => &["v"],
        "IndexedDataArray" => &["index"],
        "IndexedVoltageDataArray" => &["index", "voltage"],
        "IndexedTimeDataArray" => &["index", "t"],
        "IndexedFreqDataArray" => &["index", "f"],
        "PointDataArray" => &["index", "axis"],
        "TriangleMeshDataArray" => &["face_index", "vertex_index", "axis"],
        "PerturbationCoefficientDataArray" => &["wvl", "coeff"],
        "CellDataArray" => &["cell_index", "vertex_index"],
        _ => return None,
    })
}
