//! zlib itself, with a window of 4 KiB, fed one byte at a time.
//!
//! Fed so, it cannot look at the output buffer instead of its window, and refuses every distance beyond 4096. (zlib-rs,
//! asked for the same, does not.)

use std::mem::MaybeUninit;

use libz_sys::{Z_BUF_ERROR, Z_NO_FLUSH, Z_OK, Z_STREAM_END, z_stream};

/// Decodes a raw stream, or says why not.
pub(super) fn inflate(stream: &[u8]) -> Result<Vec<u8>, String> {
    let mut state = MaybeUninit::<z_stream>::zeroed();
    let state = state.as_mut_ptr();
    let mut out = Vec::new();
    let mut status = Z_OK;
    // SAFETY: inflateInit2_ asks for a z_stream of zeroes (null allocators mean zlib's own) and for the version and size of
    // the library linked; fields are reached through the pointer only.
    unsafe {
        let (version, size) = (libz_sys::zlibVersion(), size_of::<z_stream>() as i32);
        assert_eq!(libz_sys::inflateInit2_(state, -12, version, size), Z_OK);
    }
    for byte in stream {
        let mut some = [0u8; 1024];
        // SAFETY: the state was initialised; the byte and the buffer live until the last call that uses them, in this round,
        // and zlib writes no more than avail_out bytes.
        unsafe {
            (*state).next_in = std::ptr::from_ref(byte).cast_mut();
            (*state).avail_in = 1;
            loop {
                (*state).next_out = some.as_mut_ptr();
                (*state).avail_out = some.len() as u32;
                status = libz_sys::inflate(state, Z_NO_FLUSH);
                let free = (*state).avail_out as usize;
                out.extend_from_slice(&some[..some.len() - free]);
                if free != 0 || !matches!(status, Z_OK | Z_BUF_ERROR) {
                    break;
                }
            }
        }
        if !matches!(status, Z_OK | Z_BUF_ERROR) {
            break;
        }
    }
    // SAFETY: the state was initialised and is not used afterwards.
    unsafe { libz_sys::inflateEnd(state) };
    if status == Z_STREAM_END { Ok(out) } else { Err(format!("zlib says {status}")) }
}
