//! An MCP server on loopback that lets nobody in without a token, and the authorization server that gives them: with registration,
//! PKCE, rotating refresh tokens and scopes. It notes what it is asked, and every secret that it gives.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// How it differs from the usual.
#[derive(Debug, Clone, Default)]
pub struct Ways {
    /// It says nothing of PKCE.
    pub without_pkce: bool,
    /// It names another issuer in its redirects.
    pub wrong_iss: bool,
    /// How long its access tokens are good for, in seconds; an hour without.
    pub life_s: Option<u64>,
}

/// What it knows.
#[derive(Default)]
pub struct State {
    pub ways: Ways,
    /// Access tokens that are let in, with their scopes.
    pub tokens: BTreeMap<String, String>,
    /// Refresh tokens that were not spent yet, with their scopes.
    pub refresh: BTreeMap<String, String>,
    /// Code, challenge and scopes.
    codes: BTreeMap<String, (String, String)>,
    /// All secrets that were given so far, codes and proofs among them.
    pub secrets: BTreeSet<String>,
    /// The scopes that were asked for at each login.
    pub asked: Vec<String>,
    /// Tools that were called, with somebody let in.
    pub calls: Vec<String>,
    /// How often a client was registered, a token refreshed, and a spent refresh token shown.
    pub registered: usize,
    pub refreshed: usize,
    pub replayed: usize,
    /// Once: the next call of a tool finds every token revoked.
    pub revoke_at_call: bool,
    made: usize,
}

/// A running pair. It ends with the test's process.
pub struct Auth {
    pub base: String,
    state: Arc<Mutex<State>>,
}

struct Asked {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    form: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Value,
}

type Answer = (u16, Vec<(&'static str, String)>, String);

impl Auth {
    pub fn new(ways: Ways) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { ways, ..State::default() }));
        let (address, shared) = (base.clone(), state.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (base, state) = (address.clone(), shared.clone());
                std::thread::spawn(move || {
                    let Some(asked) = read(&stream) else { return };
                    let (status, headers, body) = answer(&base, &asked, &mut state.lock().unwrap());
                    let mut out =
                        format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
                    for (name, value) in headers {
                        out += &format!("{name}: {value}\r\n");
                    }
                    // Whoever asked may be gone.
                    let _ = (&stream).write_all(format!("{out}\r\n{body}").as_bytes());
                });
            }
        });
        Self { base, state }
    }

    /// What it knows, to look at or to change.
    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The entry of `.mcp.json` for it, by the name `far`.
    pub fn declaration(&self) -> String {
        json!({"mcpServers": {"far": {"type": "http", "url": format!("{}/mcp", self.base)}}}).to_string()
    }
}

/// Opens an address as a browser would, without following where it leads: the status, and that address.
pub fn open(address: &str) -> (u16, Option<String>) {
    let rest = address.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).unwrap().parse().unwrap();
    let led = text.lines().find_map(|line| line.strip_prefix("Location: "));
    (status, led.map(str::to_owned))
}

fn answer(base: &str, asked: &Asked, state: &mut State) -> Answer {
    match (asked.method.as_str(), asked.path.as_str()) {
        (_, "/mcp") => mcp(base, asked, state),
        ("GET", "/.well-known/oauth-protected-resource/mcp") => {
            json_of(200, &json!({"resource": format!("{base}/mcp"), "authorization_servers": [base]}))
        }
        ("GET", "/.well-known/oauth-authorization-server") => {
            let mut metadata = json!({"issuer": base, "authorization_endpoint": format!("{base}/authorize"),
                "token_endpoint": format!("{base}/token"), "registration_endpoint": format!("{base}/register"),
                "response_types_supported": ["code"], "authorization_response_iss_parameter_supported": true});
            if !state.ways.without_pkce {
                metadata["code_challenge_methods_supported"] = json!(["S256"]);
            }
            json_of(200, &metadata)
        }
        ("POST", "/register") => {
            state.registered += 1;
            let id = format!("client-{}", state.registered);
            json_of(201, &json!({"client_id": id, "redirect_uris": asked.body["redirect_uris"]}))
        }
        ("GET", "/authorize") => authorize(base, asked, state),
        ("POST", "/token") => token(base, asked, state),
        _ => (404, vec![], String::new()),
    }
}

