//! The hash that chains each row to the one before it (DESIGN rule 15). It never reads or writes a row.

/// A BLAKE3 hash.
pub(crate) type Hash = [u8; 32];

/// Where the chain of a run begins.
pub(crate) fn run_hash(run_id: &str) -> Hash {
    *blake3::Hasher::new().update(b"abide run ").update(run_id.as_bytes()).finalize().as_bytes()
}

/// The hash of a row: of the hash before it and its body.
pub(crate) fn row_hash(before: &Hash, body: &str) -> Hash {
    *blake3::Hasher::new().update(before).update(body.as_bytes()).finalize().as_bytes()
}
