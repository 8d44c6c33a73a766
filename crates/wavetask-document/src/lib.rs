//! Documents, arrays and blocks, and their translation from and to the HDF5 files that tidy3d writes.
