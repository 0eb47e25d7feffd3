//! Circles of files: which file of a crate uses what another one defines, and where that leads back.
//!
//! ```text
//! lib.rs ─► mod … ─► files ─► tokens ─┬─ definitions ──────────┐
//!                                     ├─ imports, re-exports ──┼─► file ─► file that defines it ─► circles
//!                                     └─ paths in the code ────┘
//! ```
//!
//! What counts as a use, so that the rule is strict and needs no compiler:
//!
//! - **An edge goes from a file that names an item to the file that defines it**: by `use`, or by a path in the code
//!   (`crate::…`, `super::…`, `self::…`, or one that begins with a module or an import). Re-exports are followed to the
//!   definition, so a `pub use` hides no circle.
//! - **Naming a module is no use**: `mod child;` and `use super::child;` say where something is; `child::item` uses it.
//! - **A re-export is no use by the file that it is in**: a parent shows what lies in its folder. It is one as soon as the
//!   code of the parent says the name itself.
//! - **A parent's types, traits and constants are its folder's**: a file in `foo/` may use those that `foo.rs` defines,
//!   though `foo.rs` calls into the folder. Its functions and macros it may not: what both sides call belongs into a file
//!   of its own. Between any other two files everything counts.
//! - **A method is no name that leads to a file**: only the type's is. An `impl` in another file than its type's is that
//!   type continued, and is called from anywhere that has a value of it; traits are called through in the same way.
//! - **Unit tests are not looked at**: they may use everything.
//!
//! A path that leads nowhere is a fault, as are a module without a file and `module::*`: nothing is left out in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module is its path from the top of the crate; the empty one is the top.
type Module = Vec<String>;

/// What a file defines and names.
#[derive(Debug, Default)]
struct File {
    /// From the crate's folder of sources.
    path: String,
    children: BTreeSet<String>,
    definitions: BTreeMap<String, Kind>,
    imports: BTreeMap<String, Import>,
    /// Everything in these modules.
    globs: Vec<Module>,
    /// Paths in the code, as they are written there.
    paths: BTreeSet<Vec<String>>,
}

/// What a definition is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A function or a macro.
    Function,
    /// A type, a trait, a constant, or a module within the file.
    Other,
}

#[derive(Debug)]
struct Import {
    path: Vec<String>,
    is_public: bool,
}

/// Which file uses which other one, and what of it.
type Uses = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The files of a crate by module.
pub(super) struct Crate {
    files: BTreeMap<Module, File>,
    faults: Vec<String>,
}

impl Crate {
    /// The crate whose sources are in `folder`.
    pub(super) fn read(folder: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(folder.join(path)).ok();
        Self::from_texts(text)
    }

    /// The crate with these files, by their paths from the folder of sources.
    fn from_texts(text: impl Fn(&str) -> Option<String>) -> Self {
        let mut found = Self { files: BTreeMap::new(), faults: Vec::new() };
        let top = if text("lib.rs").is_some() { "lib.rs" } else { "main.rs" };
        let mut next = vec![Module::new()];
        while let Some(module) = next.pop() {
            let path = if module.is_empty() { top.to_owned() } else { module.join("/") + ".rs" };
            let Some(text) = text(&path) else {
                found.faults.push(format!("{path} is declared as a module and not there"));
                continue;
            };
            let mut file = File { path, ..File::default() };
            Reader { tokens: &code(&tokens(&text)), at: 0, depth: 0 }.read_into(&mut file);
            next.extend(file.children.iter().map(|child| joined(&module, child)));
            found.files.insert(module, file);
        }
        found
    }

    /// Who uses whom; and all that could not be followed.
    pub(super) fn uses(&self) -> (Uses, Vec<String>) {
        let (mut uses, mut faults) = (Uses::new(), self.faults.clone());
        for (module, file) in &self.files {
            let imported =
                file.imports.values().filter(|import| !import.is_public).map(|import| &import.path);
            for path in imported.chain(&file.paths) {
                match self.definition(module, path, 0) {
                    Found::In(other, kind) if self.is_use(module, &other, kind) => {
                        let names = uses
                            .entry(file.path.clone())
                            .or_default()
                            .entry(self.files[&other].path.clone())
                            .or_default();
                        names.insert(path.last().cloned().unwrap_or_default());
                    }
                    Found::In(..) | Found::Module(_) | Found::Outside => {}
                    Found::Nowhere => faults.push(format!("{}: what is {}?", file.path, path.join("::"))),
                }
            }
            // An enum's variants may be imported so: they are one definition.
            let all = |path: &&Module| matches!(self.definition(module, path, 0), Found::Module(_));
            let hidden = file.globs.iter().filter(all);
            faults.extend(hidden.map(|path| format!("{}: {}::* says not what", file.path, path.join("::"))));
        }
        (uses, faults)
    }

