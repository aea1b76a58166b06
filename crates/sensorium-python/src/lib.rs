//! The extension module below the Python package `sensorium`: sessions, frames by the Arrow PyCapsule interface, errors.
//!
//! What users call is Python (`python/sensorium`); here is what it stands on. Frames of any library come in and go out through
//! `__arrow_c_stream__` (<https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>), so that no library is named.

mod chart;
mod errors;
mod frames;
mod plan;
mod reader;
mod session;
mod waiting;

use pyo3::prelude::*;

/// Tensors and columns are megabytes that come and go on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `sensorium._native`.
#[pymodule]
mod _native {
    #[pymodule_export]
    use super::chart::bars;
    #[pymodule_export]
    use super::frames::Batches;
    #[pymodule_export]
    use super::plan::Plan;
    #[pymodule_export]
    use super::reader::Reader;
    #[pymodule_export]
    use super::session::Session;
    #[pymodule_export]
    use super::session::prefer_library;
    #[pymodule_export]
    use super::session::shut_down;
}
