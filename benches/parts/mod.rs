//! The other figures: memory, start, kill to first live step, size. Each prints its own line, with the aim beside it.

mod agent;
mod kill;
mod sleepers;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Which part this process was started as, by the bench itself.
pub(crate) const PART: &str = "ABIDE_BENCH_PART";

/// True if this process was started as one of the parts.
pub(crate) fn child() -> bool {
    match std::env::var(PART).as_deref() {
        Ok("sleepers") => sleepers::child(),
        Ok("kill") => kill::child(false),
        Ok("standby") => kill::child(true),
        _ => return false,
    }
    true
}

pub(crate) fn measure(dir: &Path, wanted: &dyn Fn(&str) -> bool) {
    println!();
    if wanted("sleepers") {
        sleepers::measure(dir);
    }
    if wanted("kill") {
        kill::measure(dir);
    }
    if wanted("agent") {
        agent::measure(dir);
    }
    if wanted("binary") {
        binary();
    }
    if std::env::args().any(|a| a == "--install") {
        install(dir);
    }
}

/// This bench as a part of itself.
pub(crate) fn again(part: &str, dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(PART, part).env("ABIDE_BENCH_FOLDER", dir);
    command
}

pub(crate) fn folder() -> std::path::PathBuf {
    std::env::var_os("ABIDE_BENCH_FOLDER").unwrap().into()
}

/// Megabytes of this kind in a process's status; `None` where the system does not tell.
pub(crate) fn memory_mb(pid: u32, kind: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(kind))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}

pub(crate) fn show_mb(mb: Option<f64>) -> String {
    mb.map_or_else(|| "not told by this system".to_owned(), |mb| format!("{mb:.1} MB"))
}

fn binary() {
    let abide = env!("CARGO_BIN_EXE_abide");
    let help = |_| {
        let began = Instant::now();
        Command::new(abide).arg("--help").stdout(Stdio::null()).status().unwrap();
        began.elapsed()
    };
    let mut times: Vec<Duration> = (0..21).map(help).collect();
    times.sort();
    println!("abide --help: {:.1} ms, median of 21 (aim: 5 ms)", times[10].as_secs_f64() * 1e3);
    println!("the binary: {:.1} MB (aim: under 20 MB)", std::fs::metadata(abide).unwrap().len() as f64 / 1e6);
}

/// A cold `cargo install --path .`: only with `-- --install`, for it takes minutes.
fn install(dir: &Path) {
    let began = Instant::now();
    let status = Command::new("cargo")
        .args(["install", "--path", ".", "--locked", "--quiet", "--root"])
        .arg(dir.join("root"))
        .env("CARGO_TARGET_DIR", dir.join("target"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(status.success());
    println!("a cold cargo install --path . : {:.0} s (aim: under 300 s on two cores)", began.elapsed().as_secs_f64());
}
