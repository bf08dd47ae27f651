//! HTTP clients that work wherever a static binary is put: one TLS provider, and certificates of the system or else our own.
//! It never sends a request.

use std::sync::Arc;

use reqwest::ClientBuilder;
use rustls::{ClientConfig, RootCertStore};

/// A client, configured by `configure`, which may be called twice.
///
/// It trusts what the system trusts. Where there is no certificate store at all (an empty container) it trusts Mozilla's roots
/// as they were when abide was built.
pub fn http_client(configure: impl Fn(ClientBuilder) -> ClientBuilder) -> reqwest::Result<reqwest::Client> {
    // Fails only if another one is installed already, which does as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let error = match configure(reqwest::Client::builder()).build() {
        Ok(client) => return Ok(client),
        Err(error) => error,
    };
    tracing::debug!(%error, "the system's certificates cannot be used; using the bundled ones");
    match bundled_roots() {
        Ok(tls) => configure(reqwest::Client::builder()).tls_backend_preconfigured(tls).build(),
        Err(_) => Err(error),
    }
}

fn bundled_roots() -> Result<ClientConfig, rustls::Error> {
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn clients_can_be_made_again_and_again_and_with_the_bundled_roots() {
        assert!(http_client(|builder| builder).is_ok());
        assert!(http_client(|builder| builder).is_ok());
        assert!(reqwest::Client::builder().tls_backend_preconfigured(bundled_roots().unwrap()).build().is_ok());
    }
}
