//! SQLite file systems of our own, which SQLite itself calls: one that lies over the real files and may watch, refuse or pretend each call
//! (`shim`), one whose files are bytes in memory (`image`). They know nothing of journals; these two files are the only ones with unsafe code.

#[allow(unsafe_code, reason = "SQLite calls a VFS through C function pointers")]
pub mod image;
#[allow(unsafe_code, reason = "SQLite calls a VFS through C function pointers")]
pub mod shim;

pub use shim::{Call, Guard, Watch, watch};
