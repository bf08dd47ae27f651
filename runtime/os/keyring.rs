//! The key of what abide keeps, in the keyring of macOS and Windows. Elsewhere there is none without a system library, and a file
//! takes its place. It never prints the key.

/// What the entry is called.
#[cfg(any(target_os = "macos", windows))]
const ENTRY: (&str, &str) = ("abide", "key of the tokens of MCP servers");

/// The key, if the keyring has it and can be opened.
#[cfg(any(target_os = "macos", windows))]
pub(crate) fn keyring_key() -> Option<Vec<u8>> {
    keyring::Entry::new(ENTRY.0, ENTRY.1).and_then(|entry| entry.get_secret()).ok()
}

/// Puts the key there. False if that cannot be done: without a session on the screen, for one.
#[cfg(any(target_os = "macos", windows))]
pub(crate) fn keep_keyring_key(key: &[u8]) -> bool {
    keyring::Entry::new(ENTRY.0, ENTRY.1).and_then(|entry| entry.set_secret(key)).is_ok()
}

/// There is no keyring.
#[cfg(not(any(target_os = "macos", windows)))]
pub(crate) fn keyring_key() -> Option<Vec<u8>> {
    None
}

/// There is no keyring.
#[cfg(not(any(target_os = "macos", windows)))]
pub(crate) fn keep_keyring_key(_key: &[u8]) -> bool {
    false
}
