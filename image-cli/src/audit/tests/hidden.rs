//! Secrets put into a sound tree, and the rules that tell of them.

use std::fs;

use super::{Change, initrd, put};

/// A text that has the shape of a key and is none.
pub(crate) fn key() -> String {
    shaped("PRIVATE KEY")
}

fn shaped(header: &str) -> String {
    let line = "goldimg0".repeat(8);
    format!("-----BEGIN {header}-----\n{line}\n{line}\n-----END {header}-----\n")
}

/// Which rules tell of which change to a sound tree.
pub(super) const TREES: &[(&str, Change)] = &[
    ("private-keys", |root| put(root, "etc/ssl/private/x.key", &key())),
    ("private-keys", |root| {
        put(root, "opt/app/deploy.yaml", &format!("key: |\n{}", key()).replace('\n', "\n    "))
    }),
    ("private-keys", |root| {
        put(root, "var/lib/app/state.json", &format!("{{\"k\":\"{}\"}}", key().replace('\n', "\\n")))
    }),
    ("private-keys", |root| {
        put(root, "var/www/a", &format!("{}{}", "x\n".repeat(400_000), shaped("RSA PRIVATE KEY")))
    }),
    ("private-keys", |root| put(root, "usr/local/share/a", &shaped("OpenVPN Static key V1"))),
    ("private-keys", |root| {
        // No text, and packed.
        let mut bytes = vec![0xff; 5000];
        bytes.extend(key().as_bytes());
        let path = root.join("srv/backup.zst");
        fs::create_dir_all(root.join("srv")).unwrap();
        fs::write(path, zstd::encode_all(&bytes[..], 3).unwrap()).unwrap();
    }),
    ("private-keys", |root| {
        put(root, "usr/share/doc/x/key", &key());
        fs::create_dir_all(root.join("etc/x")).unwrap();
        // The other name is that of documentation.
        fs::hard_link(root.join("usr/share/doc/x/key"), root.join("etc/x/key")).unwrap();
    }),
    ("private-keys", |root| {
        let names = ["virtio_pci.ko", "virtio_blk.ko", "sd_mod.ko"];
        let content = initrd::tests::archive_of(
            &names
                .iter()
                .map(|name| (*name, "module"))
                .chain([("etc/dropbear/key", key().as_str())])
                .collect::<Vec<_>>(),
        );
        fs::write(root.join("boot/initrd.img-6"), content).unwrap();
    }),
    ("", |root| {
        put(root, "usr/share/doc/x/examples/key.pem", &key());
        put(root, "usr/lib/python3/dist-packages/x/tests/key.pem", &key());
        put(root, "usr/lib/ssl.py", "if text.startswith('-----BEGIN PRIVATE KEY-----'):\n    pass\n");
        put(root, "etc/ssl/certs/x.pem", &shaped("CERTIFICATE"));
    }),
    ("credentials", |root| put(root, "root/.ssh/id_ed25519", "a key\n")),
    ("credentials", |root| put(root, "home/x/.config/openstack/clouds.yaml", "clouds:\n")),
    ("credentials", |root| put(root, "root/.s3cfg", "[default]\n")),
    ("credentials", |root| put(root, "etc/apt/auth.conf.d/9", "machine x.example login a password b\n")),
    ("credentials", |root| {
        put(root, "etc/NetworkManager/system-connections/w", "[wifi-security]\npsk=hunter22\n")
    }),
    ("credentials", |root| {
        let text = fs::read_to_string(root.join("etc/fstab")).unwrap();
        put(root, "etc/fstab", &format!("{text}//nas/x /srv cifs nofail,username=a,password=b 0 0\n"));
    }),
    ("credentials", |root| put(root, "var/lib/tailscale/tailscaled.state", "{}")),
    ("tokens", |root| put(root, "etc/apt/auth.list", "deb https://ann:secret@example.com/ x main\n")),
    ("tokens", |root| put(root, "opt/app/env", &format!("TOKEN=ghp_{}\n", "g0Ld1mg".repeat(6)))),
    ("tokens", |root| put(root, "var/lib/app/config", &format!("id: ASIA{}\n", "GOLD1MG2".repeat(2)))),
    ("", |root| put(root, "usr/lib/x.py", "url = 'https://ann:hunter2@example.com/'\n")),
];
