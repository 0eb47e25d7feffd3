//! The recipes of this project, mistakes as users see them, and the JSON Schema against the loader.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::peer::peer;
use crate::support::{folder, goldimg, project};

fn recipes() -> Vec<PathBuf> {
    let entries = fs::read_dir(project().join("recipes")).expect("the folder of recipes");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths
}

#[test]
fn the_recipes_of_this_project_have_no_mistakes() {
    let outcome = goldimg(["check-recipe"].into_iter().map(PathBuf::from).chain(recipes())).run();
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{}", outcome.snapshot());
    assert_eq!(
        outcome.stdout.lines().filter(|line| line.ends_with(": no mistakes")).count(),
        recipes().len()
    );
}

/// What `goldimg test` asks of every image can be seen in the plan: `make test-recipes` boots them all.
#[test]
fn the_recipes_of_this_project_keep_the_time_and_let_their_owners_in() {
    for recipe in recipes() {
        let planned = goldimg(["plan".as_ref(), "--json".as_ref(), recipe.as_os_str()]).run();
        assert_eq!(planned.code, 0, "{}", planned.snapshot());
        let plan: serde_json::Value = serde_json::from_str(&planned.stdout).expect("JSON");
        let packages = plan["packages"].as_array().expect("packages");
        for wanted in [&["systemd-timesyncd", "chrony"][..], &["cloud-init"], &["openssh-server"]] {
            let is_there =
                packages.iter().filter_map(|name| name.as_str()).any(|name| wanted.contains(&name));
            assert!(is_there, "{}: none of {wanted:?}", recipe.display());
        }
    }
}

#[test]
fn the_schema_in_the_recipes_folder_is_current() {
    let outcome = goldimg(["schema"]).run();
    let kept = fs::read_to_string(project().join("recipes/recipe.schema.json")).expect("the schema");
    assert!(outcome.stdout == kept, "run: goldimg schema > recipes/recipe.schema.json");
}

/// A recipe with mistakes of every kind.
const WRONG: &str = r#"name = "de bian"
nmae = 1
packages = ["htop"]

[base]
distribution = "debain"
releas = "bookworm"

[[steps]]
install = "htop vim"

[[steps]]
run = "true"
copy = { from = "files/modt", to = "etc/motd", mode = 644 }

[cloud-init]
datasources = ["Openstack"]

[cloud-init.config]
"90-locale.cfg" = """
locale: C.UTF-8
  timezone: UTC
"""

[disk]
size = "10X"

[openstack.properties]
hw_disc_bus = "scsi"
hw_firmware_type = "efi"
"#;

#[test]
fn mistakes_are_shown_with_their_lines_and_remedies() {
    let folder = folder();
    fs::write(folder.path().join("wrong.toml"), WRONG).expect("a recipe");
    fs::create_dir(folder.path().join("files")).expect("a folder");
    fs::write(folder.path().join("files/motd"), "hello\n").expect("a file");
    insta::assert_snapshot!(goldimg(["check-recipe", "wrong.toml"]).folder(folder.path()).run().snapshot());
    let json = goldimg(["check-recipe", "--json", "wrong.toml"]).folder(folder.path()).run();
    assert_eq!((json.code, json.stderr.as_str()), (64, ""));
    let report: serde_json::Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(report[0]["sound"], false);
    let problems = report[0]["problems"].as_array().expect("a list");
    let told = goldimg(["check-recipe", "wrong.toml"]).folder(folder.path()).run().stderr;
    assert_eq!(problems.len(), told.matches("--> wrong.toml:").count());
    assert_eq!((&problems[0]["line"], &problems[0]["column"]), (&1.into(), &8.into()));
}

#[test]
fn a_recipe_that_is_not_there_is_wrong_usage() {
    let folder = folder();
    fs::write(folder.path().join("a.toml"), "name = \"a\"\n").expect("a recipe");
    insta::assert_snapshot!(goldimg(["check-recipe", "a"]).folder(folder.path()).run().snapshot());
}