    /// Whether it is a use of another file if `module` names what is defined in `other`.
    fn is_use(&self, module: &Module, other: &Module, kind: Kind) -> bool {
        let is_parent = module.starts_with(other);
        module != other && (!is_parent || kind == Kind::Function)
    }

    /// What `path` means in `module`.
    fn definition(&self, module: &Module, path: &[String], depth: usize) -> Found {
        let Some(file) = self.files.get(module) else { return Found::Nowhere };
        let Some((first, rest)) = path.split_first() else { return Found::Module(module.clone()) };
        if depth > 64 {
            return Found::Nowhere;
        }
        let within = |found: Found| match found {
            Found::Module(inner) if !rest.is_empty() => self.member(&inner, rest, depth + 1),
            found => found,
        };
        match first.as_str() {
            "crate" => self.member(&Module::new(), rest, depth + 1),
            "self" => self.member(module, rest, depth + 1),
            "super" if module.is_empty() => Found::Nowhere,
            "super" => {
                let parent = module[..module.len() - 1].to_vec();
                let climbing = rest.first().is_some_and(|next| next == "super");
                let look = if climbing { Self::definition } else { Self::member };
                look(self, &parent, rest, depth + 1)
            }
            // Names of the language and of other crates are known to nobody here.
            _ => match within(self.named(module, file, first, !rest.is_empty(), depth + 1)) {
                Found::Nowhere if !file.children.contains(first) => Found::Outside,
                found => found,
            },
        }
    }

    /// What `path` means as seen from outside of `module`.
    fn member(&self, module: &Module, path: &[String], depth: usize) -> Found {
        let Some(file) = self.files.get(module) else { return Found::Nowhere };
        let Some((first, rest)) = path.split_first() else { return Found::Module(module.clone()) };
        match self.named(module, file, first, !rest.is_empty(), depth) {
            Found::Module(inner) if !rest.is_empty() => self.member(&inner, rest, depth + 1),
            found => found,
        }
    }

    /// What `name` is in a module; where more follows, a module before an item.
    fn named(&self, module: &Module, file: &File, name: &str, more: bool, depth: usize) -> Found {
        let child = || file.children.contains(name).then(|| Found::Module(joined(module, name)));
        let defined = || file.definitions.get(name).map(|&kind| Found::In(module.clone(), kind));
        let imported = || {
            let import = file.imports.get(name)?;
            // A child and an item in it may have one name, and both be imported by one path.
            Some(self.definition(module, &import.path, depth + 1))
        };
        let globbed = || {
            let mut found = file.globs.iter().filter_map(|glob| {
                let Found::Module(inner) = self.definition(module, glob, depth + 1) else { return None };
                let found = self.member(&inner, &[name.to_owned()], depth + 1);
                (!matches!(found, Found::Nowhere | Found::Outside)).then_some(found)
            });
            found.next()
        };
        let found = if more {
            child().or_else(imported).or_else(defined)
        } else {
            defined().or_else(imported).or_else(child)
        };
        found.or_else(globbed).unwrap_or(Found::Nowhere)
    }
}

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// An item, defined in this file.
    In(Module, Kind),
    Module(Module),
    Outside,
    Nowhere,
}

fn joined(module: &Module, child: &str) -> Module {
    let mut joined = module.clone();
    joined.push(child.to_owned());
    joined
}

