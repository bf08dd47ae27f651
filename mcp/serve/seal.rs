//! What is given to clients and believed only if it comes back unchanged: handles, and states between two rounds of a call.
//! It is a keyed BLAKE3 over parts that cannot run into each other; comparisons take the same time wherever they differ.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Hexadecimal digits of a handle's proof: 128 bits.
const PROOF: usize = 32;

/// A key. Whoever has it can make what it makes.
pub struct Seal {
    key: [u8; 32],
}

/// A state that has come back.
#[derive(Debug, PartialEq)]
pub(super) struct Opened {
    pub(super) value: Value,
    pub(super) until_ms: i64,
    /// Tells it from all others.
    pub(super) mark: [u8; 32],
}

impl Seal {
    /// With this key.
    pub fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    fn proof(&self, parts: &[&[u8]]) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hasher.finalize()
    }

    /// A handle for this id, which nobody can guess who knows the id.
    pub fn handle(&self, id: &str) -> String {
        let proof = self.proof(&[b"handle", id.as_bytes()]).to_hex();
        format!("{id}.{}", proof.get(..PROOF).unwrap_or_default())
    }

    /// The id of a handle that was made with this key.
    pub fn id_of<'h>(&self, handle: &'h str) -> Option<&'h str> {
        let (id, _) = handle.rsplit_once('.')?;
        // Hashed, so that the comparison takes the same time wherever they differ.
        let same =
            self.proof(&[b"compare", self.handle(id).as_bytes()]) == self.proof(&[b"compare", handle.as_bytes()]);
        same.then_some(id)
    }

    /// A state for the request that `about` stands for.
    pub(super) fn state(&self, about: &[u8], value: &Value, until_ms: i64, nonce: [u8; 16]) -> String {
        let body = json!([value, until_ms, nonce]).to_string();
        let proof = self.proof(&[b"state", about, body.as_bytes()]).to_hex();
        format!("{}.{proof}", URL_SAFE_NO_PAD.encode(body))
    }

    /// The state in a text that was made for the same request.
    pub(super) fn open(&self, about: &[u8], text: &str) -> Option<Opened> {
        let (body, proof) = text.split_once('.')?;
        let body = URL_SAFE_NO_PAD.decode(body).ok()?;
        let mark = self.proof(&[b"state", about, &body]);
        if blake3::Hash::from_hex(proof).ok()? != mark {
            return None;
        }
        let (value, until_ms, _) = serde_json::from_slice::<(Value, i64, Value)>(&body).ok()?;
        Some(Opened { value, until_ms, mark: *mark.as_bytes() })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_handle_is_known_again_and_no_other_is() {
        let (seal, other) = (Seal::new([1; 32]), Seal::new([2; 32]));
        let handle = seal.handle("ticket.7");
        assert_eq!(seal.id_of(&handle), Some("ticket.7"));
        assert_eq!(other.id_of(&handle), None);
        let mut longer = handle.clone();
        longer.push('0');
        let upper = handle.to_uppercase();
        for wrong in ["ticket.7", "ticket.8.00", "", ".", &handle[..handle.len() - 1], &longer, &upper] {
            assert_eq!(seal.id_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_state_comes_back_for_the_same_request_alone() {
        let seal = Seal::new([1; 32]);
        let text = seal.state(b"a", &json!({"run": "r"}), 7, [9; 16]);
        let opened = seal.open(b"a", &text).unwrap();
        assert_eq!((opened.value, opened.until_ms), (json!({"run": "r"}), 7));
        assert_ne!(seal.open(b"a", &seal.state(b"a", &json!({"run": "r"}), 7, [8; 16])).unwrap().mark, opened.mark);
        assert!(seal.open(b"b", &text).is_none(), "another request");
        let forged = URL_SAFE_NO_PAD.encode(json!([{"run": "s"}, 7, [0]]).to_string());
        let proof = text.split_once('.').unwrap().1;
        for wrong in [format!("{text}-TAMPERED"), format!("{forged}.{proof}"), String::new(), ".".to_owned()] {
            assert!(seal.open(b"a", &wrong).is_none(), "{wrong}");
        }
    }
}
