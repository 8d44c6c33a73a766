//! HDF5 as tidy3d writes it: the only place that knows the format.
mod encode;
mod plan;
pub use plan::FilePlan;
