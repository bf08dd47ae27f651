//! Habits that can be checked: headers, sizes, paths that exist, arrows between crates, one place for the operating system. It never looks at style.

use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Crates that do no I/O, read no clock and draw no randomness.
const PURE: [&str; 9] =
    ["blake3", "futures-core", "futures-util", "memchr", "serde", "serde_json", "slab", "thiserror", "proptest"];

fn sources() -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut folders: Vec<PathBuf> = ["engine", "llm", "mcp", "runtime", "tests", "examples", "benches"]
        .iter()
        .map(|f| Path::new(ROOT).join(f))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                // What a build leaves beside a package of its own is nobody's source.
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix(ROOT).unwrap().to_string_lossy().replace('\\', "/");
                out.push((name, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(out.len() > 100, "only {} files were found", out.len());
    out.sort();
    out
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn every_file_says_what_it_is() {
    let bad: Vec<_> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name).collect();
    none("files that do not open with `//! `", &bad);
}

#[test]
fn rooms_are_small() {
    let mut bad = Vec::new();
    for (name, text) in sources() {
        let lines = text.lines().count();
        if lines > 400 {
            bad.push(format!("{name}: {lines} lines"));
        }
        let mut open: Option<(usize, String, String)> = None;
        for (i, line) in text.lines().enumerate() {
            let indent: String = line.chars().take_while(|c| *c == ' ').collect();
            let code = line.trim_start();
            if open.is_none()
                && (code.starts_with("fn ") || code.contains(" fn "))
                && !code.starts_with("//")
                && line.ends_with('{')
            {
                open = Some((i, indent, code.to_owned()));
            } else if let Some((from, its, head)) = &open
                && line == format!("{its}}}")
            {
                if i - from > 80 {
                    bad.push(format!("{name}:{}: {} lines: {head}", from + 1, i - from));
                }
                open = None;
            }
        }
    }
    none("files over 400 lines or functions over 80", &bad);
}

#[test]
fn architecture_names_what_exists_and_covers_every_module_folder() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).unwrap();
    assert!(text.lines().count() <= 150, "ARCHITECTURE.md has {} lines", text.lines().count());
    let mut bad = Vec::new();
    for (i, name) in text.split('`').enumerate() {
        let is_path =
            i % 2 == 1 && (name.contains('/') || name.ends_with(".rs")) && !name.contains([' ', '<', '*', ':', '$']);
        if is_path && !Path::new(ROOT).join(name).exists() {
            bad.push(name.to_owned());
        }
    }
    none("paths in ARCHITECTURE.md that do not exist", &bad);
    for folder in [
        "engine/",
        "llm/",
        "mcp/",
        "runtime/host/",
        "runtime/store/",
        "runtime/os/",
        "migrations/",
        "tests/",
        "examples/",
    ] {
        assert!(text.contains(folder), "ARCHITECTURE.md does not speak of {folder}");
    }
}

fn dependencies(manifest: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(ROOT).join(manifest)).unwrap();
    let mut inside = false;
    let mut out = Vec::new();
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]" || line.starts_with("[target.") && line.ends_with(".dependencies]");
        } else if inside && !line.starts_with('#') && line.contains('=') {
            out.push(line.split(['.', ' ', '=']).next().unwrap().to_owned());
        }
    }
    out
}

#[test]
fn arrows_point_one_way() {
    let impure: Vec<_> =
        dependencies("engine/Cargo.toml").into_iter().filter(|d| !PURE.contains(&d.as_str())).collect();
    none("crates that engine/ may not use", &impure);
    let forbidden =
        [("engine", &["abide-llm", "abide-mcp", "abide"][..]), ("llm", &["abide-mcp", "abide"]), ("mcp", &["abide"])];
    for (folder, names) in forbidden {
        let has: Vec<_> =
            dependencies(&format!("{folder}/Cargo.toml")).into_iter().filter(|d| names.contains(&d.as_str())).collect();
        none(&format!("arrows out of {folder}/ that point the wrong way"), &has);
    }
    let mut bad = Vec::new();
    for (name, text) in
        sources().into_iter().filter(|(name, _)| name.starts_with("engine/") && !name.ends_with("_tests.rs"))
    {
        let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        if code.any(|l| {
            ["SystemTime::now", "Instant::now", "std::fs", "std::net", "tokio::", "std::env"]
                .iter()
                .any(|w| l.contains(w))
        }) {
            bad.push(name);
        }
    }
    none("files in engine/ that touch a clock, a file, a socket or a runtime", &bad);
}

