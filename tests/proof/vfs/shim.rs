//! A VFS over SQLite's own: files in watched folders pass each call through a `Watch`; all others are SQLite's own and cost nothing. It never
//! changes bytes by itself.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, PoisonError};

use rusqlite::ffi::{
    SQLITE_CANTOPEN, SQLITE_IOERR, sqlite3_file, sqlite3_filename, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs,
    sqlite3_vfs_find, sqlite3_vfs_register,
};

/// What SQLite asks of a file.
#[derive(Clone, Copy)]
pub enum Call<'a> {
    Open,
    Close,
    Read,
    Write { at: u64, data: &'a [u8] },
    Truncate { size: u64 },
    Sync,
    Size,
    Lock,
    Shm,
    Delete,
    Access,
}

/// What is done about the calls on the files of a folder. `real` does what was asked; what is returned is SQLite's.
pub trait Watch: Send + Sync {
    fn call(&self, file: &str, call: Call<'_>, real: &mut dyn FnMut() -> c_int) -> c_int;
}

type Watched = Vec<(PathBuf, Arc<dyn Watch>)>;
static WATCHED: Mutex<Watched> = Mutex::new(Vec::new());
static REAL: Mutex<usize> = Mutex::new(0);
static REGISTER: Once = Once::new();

/// A folder is watched as long as this lives; files that are open then stay watched until they are closed.
pub struct Guard(PathBuf);

impl Drop for Guard {
    fn drop(&mut self) {
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner).retain(|(folder, _)| *folder != self.0);
    }
}

/// Watches the files of a folder that are opened from now on. The first call makes this VFS the one that SQLite uses.
pub fn watch(folder: &Path, by: Arc<dyn Watch>) -> Guard {
    REGISTER.call_once(register);
    let folder = folder.canonicalize().unwrap();
    WATCHED.lock().unwrap_or_else(PoisonError::into_inner).push((folder.clone(), by));
    Guard(folder)
}

fn watcher(path: &str) -> Option<(String, Arc<dyn Watch>)> {
    let path = Path::new(path);
    let (folder, name) = (path.parent()?, path.file_name()?);
    let watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, watch) = watched.iter().find(|(watched, _)| watched == folder)?;
    Some((name.to_string_lossy().into_owned(), watch.clone()))
}

fn register() {
    // SAFETY: SQLite owns the VFS that it finds; ours is a copy of it that is never freed.
    unsafe {
        let real = sqlite3_vfs_find(std::ptr::null());
        *REAL.lock().unwrap() = real as usize;
        let mut own = std::ptr::read(real);
        own.szOsFile += size_of::<ShimFile>() as c_int;
        own.pNext = std::ptr::null_mut();
        own.zName = c"abide-shim".as_ptr();
        own.xOpen = Some(open);
        own.xDelete = Some(delete);
        own.xAccess = Some(access);
        sqlite3_vfs_register(Box::into_raw(Box::new(own)), 1);
    }
}

fn real_vfs() -> *mut sqlite3_vfs {
    *REAL.lock().unwrap_or_else(PoisonError::into_inner) as *mut sqlite3_vfs
}

/// A watched file: SQLite's own lies behind it in the same piece of memory.
#[repr(C)]
struct ShimFile {
    methods: *const sqlite3_io_methods,
    open: *mut Open,
}

struct Open {
    name: String,
    watch: Arc<dyn Watch>,
}

unsafe fn shim<'a>(file: *mut sqlite3_file) -> (&'a Open, *mut sqlite3_file) {
    let own = file.cast::<ShimFile>();
    unsafe { (&*(*own).open, own.add(1).cast::<sqlite3_file>()) }
}

unsafe fn text<'a>(name: *const c_char) -> &'a str {
    if name.is_null() { "" } else { unsafe { CStr::from_ptr(name) }.to_str().unwrap_or("") }
}

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: sqlite3_filename,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let vfs = real_vfs();
    unsafe {
        let Some(real_open) = (*vfs).xOpen else { return SQLITE_CANTOPEN };
        let Some((name_of, watch)) = watcher(text(name)) else { return real_open(vfs, name, file, flags, out) };
        let own = file.cast::<ShimFile>();
        (*own).methods = std::ptr::null();
        let behind = own.add(1).cast::<sqlite3_file>();
        let result = watch.call(&name_of, Call::Open, &mut || real_open(vfs, name, behind, flags, out));
        if result == 0 {
            (*own).open = Box::into_raw(Box::new(Open { name: name_of, watch }));
            (*own).methods = &raw const METHODS;
        }
        result
    }
}

