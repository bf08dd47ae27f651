//! Who may come in over HTTP: under which names, from which pages, with which token, how often and with how much. It looks at
//! nothing that a request asks for.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, StatusCode};

/// Names that only this machine goes by.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The fewest characters of a token.
const SHORTEST: usize = 16;

/// What a client must bring as `Authorization: Bearer`. Only its hash is kept.
pub struct Token(blake3::Hash);

impl Token {
    /// None if it is so short that it could be tried out, or could not stand in a header.
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() >= SHORTEST && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(blake3::hash(text.as_bytes())))
    }

    /// Of hashes, so that the comparison takes the same time wherever they differ, and whatever the length.
    fn is(&self, text: &str) -> bool {
        blake3::hash(text.as_bytes()) == self.0
    }
}

/// Decides who may come in.
pub struct Gate {
    hosts: Vec<String>,
    token: Option<Token>,
    pub(super) body_bytes: usize,
    pub(super) connections: usize,
    /// How long a client may take for its headers, for its body, and to read what it is sent.
    pub(super) patience: Duration,
    room: Bucket,
    /// What is left for those who are turned away: they take no room from the others.
    strangers: Bucket,
}

/// Why somebody may not.
#[derive(Debug, PartialEq)]
pub(super) struct Turned {
    pub(super) status: StatusCode,
    pub(super) why: &'static str,
    /// A header that tells a client what to do.
    pub(super) header: Option<(&'static str, &'static str)>,
}

impl Gate {
    /// For a server at this address: only under the names of this machine, or under that address.
    pub fn new(address: IpAddr) -> Self {
        let own = match address {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let mut hosts: Vec<String> = if address.is_loopback() || address.is_unspecified() {
            LOOPBACK.map(str::to_owned).to_vec()
        } else {
            Vec::new()
        };
        if !address.is_unspecified() && !hosts.contains(&own) {
            hosts.push(own);
        }
        let (room, strangers) = (Bucket::new(200), Bucket::new(200));
        let patience = Duration::from_secs(30);
        Self { hosts, token: None, body_bytes: 4 << 20, connections: 256, patience, room, strangers }
    }

    /// Also under this name.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.hosts.push(name.to_ascii_lowercase());
        self
    }

    /// Only with this token.
    #[must_use]
    pub fn token(mut self, token: Token) -> Self {
        self.token = Some(token);
        self
    }

    /// The largest body, in bytes; 4 MiB without it.
    #[must_use]
    pub fn body_bytes(mut self, most: usize) -> Self {
        self.body_bytes = most;
        self
    }

    /// How many requests a second; 200 without it.
    #[must_use]
    pub fn per_second(mut self, most: u32) -> Self {
        (self.room, self.strangers) = (Bucket::new(most), Bucket::new(most));
        self
    }

    /// How long a client may take for its headers, for its body, and to read what it is sent; 30 seconds without it.
    #[must_use]
    pub fn patience(mut self, most: Duration) -> Self {
        self.patience = most;
        self
    }

    pub(super) fn check(&self, parts: &Parts, now: Instant) -> Result<(), Turned> {
        let known = self.knows(parts);
        let bucket = if known.is_ok() { &self.room } else { &self.strangers };
        if !bucket.has_room(now) {
            let header = Some(("retry-after", "1"));
            return Err(Turned { status: StatusCode::TOO_MANY_REQUESTS, why: "too many requests", header });
        }
        known
    }

    fn knows(&self, parts: &Parts) -> Result<(), Turned> {
        let turned = |status, why| Err(Turned { status, why, header: None });
        // A page of another site can make a browser send requests here, and name its own name.
        let named = |authority: &str| self.hosts.iter().any(|host| *host == name_of(authority));
        if !only(&parts.headers, HOST).is_some_and(named) || !parts.uri.authority().is_none_or(|a| named(a.as_str())) {
            return turned(StatusCode::FORBIDDEN, "this server does not go by that name (see its --allow-host)");
        }
        let from_here = |origin: &str| {
            let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            rest.is_some_and(named)
        };
        if parts.headers.contains_key(ORIGIN) && !only(&parts.headers, ORIGIN).is_some_and(from_here) {
            return turned(StatusCode::FORBIDDEN, "pages of other sites may not call this server");
        }
        let given = || only(&parts.headers, AUTHORIZATION).and_then(|value| value.split_once(' '));
        let allowed = self.token.as_ref().is_none_or(|token| {
            given().is_some_and(|(scheme, text)| scheme.eq_ignore_ascii_case("bearer") && token.is(text.trim()))
        });
        if !allowed {
            let header = Some(("www-authenticate", "Bearer"));
            let why = "the token of this server must be given as `Authorization: Bearer TOKEN`";
            return Err(Turned { status: StatusCode::UNAUTHORIZED, why, header });
        }
        Ok(())
    }
}

/// It fills by so many a second, and holds as many.
struct Bucket {
    per_second: f64,
    left: Mutex<(f64, Instant)>,
}