#[test]
fn the_operating_system_has_one_place() {
    let marks = [
        "cfg(unix)",
        "cfg(not(unix))",
        "cfg(windows)",
        "target_os",
        "std::os::",
        "rustix::",
        "cfg!(windows)",
        "cfg!(unix)",
    ];
    let mut bad = Vec::new();
    for (name, text) in
        sources().into_iter().filter(|(name, _)| !name.starts_with("runtime/os/") && name != "tests/tidy.rs")
    {
        for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim_start().starts_with("//")) {
            // Tests may look at what the system did.
            if marks.iter().any(|m| line.contains(m)) && !name.starts_with("tests/") && !name.ends_with("_tests.rs") {
                bad.push(format!("{name}:{}: {}", i + 1, line.trim()));
            }
        }
    }
    none("code that depends on the operating system outside runtime/os/", &bad);
}

#[test]
fn no_room_is_called_util_and_no_test_file_is_forgotten() {
    let sources = sources();
    let vague = |name: &str| {
        ["util", "utils", "common", "helpers", "misc"].iter().any(|w| name.split(['/', '.']).any(|part| part == *w))
    };
    let bad: Vec<_> = sources.iter().map(|(name, _)| name.clone()).filter(|name| vague(name)).collect();
    none("names that say nothing", &bad);
    let all: String =
        sources.iter().filter(|(name, _)| name.starts_with("tests/")).map(|(_, text)| text.as_str()).collect();
    let mut forgotten = Vec::new();
    // Cargo names these.
    let roots = ["tests/main.rs", "tests/real/genai/src/main.rs"];
    let modules = sources.iter().filter(|(name, _)| name.starts_with("tests/") && !roots.contains(&name.as_str()));
    for (name, _) in modules {
        let stem = name.trim_end_matches("/mod.rs").trim_end_matches(".rs").rsplit('/').next().unwrap();
        if !all.contains(&format!("mod {stem};")) {
            forgotten.push(name.clone());
        }
    }
    none("test files that no module names", &forgotten);
}

#[test]
fn nothing_of_one_machine_is_written_down() {
    let mut bad = Vec::new();
    let marks = ["/wo", "rk/"].concat();
    for (name, text) in sources() {
        if text.contains(&marks)
            || text.contains(&["/ro", "ot/"].concat())
            || text.contains(&["static.", "crates.io"].concat())
        {
            bad.push(name);
        }
    }
    none("files that name a machine's paths or a registry's host", &bad);
}

#[test]
fn unsafe_code_lies_in_the_tests_vfs_alone() {
    let sources = sources();
    let mut bad = Vec::new();
    for (name, text) in
        sources.iter().filter(|(name, _)| !name.starts_with("tests/proof/vfs/") && name != "tests/tidy.rs")
    {
        let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        let found = code.filter(|(_, line)| line.contains("unsafe") && *line != "#![forbid(unsafe_code)]");
        bad.extend(found.map(|(i, line)| format!("{name}:{}: {}", i + 1, line.trim())));
    }
    none("unsafe code, or leave for it, outside tests/proof/vfs/", &bad);
    for root in ["engine/lib.rs", "llm/lib.rs", "mcp/lib.rs", "runtime/lib.rs", "runtime/main.rs"] {
        let text = &sources.iter().find(|(name, _)| name == root).unwrap().1;
        assert!(text.contains("\n#![forbid(unsafe_code)]\n"), "{root} does not forbid unsafe code");
    }
}
