//! Proofs of the proofs: each mutant of the code must make the proof fail that is named for it. All mutants go into one copy of the workspace,
//! each behind a switch, so that it is built once. The rows are in `table`. It never touches the sources that it copies.

mod hostile_rows;
mod power_rows;
mod quota_rows;
mod serve_rows;
mod table;
mod turn_rows;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use table::TABLE;

/// A change of the code that a proof must notice.
struct Mutant {
    /// What `ABIDE_MUTANT` calls it.
    name: &'static str,
    /// The file that it changes.
    file: &'static str,
    /// Text that occurs exactly once in that file.
    from: &'static str,
    /// What stands there instead; `MUTANT` in it is true if this mutant is switched on, and only then may anything differ.
    to: &'static str,
    /// Which tests must fail: a filter of test names.
    proof: &'static str,
    /// `ABIDE_PROOF` for them, if their small form is not enough.
    count: Option<&'static str>,
}

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// A proof that takes longer than this hangs, which is not the same as noticing.
const PATIENCE: Duration = Duration::from_secs(180);

/// The rows to try: all, or those whose proof `ABIDE_MUTANTS` names a part of.
fn chosen() -> Vec<&'static Mutant> {
    let part = std::env::var("ABIDE_MUTANTS").unwrap_or_default();
    rows().filter(|m| m.proof.contains(&part) || m.name == part).collect()
}

fn rows() -> impl Iterator<Item = &'static Mutant> {
    TABLE.iter().copied().flatten()
}

#[test]
fn every_row_is_still_about_this_code() {
    let mut names = BTreeSet::new();
    let mut bad = Vec::new();
    for Mutant { name, file, from, to, .. } in rows() {
        let text = std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap_or_default();
        let times = text.matches(from).count();
        if times != 1 {
            bad.push(format!("{name}: its text occurs {times} times in {file}"));
        }
        if !names.insert(name) || !to.contains("MUTANT") {
            bad.push(format!("{name}: its name is taken, or it has no switch"));
        }
    }
    assert!(bad.is_empty(), "rows to mend:\n  {}", bad.join("\n  "));
    for file in rows().map(|m| Path::new(m.file)).collect::<BTreeSet<_>>() {
        mutated(file, std::fs::read(Path::new(ROOT).join(file)).unwrap());
    }
}

#[test]
#[ignore = "builds a mutated copy of the workspace: run by `just proof` and the gate"]
fn each_mutant_is_caught() {
    let copy = Copy::make();
    let tests = copy.build();
    let chosen = chosen();
    let proofs: BTreeSet<_> = chosen.iter().map(|m| (m.proof, m.count)).collect();
    let healthy = side_by_side(&proofs.into_iter().collect::<Vec<_>>(), |(proof, count)| {
        (*proof, run(&tests, proof, *count, None))
    });
    for (proof, verdict) in healthy {
        assert!(matches!(verdict, Verdict::Passed), "{proof} fails without any mutant: {verdict:#?}");
    }
    let verdicts = side_by_side(&chosen, |m| (m.name, m.proof, run(&tests, m.proof, m.count, Some(m.name))));
    let caught = verdicts.iter().filter(|(.., verdict)| matches!(verdict, Verdict::Failed(_))).count();
    println!("{} mutants, {caught} caught", verdicts.len());
    let bad: Vec<_> = verdicts.into_iter().filter(|(.., verdict)| !matches!(verdict, Verdict::Failed(_))).collect();
    assert!(bad.is_empty(), "not caught: {bad:#?}");
}

/// What a proof made of a mutant.
#[derive(Debug)]
enum Verdict {
    Passed,
    Failed(#[allow(dead_code, reason = "printed")] String),
    /// Neither: it hung, it was killed, or the filter names no test.
    Neither(#[allow(dead_code, reason = "printed")] String),
}

/// Runs a proof in the mutated copy.
fn run(tests: &Path, proof: &str, count: Option<&str>, mutant: Option<&str>) -> Verdict {
    let mut command = Command::new(tests);
    command.arg(proof).current_dir(tests.parent().unwrap());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ABIDE_")) {
        command.env_remove(name);
    }
    command.env("ABIDE_MUTANT", mutant.unwrap_or_default()).env("RUST_BACKTRACE", "0");
    if let Some(count) = count {
        command.env("ABIDE_PROOF", count);
    }
    let out = tempfile::NamedTempFile::new().unwrap();
    command.stdout(out.reopen().unwrap()).stderr(out.reopen().unwrap()).stdin(Stdio::null());
    // With all that it starts: of a proof that hangs nothing may live on beside the next ones.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().unwrap();
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > until {
            #[cfg(unix)]
            let _ = rustix::process::kill_process_group(
                rustix::process::Pid::from_child(&child),
                rustix::process::Signal::KILL,
            );
            let _ = child.kill();
            child.wait().unwrap();
            return Verdict::Neither(format!("it hangs: {}", tail(out.path())));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = String::from_utf8_lossy(&std::fs::read(out.path()).unwrap()).into_owned();
    let ran = !text.contains("running 0 tests");
    match status.code() {
        Some(0) if ran => Verdict::Passed,
        Some(101) if ran => {
            if std::env::var_os("ABIDE_MUTANTS_SHOW").is_some() {
                println!("{mutant:?} was caught: {}", tail(out.path()));
            }
            Verdict::Failed(tail(out.path()))
        }
        _ => Verdict::Neither(format!("{status}: {}", tail(out.path()))),
    }
}

fn tail(path: &Path) -> String {
    let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    let skip = text.chars().count().saturating_sub(2_000);
    text.chars().skip(skip).collect()
}

/// Does this for each, two at a time, in the order given.
fn side_by_side<T: Sync, R: Send>(each: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::SeqCst);
                    let Some(one) = each.get(i) else { break };
                    let made = work(one);
                    done.lock().unwrap().push((i, made));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, made)| made).collect()
}

