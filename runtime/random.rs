//! The host's randomness: run ids and nonces. The engine never sees where they come from.

/// 16 random bytes.
pub(crate) fn bytes16() -> [u8; 16] {
    let mut bytes = [0; 16];
    if getrandom::fill(&mut bytes).is_err() {
        // No source of randomness (an early boot, a bare sandbox): the clock and a counter are still unique here.
        use std::sync::atomic::{AtomicU64, Ordering};
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&now.to_le_bytes()).update(&std::process::id().to_le_bytes());
        hasher.update(&COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    }
    bytes
}

/// A new run id.
pub(crate) fn run_id() -> String {
    abide_engine::run_id(&bytes16())
}

/// Eight random hex digits, for names of files.
pub(crate) fn hex8() -> String {
    abide_engine::hex::encode(&bytes16()[..4])
}
