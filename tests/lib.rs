//! Tests of the public surface; see `main.rs`.
