//! Waveguide modes: the finite-difference eigenproblem of a cross-section and its sparse solver.
//!
//! [`plane`] states and solves the problem of one cross-section at one frequency; [`eigen`] finds eigenpairs of sparse
//! matrices near a number and knows no optics. Lengths are micrometres, frequencies hertz, time varies as
//! `exp(-i ω t)`, so that positive imaginary parts of permittivities and indices mean loss.

pub mod eigen;
pub mod plane;
