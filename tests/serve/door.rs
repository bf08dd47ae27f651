//! Who may come in over HTTP, and what is said to the others.

use serde_json::json;

use super::{Serving, project};
use crate::support::client::{Legacy, Modern, send};
use crate::support::model::{Model, Say};

const DISCOVER: &str = r#"{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
const MODERN: [(&str, &str); 2] = [("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "server/discover")];

fn silent() -> Model {
    Model::new(|_, _| Say::Text("never asked"))
}

#[test]
fn strangers_are_turned_away() {
    let project = project(&silent(), "");
    let serving = Serving::start(&project, &[]);
    let status = |more: &[(&str, &str)]| send(&serving.address, "POST", &[&MODERN, more].concat(), DISCOVER).status;
    assert_eq!(status(&[]), 200);
    assert_eq!(status(&[("Host", "localhost")]), 200);
    assert_eq!(status(&[("Origin", "http://localhost:6274")]), 200);
    for host in ["evil.example.com", "2130706433", "127.0.0.1.nip.io", "0.0.0.0"] {
        assert_eq!(status(&[("Host", host)]), 403, "{host}");
    }
    for origin in ["null", "http://evil.example.com", "file://"] {
        assert_eq!(status(&[("Origin", origin)]), 403, "{origin}");
    }
    assert_eq!(status(&[("Content-Type", "text/plain")]), 415);
    assert_eq!(status(&[("Accept", "image/png")]), 406);
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(5 << 20));
    let refused = send(&serving.address, "POST", &[], &large);
    assert_eq!(refused.status, 413);
    assert!(refused.all()[0]["error"]["message"].as_str().unwrap().contains("4194304 bytes"));
    for (method, wanted) in [("GET", 405), ("PUT", 405), ("OPTIONS", 405), ("DELETE", 404)] {
        assert_eq!(send(&serving.address, method, &[], "").status, wanted, "{method}");
    }
    let deep = "[".repeat(100_000);
    let text = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{deep}");
    for (body, code) in [("no json", -32700), ("[]", -32600), ("7", -32600), (&deep, -32700), (&text, -32700)] {
        let refused = send(&serving.address, "POST", &[], body);
        assert_eq!(refused.status, 400, "{body}");
        assert_eq!(refused.all()[0]["error"]["code"], code, "{body}");
    }
    assert_eq!(status(&[]), 200, "it lives");
}

#[test]
fn a_token_is_asked_for_where_there_is_one() {
    let project = project(&silent(), "");
    let file = project.dir.path().join("token");
    let path = file.to_str().unwrap();
    let serving = Serving::start(&project, &["--token-file", path]);
    let token = std::fs::read_to_string(&file).unwrap();
    let status = |value: &str| {
        let headers = [&MODERN[..], &[("Authorization", value)]].concat();
        send(&serving.address, "POST", &headers, DISCOVER)
    };
    assert_eq!(status(&format!("Bearer {token}")).status, 200);
    for wrong in ["", "Bearer", "Bearer x", &format!("Bearer {}", &token[..63]), &format!("Bearer {token}0"), &token] {
        let refused = status(wrong);
        assert_eq!(refused.status, 401, "{wrong}");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
    }
    let client = Modern { token, ..Modern::new(&serving.address) };
    assert!(client.result("tools/list", &json!({}))["tools"].is_array());
    drop(serving);

    std::fs::write(&file, "short").unwrap();
    project.abide(&["serve", "--http", "127.0.0.1:0", "--token-file", path]).is(8).says("holds no token");
    project.abide(&["serve", "--http", "0.0.0.0:0"]).is(2).says("--token-file");
}

#[cfg(unix)]
#[test]
fn a_token_that_others_can_read_is_none() {
    use std::os::unix::fs::PermissionsExt as _;
    let project = project(&silent(), "");
    let file = project.dir.path().join("token");
    std::fs::write(&file, "0123456789abcdef").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let words = ["serve", "--http", "127.0.0.1:0", "--token-file", file.to_str().unwrap()];
    project.abide(&words).is(8).says("can be read by others").says("chmod 600");
    let made = project.dir.path().join("made");
    let serving = Serving::start(&project, &["--token-file", made.to_str().unwrap()]);
    for private in [made, project.root.join(".abide/runs.db.serve-key")] {
        let mode = std::fs::metadata(&private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{private:?}");
    }
    drop(serving);
}

#[test]
fn news_are_told_on_a_stream_to_those_who_listen() {
    let project = project(&silent(), "");
    let serving = Serving::start(&project, &[]);
    let old = Legacy::new(&serving.address, &json!({}));
    let session = [("Mcp-Session-Id", old.session.as_str())];
    let mut told = vec![send(&serving.address, "GET", &session, "")];
    let modern = Modern::new(&serving.address);
    let all = json!({"notifications": {"toolsListChanged": true}});
    told.push(modern.send("subscriptions/listen", &all));
    let mut others = modern.send("subscriptions/listen", &json!({"notifications": {"promptsListChanged": true}}));
    for stream in [&mut told[1], &mut others] {
        assert_eq!(stream.next().unwrap()["method"], "notifications/subscriptions/acknowledged");
    }
    std::fs::remove_file(project.root.join(".abide/agents/helper.md")).unwrap();
    for stream in &mut told {
        assert_eq!(stream.next().unwrap()["method"], "notifications/tools/list_changed");
    }
    assert_eq!(modern.result("tools/list", &json!({}))["tools"].as_array().unwrap().len(), 4, "runs_* alone");
    drop(serving);
    assert_eq!(others.next(), None, "what was not asked for is not told");
}

#[test]
fn a_session_ends_and_is_not_known_any_more() {
    let project = project(&silent(), "");
    let serving = Serving::start(&project, &[]);
    let client = Legacy::new(&serving.address, &json!({}));
    assert_eq!(client.result("ping", &json!({})), json!({}));
    let session = [("Mcp-Session-Id", client.session.as_str())];
    assert_eq!(send(&serving.address, "DELETE", &session, "").status, 204);
    assert_eq!(client.send("ping", &json!({})).status, 404);
    let nowhere = Legacy { session: String::new(), ..client };
    assert_eq!(nowhere.send("ping", &json!({})).status, 400);
}
