//! Words as a shell takes them, for commands that are printed to be pasted. It never runs one.

use std::borrow::Cow;

/// The word in quotes, if a shell would read it as anything but itself.
pub(crate) fn quote(word: &str) -> Cow<'_, str> {
    quote_for(word, std::path::MAIN_SEPARATOR == '\\')
}

fn quote_for(word: &str, windows: bool) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c) || (windows && c == '\\');
    if !word.is_empty() && word.chars().all(plain) {
        Cow::Borrowed(word)
    } else if windows {
        // PowerShell and cmd agree on double quotes; neither has an escape that the other knows.
        Cow::Owned(format!("\"{}\"", word.replace('"', "\\\"")))
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_they_must_be() {
        for (word, posix, windows) in [
            ("ab-2/x.db", "ab-2/x.db", "ab-2/x.db"),
            ("a b", "'a b'", "\"a b\""),
            ("it's", r"'it'\''s'", "\"it's\""),
            ("$(rm)", "'$(rm)'", "\"$(rm)\""),
            ("", "''", "\"\""),
            (r"C:\x", r"'C:\x'", r"C:\x"),
            ("~", "'~'", "\"~\""),
            ("a#2", "'a#2'", "\"a#2\""),
            ("ä", "'ä'", "\"ä\""),
        ] {
            assert_eq!((quote_for(word, false), quote_for(word, true)), (posix.into(), windows.into()), "{word}");
        }
    }
}
