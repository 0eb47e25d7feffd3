//! Layouts that are sound, and those in which something is another thing than is said.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::golden::existing::unpack::tests::file;
use crate::monitor::silent;

/// A layout with these layers in a new folder.
struct Made {
    dir: tempfile::TempDir,
}

impl Made {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Stores a blob; answers with its descriptor.
    fn blob(&self, kind: &str, bytes: &[u8]) -> Value {
        let digest = digest_of(bytes);
        self.write(&format!("blobs/sha256/{}", digest.hex), bytes);
        json!({ "mediaType": kind, "digest": format!("sha256:{}", digest.hex), "size": bytes.len() })
    }

    /// A manifest of an image for `architecture` with these layers, each stored as `pack` makes it.
    fn manifest(&self, architecture: &str, layers: &[&[u8]], pack: fn(&[u8]) -> Vec<u8>) -> Value {
        let ids: Vec<String> = layers.iter().map(|one| format!("sha256:{}", digest_of(one).hex)).collect();
        let config = json!({ "architecture": architecture, "os": "linux", "rootfs": { "type": "layers", "diff_ids": ids } });
        let config = self.blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
        let layers: Vec<Value> = layers
            .iter()
            .map(|one| self.blob("application/vnd.oci.image.layer.v1.tar", &pack(one)))
            .collect();
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let mut descriptor =
            self.blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
        descriptor["platform"] = json!({ "os": "linux", "architecture": architecture });
        descriptor
    }

    fn index(&self, manifests: &[Value]) {
        self.write(
            "index.json",
            json!({ "schemaVersion": 2, "manifests": manifests }).to_string().as_bytes(),
        );
    }

    /// What the layers unpack to.
    fn read(&self) -> crate::Result<Vec<Vec<u8>>> {
        let layers = Layout::open(self.dir.path())?.layers(silent())?.layers;
        let content = |layer: Layer| {
            let mut bytes = Vec::new();
            layer.unpack(silent(), |read| {
                // Not to its end: what is behind an archive counts all the same.
                let mut begin = [0; 100];
                read.read_exact(&mut begin)?;
                bytes.extend(begin);
                Ok(())
            })?;
            Ok(bytes)
        };
        layers.into_iter().map(content).collect()
    }
}

fn plain(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_image_for_this_platform_is_found_and_its_layers_are_read_in_their_order() {
    let [one, two] = [file("a", "1"), file("b", "2")];
    for pack in [plain, zstd, gzip] {
        let made = Made::new();
        let foreign = made.manifest("arm64", &[&two], pack);
        let own = made.manifest("amd64", &[&one, &two], pack);
        let inner = json!({ "schemaVersion": 2, "manifests": [foreign, own] });
        let index = made.blob("application/vnd.oci.image.index.v1+json", inner.to_string().as_bytes());
        made.index(&[index]);
        assert_eq!(made.read().unwrap(), [one[..100].to_vec(), two[..100].to_vec()]);
    }
}

#[test]
fn what_docker_save_wrote_is_read() {
    let made = Made::new();
    let layer = file("a", "1");
    let config = json!({ "architecture": "amd64", "os": "linux", "rootfs": { "diff_ids": [format!("sha256:{}", digest_of(&layer).hex)] } });
    let config = config.to_string();
    let name = format!("{}.json", digest_of(config.as_bytes()).hex);
    made.write(&name, config.as_bytes());
    made.write("1/layer.tar", &layer);
    fs::create_dir(made.path("2")).unwrap();
    std::os::unix::fs::symlink("../1/layer.tar", made.path("2/layer.tar")).unwrap();
    let saved = |layers: &[&str], config: &str| {
        let images = json!([{ "Config": config, "RepoTags": ["a:1"], "Layers": layers }]);
        made.write("manifest.json", images.to_string().as_bytes());
    };
    saved(&["2/layer.tar"], &name);
    assert_eq!(made.read().unwrap(), [layer[..100].to_vec()]);
    made.write("1/layer.tar", &file("a", "2"));
    assert!(format!("{:#}", made.read().unwrap_err()).contains("unpacks to something else"));
    made.write("other.json", config.as_bytes());
    saved(&["1/layer.tar"], "other.json");
    assert!(format!("{:#}", made.read().unwrap_err()).contains("another one than its name says"));
    saved(&["/etc/passwd"], &name);
    assert!(
        format!("{:#}", made.read().unwrap_err()).contains("is not in it"),
        "a path is one of the layout"
    );
}

#[test]
fn a_blob_that_is_another_one_is_refused() {
    let layer = file("a", "1");
    let damaged = |name: &dyn Fn(&Made) -> String, bytes: &[u8]| {
        let made = Made::new();
        let own = made.manifest("amd64", &[&layer], plain);
        made.index(&[own]);
        made.write(&name(&made), bytes);
        format!("{:#}", made.read().unwrap_err())
    };
    let of_layer = |_: &Made| format!("blobs/sha256/{}", digest_of(&layer).hex);
    let mut other = layer.clone();
    other[600] ^= 1;
    assert!(damaged(&of_layer, &other).contains("is another one than its name says"));
    assert!(damaged(&of_layer, &layer[..512]).contains("has 512 bytes, and not"));
    let of_manifest = |made: &Made| {
        let index: Value = serde_json::from_slice(&fs::read(made.path("index.json")).unwrap()).unwrap();
        format!("blobs/{}", index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/"))
    };
    assert!(damaged(&of_manifest, b"{}").contains("is another one than its name says"));
}

#[test]
fn several_images_or_none_are_told() {
    let layer = file("a", "1");
    let made = Made::new();
    assert!(format!("{:#}", made.read().unwrap_err()).contains("neither index.json nor manifest.json"));
    let foreign = made.manifest("arm64", &[&layer], plain);
    made.index(&[foreign]);
    assert!(format!("{:#}", made.read().unwrap_err()).contains("no image for linux/amd64 is in it"));
    let (one, two) =
        (made.manifest("amd64", &[&layer], plain), made.manifest("amd64", &[&layer, &layer], plain));
    made.index(&[one, two]);
    assert!(format!("{:#}", made.read().unwrap_err()).contains("2 images for linux/amd64 are in it"));
    for wrong in ["sha256:../../../../etc/passwd", "md5:00", "sha256:00", ""] {
        made.index(&[json!({ "digest": wrong, "size": 1 })]);
        assert!(
            format!("{:#}", made.read().unwrap_err()).contains("is no digest that is known here"),
            "{wrong}"
        );
    }
}