/// Sections that a recipe may have.
const SOUND: &[&str] = &[
    "",
    "version = \"1.0~rc1\"\ndescription = \"für alle\"",
    "[[steps]]\ninstall = \"htop\"\n[[steps]]\nremove = [\"nano\", \"vim-tiny\"]",
    "[[steps]]\ninstall = [\"libc6:amd64=2.36-9+deb12u4\"]",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/etc/motd\", owner = \"0:adm\", mode = \"0640\" }",
    "[[steps]]\ncopy = { from = \"files\", to = \"/\", preserve = \"mode\", replace = true }",
    "[[steps]]\ncopy = { from = \"files\", to = \"/a\", folder-mode = \"0700\", preserve = [\"timestamps\", \"xattr\"] }",
    "[[steps]]\ncopy = { from = \"files\", to = \"/\" }\n[[steps]]\ncopy = { from = \"./files/\", to = \"/opt/a b\" }",
    "[[steps]]\nwrite = { path = \"/etc/a\", content = \"\", mode = \"755\", append = true, owner = \"root\" }",
    "[[steps]]\nwrite = { path = \"/a/..b/.c\", content = \"b\", mode = \"04755\" }",
    "[[steps]]\nrun = \"\"\"\ntrue\n\"\"\"",
    "[[steps]]\nrun = { script = \"true\", environment = { A = \"\", _B1 = \"ü\" } }",
    "[[steps]]\nrun = { file = \"files/motd\", network = \"packages\" }",
    "[build]\nnetwork = false\n[[steps]]\nrun = { script = \"a\", network = \"full\" }",
    "[[steps]]\ninstall = [\"./files/own_1.deb\", \"files/own_1.deb\"]",
    "[[steps]]\nrun = { script = \"a\", timeout = \"90s\" }\n[[steps]]\nrun = { script = \"a\", timeout = 600 }",
    "[[steps]]\nupdate = true\n[[steps]]\nupdate = { kernel = false }",
    "[[steps]]\nedit = { path = \"/a\", expressions = [\"s/a/b/\", \"s|^#?(x)|\\\\1|gi\"] }\n[[steps]]\nappend-line = { path = \"/a\", line = \"\" }",
    "[[steps]]\ndelete = \"/a/*.conf\"\n[[steps]]\ndelete = { paths = [\"/a\"], missing = \"ignore\" }",
    "[[steps]]\nmkdir = \"/a\"\n[[steps]]\nmkdir = { path = \"/a\", mode = \"0700\", owner = \"a:b\" }",
    "[[steps]]\nchmod = { path = \"/a\", mode = \"u+x,go=u\" }\n[[steps]]\nchmod = { path = \"/a\", mode = \"0755\" }",
    "[[steps]]\nchown = { path = \"/a\", owner = \"a\", recursive = true }\n[[steps]]\nmove = { from = \"/a\", to = \"/b\" }",
    "[[steps]]\nlink = { target = \"../a\", path = \"/b\" }\n[[steps]]\nlink = { target = \"/a\", path = \"/b\", hard = true }",
    "[[steps]]\ntouch = [\"/a\", \"/b\"]\n[[steps]]\ntruncate = \"/a\"",
    "[[steps]]\nhostname = \"a-1.example\"\n[[steps]]\ntimezone = \"Etc/GMT+5\"\n[[steps]]\nlocale = \"de_DE.UTF-8@euro\"",
    "[[steps]]\npassword = { user = \"root\", secret = \"a\" }\n[[steps]]\npassword = { user = \"root\", hash = \"$y$j9T$a/b$c.d\" }",
    "[[steps]]\npassword = { user = \"root\", locked = true }\n[[steps]]\npassword = { user = \"root\", disabled = true }",
    "[[steps]]\nuser = \"ann\"\n[[steps]]\nuser = { name = \"ann\", groups = \"adm\", shell = \"/bin/sh\", home = \"/h\", uid = 7, system = true, sudo = false, ssh-keys = [] }",
    "[[steps]]\nssh-key = { user = \"ann\", key = \"no-pty ssh-ed25519 AAAAC3Nz ann\" }\n[[steps]]\nssh-key = { user = \"ann\", file = \"files/ann.pub\" }",
    "[[steps]]\nfirstboot = \"true\"\n[[steps]]\nfirstboot = { file = \"files/motd\" }",
    "[[steps]]\nkernel-argument = [\"a=b,c\", \"-quiet\", \"console=ttyS0\"]\n[[steps]]\ndatasources = \"None\"",
    "[[steps]]\ncloud-init-config = { name = \"a.cfg\", content = \"a: b\" }\n[[steps]]\ncloud-init-config = { name = \"b.cfg\", file = \"files/fragment.cfg\" }",
    "[cloud-init]\ndatasources = \"None\"\ndefault-user = \"_a-1\"",
    "[cloud-init.config]\n\"90.a_b-c.cfg\" = \"a: b\"\n\"b.cfg\" = { file = \"files/fragment.cfg\" }\n\"c.cfg\" = { text = \"\" }",
    "[boot]\nkernel = \"linux-image-amd64\"\nfirmware = \"uefi\"\nconsole = []\ncommand-line = [\"net.ifnames=0\", \"a=b,c:d\"]\ntimeout = 3600",
    "[boot]\ninitramfs = \"dracut\"",
    "[disk]\nsize = \"10G\"\nesp-size = \"33M\"\nfree = 0",
    "[disk]\nsize = 10737418240",
    "[disk]\nsize = \"1.5GiB\"\nesp-size = \"67108864\"",
    "[seal]\nkeep = \"/etc/ssh\"\nkeep-passwords = true",
    "[openstack.properties]\nhw_disk_bus = \"scsi\"\nhw_rng_model = \"\"\n\"trait:CUSTOM_X\" = \"required\"",
    "[output]\nformats = \"raw\"",
    "[output]\ncompression = \"zstd\"\nlevel = 19\ncluster-size = 131072\nmin-ram-mib = 0",
    "[output]\ncompression = \"none\"\ncluster-size = \"2m\"",
    "[output]\nlevel = 9\nformats = [\"raw\", \"qcow2\"]",
];

