//! Secrets: whole runs of the real binary in which every place that can hold a key holds a canary, and a model and a server that repeat what they
//! were given, in results, errors, on stderr and as they die. Nothing that abide writes or prints may hold a canary, whole, in part or encoded.

mod server;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::dice::Dice;
use crate::support::model::{Model, Say};
use crate::support::project::{Out, Project, out};

/// What stands between the two halves of a canary: what is written differently in JSON, in an address, or in lines.
const ODD: [&str; 6] = ["-", "\"", "\\n\\", " and ", "+/=", "é"];

/// The canaries of a run, by the variable that holds each.
struct Canaries(BTreeMap<&'static str, String>);

impl Canaries {
    fn new(dice: &mut Dice) -> Self {
        let mut canary = |odd: &str| format!("cnry{:016x}{odd}{:016x}", dice.roll(), dice.roll());
        let plain = ["C_KEY", "C_HEADER", "C_USER", "C_QUERY"].map(|name| (name, canary("-")));
        let password = ("C_PASSWORD", canary("%2F+"));
        let odd = ["C_ENV", "C_ARG", "C_LITERAL"].map(|name| (name, canary(ODD[name.len() % ODD.len()])));
        let lines = ("C_LINES", canary("\nsecond line of a key\nthird line of a key\n"));
        let mut all: BTreeMap<_, _> = plain.into_iter().chain(odd).chain([password, lines]).collect();
        let which = dice.below(ODD.len() as u64) as usize;
        all.insert("C_ODD", format!("cnry{:016x}{}{:016x}", dice.roll(), ODD[which], dice.roll()));
        Self(all)
    }

    /// Everything that must not be found: halves, which no encoding of ours changes, and whole ones in base64.
    fn forms(&self) -> Vec<Vec<u8>> {
        let mut forms = Vec::new();
        for value in self.0.values() {
            let (first, last) = (&value.as_bytes()[..20], &value.as_bytes()[value.len() - 16..]);
            forms.extend([first.to_vec(), last.to_vec(), STANDARD.encode(value).into_bytes()]);
        }
        let user = &self.0["C_USER"];
        let password = self.0["C_PASSWORD"].replace("%2F", "/");
        forms.push(STANDARD.encode(format!("{user}:{password}")).into_bytes()[..24].to_vec());
        forms
    }

    /// All of them, as somebody repeats them: half of the time in JSON within JSON, or pushed to where a quotation is cut.
    fn said(&self, dice: &mut Dice) -> String {
        let mut text = "x".repeat([0, 1, 280, 970, 1_990][dice.below(5) as usize]);
        let mut values: Vec<&String> = self.0.values().collect();
        let turn = dice.below(values.len() as u64) as usize;
        values.rotate_left(turn);
        let values: Vec<&str> = values.into_iter().map(String::as_str).collect();
        text += &match dice.below(3) {
            0 => values.join(" "),
            1 => json!({"keys": values}).to_string(),
            _ => json!({"body": json!({"keys": values}).to_string()}).to_string(),
        };
        text += &STANDARD.encode(format!("{}:{}", self.0["C_USER"], self.0["C_PASSWORD"].replace("%2F", "/")));
        text
    }
}

fn script(canaries: &Canaries, dice: &mut Dice) -> Vec<Say> {
    let said: &'static str = canaries.said(dice).leak();
    let mode = ["answer", "refuse", "error", "die"][dice.below(4) as usize];
    let args = json!({"text": canaries.said(dice), "mode": mode});
    let last = match dice.below(4) {
        0 => Say::Text(said),
        1 => Say::Status(400, json!({"error": {"message": said, "code": "bad"}}), vec![]),
        2 => Say::Status(401, json!({"error": said}), vec![]),
        _ => Say::Status(
            301,
            json!(null),
            vec![("location", format!("http://127.0.0.1:1/?{}", canaries.0["C_QUERY"]).leak())],
        ),
    };
    match dice.below(4) {
        0 => vec![last],
        1 => vec![Say::Garbage(said)],
        _ => vec![Say::Calls(vec![("leaky_tell", args.clone()), ("leaky_tell", args)]), last],
    }
}

fn call(project: &Project, canaries: &Canaries, trace: bool, words: &[&str]) -> Out {
    let mut command = project.command(&project.root, words);
    command.envs(&canaries.0);
    if trace {
        command.env("ABIDE_LOG", "trace");
    }
    out(command.spawn().unwrap())
}

fn set_up(model: &Model, canaries: &Canaries) -> Project {
    let project = Project::new(model);
    let address = model.base_url.strip_prefix("http://").unwrap();
    project.write(
        "abide.toml",
        &format!(
            "[models.local]\nprovider = \"openai\"\nbase_url = \"http://${{C_USER}}:${{C_PASSWORD}}@{address}?key=${{C_QUERY}}\"\nmodel = \"m\"\n\
             headers = {{ x-team = \"${{C_HEADER}}\", x-key = \"Key ${{C_KEY}}\" }}\n"
        ),
    );
    let program = std::env::current_exe().unwrap();
    let args = ["--exact", "proof::secrets::server::serve", "--nocapture", "${C_ARG}"];
    let env = json!({server::PLAYS: "1", "A": "${C_ENV}", "B": canaries.0["C_LITERAL"], "C": "x ${C_LINES}", "D": "${C_ODD}"});
    let servers = json!({"mcpServers": {"leaky": {"command": program, "args": args, "env": env}}});
    project.write(".mcp.json", &servers.to_string());
    project
}

/// Everything that lies in a folder, by path.
fn written(folder: &Path, into: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => written(&path, into),
            path => into.push((path.clone(), std::fs::read(&path).unwrap())),
        }
    }
}

