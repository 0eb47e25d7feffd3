//! Independent readers of qcow2, neither of them QEMU's.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{FormatAccess, FormatDriverBuilder, PermissiveImplicitOpenGate};
use qcow2_rs::dev::Qcow2DevParams;
use qcow2_rs::helpers::Qcow2IoBuf;
use qcow2_rs::utils::qcow2_setup_dev_sync;

/// Compares what each reader that can read it finds in the image at `path` with `content`.
pub(super) fn agree(path: &Path, content: &[u8], options: &str, compressed: bool) {
    let zstd = options.contains("zstd");
    // imago decodes no zstd.
    if !zstd {
        let found = by_imago(path, content.len());
        assert!(found == content, "imago reads something else: {options}, compressed: {compressed}");
    }
    // qcow2-rs reads version 3 only, hangs on clusters of 512 bytes, and knows no zstd.
    let small = ["cluster_size=512", "cluster_size=1k"].iter().any(|size| options.contains(size));
    if !zstd && !small && !options.contains("compat=0.10") {
        let found = by_qcow2_rs(path, content.len());
        assert!(found == content, "qcow2-rs reads something else: {options}, compressed: {compressed}");
    }
}

fn by_imago(path: &Path, len: usize) -> Vec<u8> {
    let image = Qcow2::<File>::builder_path(path).open(PermissiveImplicitOpenGate::default()).unwrap();
    let disk = FormatAccess::new(image);
    assert_eq!(disk.size(), len as u64);
    let mut bytes = vec![0xee; len];
    disk.read(bytes.as_mut_slice(), 0).unwrap();
    bytes
}

fn by_qcow2_rs(path: &Path, len: usize) -> Vec<u8> {
    const STEP: usize = 1 << 20;
    let params = Qcow2DevParams::new(9, None, None, true, false);
    let disk = qcow2_setup_dev_sync(path, &params).unwrap();
    finished(disk.qcow2_prep_io()).unwrap();
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let mut some = Qcow2IoBuf::<u8>::new(STEP.min(len - bytes.len()));
        let count = finished(disk.read_at(&mut some, bytes.len() as u64)).unwrap();
        assert_eq!(count, some.len(), "a short read at {}", bytes.len());
        bytes.extend_from_slice(&some);
    }
    bytes
}

/// The result of a future whose input and output block: it is only asked again.
fn finished<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
}
