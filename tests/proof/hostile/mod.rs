//! Hostile input: journals, files, messages of servers and of clients, replies of models, and bytes of the database, broken in every way that chance finds.
//! Nothing of it may make abide panic or hang. A worker process takes one input after the other; whoever started it notices when it stops.
//! `ABIDE_HOSTILE_ONLY=N` with the seed tries the input of that number alone.

mod clients;
mod config;
mod file;
mod frames;
mod journal;
mod mutate;
mod replies;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Which worker this process is, where it leaves what it found, and how many inputs it takes.
const TARGET: &str = "ABIDE_HOSTILE";
const FOLDER: &str = "ABIDE_HOSTILE_FOLDER";
const COUNT: &str = "ABIDE_HOSTILE_COUNT";
const ONLY: &str = "ABIDE_HOSTILE_ONLY";

/// An input that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Takes one input.
type Attack = Box<dyn FnMut(&[u8])>;

/// The seeds of a target, and what takes its inputs.
fn target(name: &str, folder: &Path) -> (Vec<Vec<u8>>, Attack) {
    match name {
        "journal" => (mutate::seeds(include_str!("seeds/journal.txt")), journal::attack(folder)),
        "config" => (mutate::seeds(include_str!("seeds/config.txt")), config::attack(folder)),
        "frames" => (mutate::seeds(include_str!("seeds/frames.txt")), frames::attack()),
        "clients" => (mutate::seeds(include_str!("seeds/clients.txt")), clients::attack()),
        "replies" => (mutate::escaped_seeds(include_str!("seeds/replies.txt")), replies::attack()),
        "file" => {
            let seeds = file::seeds(folder);
            let attack = file::attack(folder, seeds[0].clone());
            (seeds, attack)
        }
        other => panic!("no target {other}"),
    }
}

#[test]
fn worker() {
    let Ok(name) = std::env::var(TARGET) else { return };
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let count: u64 = std::env::var(COUNT).unwrap().parse().unwrap();
    let only: Option<u64> = std::env::var(ONLY).ok().map(|n| n.parse().unwrap());
    let told = folder.join("panics");
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        let text = format!("{thread}: {info}\n");
        let mut file = std::fs::File::options().append(true).create(true).open(&told).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        before(info);
    }));
    let (seeds, mut attack) = target(&name, &folder);
    let mut tried = 0_u64;
    for index in only.map_or(0..count, |n| n..n + 1) {
        let input = mutate::input(&name, super::seed(), index, &seeds);
        std::fs::write(folder.join("input"), &input).unwrap();
        std::fs::write(folder.join("at"), index.to_string()).unwrap();
        let panics = PANICS.load(Ordering::SeqCst);
        let _ = catch_unwind(AssertUnwindSafe(|| attack(&input)));
        tried += 1;
        if PANICS.load(Ordering::SeqCst) > panics {
            break;
        }
    }
    std::fs::write(folder.join("done"), tried.to_string()).unwrap();
    // Threads of a host that is left open must not hold the process.
    std::process::exit(0);
}

/// Has a worker take that many inputs, and tells what became of them.
fn prove(name: &str, count: u64) {
    let folder = tempfile::tempdir().unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "proof::hostile::worker", "--nocapture"]).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log);
    command.env(TARGET, name).env(FOLDER, folder.path()).env(COUNT, count.to_string()).env("RUST_BACKTRACE", "0");
    let mut child = command.spawn().unwrap();
    let read =
        |file: &str| String::from_utf8_lossy(&std::fs::read(folder.path().join(file)).unwrap_or_default()).into_owned();
    let (mut at, mut since) = (String::new(), Instant::now());
    let hangs = loop {
        if child.try_wait().unwrap().is_some() {
            break 0;
        }
        let now = read("at");
        if now != at {
            (at, since) = (now, Instant::now());
        }
        if since.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            break 1;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let panics = read("panics");
    let tried: u64 = read("done").parse().unwrap_or(0);
    println!(
        "{name}: {tried} inputs: {} panics, {hangs} hangs",
        panics.lines().filter(|line| line.contains("panicked at")).count()
    );
    let whole = tried > 0 && (tried == count || std::env::var_os(ONLY).is_some());
    if !whole || !panics.is_empty() || hangs > 0 {
        let log = read("log");
        let log: String = log.chars().skip(log.chars().count().saturating_sub(3_000)).collect();
        panic!(
            "{name}: input {} (try it alone: {ONLY}={0} ABIDE_SEED={}): {}\n{panics}\n{log}",
            read("at"),
            super::seed(),
            read("input").escape_debug()
        );
    }
}

#[test]
fn journals() {
    prove("journal", super::count("hostile journals", 200, 10_000));
}

#[test]
fn files_of_users() {
    prove("config", super::count("hostile files of users", 400, 50_000));
}

#[test]
fn messages_of_servers() {
    prove("frames", super::count("hostile messages of servers", 300, 60_000));
}

#[test]
fn messages_of_clients() {
    prove("clients", super::count("hostile messages of clients", 300, 60_000));
}

#[test]
fn replies_of_models() {
    prove("replies", super::count("hostile replies of models", 300, 40_000));
}

#[test]
fn mutated_databases() {
    prove("file", super::count("mutated databases", 12, 2_000));
}