unsafe extern "C" fn delete(_: *mut sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    let vfs = real_vfs();
    unsafe {
        let mut real = || (*vfs).xDelete.map_or(SQLITE_IOERR, |f| f(vfs, name, sync));
        match watcher(text(name)) {
            Some((file, watch)) => watch.call(&file, Call::Delete, &mut real),
            None => real(),
        }
    }
}

unsafe extern "C" fn access(_: *mut sqlite3_vfs, name: *const c_char, flags: c_int, out: *mut c_int) -> c_int {
    let vfs = real_vfs();
    unsafe {
        let mut real = || (*vfs).xAccess.map_or(SQLITE_IOERR, |f| f(vfs, name, flags, out));
        match watcher(text(name)) {
            Some((file, watch)) => watch.call(&file, Call::Access, &mut real),
            None => real(),
        }
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    unsafe {
        let (open, real) = shim(file);
        let mut doing = || (*(*real).pMethods).xClose.map_or(SQLITE_IOERR, |f| f(real));
        let result = open.watch.call(&open.name, Call::Close, &mut doing);
        let own = file.cast::<ShimFile>();
        drop(Box::from_raw((*own).open));
        (*own).methods = std::ptr::null();
        result
    }
}

unsafe extern "C" fn read(file: *mut sqlite3_file, to: *mut c_void, n: c_int, at: sqlite3_int64) -> c_int {
    unsafe {
        let (open, real) = shim(file);
        let mut doing = || (*(*real).pMethods).xRead.map_or(SQLITE_IOERR, |f| f(real, to, n, at));
        open.watch.call(&open.name, Call::Read, &mut doing)
    }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, n: c_int, at: sqlite3_int64) -> c_int {
    unsafe {
        let (open, real) = shim(file);
        let data = std::slice::from_raw_parts(from.cast::<u8>(), usize::try_from(n).unwrap_or(0));
        let mut doing = || (*(*real).pMethods).xWrite.map_or(SQLITE_IOERR, |f| f(real, from, n, at));
        open.watch.call(&open.name, Call::Write { at: at as u64, data }, &mut doing)
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    unsafe {
        let (open, real) = shim(file);
        let mut doing = || (*(*real).pMethods).xTruncate.map_or(SQLITE_IOERR, |f| f(real, size));
        open.watch.call(&open.name, Call::Truncate { size: size as u64 }, &mut doing)
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    unsafe {
        let (open, real) = shim(file);
        let mut doing = || (*(*real).pMethods).xSync.map_or(SQLITE_IOERR, |f| f(real, flags));
        open.watch.call(&open.name, Call::Sync, &mut doing)
    }
}

unsafe extern "C" fn file_size(file: *mut sqlite3_file, out: *mut sqlite3_int64) -> c_int {
    unsafe {
        let (open, real) = shim(file);
        let mut doing = || (*(*real).pMethods).xFileSize.map_or(SQLITE_IOERR, |f| f(real, out));
        open.watch.call(&open.name, Call::Size, &mut doing)
    }
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    unsafe {
        let (open, real) = shim(file);
        let mut doing = || (*(*real).pMethods).xLock.map_or(SQLITE_IOERR, |f| f(real, level));
        open.watch.call(&open.name, Call::Lock, &mut doing)
    }
}

unsafe extern "C" fn shm_map(
    file: *mut sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    unsafe {
        let (open, real) = shim(file);
        let mut doing = || (*(*real).pMethods).xShmMap.map_or(SQLITE_IOERR, |f| f(real, page, size, extend, out));
        open.watch.call(&open.name, Call::Shm, &mut doing)
    }
}

/// Passes a call on as it is.
macro_rules! pass {
    ($name:ident, $method:ident ( $($arg:ident : $type:ty),* ) -> $back:ty, $else:expr) => {
        unsafe extern "C" fn $name(file: *mut sqlite3_file, $($arg: $type),*) -> $back {
            unsafe {
                let (_, real) = shim(file);
                (*(*real).pMethods).$method.map_or($else, |f| f(real, $($arg),*))
            }
        }
    };
}

pass!(unlock, xUnlock(level: c_int) -> c_int, SQLITE_IOERR);
pass!(check_reserved, xCheckReservedLock(out: *mut c_int) -> c_int, SQLITE_IOERR);
pass!(control, xFileControl(op: c_int, arg: *mut c_void) -> c_int, SQLITE_IOERR);
pass!(sector_size, xSectorSize() -> c_int, 4096);
pass!(characteristics, xDeviceCharacteristics() -> c_int, 0);
pass!(shm_lock, xShmLock(offset: c_int, n: c_int, flags: c_int) -> c_int, SQLITE_IOERR);
pass!(shm_barrier, xShmBarrier() -> (), ());
pass!(shm_unmap, xShmUnmap(delete: c_int) -> c_int, SQLITE_IOERR);

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // Without the calls of version 3, which map a file into memory.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