fn found(canaries: &Canaries, where_to: &[(PathBuf, Vec<u8>)]) -> Vec<String> {
    let forms = canaries.forms();
    let holds = |bytes: &[u8]| {
        let form = forms.iter().find(|form| bytes.windows(form.len()).any(|window| window == form.as_slice()))?;
        let at = bytes.windows(form.len()).position(|window| window == form.as_slice())?;
        let around = &bytes[at.saturating_sub(200)..(at + 120).min(bytes.len())];
        Some(String::from_utf8_lossy(around).into_owned())
    };
    where_to.iter().filter_map(|(path, bytes)| Some(format!("{}: {}", path.display(), holds(bytes)?))).collect()
}

fn one(number: u64) -> (usize, Vec<String>) {
    let mut dice = Dice::new(super::seed() ^ number.wrapping_mul(0x9e37_79b9));
    let canaries = Canaries::new(&mut dice);
    let model = Model::by_turn(script(&canaries, &mut dice));
    let project = set_up(&model, &canaries);
    let trace = number.is_multiple_of(2);
    let input = format!("repeat {}", canaries.said(&mut dice));
    let mut printed = Vec::new();
    let mut calls: Vec<Vec<&str>> =
        vec![vec!["run", "helper.md", &input, "--id", "r", "--trust", "--yes", "--no-wait"]];
    calls[0].extend(number.is_multiple_of(3).then_some("--json"));
    calls.extend([
        vec!["show", "r"],
        vec!["show", "r", "--json"],
        vec!["ls", "--json"],
        vec!["verify"],
        vec!["doctor"],
        vec!["trust"],
    ]);
    calls.push(vec!["resume", "r", "--no-wait", "--yes", "--trust"]);
    for (n, words) in calls.iter().enumerate() {
        let out = call(&project, &canaries, trace, words);
        assert!(n > 0 || matches!(out.code, 0 | 1 | 3 | 8), "{out:?}");
        assert!(!out.stderr.contains("panicked"), "{out:?}");
        printed.push((PathBuf::from(format!("stdout of {}", words[0])), out.stdout.into_bytes()));
        printed.push((PathBuf::from(format!("stderr of {}", words[0])), out.stderr.into_bytes()));
    }
    assert!(model.count() > 0, "the model was never asked");
    written(&project.root.join(".abide"), &mut printed);
    written(&project.dir.path().join("config"), &mut printed);
    assert!(printed.iter().any(|(path, _)| path.ends_with("runs.db")));
    (canaries.0.len(), found(&canaries, &printed))
}

#[test]
fn canaries_are_found_nowhere() {
    let runs = super::count("secrets", 5, 300);
    let (mut canaries, mut leaks) = (0, Vec::new());
    for number in 0..runs {
        let (count, found) = one(number);
        canaries += count;
        leaks.extend(found.into_iter().map(|leak| format!("run {number} of seed {}: {leak}", super::seed())));
    }
    println!("{runs} runs, {canaries} canaries: {} found", leaks.len());
    assert!(leaks.is_empty(), "{}", leaks.join("\n\n"));
}

/// What abide makes can be read by its owner only; what others made stays as it is.
#[cfg(unix)]
#[test]
fn what_abide_makes_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let model = Model::new(|_, _| Say::Text("hello"));
    let project = Project::new(&model);
    project.write(".mcp.json", "{}");
    let root = mode(&project.root);
    project.abide(&["run", "helper.md", "hi", "--id", "r", "--trust"]).is(0);
    assert_eq!(mode(&project.root), root);
    let folder = project.root.join(".abide");
    assert_eq!(mode(&folder), 0o700);
    // Open, so that its log and its index lie beside it.
    let open = rusqlite::Connection::open(project.db()).unwrap();
    open.query_row("SELECT count(*) FROM runs", [], |_| Ok(())).unwrap();
    let mut files = Vec::new();
    written(&folder, &mut files);
    assert!(files.len() >= 3, "{}", files.len());
    for (path, _) in files.iter().filter(|(path, _)| !path.ends_with(".gitignore")) {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    let config = project.dir.path().join("a").join("config");
    let env = abide::config::Env {
        cwd: project.root.clone(),
        config_base: Some(config.clone()),
        ..abide::config::Env::default()
    };
    abide::config::TrustStore::open(&env).unwrap().grant(&["0".repeat(64)]).unwrap();
    assert_eq!((mode(&config), mode(&config.join("abide"))), (0o700, 0o700));
    assert_eq!(mode(&config.join("abide").join("trust.json")), 0o600);
}