impl Bucket {
    fn new(per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, left: Mutex::new((per_second, Instant::now())) }
    }

    fn has_room(&self, now: Instant) -> bool {
        let (most, mut left) = (self.per_second, self.left.lock().unwrap_or_else(PoisonError::into_inner));
        let (before, since) = *left;
        let filled = (before + now.saturating_duration_since(since).as_secs_f64() * most).min(most);
        let room = filled >= 1.0;
        *left = (if room { filled - 1.0 } else { filled }, now);
        room
    }
}

/// A header that stands there once.
pub(super) fn only(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    let mut all = headers.get_all(name).iter();
    let first = all.next()?;
    all.next().is_none().then(|| first.to_str().ok()).flatten()
}

/// A host without its port, in small letters.
fn name_of(authority: &str) -> String {
    let port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let name = match authority.rsplit_once(':') {
        Some((name, digits)) if port(digits) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => authority,
    };
    name.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use std::net::Ipv4Addr;

    use super::*;

    fn asked(gate: &Gate, headers: &[(&str, &str)]) -> u16 {
        let mut request = http::Request::builder().uri("/mcp");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        gate.check(&parts, Instant::now()).map_or_else(|turned| turned.status.as_u16(), |()| 200)
    }

    #[test]
    fn only_this_machine_under_its_own_names_and_for_its_own_pages() {
        let gate = Gate::new(Ipv4Addr::LOCALHOST.into());
        for host in ["127.0.0.1:8080", "127.0.0.1", "localhost:1", "LOCALHOST", "[::1]:80", "[::1]"] {
            assert_eq!(asked(&gate, &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example.com", "127.0.0.1.evil.com", "localhost.", "2130706433", "", "::1", "127.0.0.1:x"] {
            assert_eq!(asked(&gate, &[("host", host)]), 403, "{host}");
        }
        assert_eq!(asked(&gate, &[]), 403);
        assert_eq!(asked(&gate, &[("host", "localhost"), ("host", "evil.com")]), 403);
        for origin in ["http://localhost:3000", "https://127.0.0.1"] {
            assert_eq!(asked(&gate, &[("host", "localhost"), ("origin", origin)]), 200, "{origin}");
        }
        for origin in ["null", "http://evil.com", "http://localhost.evil.com", "file://", "localhost", ""] {
            assert_eq!(asked(&gate, &[("host", "localhost"), ("origin", origin)]), 403, "{origin}");
        }
    }

    #[test]
    fn other_addresses_go_by_themselves_and_by_what_is_said() {
        let gate = Gate::new(Ipv4Addr::new(192, 168, 1, 7).into()).host("Box.lan");
        assert_eq!(asked(&gate, &[("host", "192.168.1.7:80")]), 200);
        assert_eq!(asked(&gate, &[("host", "box.lan:80"), ("origin", "http://box.lan")]), 200);
        assert_eq!(asked(&gate, &[("host", "localhost")]), 403);
        assert_eq!(asked(&Gate::new(Ipv4Addr::UNSPECIFIED.into()), &[("host", "0.0.0.0")]), 403);
    }

    #[test]
    fn the_token_is_wanted_whole_and_in_its_header() {
        let text = "0123456789abcdef";
        assert!(Token::new("0123456789abcde").is_none() && Token::new("0123456789 abcdef").is_none());
        let gate = Gate::new(Ipv4Addr::LOCALHOST.into()).token(Token::new(text).unwrap());
        let with = |value: &str| asked(&gate, &[("host", "localhost"), ("authorization", value)]);
        assert_eq!(with(&format!("Bearer {text}")), 200);
        assert_eq!(with(&format!("bearer {text}")), 200);
        for wrong in
            ["Bearer 0123456789abcde", "Bearer 0123456789abcdeg", "Bearer ", "Bearer", "Basic 0123456789abcdef", text]
        {
            assert_eq!(with(wrong), 401, "{wrong}");
        }
        assert_eq!(asked(&gate, &[("host", "localhost")]), 401);
        assert_eq!(asked(&gate, &[("host", "evil.com"), ("authorization", "Bearer 0123456789abcdef")]), 403);
    }

    #[test]
    fn who_comes_too_often_waits() {
        let bucket = Bucket::new(2);
        let start = Instant::now();
        assert!(bucket.has_room(start) && bucket.has_room(start) && !bucket.has_room(start));
        assert!(!bucket.has_room(start + Duration::from_millis(400)));
        assert!(bucket.has_room(start + Duration::from_millis(600)));
    }

    #[test]
    fn strangers_take_no_room_from_those_who_may_come_in() {
        let text = "0123456789abcdef";
        let gate = Gate::new(Ipv4Addr::LOCALHOST.into()).token(Token::new(text).unwrap()).per_second(1);
        let stranger = |header: (&str, &str)| asked(&gate, &[("host", "localhost"), header]);
        assert_eq!(stranger(("authorization", "Bearer guessed-guessed-guessed")), 401);
        assert_eq!(stranger(("authorization", "Bearer guessed-guessed-guessed")), 429, "nor do they guess for long");
        assert_eq!(stranger(("origin", "http://evil.com")), 429);
        assert_eq!(asked(&gate, &[("host", "localhost"), ("authorization", &format!("Bearer {text}"))]), 200);
    }
}