/// What `[base]` may have further.
const SOUND_BASE: &[&str] = &[
    "packages = [\"htop\", \"./files/own_1.deb\"]",
    "mirror = \"https://ann:secret@mirror.example/debian\"",
    "debconf = [\"tzdata tzdata/Areas select Europe\", \"a1 a/b string\", \"a1 a/c multiselect x, y\"]",
    "suites = [\"bookworm\", \"bookworm-updates\"]",
    "[[base.archives]]\nsuites = \"bookworm-backports\"",
    "[[base.archives]]\nuri = \"https://a.example/b\"\nsuites = [\"a\", \"b/updates\"]\ncomponents = [\"main\"]\nsigned-by = \"files/keys.asc\"\nkeep = false",
    "[[base.archives]]\nsuites = \"bookworm-backports\"\npriority = 600\npin = [\"linux-image-*\", \"htop\"]",
    "[[base.archives]]\nuri = \"https://a.example/b\"\nsuites = \"/\"\nsigned-by = \"files/keys.asc\"\n[[base.archives]]\nsuites = \"./\"",
];

/// What a recipe whose base is an image may say, `files/base.raw` beside it.
const SOUND_IMAGES: &[&str] = &[
    "[base]\nimage = \"files/base.raw\"",
    "[base]\nimage = \"./files/base.raw\"\nsha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF\"",
    "[base]\nimage = \"https://ann:secret@a.example/b.qcow2?c=d\"\nsha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
    "[base]\nimage = \"files/base.raw\"\n[[steps]]\ninstall = [\"@core\", \"perl(Encode)\"]\n[[steps]]\nremove = \"Xorg\"\n[disk]\nsize = \"8G\"",
    "[base]\nimage = \"files/base.raw\"\n[build]\nnetwork = false\n[seal]\nkeep = \"/etc/ssh\"\n[output]\nformats = \"raw\"",
];

