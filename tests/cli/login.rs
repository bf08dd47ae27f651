//! A server that wants to know who asks: runs park until somebody has logged in, and go on; tokens are renewed once, widened when
//! asked, and lie nowhere in clear.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::json;

use crate::support::auth::{Auth, Ways, open};
use crate::support::model::{Model, Say};
use crate::support::project::{Out, Project, out};

fn set_up(auth: &Auth, tools: &[&'static str]) -> (Model, Project) {
    let mut turns: Vec<Say> = tools.iter().map(|tool| Say::Calls(vec![(*tool, json!({}))])).collect();
    turns.push(Say::Text("all done"));
    let model = Model::by_turn(turns);
    let project = Project::new(&model);
    project.write(".mcp.json", &auth.declaration());
    (model, project)
}

/// A login under way, and what it wants opened.
struct Begun {
    child: Child,
    address: String,
    said: Vec<String>,
    rest: BufReader<std::process::ChildStderr>,
}

// Its end is waited for by `Begun::over`.
#[allow(clippy::zombie_processes)]
fn begin(project: &Project, more: &[&str]) -> Begun {
    let words = [&["login", "far", "--trust", "--no-browser"], more].concat();
    let mut child = project.command(&project.root, &words).stdin(Stdio::piped()).spawn().unwrap();
    let mut rest = BufReader::new(child.stderr.take().unwrap());
    let mut said = Vec::new();
    loop {
        let mut line = String::new();
        assert!(rest.read_line(&mut line).unwrap() > 0, "it ended: {said:?}");
        said.push(line.clone());
        if let Some(address) = line.trim().strip_prefix("http://").filter(|rest| rest.contains("/authorize?")) {
            return Begun { child, address: format!("http://{address}"), said, rest };
        }
    }
}

impl Begun {
    /// Waits for its end.
    fn over(mut self) -> Out {
        drop(self.child.stdin.take());
        let mut text = self.said.concat();
        self.rest.read_to_string(&mut text).unwrap();
        Out { stderr: text, ..out(self.child) }
    }
}

/// Logs in as a person with a browser would.
fn log_in(project: &Project) -> Out {
    let begun = begin(project, &[]);
    let (status, led) = open(&begun.address);
    assert_eq!(status, 302);
    assert_eq!(open(&led.unwrap()).0, 200);
    begun.over().is(0)
}

fn run(project: &Project) -> Out {
    project.abide(&["run", "helper.md", "go", "--id", "r", "--trust", "--yes"])
}

fn resume(project: &Project) -> Out {
    project.abide(&["resume", "r", "--trust", "--yes"])
}

/// Nothing that abide has written or printed may hold a token, a code or a proof.
fn nothing_leaked(auth: &Auth, project: &Project, printed: &[Out]) {
    let secrets = auth.state().secrets.clone();
    assert!(secrets.iter().any(|secret| secret.contains("access")), "{secrets:?}");
    let mut places: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    files(project.dir.path(), &mut places);
    assert!(places.iter().any(|(path, _)| path.ends_with("runs.db")));
    assert!(places.iter().any(|(path, _)| path.extension().is_some_and(|ending| ending == "sealed")));
    for words in [&["show", "r"][..], &["show", "r", "--json"], &["ls", "--json"], &["doctor"]] {
        let out = project.abide(words);
        places.push((words.join(" ").into(), format!("{}{}", out.stdout, out.stderr).into_bytes()));
    }
    for out in printed {
        places.push(("what was printed".into(), format!("{}{}", out.stdout, out.stderr).into_bytes()));
    }
    for (path, bytes) in places {
        let found = secrets.iter().find(|secret| bytes.windows(secret.len()).any(|part| part == secret.as_bytes()));
        assert_eq!(found, None, "in {}", path.display());
    }
}

fn files(folder: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => files(&path, into),
            path => into.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
}

#[test]
fn a_run_waits_for_a_login_and_goes_on_after_it() {
    let auth = Auth::new(Ways::default());
    let (_model, project) = set_up(&auth, &["far_read"]);
    let parked = run(&project).is(3).says("wants you to log in").says("log in: abide login far");
    assert_eq!(project.show("r")["run"]["waiting_for"], "credentials");
    let said = log_in(&project).says("abide resume r");
    let mut logged = project.command(&project.root, &["resume", "r", "--trust", "--yes"]);
    let done = out(logged.env("ABIDE_LOG", "trace").spawn().unwrap()).is(0);
    assert_eq!(done.stdout, "all done\n");
    assert_eq!(auth.state().calls, ["read"]);
    assert_eq!(auth.state().asked, ["read"]);
    assert!(project.show("r").to_string().contains("done for ${far.access_token}"), "{}", project.show("r"));
    nothing_leaked(&auth, &project, &[parked, said, done]);
    let again = project.abide(&["logout", "far", "--trust"]).is(0);
    again.says("is forgotten");
    project.abide(&["call", "far", "read", "--trust"]).is(3).says("abide login far");
}

#[test]
fn a_call_that_is_turned_away_did_not_happen() {
    let auth = Auth::new(Ways::default());
    let (_model, project) = set_up(&auth, &["far_read"]);
    run(&project).is(3);
    log_in(&project);
    auth.state().revoke_at_call = true;
    resume(&project).is(3).says("wants you to log in");
    let shown = project.show("r");
    assert_eq!(shown["run"]["waiting_for"], "credentials", "{shown}");
    assert!(auth.state().calls.is_empty());
    log_in(&project).says("abide resume r");
    resume(&project).is(0);
    assert_eq!(auth.state().calls, ["read"]);
    assert_eq!(auth.state().registered, 1, "it registers once");
}

#[test]
fn a_login_that_was_left_goes_on_and_takes_a_pasted_answer() {
    let auth = Auth::new(Ways::default());
    let (_model, project) = set_up(&auth, &["far_read"]);
    let mut left = begin(&project, &[]);
    left.child.kill().unwrap();
    left.child.wait().unwrap();
    let (_, led) = open(&left.address);
    let mut begun = begin(&project, &[]);
    assert_eq!(begun.address, left.address, "the same login");
    let listens = led.clone().unwrap();
    let (other, _) = open(&listens.replace("state=", "state=x"));
    assert_eq!(other, 400, "only the answer is taken");
    assert_eq!(open(&listens.replace("/callback", "/")).0, 404);
    let mut stdin = begun.child.stdin.take().unwrap();
    writeln!(stdin, "http://127.0.0.1:1/callback?code=x&state=y\n\n{}", led.unwrap()).unwrap();
    let said = begun.over().is(0).says("that is not the address");
    run(&project).is(0);
    nothing_leaked(&auth, &project, &[said]);
}

#[test]
fn two_processes_spend_a_refresh_token_once() {
    let auth = Auth::new(Ways::default());
    let (_model, project) = set_up(&auth, &["far_read"]);
    log_in(&project);
    for round in 1..=3 {
        auth.state().tokens.clear();
        let calls: Vec<_> = (0..3).map(|_| project.spawn(&["call", "far", "read", "--trust"])).collect();
        for call in calls {
            out(call).is(0);
        }
        let state = auth.state();
        assert_eq!((state.refreshed, state.replayed, state.calls.len()), (round, 0, 3 * round));
    }
    run(&project).is(0);
    nothing_leaked(&auth, &project, &[]);
}

#[test]
fn a_token_is_renewed_before_it_ends() {
    let auth = Auth::new(Ways { life_s: Some(10), ..Ways::default() });
    let (_model, project) = set_up(&auth, &["far_read"]);
    log_in(&project);
    // Every token is about to end; none is ever turned away.
    project.abide(&["call", "far", "read", "--trust"]).is(0);
    let state = auth.state();
    assert!(state.refreshed > 0 && state.replayed == 0);
}

#[test]
fn a_call_that_needs_more_waits_for_a_login_with_all_scopes() {
    let auth = Auth::new(Ways::default());
    let (_model, project) = set_up(&auth, &["far_read", "far_write"]);
    run(&project).is(3);
    log_in(&project);
    resume(&project).is(3).says("it wants the scope \"write\" besides");
    log_in(&project);
    resume(&project).is(0);
    assert_eq!(auth.state().calls, ["read", "write"]);
    assert_eq!(auth.state().asked, ["read", "read write"]);
    // Whoever gives less than was asked for, and wants it all the same, is not asked forever.
    auth.state().tokens.values_mut().for_each(|scopes| *scopes = "read".to_owned());
    project.abide(&["call", "far", "write", "--trust"]).is(3).says("asked for already");
    assert_eq!(auth.state().asked.len(), 2);
}

#[test]
fn what_is_not_safe_is_refused() {
    let auth = Auth::new(Ways { without_pkce: true, ..Ways::default() });
    let (_model, project) = set_up(&auth, &["far_read"]);
    project.abide(&["login", "far"]).is(3).says("consent");
    project.abide(&["login", "far", "--trust"]).is(8).says("PKCE");
    assert_eq!(auth.state().registered, 0);
    project.abide(&["login", "near", "--trust"]).is(6);

    let auth = Auth::new(Ways { wrong_iss: true, ..Ways::default() });
    let (_model, project) = set_up(&auth, &["far_read"]);
    let begun = begin(&project, &[]);
    let (_, led) = open(&begun.address);
    open(&led.unwrap());
    begun.over().is(8).says("issuer mismatch");
    assert!(auth.state().tokens.is_empty());
}
