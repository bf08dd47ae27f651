//! A VFS whose files are bytes in memory, for one connection at a time in exclusive locking mode. It never syncs, locks or shares anything.

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use rusqlite::ffi::{
    SQLITE_CANTOPEN, SQLITE_IOERR_SHORT_READ, SQLITE_NOTFOUND, SQLITE_OK, SQLITE_OPEN_CREATE, sqlite3_file,
    sqlite3_filename, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs, sqlite3_vfs_find, sqlite3_vfs_register,
};
use rusqlite::{Connection, OpenFlags};

static FILES: Mutex<Option<HashMap<String, Vec<u8>>>> = Mutex::new(None);
static REGISTER: Once = Once::new();

fn files() -> MutexGuard<'static, Option<HashMap<String, Vec<u8>>>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens a database of this content, with this write-ahead log beside it.
pub fn open(name: &str, db: Vec<u8>, wal: Option<Vec<u8>>) -> rusqlite::Result<Connection> {
    REGISTER.call_once(register);
    {
        let mut files = files();
        let files = files.get_or_insert_default();
        files.insert(name.to_owned(), db);
        let log = format!("{name}-wal");
        match wal {
            Some(wal) => files.insert(log, wal),
            None => files.remove(&log),
        };
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags_and_vfs(name, flags, c"abide-image")
}

/// Takes the bytes of a closed database and of its log.
pub fn take(name: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut files = files();
    let files = files.get_or_insert_default();
    (files.remove(name).unwrap_or_default(), files.remove(&format!("{name}-wal")))
}

fn register() {
    // SAFETY: SQLite owns the VFS that it finds; ours is a copy of it that is never freed.
    unsafe {
        let mut own = std::ptr::read(sqlite3_vfs_find(std::ptr::null()));
        own.szOsFile = size_of::<ImageFile>() as c_int;
        own.pNext = std::ptr::null_mut();
        own.zName = c"abide-image".as_ptr();
        own.xOpen = Some(open_file);
        own.xDelete = Some(delete);
        own.xAccess = Some(access);
        own.xFullPathname = Some(full_path);
        sqlite3_vfs_register(Box::into_raw(Box::new(own)), 0);
    }
}

#[repr(C)]
struct ImageFile {
    methods: *const sqlite3_io_methods,
    open: *mut Open,
}

struct Open {
    name: String,
    bytes: Vec<u8>,
}

unsafe fn opened<'a>(file: *mut sqlite3_file) -> &'a mut Open {
    unsafe { &mut *(*file.cast::<ImageFile>()).open }
}

unsafe fn text(name: *const c_char) -> String {
    if name.is_null() { String::new() } else { unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned() }
}

unsafe extern "C" fn open_file(
    _: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe {
        let own = file.cast::<ImageFile>();
        (*own).methods = std::ptr::null();
        let name = text(name);
        let bytes = match files().get_or_insert_default().remove(&name) {
            Some(bytes) => bytes,
            None if flags & SQLITE_OPEN_CREATE != 0 => Vec::new(),
            None => return SQLITE_CANTOPEN,
        };
        (*own).open = Box::into_raw(Box::new(Open { name, bytes }));
        (*own).methods = &raw const METHODS;
        if !out.is_null() {
            *out = flags;
        }
        SQLITE_OK
    }
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, _: c_int) -> c_int {
    files().get_or_insert_default().remove(&unsafe { text(name) });
    SQLITE_OK
}

unsafe extern "C" fn access(_: *mut sqlite3_vfs, name: *const c_char, _: c_int, out: *mut c_int) -> c_int {
    unsafe {
        *out = c_int::from(files().get_or_insert_default().contains_key(&text(name)));
    }
    SQLITE_OK
}

unsafe extern "C" fn full_path(_: *mut sqlite3_vfs, name: *const c_char, room: c_int, out: *mut c_char) -> c_int {
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > usize::try_from(room).unwrap_or(0) {
            return SQLITE_CANTOPEN;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    SQLITE_OK
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    unsafe {
        let own = file.cast::<ImageFile>();
        let Open { name, bytes } = *Box::from_raw((*own).open);
        (*own).methods = std::ptr::null();
        files().get_or_insert_default().insert(name, bytes);
    }
    SQLITE_OK
}

unsafe extern "C" fn read(file: *mut sqlite3_file, to: *mut c_void, n: c_int, at: sqlite3_int64) -> c_int {
    unsafe {
        let bytes = &opened(file).bytes;
        let to = std::slice::from_raw_parts_mut(to.cast::<u8>(), usize::try_from(n).unwrap_or(0));
        let from = bytes.get(usize::try_from(at).unwrap_or(usize::MAX)..).unwrap_or_default();
        let there = from.len().min(to.len());
        to[..there].copy_from_slice(&from[..there]);
        to[there..].fill(0);
        if there < to.len() { SQLITE_IOERR_SHORT_READ } else { SQLITE_OK }
    }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, n: c_int, at: sqlite3_int64) -> c_int {
    unsafe {
        let bytes = &mut opened(file).bytes;
        let from = std::slice::from_raw_parts(from.cast::<u8>(), usize::try_from(n).unwrap_or(0));
        let at = usize::try_from(at).unwrap_or(0);
        if bytes.len() < at + from.len() {
            bytes.resize(at + from.len(), 0);
        }
        bytes[at..at + from.len()].copy_from_slice(from);
    }
    SQLITE_OK
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    unsafe { opened(file).bytes.truncate(usize::try_from(size).unwrap_or(0)) };
    SQLITE_OK
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, out: *mut sqlite3_int64) -> c_int {
    unsafe { *out = opened(file).bytes.len() as sqlite3_int64 };
    SQLITE_OK
}

unsafe extern "C" fn nothing(_: *mut sqlite3_file, _: c_int) -> c_int {
    SQLITE_OK
}

unsafe extern "C" fn nobody(_: *mut sqlite3_file, out: *mut c_int) -> c_int {
    unsafe { *out = 0 };
    SQLITE_OK
}

unsafe extern "C" fn control(_: *mut sqlite3_file, _: c_int, _: *mut c_void) -> c_int {
    SQLITE_NOTFOUND
}

unsafe extern "C" fn plain(_: *mut sqlite3_file) -> c_int {
    0
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(nothing),
    xFileSize: Some(file_size),
    xLock: Some(nothing),
    xUnlock: Some(nothing),
    xCheckReservedLock: Some(nobody),
    xFileControl: Some(control),
    xSectorSize: Some(plain),
    xDeviceCharacteristics: Some(plain),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};
