//! What is secret in a model's address: a user's name and password, and the values of its query. It never connects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;

use crate::redact::Redactor;
use crate::secret::{Vars, expand};

/// Names of query parameters whose values are secret though they stand in the address itself.
const SECRET_NAMES: [&str; 7] = ["key", "token", "secret", "sig", "password", "auth", "credential"];

/// Tells the redactor what is secret in the address that this template gives today, in every form in which it is sent.
pub(crate) fn teach(template: &str, vars: &dyn Vars, redactor: &Redactor) {
    let Ok(text) = expand(template, vars) else { return };
    let Ok(url) = Url::parse(&text) else { return };
    let open = expand(template, &Nothing).ok().and_then(|text| Url::parse(&text).ok());
    let learn = |name: &str, raw: &str, plain: &str| {
        redactor.learn(&format!("base_url.{name}"), raw);
        if plain != raw {
            redactor.learn(&format!("base_url.{name}.decoded"), plain);
        }
    };
    let (user, password) = (url.username(), url.password().unwrap_or_default());
    let (plain_user, plain_password) = (decoded(user), decoded(password));
    learn("user", user, &plain_user);
    learn("password", password, &plain_password);
    if !user.is_empty() || !password.is_empty() {
        // As it is sent: reqwest makes a header of it.
        redactor.learn("base_url.basic", &STANDARD.encode(format!("{plain_user}:{plain_password}")));
    }
    let raws = url.query().unwrap_or_default().split('&').map(|pair| pair.split_once('=').map_or("", |(_, raw)| raw));
    for ((name, plain), raw) in url.query_pairs().zip(raws) {
        // What stands in the file and has no telling name is a version or the like.
        let stands_open = open.iter().flat_map(Url::query_pairs).any(|(n, value)| n == name && value == plain);
        if !stands_open || is_secret(&name) {
            learn(&name, raw, &plain);
        }
    }
}

/// What of an address as it stands in a file is a secret and should be in a variable, if anything is.
pub fn secret_in_address(template: &str) -> Option<String> {
    // Each reference becomes one character that stands in no address.
    let text = expand(template, &Anything).unwrap_or_default();
    let is_open = |part: &str| !part.is_empty() && !part.contains(ANYTHING);
    let rest = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((user, _)) = authority.rsplit_once('@')
        && is_open(user.split_once(':').map_or(user, |(_, password)| password))
    {
        return Some("a user's name or password".to_owned());
    }
    let query = rest.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut literal = pairs.filter(|(name, value)| is_secret(name) && is_open(value));
    literal.next().map(|(name, _)| format!("the value of `{name}`"))
}

const ANYTHING: &str = "\u{1}";

/// Every variable is there, and nobody knows its value.
struct Anything;

impl Vars for Anything {
    fn var(&self, _name: &str) -> Option<String> {
        Some(ANYTHING.to_owned())
    }

    fn file_value(&self, _file: &str, _key: &str) -> Option<String> {
        None
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

/// Percent signs undone, as the user of a password would write it.
fn decoded(text: &str) -> String {
    // A query's own reading of percent signs, but for `+`, which is no space here.
    let query = format!("x:?v={}", text.replace('+', "%2B").replace('&', "%26").replace('#', "%23"));
    let url = Url::parse(&query).ok();
    url.and_then(|url| url.query_pairs().next().map(|(_, value)| value.into_owned())).unwrap_or_default()
}

/// No variable at all: what is left of a template stands in the file.
struct Nothing;

impl Vars for Nothing {
    fn var(&self, _name: &str) -> Option<String> {
        Some(String::new())
    }

    fn file_value(&self, _file: &str, _key: &str) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    struct One;

    impl Vars for One {
        fn var(&self, name: &str) -> Option<String> {
            match name {
                "PW" => Some("pa%2Fss+word1".to_owned()),
                "K" => Some("query-key-01".to_owned()),
                "WHOLE" => Some("https://someuser:longpassword@host.example/v1?api-version=2024-06-01".to_owned()),
                _ => None,
            }
        }

        fn file_value(&self, _file: &str, _key: &str) -> Option<String> {
            None
        }
    }

    #[test]
    fn an_address_is_hidden_in_every_form_it_is_sent_in() {
        let redactor = Redactor::default();
        teach("https://me:${PW}@host.example:1/v1?api-version=2024-06-01&v=${K}", &One, &redactor);
        for secret in ["pa%2Fss+word1", "pa/ss+word1", "query-key-01", &STANDARD.encode("me:pa/ss+word1")] {
            assert!(!redactor.mask(&format!("x {secret} y")).contains(secret), "{secret}");
        }
        for open in ["2024-06-01", "host.example", "https://"] {
            assert_eq!(redactor.mask(open), open);
        }
        let redactor = Redactor::default();
        teach("${WHOLE}", &One, &redactor);
        assert_eq!(redactor.mask("longpassword at host.example"), "${base_url.password} at host.example");
    }

    #[test]
    fn a_literal_secret_in_an_address_is_named() {
        for (template, found) in [
            ("https://host/v1", false),
            ("https://host/v1?api-version=1&beta=2", false),
            ("https://${USER}:${PW}@host/v1?key=${K}", false),
            ("https://me:${PW}@host/v1", false),
            ("https://${URL}", false),
            ("${OPENAI_BASE_URL:-https://api.openai.com/v1}", false),
            ("https://${USER:-bob}:${PW:-none}@host", false),
            ("https://me:secret@host/v1", true),
            ("https://token@host/v1", true),
            ("https://host/v1?api_key=abc", true),
            ("https://host/a@b", false),
        ] {
            assert_eq!(secret_in_address(template).is_some(), found, "{template}");
        }
    }
}
