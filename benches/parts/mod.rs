//! The other figures: memory, start, kill to first live step, size. Each prints its own line.

use std::path::Path;

/// True if this process was started as one of the parts.
pub fn child() -> bool {
    false
}

pub fn measure(_dir: &Path, _wanted: &dyn Fn(&str) -> bool) {}
