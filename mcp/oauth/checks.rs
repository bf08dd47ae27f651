//! What must be true of an authorization server and of what it answers, as plain questions. Nothing here calls anybody.

use reqwest::Url;
use rmcp::transport::auth::AuthorizationMetadata;

/// How long before its end a token is renewed, in seconds.
const EARLY_S: u64 = 30;

/// True if a token with this end is better renewed before it is sent.
pub(super) fn is_ending(ends_s: Option<u64>, now_s: u64) -> bool {
    ends_s.is_some_and(|ends_s| now_s + EARLY_S >= ends_s)
}

/// May a secret be sent to this address at all? Over TLS, or on this machine.
pub(crate) fn is_safe(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(&url),
        _ => false,
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Is this an authorization server that secrets can be told and a person be sent to?
///
/// # Errors
/// Why not, for the user.
pub(super) fn usable(metadata: &AuthorizationMetadata) -> Result<(), String> {
    let registration = metadata.registration_endpoint.as_ref();
    for endpoint in [&metadata.authorization_endpoint, &metadata.token_endpoint].into_iter().chain(registration) {
        if !is_safe(endpoint) {
            return Err(format!("its authorization server names {endpoint}, which is no https address"));
        }
    }
    Ok(())
}

/// Does it promise PKCE with S256? One that is silent about it must be refused, says the protocol.
///
/// # Errors
/// That it does not, for the user.
pub(super) fn proves_codes(metadata: &AuthorizationMetadata) -> Result<(), String> {
    let methods = metadata.code_challenge_methods_supported.as_deref().unwrap_or_default();
    if methods.iter().any(|method| method == "S256") {
        return Ok(());
    }
    Err("its authorization server does not say that it supports PKCE with S256, and without it a code could be stolen"
        .to_owned())
}

/// True if it takes the address of a document for a client's id.
pub(super) fn takes_documents(metadata: &AuthorizationMetadata) -> bool {
    let said = metadata.additional_fields.get("client_id_metadata_document_supported");
    said.and_then(serde_json::Value::as_bool).unwrap_or(false)
}

/// The scopes of both, each once, in this order.
pub(super) fn union<'s>(scopes: &[String], more: impl IntoIterator<Item = &'s str>) -> Vec<String> {
    let mut all = Vec::new();
    for scope in scopes.iter().cloned().chain(more.into_iter().map(str::to_owned)) {
        if !scope.is_empty() && !all.contains(&scope) {
            all.push(scope);
        }
    }
    all
}

/// A parameter of an address.
pub(super) fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// The seconds since 1970.
pub(super) fn now_s() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::{Value, json};

    use super::*;

    fn metadata(more: &Value) -> AuthorizationMetadata {
        let mut all = json!({"issuer": "https://as", "authorization_endpoint": "https://as/authorize", "token_endpoint": "https://as/token"});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn secrets_are_sent_over_tls_or_stay_on_this_machine() {
        for url in ["https://as/token", "http://127.0.0.1:1/", "http://localhost/x", "http://[::1]:7/"] {
            assert!(is_safe(url), "{url}");
        }
        for url in
            ["http://as/token", "http://127.0.0.1.evil/", "http://localhost.evil/", "ftp://as/", "file:///x", "x", ""]
        {
            assert!(!is_safe(url), "{url}");
        }
    }

    #[test]
    fn a_server_without_https_is_refused() {
        assert!(usable(&metadata(&json!({}))).is_ok());
        for key in ["authorization_endpoint", "token_endpoint", "registration_endpoint"] {
            for bad in ["http://as/x", "javascript:alert(1)", ""] {
                assert!(usable(&metadata(&json!({ key: bad }))).is_err(), "{key} {bad}");
            }
        }
    }

    #[test]
    fn only_a_server_that_promises_s256_is_taken() {
        for (said, good) in
            [(json!(["plain", "S256"]), true), (json!(["plain"]), false), (json!([]), false), (Value::Null, false)]
        {
            let metadata = metadata(&json!({"code_challenge_methods_supported": said}));
            assert_eq!(proves_codes(&metadata).is_ok(), good, "{said}");
        }
    }

    #[test]
    fn tokens_are_renewed_a_little_before_they_end() {
        for (ends, now, expected) in [
            (None, 9, false),
            (Some(100), 50, false),
            (Some(100), 70, true),
            (Some(100), 100, true),
            (Some(100), 900, true),
        ] {
            assert_eq!(is_ending(ends, now), expected, "{ends:?} {now}");
        }
    }

    #[test]
    fn scopes_add_up() {
        let known = ["a".to_owned(), "b".to_owned()];
        assert_eq!(union(&known, ["b", "c", "", "c"]), ["a", "b", "c"]);
        assert_eq!(union(&[], []), Vec::<String>::new());
    }

    /// RFC 7636, appendix B: rmcp makes the challenges, by this crate.
    #[test]
    fn the_challenge_of_a_verifier_is_that_of_the_rfc() {
        let verifier = oauth2::PkceCodeVerifier::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned());
        let challenge = oauth2::PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        assert_eq!(challenge.as_str(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
        assert_eq!(challenge.method().as_str(), "S256");
    }

    #[test]
    fn a_challenge_is_read_with_its_scope_and_its_document() {
        use rmcp::transport::auth::WWWAuthenticateParams;
        let base = Url::parse("https://mcp.example/mcp").unwrap();
        let read = |header: &str| WWWAuthenticateParams::parse(header, &base);
        let said = read(
            r#"Bearer error="insufficient_scope", scope="a b", resource_metadata="/.well-known/oauth-protected-resource""#,
        );
        assert!(said.is_insufficient_scope());
        assert_eq!(said.scope.as_deref(), Some("a b"));
        assert_eq!(
            said.resource_metadata_url.unwrap().as_str(),
            "https://mcp.example/.well-known/oauth-protected-resource"
        );
        for inside in [
            "http://169.254.169.254/x",
            "http://2852039166/x",
            "http://10.0.0.1/",
            "http://127.0.0.1/",
            "http://[::1]/",
        ] {
            let said = read(&format!(r#"Bearer resource_metadata="{inside}""#));
            assert_eq!(said.resource_metadata_url, None, "{inside}");
        }
    }
}