/// Reads one file's tokens.
struct Reader<'a> {
    tokens: &'a [&'a str],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn token(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).copied().unwrap_or_default()
    }

    fn read_into(mut self, file: &mut File) {
        let mut words: BTreeSet<String> = BTreeSet::new();
        let mut is_public = false;
        while self.at < self.tokens.len() {
            let token = self.token(0);
            let name = self.token(1).to_owned();
            match token {
                "{" => self.depth += 1,
                "}" => self.depth = self.depth.saturating_sub(1),
                "use" => {
                    self.at += 1;
                    self.tree(&mut Vec::new(), is_public, file);
                }
                "mod" if self.token(2) == ";" => {
                    file.children.insert(name);
                    self.at += 1;
                }
                "fn" if self.depth == 0 && is_word(&name) => {
                    _ = file.definitions.insert(name, Kind::Function)
                }
                "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" | "mod"
                    if self.depth == 0 && is_word(&name) =>
                {
                    file.definitions.entry(name).or_insert(Kind::Other);
                }
                "macro_rules" => _ = file.definitions.insert(self.token(2).to_owned(), Kind::Function),
                _ if is_word(token) => {
                    let after_dot = self.at > 0 && self.tokens[self.at - 1] == ".";
                    let path = self.path();
                    if path.len() > 1 {
                        file.paths.insert(path);
                    } else if !after_dot {
                        words.extend(path);
                    }
                }
                _ => {}
            }
            // `pub`, `pub(crate)`, `pub(in …)` and what follows.
            is_public = match self.token(0) {
                "pub" => true,
                "(" | ")" | "crate" | "super" | "in" => is_public,
                _ => false,
            };
            self.at += 1;
        }
        // The door of a folder that says itself what it re-exports.
        let said = |(name, import): &(&String, &Import)| import.is_public && words.contains(*name);
        file.paths.extend(file.imports.iter().filter(said).map(|(_, import)| import.path.clone()));
    }

    /// The path that begins here; ends at its last word.
    fn path(&mut self) -> Vec<String> {
        let mut path = vec![self.token(0).to_owned()];
        while self.token(1) == "::" && is_word(self.token(2)) {
            self.at += 2;
            path.push(self.token(0).to_owned());
        }
        path
    }

    /// What is imported by the tree that begins here; ends at what follows it.
    fn tree(&mut self, before: &mut Vec<String>, is_public: bool, file: &mut File) {
        let len = before.len();
        loop {
            match self.token(0) {
                "{" => {
                    self.at += 1;
                    while !matches!(self.token(0), "}" | "") {
                        self.tree(before, is_public, file);
                        if self.token(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    break;
                }
                "*" => {
                    file.globs.push(before.clone());
                    self.at += 1;
                    break;
                }
                "::" => self.at += 1,
                word if is_word(word) => {
                    before.push(word.to_owned());
                    self.at += 1;
                    if self.token(0) != "::" {
                        self.leaf(before, is_public, file);
                        break;
                    }
                }
                _ => break,
            }
        }
        before.truncate(len);
    }

    fn leaf(&mut self, path: &[String], is_public: bool, file: &mut File) {
        let path = match path.split_last() {
            Some((last, module)) if last == "self" => module,
            _ => path,
        };
        let mut name = path.last().cloned().unwrap_or_default();
        if self.token(0) == "as" {
            name = self.token(1).to_owned();
            self.at += 2;
        }
        file.imports.insert(name, Import { path: path.to_vec(), is_public });
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Tokens without what is only there for tests: `#[cfg(test)]` and the item behind it.
fn code<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    const FOR_TESTS: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut code = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        if !tokens[at..].starts_with(&FOR_TESTS) {
            code.push(*token);
            at += 1;
            continue;
        }
        at += FOR_TESTS.len();
        let mut depth = 0_usize;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match *token {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(*token, ";" | "}" | ",") {
                break;
            }
        }
    }
    code
}

/// The words and marks of a source text, without comments, texts, characters and lifetimes.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(len) = quoted(rest) {
            len
        } else if first.is_alphanumeric() || first == '_' {
            let len = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(&rest[..len]);
            len
        } else {
            let len = if rest.starts_with("::") { 2 } else { first.len_utf8() };
            if !first.is_whitespace() {
                tokens.push(&rest[..len]);
            }
            len
        };
        rest = &rest[len..];
    }
    tokens
}

/// How long the text, character or lifetime is that begins here, if one does.
fn quoted(text: &str) -> Option<usize> {
    let after_prefix = text.trim_start_matches(['b', 'c']);
    let prefix = text.len() - after_prefix.len();
    let raw = after_prefix.strip_prefix('r').unwrap_or(after_prefix);
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    if raw.len() < after_prefix.len() && raw[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let start = prefix + 1 + hashes + 1;
        return Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()));
    }
    let quote = after_prefix.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    if prefix > 1 {
        return None;
    }
    let inner = &after_prefix[1..];
    let mut characters = inner.char_indices();
    if quote == '\'' && !inner.starts_with('\\') && inner.chars().nth(1) != Some('\'') {
        // A lifetime.
        let len = inner.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inner.len());
        return Some(prefix + 1 + len);
    }
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return Some(prefix + 1 + at + 1);
        }
    }
    Some(text.len())
}

/// The circles among files: each as the uses that keep it closed.
pub(super) fn circles(uses: &Uses) -> Vec<String> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        uses.keys().map(|file| (file.as_str(), reached_from(file, uses))).collect();
    let meet = |one: &str, other: &str| {
        let reaches = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
        reaches(one, other) && reaches(other, one)
    };
    let mut circles: BTreeMap<Vec<&str>, Vec<String>> = BTreeMap::new();
    for (file, others) in uses {
        let circle: Vec<&str> = uses.keys().map(String::as_str).filter(|other| meet(file, other)).collect();
        for (other, names) in others.iter().filter(|(other, _)| meet(file, other)) {
            let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            circles.entry(circle.clone()).or_default().push(format!("{file} ─► {other} ({names})"));
        }
    }
    circles.into_values().map(|edges| edges.join("\n    ")).collect()
}

