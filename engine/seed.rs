//! Everything that looks random inside a run, derived from its nonce. It never asks the system for randomness.

use serde::{Deserialize, Serialize};

use crate::hex;

/// The random 128 bits of a run's first event and the generation that is running (DESIGN rule 13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// Random bits of this run, drawn once by the host.
    #[serde(with = "hex::serde16")]
    pub nonce: [u8; 16],
    /// 0 for the first; each `continue_as_new` adds one.
    pub generation: u32,
}

impl Seed {
    fn derive(&self, purpose: &str, name: &str, n: u64) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(purpose.as_bytes()).update(&[0]).update(&self.nonce).update(&self.generation.to_le_bytes());
        hasher.update(&n.to_le_bytes()).update(name.as_bytes());
        hasher.finalize()
    }

    /// The idempotency key of a step: 32 hex digits, the same for every attempt, also after a crash.
    pub fn step_key(&self, id: &str) -> String {
        hex::encode(&self.derive("abide step key", id, 0).as_bytes()[..16])
    }

    /// 64 random bits for the n-th call of `random(name)` in a scope.
    pub(crate) fn random(&self, scoped_name: &str, n: u64) -> u64 {
        let hash = self.derive("abide random", scoped_name, n);
        hash.as_bytes().iter().take(8).fold(0, |acc, byte| (acc << 8) | u64::from(*byte))
    }

    /// A version 4 UUID for the n-th call of `uuid(name)` in a scope.
    pub(crate) fn uuid(&self, scoped_name: &str, n: u64) -> String {
        let hash = self.derive("abide uuid", scoped_name, n);
        let mut b = [0_u8; 16];
        b.copy_from_slice(&hash.as_bytes()[..16]);
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        let h = hex::encode(&b);
        format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }

    /// The id of the run that a child step starts.
    pub(crate) fn child_run(&self, id: &str) -> String {
        run_id(self.derive("abide child", id, 0).as_bytes())
    }

    /// A number in 0..1000 for the jitter of a retry.
    pub fn jitter(&self, id: &str, attempt: u32) -> u64 {
        let hash = self.derive("abide jitter", id, u64::from(attempt));
        let low = u16::from_le_bytes([hash.as_bytes()[0], hash.as_bytes()[1]]);
        u64::from(low) % 1000
    }
}

/// A run id of 16 characters (80 bits) from the first ten of these bytes; its first characters are as random as its last.
pub fn run_id(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bits = bytes.iter().take(10).fold(0_u128, |acc, byte| (acc << 8) | u128::from(*byte));
    (0..16).map(|i| char::from(ALPHABET[(bits >> (i * 5)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_nonce_generation_and_step_and_repeat_otherwise() {
        let seed = Seed { nonce: [7; 16], generation: 0 };
        let key = seed.step_key("plan");
        assert_eq!(key, seed.step_key("plan"));
        assert_eq!(key.len(), 32);
        assert_ne!(key, seed.step_key("plan#2"));
        assert_ne!(key, Seed { generation: 1, ..seed }.step_key("plan"));
        assert_ne!(key, Seed { nonce: [8; 16], ..seed }.step_key("plan"));
    }

    #[test]
    fn uuids_are_version_4_and_run_ids_short() {
        let seed = Seed { nonce: [1; 16], generation: 0 };
        let uuid = seed.uuid("a", 0);
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "4"));
        assert_ne!(uuid, seed.uuid("a", 1));
        assert_eq!(seed.child_run("c").len(), 16);
    }
}