/// What a recipe whose base is an image on a server may say of its signed digests.
const SOUND_SUMS: &[&str] = &[
    "[base]\nimage = \"https://a.example/b\"\nsums = \"https://a.example/SHA256SUMS\"\nsigned-by = \"files/keys.asc\"",
    "[base]\nimage = \"https://a.example/b\"\nsums = \"http://a.example/S\"\nsignature = \"http://a.example/S.gpg\"\nsigned-by = \"files/keys.asc\"",
];

/// What it may not say.
const UNSOUND_SUMS: &[&str] = &[
    "[base]\nimage = \"https://a.example/b\"\nsums = \"https://a.example/SHA256SUMS\"",
    "[base]\nimage = \"https://a.example/b\"\nsigned-by = \"files/keys.asc\"",
    "[base]\nimage = \"https://a.example/b\"\nsums = \"https://ann:secret@a.example/S\"\nsigned-by = \"files/keys.asc\"",
    "[base]\nimage = \"files/base.raw\"\nsums = \"https://a.example/SHA256SUMS\"\nsigned-by = \"files/keys.asc\"",
    "[base]\nimage = \"glance:web\"\nsums = \"https://a.example/SHA256SUMS\"\nsigned-by = \"files/keys.asc\"",
];

/// What a recipe whose base is the files of a system may say.
const SOUND_FILES: &[&str] = &[
    "tar = \"files/base.raw\"\npackages = [\"htop\"]",
    "tar = \"https://a.example/b.tar\"\nsha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
    "oci = \"files/base.raw\"\n[boot]\ntimeout = 1\n[disk]\nfree = \"1G\"",
];

/// What it may not say, as a schema can tell.
const UNSOUND_FILES: &[&str] = &[
    "tar = \"files/base.raw\"\noci = \"files/base.raw\"",
    "tar = \"https://a.example/b.tar\"",
    "tar = \"files/base.raw\"\nsuites = \"bookworm\"",
    "tar = \"files/base.raw\"\nmirror = \"https://a.example/b\"",
    "oci = \"files/base.raw\"\nsha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
    "oci = \"../base.raw\"",
    "tar = \"files/base.raw\"\npackages = [\"./files/own_1.deb\"]",
    "tar = \"files/base.raw\"\n[[steps]]\ninstall = \"./files/own_1.deb\"",
];

/// What it may not say, as a schema can tell.
const UNSOUND_IMAGES: &[&str] = &[
    "[base]\nimage = \"../base.raw\"",
    "[base]\nimage = \"/base.raw\"",
    "[base]\nimage = \"ftp://a.example/b\"\nsha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
    "[base]\nimage = \"https://a.example/b\"",
    "[base]\nimage = \"files/base.raw\"\nsha256 = \"0123\"",
    "[base]\nimage = \"files/base.raw\"\nsha512 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
    "[base]\nimage = \"files/base.raw\"\ndistribution = \"debian\"",
    "[base]\nimage = \"files/base.raw\"\nrelease = \"bookworm\"\npackages = []",
    "[base]\nsha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\ndistribution = \"debian\"\nrelease = \"bookworm\"",
    "[base]\nimage = \"files/base.raw\"\n[boot]\ntimeout = 1",
    "[base]\nimage = \"files/base.raw\"\n[cloud-init]\ndatasources = \"None\"",
    "[base]\nimage = \"files/base.raw\"\n[disk]\nfree = \"1G\"",
    "[base]\nimage = \"files/base.raw\"\n[[steps]]\ninstall = \"./files/own_1.deb\"",
];

