//! A client's signed word on who it is (RFC 7523, `private_key_jwt`), with ES256, and the form that exchanges such a word for a token.
//! It keeps neither key nor word.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::redirect::Policy;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rmcp::transport::auth::OAuthTokenResponse;
use serde_json::{Value, json};

use super::keeper::Refusal;

/// How long the word is good for, in seconds.
const LIFE_S: u64 = 120;

/// How long an authorization server may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes of its answer.
const LONGEST: usize = 1 << 20;

/// Signs that the bearer is this client, for this audience and a short while. `key` is PKCS#8 in PEM.
///
/// # Errors
/// Why the key is of no use, without quoting it.
pub(super) fn sign(key: &str, client_id: &str, audience: &str, now_s: u64) -> Result<String, String> {
    let unusable = |why: &str| format!("the `private_key` {why}: it must be PKCS#8 in PEM, for ES256 (P-256)");
    let body: String = key.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let der = STANDARD.decode(body).map_err(|_| unusable("is no PEM"))?;
    let random = SystemRandom::new();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der, &random)
        .map_err(|_| unusable("is of another kind"))?;
    let id = getrandom::u64().map_err(|error| format!("there is no randomness: {error}"))?;
    let header = json!({"alg": "ES256", "typ": "JWT"});
    let claims = json!({"iss": client_id, "sub": client_id, "aud": audience, "jti": format!("{id:016x}{now_s:x}"),
        "iat": now_s, "exp": now_s + LIFE_S});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    let signature = pair.sign(&random, text.as_bytes()).map_err(|_| unusable("does not sign"))?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Posts a form that asks for a token. `endpoint` was found to be safe to send secrets to.
pub(super) async fn exchange(endpoint: &str, form: &[(&str, &str)]) -> Result<OAuthTokenResponse, Refusal> {
    let later = |error: reqwest::Error| Refusal::Later(format!("its authorization server: {}", error.without_url()));
    let client = abide_llm::http_client(|builder| builder.redirect(Policy::none()).timeout(TIMEOUT)).map_err(later)?;
    let request = client
        .post(endpoint)
        .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(http::header::ACCEPT, "application/json")
        .body(encoded(form)?);
    let mut response = request.send().await.map_err(later)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(later)? {
        if body.len() + chunk.len() > LONGEST {
            return Err(Refusal::Never("its authorization server's answer is too long".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    if status.is_success() {
        return serde_json::from_slice(&body)
            .map_err(|_| Refusal::Never("its authorization server's answer is no token".to_owned()));
    }
    let error: Value = serde_json::from_slice(&body).unwrap_or_default();
    let why = error.get("error").and_then(Value::as_str).unwrap_or_default();
    let why = format!("its authorization server refused (HTTP {status} {why})");
    Err(if status.is_server_error() { Refusal::Later(why) } else { Refusal::Never(why) })
}

fn encoded(form: &[(&str, &str)]) -> Result<String, Refusal> {
    let mut url = reqwest::Url::parse("http://form/").map_err(|error| Refusal::Never(error.to_string()))?;
    url.query_pairs_mut().extend_pairs(form);
    Ok(url.query().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use ring::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, UnparsedPublicKey};

    use super::*;

    #[test]
    fn the_word_says_who_for_whom_and_until_when_and_is_signed() {
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
        let word = sign(&pem, "me", "https://as", 1_000).unwrap();
        let parts: Vec<&str> = word.split('.').collect();
        let read = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        assert_eq!(read(parts[0])["alg"], "ES256");
        let claims = read(parts[1]);
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"]),
            (&json!("me"), &json!("me"), &json!("https://as"))
        );
        assert_eq!((&claims["iat"], &claims["exp"]), (&json!(1_000), &json!(1_120)));
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
        let text = format!("{}.{}", parts[0], parts[1]);
        assert!(public.verify(text.as_bytes(), &URL_SAFE_NO_PAD.decode(parts[2]).unwrap()).is_ok());
        assert_ne!(
            read(sign(&pem, "me", "https://as", 1_000).unwrap().split('.').nth(1).unwrap())["jti"],
            claims["jti"]
        );
    }

    #[test]
    fn a_bad_key_is_told_and_not_quoted() {
        for key in ["", "s3cr3t-key", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"] {
            let why = sign(key, "me", "https://as", 0).unwrap_err();
            assert!(why.contains("PKCS#8") && !why.contains("s3cr3t") && !why.contains("c2Vj"), "{why}");
        }
    }

    #[test]
    fn a_form_is_encoded() {
        assert_eq!(encoded(&[("a", "b c"), ("d", "https://x/&=")]).unwrap(), "a=b+c&d=https%3A%2F%2Fx%2F%26%3D");
    }
}
