//! How far a list of a server goes on, page by page: one that has no end, or whose pages are without measure, is cut off. It asks
//! for no page.

use std::collections::BTreeSet;

/// The most pages of one list.
const MOST: usize = 1_000;

/// The most that is kept of one list, in bytes of JSON.
pub(crate) const LARGEST: usize = 32 << 20;

/// The pages of one list so far.
#[derive(Default)]
pub(crate) struct Pages {
    /// Hashes of cursors: a server may make them as long as it likes.
    seen: BTreeSet<[u8; 32]>,
    bytes: usize,
}

impl Pages {
    /// Is there room for so many bytes more?
    pub(crate) fn has_room(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        self.bytes <= LARGEST
    }

    /// Where the list goes on; None at its end, and where it begins anew or goes on for too long.
    pub(crate) fn onward(&mut self, cursor: Option<String>) -> Option<String> {
        let is_new = |cursor: &String| self.seen.insert(*blake3::hash(cursor.as_bytes()).as_bytes());
        let cursor = cursor.filter(is_new)?;
        if self.seen.len() >= MOST {
            tracing::warn!(pages = MOST, "a list of an MCP server has no end and was cut off");
            return None;
        }
        Some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_without_end_or_measure_is_cut_off() {
        let mut pages = Pages::default();
        let mut next = |text: String| pages.onward(Some(text));
        assert_eq!(next("a".to_owned()).as_deref(), Some("a"));
        assert_eq!(next("a".to_owned()), None, "it begins anew");
        let further = (0..2 * MOST).take_while(|n| next(n.to_string()).is_some()).count();
        assert_eq!(further, MOST - 2);
        assert_eq!(Pages::default().onward(None), None);
        let mut pages = Pages::default();
        assert!(pages.has_room(LARGEST) && !pages.has_room(1) && !pages.has_room(usize::MAX));
    }
}