/// What `[base]` may not have, as a schema can tell.
const UNSOUND_BASE: &[&str] = &[
    "packages = \"own.tar\\u0000/x.deb\"",
    "debconf = \"tzdata tzdata/Areas selekt Europe\"",
    "suites = []",
    "suites = \"./\"",
    "debconf = \"tzdata\"",
    "debconf = [1]",
    "[base.archives]\nsuites = \"a\"",
    "[[base.archives]]\nuri = \"https://a.example/b\"",
    "[[base.archives]]\nsuites = \"a\"\npriority = 2000",
    "[[base.archives]]\nsuites = \"a\"\npin = \"htop\"",
    "[[base.archives]]\nsuites = \"a\"\npriority = 600\npin = \"a b\"",
    "[[base.archives]]\nsuites = []",
    "[[base.archives]]\nsuites = \"a b\"",
    "[[base.archives]]\nsuites = \"a\"\nuri = \"a.example\"",
    "[[base.archives]]\nsuites = \"a\"\nkeep = \"yes\"",
    "[[base.archives]]\nsuites = \"a\"\nsigned-by = \"/usr/share/keyrings/a.gpg\"",
    "[[base.archives]]\nsuites = \"a\"\ncomponents = []",
    "[[base.archives]]\nsuites = [\"a\", \"./\"]\ncomponents = [\"main\"]",
    "[[base.archives]]\nsuites = \"a\"\nkey = \"b\"",
];

