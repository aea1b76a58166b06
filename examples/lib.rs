//! Runnable programs are the `*.rs` files beside this one.
