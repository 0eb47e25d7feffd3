//! What callers of the two libraries can name, held against lists: who changes the public API changes a list with it.
//!
//! ```text
//! sources ─► rustdoc, as JSON (api/rustdoc) ─► public items, a line each ─┬─ must be ─ snapshots/api/LIBRARY.txt
//! ```
//!
//! `make test-api` runs this, a part of `make check`; with `API_WRITE=1` it writes the lists anew. That all of it is documented
//! is a lint (`missing_docs`), and that no signature has a type that callers cannot name another (`unnameable_types`).

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use public_api::Builder;

/// The top of the source tree.
fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in a folder of the project")
}

/// The libraries.
const LIBRARIES: [&str; 2] = ["image_core", "goldimg"];

/// Set to `required` where another compiler is a failure and not a reason to skip the test.
const STRICTNESS: &str = "GOLDIMG_PEERS";

/// Set to write the lists anew.
const WRITE: &str = "API_WRITE";

/// The JSON that the crate public-api reads; compilers differ. Both are changed together.
const FORMAT: &str = "\"format_version\":57";

/// Where rustdoc's descriptions of the libraries are; nothing after saying aloud that this compiler writes others.
fn described() -> Option<PathBuf> {
    let test = std::env::current_exe().expect("the path of this test");
    let target = test.ancestors().nth(3).expect("a test lies in target/PROFILE/deps");
    // Of the whole workspace, so that what all of it depends on is compiled with the features that lints compiled it with.
    let told = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(project())
        .env("RUSTDOC", project().join("tests/api/rustdoc"))
        .env("RUSTDOCFLAGS", "-Z unstable-options --output-format json")
        .args(["doc", "--locked", "--workspace", "--no-deps", "--lib", "--target-dir"])
        .arg(target)
        .output()
        .expect("cargo starts");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let folder = target.join("doc");
    let known = LIBRARIES.iter().all(|name| {
        let path = folder.join(name).with_extension("json");
        fs::read_to_string(path).expect("what rustdoc wrote").contains(FORMAT)
    });
    if !known {
        let why =
            format!("this compiler's rustdoc does not write {FORMAT}, which the crate public-api reads");
        assert!(std::env::var_os(STRICTNESS).is_none_or(|value| value != "required"), "{why}");
        // Not with `eprintln!`: the test harness would keep it to itself.
        let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
    }
    known.then_some(folder)
}

/// Every public item of what `described` describes, in the order of their paths.
fn items(described: &Path) -> Vec<String> {
    let api = Builder::from_rustdoc_json(described)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .expect("rustdoc's JSON");
    // That a type has a trait is told by the `impl`; what is in it follows from that.
    let mut of_trait = None;
    let mut told = Vec::new();
    for line in api.items().map(ToString::to_string) {
        if line.starts_with("impl") {
            of_trait = line.split_once(" for ").map(|(_, name)| format!(" {}", without_arguments(name)));
            if of_trait.is_some() && !line.contains("StructuralPartialEq") {
                told.push(line);
            }
        } else if !of_trait.as_ref().is_some_and(|name| is_in(&line, name)) {
            told.push(line);
        }
    }
    told
}

/// Whether the item that `line` tells of belongs to the type `name`.
fn is_in(line: &str, name: &str) -> bool {
    let item = line.split('(').next().unwrap_or(line);
    item.split_once(name).is_some_and(|(_, rest)| rest.starts_with("::") || rest.starts_with('<'))
}

/// The path of a type, without what stands in angle brackets behind it.
fn without_arguments(name: &str) -> &str {
    name.split(['<', ' ']).next().unwrap_or(name)
}

/// What is another in the library `name`, whose description lies in `folder`, than in its list; which is written anew if that is
/// what was asked for.
fn changes(folder: &Path, name: &str) -> Vec<String> {
    let items = items(&folder.join(name).with_extension("json"));
    let list = project().join("tests/snapshots/api").join(name).with_extension("txt");
    if std::env::var_os(WRITE).is_some() {
        fs::write(list, items.join("\n") + "\n").expect("a list can be written");
        return Vec::new();
    }
    let known = fs::read_to_string(&list).expect("a list");
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (known.lines().collect(), items.iter().map(String::as_str).collect());
    let gone = old.difference(&new).map(|line| format!("- {line}"));
    gone.chain(new.difference(&old).map(|line| format!("+ {line}"))).collect()
}

#[test]
#[ignore = "make test-api runs it: rustdoc is slow"]
fn the_public_api_is_the_one_that_is_written_down() {
    let Some(folder) = described() else { return };
    let changes: Vec<String> = LIBRARIES.iter().flat_map(|name| changes(&folder, name)).collect();
    let how = format!("the public API changed; if it was meant, `{WRITE}=1 make test-api` writes it down");
    assert!(changes.is_empty(), "{how}:\n{}", changes.join("\n"));
}