fn authorize(base: &str, asked: &Asked, state: &mut State) -> Answer {
    let query = |name: &str| asked.query.get(name).cloned().unwrap_or_default();
    assert_eq!((query("response_type"), query("code_challenge_method")), ("code".to_owned(), "S256".to_owned()));
    assert_eq!(query("resource"), format!("{base}/mcp"));
    let code = secret(state, "code");
    state.codes.insert(code.clone(), (query("code_challenge"), query("scope")));
    state.asked.push(query("scope"));
    let issuer = if state.ways.wrong_iss { "http://127.0.0.1:1" } else { base };
    let led = format!("{}?code={code}&state={}&iss={issuer}", query("redirect_uri"), query("state"));
    (302, vec![("Location", led)], String::new())
}

fn token(base: &str, asked: &Asked, state: &mut State) -> Answer {
    let form = |name: &str| asked.form.get(name).cloned().unwrap_or_default();
    assert_eq!(form("resource"), format!("{base}/mcp"));
    let refused = json_of(400, &json!({"error": "invalid_grant"}));
    let scopes = match form("grant_type").as_str() {
        "authorization_code" => {
            let verifier = form("code_verifier");
            let proof = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
            state.secrets.insert(verifier);
            match state.codes.remove(&form("code")) {
                Some((challenge, scopes)) if challenge == URL_SAFE_NO_PAD.encode(proof) => scopes,
                _ => return refused,
            }
        }
        "refresh_token" => match state.refresh.remove(&form("refresh_token")) {
            Some(scopes) => {
                state.refreshed += 1;
                scopes
            }
            None => {
                state.replayed += 1;
                return refused;
            }
        },
        other => panic!("a grant of type {other:?}"),
    };
    let (access, refresh) = (secret(state, "access"), secret(state, "refresh"));
    state.tokens.insert(access.clone(), scopes.clone());
    state.refresh.insert(refresh.clone(), scopes.clone());
    json_of(
        200,
        &json!({"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "scope": scopes,
        "expires_in": state.ways.life_s.unwrap_or(3_600)}),
    )
}

/// Something that must be found nowhere.
fn secret(state: &mut State, kind: &str) -> String {
    state.made += 1;
    let seed = format!("{kind} {} {:?}", state.made, std::time::SystemTime::now());
    let secret = format!("cnry-{kind}-{}", &blake3::hash(seed.as_bytes()).to_hex()[..40]);
    state.secrets.insert(secret.clone());
    secret
}

fn mcp(base: &str, asked: &Asked, state: &mut State) -> Answer {
    let method = asked.body["method"].as_str().unwrap_or_default();
    if method == "tools/call" && std::mem::take(&mut state.revoke_at_call) {
        state.tokens.clear();
        state.refresh.clear();
    }
    let shown = asked.headers.get("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let document = format!("resource_metadata=\"{base}/.well-known/oauth-protected-resource/mcp\"");
    let Some(scopes) = state.tokens.get(shown).cloned() else {
        return (401, vec![("WWW-Authenticate", format!("Bearer scope=\"read\", {document}"))], String::new());
    };
    let done = |result: Value| json_of(200, &json!({"jsonrpc": "2.0", "id": asked.body["id"], "result": result}));
    match method {
        _ if asked.method != "POST" => (405, vec![], String::new()),
        "initialize" => done(json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
            "serverInfo": {"name": "far", "version": "1"}})),
        method if method.starts_with("notifications/") => (202, vec![], String::new()),
        "tools/list" => {
            let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}});
            done(json!({"tools": [tool("read"), tool("write")]}))
        }
        "tools/call" => {
            let tool = asked.body["params"]["name"].as_str().unwrap().to_owned();
            if !scopes.split(' ').any(|scope| scope == tool) {
                let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{tool}\", {document}");
                return (403, vec![("WWW-Authenticate", challenge)], String::new());
            }
            state.calls.push(tool);
            // It repeats what it was shown.
            done(json!({"content": [{"type": "text", "text": format!("done for {shown}")}]}))
        }
        _ => (400, vec![], String::new()),
    }
}

fn json_of(status: u16, body: &Value) -> Answer {
    (status, vec![("Content-Type", "application/json".to_owned())], body.to_string())
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers.get("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let text = String::from_utf8(body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let body = serde_json::from_str(&text).unwrap_or_default();
    Some(Asked { method, path: path.to_owned(), query: pairs(query), form: pairs(&text), headers, body })
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (decoded(name), decoded(value)));
    text.split('&').filter_map(pair).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap_or(b'%'));
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
