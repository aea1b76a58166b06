//! Tensors and columns are megabytes that come and go on several threads, which the system's allocator gives back to the
//! kernel and asks for again.

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, for which the bindings have no name.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
/// Milliseconds after which freed memory goes back to the kernel. mimalloc's own second lets a table that is scanned at a
/// gigabyte a second leave most of that behind; a tenth of it costs no time that could be measured.
const DELAY_MS: std::ffi::c_long = 100;

/// Sets the delay, unless `MIMALLOC_PURGE_DELAY` does. To be called before there are threads.
pub(crate) fn prepare() {
    #[expect(unsafe_code, reason = "a function of C")]
    // SAFETY: writes one number of a table that is in bounds, while nobody else runs.
    unsafe {
        libmimalloc_sys::mi_option_set_default(PURGE_DELAY, DELAY_MS);
    }
}
