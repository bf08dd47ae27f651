//! Tests of the sealed files: what is in them, who may read them, and what damage does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

const NAME: &str = "0123abcd";
const SECRET: &[u8] = b"a token that nobody may read";

fn env(dir: &Path) -> Env {
    let folder = dir.join("config").to_string_lossy().into_owned();
    Env { cwd: dir.to_path_buf(), vars: [("ABIDE_CONFIG_DIR".to_owned(), folder)].into(), ..Env::default() }
}

fn sealed(dir: &Path) -> PathBuf {
    dir.join("config").join("oauth").join(format!("{NAME}.sealed"))
}

#[test]
fn what_is_kept_is_had_again_and_lies_encrypted() {
    let dir = tempfile::tempdir().unwrap();
    let vault = FileVault::new(&env(dir.path()));
    assert_eq!(vault.load(NAME).unwrap(), None);
    vault.remove(NAME).unwrap();
    vault.save(NAME, SECRET).unwrap();
    assert_eq!(FileVault::new(&env(dir.path())).load(NAME).unwrap().as_deref(), Some(SECRET));
    let first = std::fs::read(sealed(dir.path())).unwrap();
    assert!(!first.windows(7).any(|window| SECRET.windows(7).any(|part| part == window)));
    vault.save(NAME, SECRET).unwrap();
    assert_ne!(std::fs::read(sealed(dir.path())).unwrap(), first, "a nonce is used once");
    let files = std::fs::read_dir(sealed(dir.path()).parent().unwrap()).unwrap().count();
    assert_eq!(files, 2, "the key and the secret: no temporary file stays");
    vault.remove(NAME).unwrap();
    assert_eq!(vault.load(NAME).unwrap(), None);
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let vault = FileVault::new(&env(dir.path()));
    let held = vault.try_lock(NAME).unwrap();
    vault.save(NAME, SECRET).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let folder = dir.path().join("config").join("oauth");
    assert_eq!((mode(&folder), mode(folder.parent().unwrap())), (0o700, 0o700));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["0123abcd.lock", "0123abcd.sealed", "key"]);
    drop(held);
}

#[test]
fn damage_is_an_error_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let vault = FileVault::new(&env(dir.path()));
    vault.save(NAME, SECRET).unwrap();
    let (path, good) = (sealed(dir.path()), std::fs::read(sealed(dir.path())).unwrap());
    for at in [0, LAYOUT.len(), LAYOUT.len() + NONCE_LEN, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        assert_eq!(vault.load(NAME).unwrap_err().kind(), io::ErrorKind::InvalidData, "{at}");
    }
    for cut in [0, LAYOUT.len(), LAYOUT.len() + 3, good.len() - 1] {
        std::fs::write(&path, &good[..cut]).unwrap();
        assert!(vault.load(NAME).is_err(), "{cut}");
    }
    // Under another name, and with another key.
    std::fs::write(path.with_file_name("other.sealed"), &good).unwrap();
    assert!(vault.load("other").is_err());
    std::fs::write(&path, &good).unwrap();
    std::fs::remove_file(path.with_file_name("key")).unwrap();
    assert!(vault.load(NAME).is_err());
    vault.save("more", SECRET).unwrap();
    assert!(vault.load(NAME).is_err());
}

#[test]
fn one_alone_may_change_it() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (FileVault::new(&env(dir.path())), FileVault::new(&env(dir.path())));
    let held = one.try_lock(NAME).unwrap();
    assert!(held.is_some() && other.try_lock(NAME).unwrap().is_none());
    assert!(other.try_lock("another").unwrap().is_some());
    drop(held);
    assert!(other.try_lock(NAME).unwrap().is_some());
}

#[test]
fn a_name_is_no_path_and_without_a_folder_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let vault = FileVault::new(&env(dir.path()));
    for name in ["", "../x", "a/b", "A"] {
        assert!(vault.save(name, SECRET).is_err() && vault.try_lock(name).is_err(), "{name}");
    }
    let nowhere = FileVault::new(&Env::default());
    assert_eq!(nowhere.load(NAME).unwrap(), None);
    assert!(nowhere.save(NAME, SECRET).unwrap_err().to_string().contains("ABIDE_CONFIG_DIR"));
}