fn reached_from<'a>(file: &str, uses: &'a Uses) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![file];
    while let Some(file) = next.pop() {
        for other in uses.get(file).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(other.as_str()) {
                next.push(other);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a crate of these files.
    fn found(files: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let text = |path: &str| files.iter().find(|file| file.0 == path).map(|file| file.1.to_owned());
        let (uses, faults) = Crate::from_texts(text).uses();
        (circles(&uses), faults)
    }

    fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
        let (circles, faults) = found(files);
        assert_eq!(faults, Vec::<String>::new());
        circles
    }

    #[test]
    fn a_circle_is_found_through_re_exports_groups_and_modules() {
        let top = "mod a;\nmod b;\nmod c;\npub use b::{inner as shown, B};";
        let a =
            "use crate::{shown, c::{self, C as Other}};\npub struct A;\nfn f(_: Other) { shown(); c::go() }";
        let b = "pub struct B;\npub fn inner() {}";
        let c = "pub struct C;\npub fn go() { let _ = super::a::A; }";
        let expected = "a.rs ─► c.rs (C, go)\n    c.rs ─► a.rs (A)";
        let files = [("lib.rs", top), ("a.rs", a), ("b.rs", b), ("c.rs", c)];
        assert_eq!(circles_of(&files), [expected]);
        // The longer way round.
        let b = "pub struct B;\npub fn inner() { crate::c::go() }";
        let c = "use super::a;\npub struct C;\npub fn go(_: a::A) {}";
        let a = "use crate::shown;\npub struct A;\nfn f() { shown() }";
        let expected = "a.rs ─► b.rs (shown)\n    b.rs ─► c.rs (go)\n    c.rs ─► a.rs (A)";
        assert_eq!(circles_of(&[("lib.rs", top), ("a.rs", a), ("b.rs", b), ("c.rs", c)]), [expected]);
    }

    #[test]
    fn a_folder_has_its_parents_types_and_not_its_functions() {
        let parent = "mod child;\npub use child::Child;\npub struct Parent;\nconst SIZE: u64 = 1;\n\
                      fn shared() {}\nfn f() { child::run() }";
        let types = "use super::{Parent, SIZE};\npub struct Child;\npub(super) fn run() {}";
        let function = "pub struct Child;\npub(super) fn run() { super::shared() }";
        let files = |child| [("lib.rs", "mod parent;"), ("parent.rs", parent), ("parent/child.rs", child)];
        assert_eq!(circles_of(&files(types)), Vec::<String>::new());
        let expected = "parent.rs ─► parent/child.rs (run)\n    parent/child.rs ─► parent.rs (shared)";
        assert_eq!(circles_of(&files(function)), [expected]);
        // Showing what is in the folder is no use of it; saying it is one.
        let shows = "mod child;\npub use child::Child;\nfn shared() {}";
        let says = "mod child;\npub use child::Child;\nfn shared() -> Child { Child }";
        for (parent, count) in [(shows, 0), (says, 1)] {
            let files = [("lib.rs", "mod parent;"), ("parent.rs", parent), ("parent/child.rs", function)];
            assert_eq!(circles_of(&files).len(), count);
        }
    }

    #[test]
    fn texts_comments_and_tests_use_nothing() {
        let a = "// crate::b::B\n/* crate::b::B */\nconst X: &str = \"crate::b::B\";\nconst Y: &str = r#\"crate::b::B \"#;\n\
                 const Z: char = '\"';\npub fn f<'a>(x: &'a str) -> char { '\\'' }\npub struct A;\n\
                 #[cfg(test)]\nuse crate::b::B;\n#[cfg(test)]\nmod tests { use crate::b::B; fn t() { B }\n}\n\
                 #[cfg(test)]\nmod more;";
        let b = "use crate::a::A;\npub struct B;";
        assert_eq!(
            circles_of(&[("lib.rs", "mod a;\nmod b;"), ("a.rs", a), ("b.rs", b)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn what_cannot_be_followed_is_told() {
        let a = "use crate::nothing::Here;\nuse super::*;\nuse Kind::*;\nenum Kind { One }";
        let (_, faults) = found(&[("lib.rs", "mod a;\nmod gone;"), ("a.rs", a)]);
        let expected = [
            "gone.rs is declared as a module and not there",
            "a.rs: what is crate::nothing::Here?",
            "a.rs: super::* says not what",
        ];
        assert_eq!(faults, expected);
    }
}
