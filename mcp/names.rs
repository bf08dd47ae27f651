//! The names a model sees: `server_tool`, reduced to what every provider accepts and told apart where they collide.
//! It never decides which tools there are, and never depends on the order in which they were listed.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// The longest name that every provider accepts.
const LONGEST: usize = 64;

/// Hexadecimal digits of the hash that tells two colliding names apart.
const SUFFIX: usize = 8;

/// Gives every `(server, tool)` its name for the model; the answer is in the order of `tools`, and each name is unique
/// and within `[A-Za-z0-9_-]{1,64}`.
///
/// Of several tools that would have the same name, the one of the longest server name keeps it (so with servers `a` and
/// `a_b`, `a_b_x` is tool `x` of `a_b`), then one that needed no reduction; the others end in a hash of server and tool.
pub fn tool_names(tools: &[(String, String)]) -> Vec<String> {
    let mut claims: BTreeMap<String, Vec<&(String, String)>> = BTreeMap::new();
    for pair in tools {
        claims.entry(plain_name(&pair.0, &pair.1)).or_default().push(pair);
    }
    let mut given: BTreeMap<&(String, String), String> = BTreeMap::new();
    let mut displaced = Vec::new();
    for (name, mut claimants) in claims.clone() {
        claimants.sort_by(|a, b| rank(a, &name).cmp(&rank(b, &name)));
        claimants.dedup();
        let mut claimants = claimants.into_iter();
        if let Some(first) = claimants.next() {
            given.insert(first, name);
        }
        displaced.extend(claimants);
    }
    // A name with a hash must not meet a plain one either: then the hash is salted until it is free.
    let mut taken: std::collections::BTreeSet<String> = claims.into_keys().collect();
    displaced.sort();
    for pair in displaced {
        let free = (0..=u32::MAX).map(|salt| with_hash(pair, salt)).find(|name| !taken.contains(name));
        let Some(name) = free else { continue };
        taken.insert(name.clone());
        given.insert(pair, name);
    }
    tools.iter().map(|pair| given.get(pair).cloned().unwrap_or_else(|| plain_name(&pair.0, &pair.1))).collect()
}

/// `server_tool` reduced, as long as nothing else claims it.
pub(crate) fn plain_name(server: &str, tool: &str) -> String {
    let full = format!("{server}_{tool}");
    if full.chars().count() > LONGEST {
        return with_hash(&(server.to_owned(), tool.to_owned()), 0);
    }
    reduce(&full)
}

/// Smaller is stronger: a longer server name, then a name that is exact, then the order of the alphabet.
fn rank<'a>(pair: &'a (String, String), name: &str) -> (std::cmp::Reverse<usize>, bool, &'a str, &'a str) {
    let exact = format!("{}_{}", pair.0, pair.1) == name;
    (std::cmp::Reverse(pair.0.len()), !exact, &pair.0, &pair.1)
}

fn reduce(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect()
}

fn with_hash((server, tool): &(String, String), salt: u32) -> String {
    let mut hasher = blake3::Hasher::new();
    // The length keeps ("a", "bc") and ("ab", "c") apart.
    hasher.update(&(server.len() as u64).to_le_bytes()).update(server.as_bytes()).update(tool.as_bytes());
    hasher.update(&salt.to_le_bytes());
    let hash = hasher.finalize().to_hex();
    let kept: String = reduce(&format!("{server}_{tool}")).chars().take(LONGEST - SUFFIX - 1).collect();
    format!("{kept}_{}", hash.chars().take(SUFFIX).collect::<String>())
}

/// A name as it is typed in a command that is printed: servers name their tools as they like, and no shell may read it as anything
/// but itself.
pub(crate) fn typed(name: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@".contains(c);
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(plain) {
        return Cow::Borrowed(name);
    }
    Cow::Owned(format!("'{}'", name.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn names(pairs: &[(&str, &str)]) -> Vec<String> {
        let pairs: Vec<_> = pairs.iter().map(|(s, t)| ((*s).to_owned(), (*t).to_owned())).collect();
        tool_names(&pairs)
    }

    #[test]
    fn no_shell_reads_a_typed_name_as_anything_else() {
        for (name, expected) in [
            ("pay_2.x", "pay_2.x"),
            ("x; rm -r ~", "'x; rm -r ~'"),
            ("$(id)", "'$(id)'"),
            ("it's", r"'it'\''s'"),
            ("--all", "'--all'"),
            ("", "''"),
        ] {
            assert_eq!(typed(name), expected);
        }
    }

    fn acceptable(name: &str) -> bool {
        (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
    }

    #[test]
    fn plain_names_stay_as_they_are() {
        assert_eq!(names(&[("memory", "read_graph"), ("fs", "read-file")]), ["memory_read_graph", "fs_read-file"]);
    }

    #[test]
    fn the_longest_server_name_keeps_a_contested_name() {
        let got = names(&[("a", "b_x"), ("a_b", "x")]);
        assert_eq!(got.last().unwrap(), "a_b_x");
        assert!(got[0].starts_with("a_b_x_") && got[0].len() == "a_b_x_".len() + SUFFIX, "{got:?}");
    }

    #[test]
    fn other_characters_become_underscores_and_what_then_collides_is_told_apart() {
        let got = names(&[("s", "x.y"), ("s", "x_y"), ("s", "x/y"), ("s", "größe")]);
        assert_eq!(got[1], "s_x_y");
        assert_eq!(got[3], "s_gr__e");
        assert!(got[0] != got[2] && got.iter().all(|name| acceptable(name)), "{got:?}");
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (one, two) = ("t".repeat(80) + "1", "t".repeat(80) + "2");
        let got = names(&[("server", &one), ("server", &two)]);
        assert!(got[0] != got[1] && got.iter().all(|name| acceptable(name) && name.len() == 64), "{got:?}");
    }

    #[test]
    fn the_order_of_listing_changes_nothing() {
        let pairs = [("a", "b_x"), ("a_b", "x"), ("s", "x.y"), ("s", "x/y"), ("s", "")];
        let mut turned = pairs;
        turned.reverse();
        let mut there = names(&turned);
        there.reverse();
        assert_eq!(names(&pairs), there);
    }

    #[test]
    fn a_name_that_looks_like_a_hashed_one_is_not_given_twice() {
        let hashed = names(&[("a", "b_x"), ("a_b", "x")]).remove(0);
        let squatter = hashed.strip_prefix("a_").unwrap().to_owned();
        let got = names(&[("a", "b_x"), ("a_b", "x"), ("a", &squatter)]);
        assert_eq!(got[2], hashed);
        assert!(got[0] != got[2] && acceptable(&got[0]), "{got:?}");
    }
}