/// Sections that no recipe may have, as a schema can tell.
const UNSOUND: &[&str] = &[
    "colour = 1",
    "version = 1",
    "version = \"-1\"",
    "description = \"two\\nlines\"",
    "description = \" \"",
    "steps = \"a\"",
    "[steps]\nrun = \"a\"",
    "[[steps]]",
    "[[steps]]\ninstal = \"htop\"",
    "[[steps]]\ninstall = []",
    "[[steps]]\ninstall = \"htop vim\"",
    "[[steps]]\ninstall = [\"Htop\"]",
    "[[steps]]\ninstall = [1]",
    "[[steps]]\nremove = { a = 1 }",
    "[[steps]]\nupdate = false",
    "[[steps]]\nupdate = {}",
    "[[steps]]\nedit = { path = \"/a\", expressions = [] }",
    "[[steps]]\nedit = { path = \"/a\", expressions = \"y/a/b/\" }",
    "[[steps]]\nappend-line = { path = \"/a\", line = \"b\\nc\" }",
    "[[steps]]\ndelete = \"/\"",
    "[[steps]]\ndelete = { paths = \"/a\", missing = \"no\" }",
    "[[steps]]\nmkdir = { mode = \"0700\" }",
    "[[steps]]\nchmod = { path = \"/a\", mode = \"u+q\" }",
    "[[steps]]\nchown = { path = \"/a\", owner = \":b\" }",
    "[[steps]]\nmove = { from = \"a\", to = \"/b\" }",
    "[[steps]]\nlink = { target = \"\", path = \"/b\" }",
    "[[steps]]\ntouch = []",
    "[[steps]]\nhostname = \"a_b\"",
    "[[steps]]\ntimezone = \"/UTC\"",
    "[[steps]]\nlocale = \"de DE\"",
    "[[steps]]\npassword = { user = \"root\" }",
    "[[steps]]\npassword = { user = \"root\", locked = false }",
    "[[steps]]\npassword = { user = \"root\", locked = true, disabled = true }",
    "[[steps]]\npassword = { user = \"root\", hash = \"secret\" }",
    "[[steps]]\nuser = { groups = \"adm\" }",
    "[[steps]]\nuser = { name = \"ann\", uid = -1 }",
    "[[steps]]\nssh-key = { user = \"ann\", key = \"AAAA\" }",
    "[[steps]]\nssh-key = { user = \"ann\" }",
    "[[steps]]\nfirstboot = \" \"",
    "[[steps]]\nkernel-argument = [\"root=/dev/sda\"]",
    "[[steps]]\nkernel-argument = [\"a b\"]",
    "[[steps]]\ncloud-init-config = { name = \"a\", content = \"a: b\" }",
    "[[steps]]\ndatasources = []",
    "[[steps]]\nrun = \"a\"\ninstall = \"htop\"",
    "[[steps]]\nrun = \" \"",
    "[[steps]]\nrun = {}",
    "[[steps]]\nrun = { script = \"a\", file = \"files/motd\" }",
    "[[steps]]\nrun = { script = \"a\", environment = { 1A = \"\" } }",
    "[[steps]]\nrun = { script = \"a\", environment = { A = 1 } }",
    "[[steps]]\nrun = { script = \"a\", user = \"root\" }",
    "[[steps]]\nrun = \"a\"\nenvironment = { A = \"\" }",
    "[[steps]]\nrun = \"a\"\nnetwork = false",
    "[[steps]]\nrun = { script = \"a\", network = true }",
    "[build]\nnetwork = \"none\"",
    "[build]\nnetwork = true",
    "[build]\nnet = false",
    "network = false",
    "[[steps]]\nrun = \"a\"\ntimeout = \"1m\"",
    "[[steps]]\nrun = { script = \"a\", timeout = \"1 m\" }",
    "[[steps]]\nrun = { script = \"a\", timeout = 0 }",
    "[[steps]]\ninstall = \"own_1.deb\"",
    "[[steps]]\ninstall = \"/own_1.deb\"",
    "[[steps]]\ninstall = \"../own_1.deb\"",
    "[[steps]]\nremove = \"./files/own_1.deb\"",
    "[[steps]]\ncopy = { from = \"files/motd\" }",
    "[[steps]]\ncopy = { from = \"/etc/passwd\", to = \"/a\" }",
    "[[steps]]\ncopy = { from = \"../a\", to = \"/a\" }",
    "[[steps]]\ncopy = { from = \"files/../a\", to = \"/a\" }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"a\" }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/a/\" }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/a//b\" }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/a/../b\" }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/a\", mode = 420 }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/a\", mode = \"0o644\" }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/a\", mode = \"64\" }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/a\", owner = \"a:b:c\" }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/a\", folder-mode = 755 }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/a\", preserve = [\"ownership\"] }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/a\", replace = \"yes\" }",
    "[[steps]]\nwrite = { path = \"/a\", content = \"\", owner = \"Root\" }",
    "[[steps]]\nwrite = { path = \"/\", content = \"\" }",
    "[[steps]]\nwrite = { path = \"/a\", content = \"\", append = \"yes\" }",
    "[cloud-init]\ndatasources = []",
    "[cloud-init]\ndatasources = [\"Open Stack\"]",
    "[cloud-init]\ndefault-user = \"Me\"",
    "[cloud-init.config]\n\"a\" = \"b: c\"",
    "[cloud-init.config]\n\".cfg\" = \"b: c\"",
    "[cloud-init.config]\n\"../a.cfg\" = \"b: c\"",
    "[cloud-init.config]\n\"a.cfg\" = { text = \"\", file = \"files/fragment.cfg\" }",
    "[boot]\ninitramfs = \"mkinitcpio\"",
    "[boot]\nfirmware = []",
    "[boot]\nfirmware = [\"bois\"]",
    "[boot]\ntimeout = 3601",
    "[boot]\ntimeout = -1",
    "[boot]\nconsole = [\"a b\"]",
    "[boot]\ncommand-line = [\"root=/dev/sda1\"]",
    "[boot]\ncommand-line = [\"a b\"]",
    "[boot]\ncommand-line = [\"a;b\"]",
    "[boot]\ncommand-line = [\"$a\"]",
    "[disk]\nsize = \"Fit\"",
    "[disk]\nsize = -1",
    "[disk]\nsize = \"1.5\"",
    "[disk]\nsize = \"10GB\"",
    "[disk]\nsize = 1048577",
    "[disk]\nesp-size = 1048576",
    "[disk]\nesp_size = \"64M\"",
    "[seal]\nkeep = [\"etc\"]",
    "[openstack.properties]\nhw_boot_menu = true",
    "[openstack.properties]\nos_glance_x = \"y\"",
    "[openstack.properties]\n\"a b\" = \"c\"",
    "[openstack]\nproperties = [\"hw_disk_bus=scsi\"]",
    "[openstack]\nhw_disk_bus = \"scsi\"",
    "[seal]\nkeep-passwords = 1",
    "[output]\nformats = []",
    "[output]\nformats = [\"vmdk\"]",
    "[output]\ncompression = \"zlib\"",
    "[output]\nlevel = 10",
    "[output]\nlevel = 0",
    "[output]\ncompression = \"none\"\nlevel = 1",
    "[output]\ncompression = \"zstd\"\nlevel = 20",
    "[output]\ncluster-size = 1000",
    "[output]\nmin-ram-mib = -1",
];

