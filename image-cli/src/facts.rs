//! What an image says of itself, as JSON by the keys of `qemu-img info --output=json`: the same for both faces.

use image_core::qcow2::bitmap::Bitmap;
use image_core::qcow2::snapshot::Snapshot;
use image_core::qcow2::{Compression, Header, Version};
use serde_json::{Map, Value, json};

/// What no other format has.
pub fn of_qcow2(header: &Header, bitmaps: &[Bitmap]) -> Value {
    let mut data = Map::new();
    let mut put = |key: &str, value: Value| data.insert(key.to_owned(), value);
    let compression = match header.compression {
        Compression::Deflate => "zlib",
        Compression::Zstd => "zstd",
    };
    put("compression-type", json!(compression));
    put("refcount-bits", json!(header.geometry.refcount_bits()));
    if header.version == Version::V2 {
        put("compat", json!("0.10"));
        return Value::Object(data);
    }
    put("compat", json!("1.1"));
    put("lazy-refcounts", json!(header.has_lazy_refcounts()));
    put("corrupt", json!(header.is_corrupt()));
    put("extended-l2", json!(header.geometry.extended_l2()));
    if header.has_data_file() {
        if let Some(name) = header.data_file_name() {
            put("data-file", json!(text(name)));
        }
        put("data-file-raw", json!(header.is_data_file_raw()));
    }
    if !bitmaps.is_empty() {
        put("bitmaps", bitmaps.iter().map(of_bitmap).collect());
    }
    Value::Object(data)
}

fn of_bitmap(bitmap: &Bitmap) -> Value {
    let granularity = 1_u64.checked_shl(bitmap.granularity_bits.into()).unwrap_or_default();
    json!({ "name": text(&bitmap.name), "granularity": granularity, "flags": flags(bitmap) })
}

/// The states of a bitmap.
pub fn flags(bitmap: &Bitmap) -> Vec<&'static str> {
    let in_use = bitmap.is_in_use().then_some("in-use");
    in_use.into_iter().chain(bitmap.is_enabled().then_some("auto")).collect()
}

/// A snapshot.
pub fn of_snapshot(snapshot: &Snapshot) -> Value {
    let clock = snapshot.guest_clock_nanoseconds;
    let mut value = json!({
        "id": text(&snapshot.id),
        "name": text(&snapshot.name),
        "vm-state-size": snapshot.vm_state_size,
        "date-sec": snapshot.date.0,
        "date-nsec": snapshot.date.1,
        "vm-clock-sec": clock / 1_000_000_000,
        "vm-clock-nsec": clock % 1_000_000_000,
    });
    if let (Some(icount), Some(fields)) = (icount(snapshot), value.as_object_mut()) {
        fields.insert("icount".to_owned(), json!(icount));
    }
    value
}

/// The instruction count, if one was kept; all ones say that none was.
pub fn icount(snapshot: &Snapshot) -> Option<u64> {
    snapshot.icount.filter(|count| *count != u64::MAX)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
