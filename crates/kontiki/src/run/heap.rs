//! jemalloc, asked where memory went.
//!
//! **What it costs.** The allocator can sample from its start on, and does not before it is told to: then an
//! allocation in about half a MiB writes down its stack. Whether that can be seen is in `docs/performance.md`.
//!
//! **Not here.** Reading what it has written (`server`).

use server::HeapProfiler;
use std::ffi::{CStr, CString, c_void};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::ptr::null_mut;
use tikv_jemalloc_sys::mallctl;

/// The allocator of this process.
pub struct Jemalloc;

impl HeapProfiler for Jemalloc {
    fn activate(&self, is_active: bool) -> Result<(), String> {
        write(c"prof.active", is_active)
    }

    fn dump(&self) -> Result<String, String> {
        let unusable = |error: std::io::Error| format!("no file for the profile: {error}");
        let folder = tempfile::tempdir().map_err(unusable)?;
        let path = folder.path().join("heap");
        let name = CString::new(path.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
        write(c"prof.dump", name.as_ptr())?;
        let text = fs::read(&path).map_err(unusable)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        match text.contains("\n@") {
            true => Ok(text),
            false => Err(
                "nothing was sampled yet: PUT /debug/pprof/heap_activate, and ask again after a while".to_owned(),
            ),
        }
    }
}

/// Tells jemalloc.
fn write<T>(name: &CStr, mut value: T) -> Result<(), String> {
    let new = (&raw mut value).cast::<c_void>();
    // SAFETY: the name ends with a zero, and these names take a value of this type: a bool for `prof.active`,
    // a pointer to a name for `prof.dump`. It is read before the call returns.
    let code = unsafe { mallctl(name.as_ptr(), null_mut(), null_mut(), new, size_of::<T>()) };
    match code {
        0 => Ok(()),
        code => {
            let error = std::io::Error::from_raw_os_error(code);
            Err(format!(
                "jemalloc refuses {}: {error}",
                name.to_string_lossy()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_while_it_is_looked_at_is_written_down() {
        assert!(Jemalloc.activate(true).is_ok());
        let held: Vec<Vec<u8>> = (0..64).map(|_| vec![1; 1 << 20]).collect();
        let dump = Jemalloc.dump().unwrap();
        Jemalloc.activate(false).unwrap();
        assert!(dump.starts_with("heap_v2/"), "{}", &dump[..100]);
        assert_eq!(held.len(), 64);
        let refused = write(c"prof.nothing", true).unwrap_err();
        assert!(refused.contains("prof.nothing"), "{refused}");
    }
}
