//! Tests of `[servers.NAME.oauth]`: what is read, what is kept of it, and whose consent it takes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use abide_llm::SecretRef;

use super::super::consent::ConsentKind;
use super::super::project::tests::Home;
use super::*;

const SERVER: &str = "[servers.far]\nurl = \"https://far.example/mcp\"\n[servers.far.oauth]\n";

fn read(oauth: &str) -> Result<OAuth, ConfigError> {
    let home = Home::with(&[("p/abide.toml", &format!("{SERVER}{oauth}"))]);
    let project = home.load()?;
    let server = project.servers().next().unwrap().clone();
    Ok(server.oauth.unwrap())
}

#[test]
fn every_key_is_read_and_no_literal_secret_is_kept() {
    let documented: Vec<&str> = keys::OAUTH.iter().map(|key| key.example).collect();
    let all = read(&documented.join("\n")).unwrap();
    assert_eq!(
        (all.grant, all.redirect_port, all.scopes),
        (Grant::ClientCredentials, Some(8_123), vec!["read".to_owned()])
    );
    assert_eq!(all.client_secret, Some(SecretRef::Template("${FAR_SECRET}".to_owned())));
    assert!(
        all.client_id.is_some() && all.issuer.is_some() && all.client_metadata_url.is_some() && all.assertion.is_some()
    );
    let literal = read("client_id = \"me\"\nclient_secret = \"a secret of mine\"\n").unwrap();
    let place = SecretRef::File { file: "abide.toml".to_owned(), key: "servers.far.oauth.client_secret".to_owned() };
    assert_eq!(literal.client_secret, Some(place));
    assert!(!serde_json::to_string(&literal).unwrap().contains("of mine"));
}

#[test]
fn what_does_not_go_together_is_told_with_its_line() {
    for (oauth, word) in [
        ("grant = \"client_credentials\"", "client_secret"),
        ("grant = \"client_credentials\"\nclient_id = \"me\"", "private_key"),
        ("grant = \"jwt_bearer\"", "assertion"),
        ("grant = \"implicit\"", "authorization_code"),
        ("client_secret = \"${S}\"", "client_id"),
        ("redirect_port = 0", "65535"),
        ("redirect_port = 70000", "65535"),
        ("client = \"me\"", "client_id"),
    ] {
        let error = read(oauth).unwrap_err();
        let text = format!("{error}\n{}", error.help());
        assert!(text.contains(word) && text.contains("abide.toml:"), "{oauth}: {text}");
    }
}

/// A project that adds a client's secret to a server of the user's own could have it told to whomever that server names.
#[test]
fn what_a_project_adds_to_a_server_of_the_users_own_takes_consent() {
    let user = ("u/abide.toml", "[servers.far]\nurl = \"https://far.example/mcp\"\n");
    let asks = |files: &[(&str, &str)]| {
        let requests = Home::with(files).load().unwrap().consent_requests();
        let start = requests.into_iter().find(|request| request.kind == ConsentKind::StartServer);
        start.map(|request| request.lines.join("\n"))
    };
    assert_eq!(asks(&[user]), None);
    let added = "[servers.far.oauth]\nclient_id = \"me\"\nclient_secret = \"${AWS_SECRET}\"\n";
    let shown = asks(&[user, ("p/abide.toml", added)]).unwrap();
    assert!(
        shown.contains("oauth client_id=\"me\"") && shown.contains("oauth client_secret=\"${AWS_SECRET}\""),
        "{shown}"
    );
}