/// The mutated copy: always in the same place, so that what did not change is not built again.
struct Copy {
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    fn make() -> Self {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        let target = std::env::var_os("ABIDE_MUTANTS_TARGET").map_or_else(|| place.join("target"), PathBuf::from);
        let copy = Self { root: place.join("source"), target };
        let mut kept = BTreeSet::new();
        copy.folder(Path::new(""), &mut kept);
        copy.clear(Path::new(""), &kept);
        copy
    }

    /// Copies a folder of the workspace, mutated; what is hidden or built is left out.
    fn folder(&self, folder: &Path, kept: &mut BTreeSet<PathBuf>) {
        std::fs::create_dir_all(self.root.join(folder)).unwrap();
        for entry in std::fs::read_dir(Path::new(ROOT).join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = folder.join(entry.file_name());
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if hidden || name == Path::new("target") {
                continue;
            }
            kept.insert(name.clone());
            if entry.file_type().unwrap().is_dir() {
                self.folder(&name, kept);
                continue;
            }
            let text = mutated(&name, std::fs::read(entry.path()).unwrap());
            let to = self.root.join(&name);
            if std::fs::read(&to).is_ok_and(|known| known == text) {
                continue;
            }
            std::fs::File::create(to).unwrap().write_all(&text).unwrap();
        }
    }

    /// Removes what the workspace no longer has.
    fn clear(&self, folder: &Path, kept: &BTreeSet<PathBuf>) {
        for entry in std::fs::read_dir(self.root.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let name = folder.join(entry.file_name());
            let is_dir = entry.file_type().unwrap().is_dir();
            match (kept.contains(&name), is_dir) {
                (true, true) => self.clear(&name, kept),
                (true, false) => {}
                (false, true) => std::fs::remove_dir_all(entry.path()).unwrap(),
                (false, false) => std::fs::remove_file(entry.path()).unwrap(),
            }
        }
    }

    /// Builds the integration tests; returns their binary.
    fn build(&self) -> PathBuf {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["test", "--locked", "--no-run", "--test", "all", "--message-format", "json-render-diagnostics"]);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_PKG")) {
            command.env_remove(name);
        }
        command.env("CARGO_TARGET_DIR", &self.target).env_remove("CARGO_MANIFEST_DIR").current_dir(&self.root);
        let out = command.stderr(Stdio::inherit()).output().unwrap();
        assert!(out.status.success(), "the mutated copy does not build");
        let mut lines = out.stdout.split(|byte| *byte == b'\n').filter_map(|line| {
            let message: serde_json::Value = serde_json::from_slice(line).ok()?;
            let is_it = message["target"]["name"] == "all" && message["profile"]["test"] == true;
            message["executable"].as_str().filter(|_| is_it).map(PathBuf::from)
        });
        lines.next().expect("cargo names the tests' binary")
    }
}

/// A file of the copy: every mutant in it, each behind its switch.
fn mutated(name: &Path, text: Vec<u8>) -> Vec<u8> {
    let mut rows = rows().filter(|m| Path::new(m.file) == name).peekable();
    if rows.peek().is_none() {
        return text;
    }
    let mut text = String::from_utf8(text).unwrap();
    for m in rows {
        let switch = format!("matches!(std::env::var(\"ABIDE_MUTANT\").as_deref(), Ok(\"{}\"))", m.name);
        assert_eq!(text.matches(m.from).count(), 1, "{}: another mutant took its text", m.name);
        text = text.replace(m.from, &m.to.replace("MUTANT", &switch));
    }
    text.into_bytes()
}
