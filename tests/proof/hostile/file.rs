//! A database whose bytes were changed anywhere, its write-ahead log included: every verb that reads ends by itself with a code that says so.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use abide::prelude::*;

use super::Attack;
use super::journal::{child, everything};

/// The file and its log, as a process that was killed leaves them: the length of the first, then both.
pub fn seeds(folder: &Path) -> Vec<Vec<u8>> {
    let db = folder.join("whole.db");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let abide = Abide::open(&db).workflow("everything", everything).workflow("child", child).start().await.unwrap();
        for n in 0..5_u64 {
            let run = abide.run("everything", &n).id(format!("r{n}")).await.unwrap();
            run.signal("go", &n).await.unwrap();
            run.result::<u64>().await.unwrap();
        }
        let (mut main, mut log) = (std::fs::read(&db).unwrap(), Vec::new());
        let mut name = db.clone().into_os_string();
        name.push("-wal");
        log.extend(std::fs::read(name).unwrap());
        let mut seed = (main.len() as u64).to_le_bytes().to_vec();
        seed.append(&mut main);
        seed.append(&mut log);
        vec![seed]
    })
}

pub fn attack(folder: &Path, whole: Vec<u8>) -> Attack {
    let folder = folder.join("mutated");
    std::fs::create_dir(&folder).unwrap();
    let db = folder.join("runs.db");
    let mut tried = 0;
    Box::new(move |input| {
        let split = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
        let mut bytes = whole[8..].to_vec();
        // Where, and to what, follows from the input, which is otherwise too large to keep.
        let entropy = blake3::hash(input);
        let mut more = entropy.as_bytes().to_vec();
        let changes = if tried == 0 { 0 } else { 1 + usize::from(more[0]) % 24 };
        tried += 1;
        for n in 0..changes {
            more = blake3::hash(&more).as_bytes().to_vec();
            let at = u64::from_le_bytes(more[..8].try_into().unwrap()) as usize;
            // Headers and the tops of pages more often than the rest.
            let at = match more[9] % 4 {
                0 => at % 100,
                1 => (at % (bytes.len() / 4096)) * 4096 + usize::from(more[10]) % 32,
                2 => split + at % (bytes.len() - split).max(1),
                _ => at,
            } % bytes.len();
            bytes[at] = if n % 2 == 0 { more[11] } else { bytes[at] ^ (1 << (more[11] % 8)) };
        }
        std::fs::write(&db, &bytes[..split]).unwrap();
        let beside = |end: &str| folder.join(format!("runs.db{end}"));
        std::fs::write(beside("-wal"), &bytes[split..]).unwrap();
        let _ = std::fs::remove_file(beside("-shm"));
        for words in [&["ls"][..], &["show", "r3"], &["verify"]] {
            let (code, stderr) = abide(&db, words);
            let fits = if changes == 0 { code == Some(0) } else { matches!(code, Some(0 | 5 | 6 | 8)) };
            assert!(fits && !stderr.contains("panicked"), "{words:?} ended with {code:?}: {stderr}");
            assert!(code == Some(0) || stderr.contains("\"error\""), "{words:?} gives no error: {stderr}");
        }
    })
}

fn abide(db: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_abide"));
    command.args(words).arg("--json").arg("--db").arg(db).current_dir(db.parent().unwrap());
    command.env("ABIDE_CONFIG_DIR", db.parent().unwrap().join("config")).env_remove("ABIDE_DB").env_remove("ABIDE_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let errors = db.with_extension("errors");
    let mut child = command.stderr(std::fs::File::create(&errors).unwrap()).spawn().unwrap();
    let since = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if since.elapsed() > Duration::from_secs(40) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{words:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    (status.code(), String::from_utf8_lossy(&std::fs::read(errors).unwrap()).into_owned())
}