/// Sections that no recipe may have, for reasons that a schema cannot know.
const UNSOUND_BEYOND_THE_SCHEMA: &[&str] = &[
    "[[steps]]\ncopy = { from = \"files/modt\", to = \"/a\" }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/\" }",
    "[[steps]]\ncopy = { from = \"files/motd\", to = \"/a\", mode = \"0644\", preserve = \"mode\" }",
    "[[steps]]\nrun = { file = \"files\" }",
    "[[steps]]\nedit = { path = \"/a\", expressions = \"s/(/b/\" }",
    "[[steps]]\nlink = { target = \"a\", path = \"/b\", hard = true }",
    "[[steps]]\ncloud-init-config = { name = \"a.cfg\", content = \"- a\" }",
    "[[steps]]\nssh-key = { user = \"ann\", file = \"files/motd\" }",
    "[openstack.properties]\nhw_disk_bus = \"SCSI\"",
    "[cloud-init.config]\n\"a.cfg\" = \"- b\"",
    "[cloud-init.config]\n\"a.cfg\" = \"a: [\"",
    "[disk]\nsize = \"1M\"",
    "[disk]\nsize = \"20T\"",
    "[disk]\nesp-size = \"32M\"",
    "[output]\ncluster-size = \"48K\"",
    "[[steps]]\nrun = { script = \"a\", timeout = \"0s\" }",
    "[[steps]]\ninstall = \"./files/none_1.deb\"",
];

/// What `[base]` may not have, likewise.
const UNSOUND_BASE_BEYOND_THE_SCHEMA: &[&str] = &["suites = \"bookworm-updates\""];

/// Reads the recipes with Python's own TOML reader, and holds them against the schema. Its last lines: a digit each.
const JUDGE: &str = r#"
import json, sys, tomllib, jsonschema
schema = json.load(open(sys.argv[1]))
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
for path in sys.argv[2:]:
    print(int(validator.is_valid(tomllib.load(open(path, "rb")))))
"#;

