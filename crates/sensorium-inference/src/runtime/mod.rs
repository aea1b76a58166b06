//! ONNX Runtime: where its library lies, which device it runs on, how sessions are opened.

mod cache;
mod device;
mod environment;
mod locate;
mod memory;
mod session;

pub use cache::cache_dir;
pub use device::{Device, GpuOptions};
pub use environment::{RuntimeInfo, environment, initialise, runtime_info};
pub use locate::{LIBRARY_FILE, ONNXRUNTIME_VERSION, library_cache_dir, prefer_library};
pub(crate) use memory::check_room;
pub(crate) use session::{Provider, SharedSession, Source, open_session};