#[test]
fn the_schema_takes_what_the_loader_takes() {
    let Some(python) = peer("/usr/bin/python3") else { return };
    // A module of the system's own Python: a program of its package says whether it is there.
    if peer("/usr/bin/jsonschema").is_none() {
        return;
    }
    let folder = folder();
    fs::create_dir(folder.path().join("files")).expect("a folder");
    fs::write(folder.path().join("files/motd"), "hello\n").expect("a file");
    fs::write(folder.path().join("files/fragment.cfg"), "a: b\n").expect("a file");
    fs::write(folder.path().join("files/ann.pub"), "ssh-ed25519 AAAAC3Nz ann\n").expect("a file");
    fs::write(folder.path().join("files/own_1.deb"), "!<arch>\ndebian-binary   ").expect("a file");
    fs::write(folder.path().join("files/keys.asc"), "-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
        .expect("a file");
    let base = "[base]\ndistribution = \"debian\"\nrelease = \"bookworm\"\n";
    let before = |section: &&str| format!("name = \"a\"\n{section}\n{base}");
    let behind = |section: &&str| format!("name = \"a\"\n{base}{section}\n");
    let alone = |section: &&str| format!("name = \"a\"\n{section}\n");
    fs::write(folder.path().join("files/base.raw"), "").expect("a file");
    let sound = SOUND.iter().map(before).chain(SOUND_BASE.iter().map(behind));
    let sound: Vec<String> = sound
        .chain(SOUND_IMAGES.iter().chain(SOUND_SUMS).map(alone))
        .chain(SOUND_FILES.iter().map(behind))
        .collect();
    let unsound = UNSOUND.iter().map(before).chain(UNSOUND_BASE.iter().map(behind));
    let unsound: Vec<String> = unsound
        .chain(UNSOUND_IMAGES.iter().chain(UNSOUND_SUMS).map(alone))
        .chain(UNSOUND_FILES.iter().map(behind))
        .collect();
    let beyond = UNSOUND_BEYOND_THE_SCHEMA.iter().map(before);
    let beyond: Vec<String> = beyond.chain(UNSOUND_BASE_BEYOND_THE_SCHEMA.iter().map(behind)).collect();
    let sections = [sound.as_slice(), &unsound, &beyond].concat();
    let names: Vec<String> = (0..sections.len()).map(|index| format!("{index}.toml")).collect();
    for (name, text) in names.iter().zip(&sections) {
        fs::write(folder.path().join(name), text).expect("a recipe");
    }
    let by_loader = judged_by_loader(folder.path(), &names);
    let schema = project().join("recipes/recipe.schema.json").to_string_lossy().into_owned();
    let arguments: Vec<&str> =
        ["-c", JUDGE, schema.as_str()].into_iter().chain(names.iter().map(String::as_str)).collect();
    let judged = python.command(arguments).folder(folder.path()).run();
    assert_eq!(judged.code, 0, "{}", judged.stderr);
    let by_schema: Vec<bool> = judged.stdout.lines().map(|line| line == "1").collect();
    assert_eq!(by_schema.len(), sections.len());
    for (index, section) in sections.iter().enumerate() {
        let is_sound = index < sound.len();
        let in_schema = is_sound || index >= sound.len() + unsound.len();
        assert_eq!(by_loader[index], is_sound, "by the loader:\n{section}");
        assert_eq!(by_schema[index], in_schema, "by the schema:\n{section}");
    }
}

/// Whether each of the recipes is sound.
fn judged_by_loader(folder: &Path, names: &[String]) -> Vec<bool> {
    let arguments = ["check-recipe", "--json"].into_iter().chain(names.iter().map(String::as_str));
    let outcome = goldimg(arguments).folder(folder).run();
    let reports: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON");
    let reports = reports.as_array().expect("a list").iter();
    reports.map(|report| report["sound"].as_bool().expect("true or false")).collect()
}

#[test]
fn a_plan_shows_stages_packages_partitions_and_outputs() {
    let debian = project().join("recipes/debian-13.toml");
    let plan = |more: &[&str]| {
        let arguments = ["plan", "--offline"].iter().chain(more).map(PathBuf::from).chain([debian.clone()]);
        goldimg(arguments)
            .env("SOURCE_DATE_EPOCH", "1760000000")
            .redact(&project().to_string_lossy(), "[project]")
            .run()
    };
    insta::assert_snapshot!(plan(&[]).snapshot());
    let json: serde_json::Value = serde_json::from_str(&plan(&["--json"]).stdout).expect("JSON");
    assert_eq!(json["name"], "debian-13-20251009");
    assert_eq!(
        json["partitions"][2],
        serde_json::json!({ "number": 1, "name": "root", "start": 68 << 20, "size": null })
    );
    assert_eq!(json["recipe"]["output"]["cluster-size"], 65536);
}
