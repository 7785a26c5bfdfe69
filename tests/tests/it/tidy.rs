//! The source keeps its promises: what ARCHITECTURE.md and README.md say about the code is true of the code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules of the core each module may name outside its tests: those of its own ring and the inner ones, and no
/// more of them than it needs. Two look outward, and only for plain data: the boundary carries HTTP requests, and a
/// trace names kinds of signals.
const MAY_USE: &[(&str, &[&str])] = &[
    // Ring 0.
    ("arena", &[]),
    ("clock", &[]),
    ("deadlines", &[]),
    ("burst", &[]),
    ("crowd", &[]),
    ("frames", &["machine"]),
    ("ids", &[]),
    ("limits", &[]),
    ("table", &["machine"]),
    ("machine", &["http"]),
    ("escape", &[]),
    ("media", &["limits"]),
    ("trace", &["escape", "machine", "signal"]),
    // Ring 1.
    ("signal", &["escape", "machine"]),
    ("hub", &["arena", "clock", "deadlines", "ids", "limits", "machine", "signal", "trace"]),
    ("turn", &[]),
    ("peer", &["arena", "clock", "deadlines", "ids", "limits", "media", "signal", "trace"]),
    // Ring 2: no room, no other client.
    ("dialect", &["clock", "ids", "limits", "machine", "signal", "trace", "turn"]),
    // Ring 3.
    ("http", &["clock", "dialect", "ids", "limits", "machine", "signal"]),
    // Ring 4: the machines, which do not know each other.
    (
        "agent",
        &[
            "arena",
            "clock",
            "crowd",
            "deadlines",
            "dialect",
            "ids",
            "limits",
            "machine",
            "media",
            "peer",
            "signal",
            "trace",
            "turn",
        ],
    ),
    (
        "server",
        &[
            "arena",
            "clock",
            "crowd",
            "deadlines",
            "dialect",
            "http",
            "hub",
            "ids",
            "limits",
            "machine",
            "signal",
            "table",
            "trace",
            "turn",
        ],
    ),
    // Ring 5: a server's run.
    ("journal", &["dialect", "http", "limits", "machine", "server", "turn"]),
];

/// A longer file wants to be two.
const LONGEST_FILE: usize = 700;

const PACKAGES: [&str; 6] = ["core", "runtime-mio", "runtime-smol", "cli", "fuzz", "tests"];

#[test]
fn rings_point_inward() {
    let may_use: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for file in rust_files("core/src") {
        let module = module_of(&file);
        if module == "lib" {
            continue;
        }
        let Some(allowed) = may_use.get(module.as_str()) else {
            wrong.push(format!("{}: {module} is not in the table", file.display()));
            continue;
        };
        seen.insert(module.clone());
        for named in named_modules(&without_tests(&code(&read(&file)))) {
            if named != module && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{}: {module} must not name crate::{named}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missing: Vec<_> = may_use.keys().filter(|module| !seen.contains(**module)).collect();
    assert!(missing.is_empty(), "in the table but not in core/src: {missing:?}");
}

#[test]
fn only_peer_names_str0m() {
    for file in rust_files("core/src").into_iter().filter(|file| module_of(file) != "peer") {
        let named = words(&without_tests(&code(&read(&file)))).any(|word| word == "str0m");
        assert!(!named, "{} names str0m", file.display());
    }
}

/// `dyn` rules out stored callbacks too, because a field can hold closures of many kinds only as `dyn Fn`.
#[test]
fn the_core_has_no_async_and_no_dyn() {
    for file in rust_files("core/src") {
        let code = without_tests(&code(&read(&file)));
        let found = words(&code).find(|word| ["async", "await", "dyn"].contains(word));
        assert_eq!(found, None, "in {}", file.display());
    }
}

#[test]
fn there_is_no_unsafe_code() {
    for file in ["core", "cli", "tests"].into_iter().flat_map(rust_files) {
        assert!(!words(&code(&read(&file))).any(|word| word == "unsafe"), "in {}", file.display());
    }
}

#[test]
fn the_drivers_unsafe_code_is_in_one_place() {
    for file in ["runtime-mio", "runtime-smol"].into_iter().flat_map(rust_files) {
        let found = words(&code(&read(&file))).any(|word| word == "unsafe");
        assert!(!found || file.ends_with("src/system.rs"), "in {}", file.display());
    }
}

#[test]
fn files_are_short_and_named_after_their_module() {
    for file in PACKAGES.into_iter().flat_map(rust_files) {
        let lines = read(&file).lines().count();
        assert!(lines < LONGEST_FILE, "{} has {lines} lines", file.display());
        assert_ne!(file.file_name().unwrap(), "mod.rs", "{}: use foo.rs beside foo/", file.display());
    }
}

#[test]
fn every_package_has_the_shared_lints() {
    for package in PACKAGES {
        let manifest = read(&root().join(package).join("Cargo.toml"));
        assert!(manifest.contains("[lints]\nworkspace = true"), "{package}/Cargo.toml");
    }
}

#[test]
fn the_house_is_complete() {
    for file in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "LICENSE-MIT", "LICENSE-APACHE", "deny.toml"] {
        assert!(!read(&root().join(file)).trim().is_empty(), "{file} is empty");
    }
    assert!(read(&root().join("CHANGELOG.md")).contains("\n## [Unreleased]\n"));
}

#[test]
fn commands_of_the_readme_exist() {
    let readme = read(&root().join("README.md"));
    let sources: String = rust_files("cli/src").iter().map(|file| read(file).to_lowercase()).collect();
    let mut commands = 0;
    for line in in_fences(&readme) {
        let Some(arguments) = line.strip_prefix("cargo cli ").or_else(|| line.strip_prefix("enishi ")) else {
            continue;
        };
        commands += 1;
        let arguments = arguments.split(" #").next().unwrap_or_default();
        let subcommand = arguments.split_whitespace().next().unwrap();
        assert!(names(&sources, subcommand), "no subcommand {subcommand} in cli/src: {line}");
        for flag in arguments.split_whitespace().filter_map(|word| word.strip_prefix("--")) {
            assert!(names(&sources, flag), "no flag --{flag} in cli/src: {line}");
        }
    }
    assert!(commands >= 4, "the README shows only {commands} commands");
}

#[test]
fn the_test_command_of_the_readme_is_what_ci_runs() {
    let readme = read(&root().join("README.md"));
    let ci = read(&root().join(".ci/run"));
    let tests: Vec<&str> =
        in_fences(&readme).filter(|line| line.contains("cargo test")).map(|line| line.trim()).collect();
    assert_eq!(tests.len(), 1, "{tests:?}");
    assert!(ci.contains(tests[0]), ".ci/run does not run `{}`", tests[0]);
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        for link in read(&root().join(document)).split("](").skip(1) {
            let target = link.split([')', '#']).next().unwrap();
            if !target.is_empty() && !target.contains("://") {
                assert!(root().join(target).exists(), "{document} links to {target}");
            }
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All Rust files below a folder of the repository, in order.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no Rust files in {folder}");
    files
}

/// The top-level module of the core that a file belongs to.
fn module_of(file: &Path) -> String {
    let source = root().join("core/src");
    let first = file.strip_prefix(source).unwrap().components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules that a text names as `crate::name` or `crate::{name, ..}`.
fn named_modules(code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            Some(_) => panic!("write one `use crate::name` a line, so that this test can read it"),
            None => named.extend(words(after).next().map(str::to_owned)),
        }
    }
    named
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|char: char| !char.is_alphanumeric() && char != '_').filter(|word| !word.is_empty())
}

/// Tests stand last in a file.
fn without_tests(code: &str) -> String {
    code.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned()
}

/// Whether the lower-case sources name a subcommand or flag, as a string, a field or a variant.
fn names(sources: &str, name: &str) -> bool {
    let (field, variant) = (name.replace('-', "_"), name.replace('-', ""));
    words(sources).any(|word| word == field || word == variant) || sources.contains(&format!("\"{name}\""))
}

fn in_fences(markdown: &str) -> impl Iterator<Item = &str> {
    markdown.split("```").skip(1).step_by(2).flat_map(str::lines)
}

/// The source with comments and the insides of literals blanked out.
fn code(source: &str) -> String {
    let mut rest = source;
    let mut code = String::with_capacity(source.len());
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest).filter(|_| !ends_in_word(&code)) {
            length
        } else if first == '"' {
            quoted(rest, '"').unwrap_or(rest.len())
        } else if first == '\'' {
            char_literal(rest).unwrap_or(0)
        } else {
            0
        };
        if skipped == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

fn ends_in_word(code: &str) -> bool {
    code.ends_with(|char: char| char.is_alphanumeric() || char == '_')
}

/// The length of `r"…"` or `r#"…"#`, also with a `b` in front, if the text begins with one.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let inside = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text.len() - inside.len() + inside.find(&end)? + end.len())
}

/// The length of a literal between two quotes, escapes included.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (position, char) in text.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if char == quote => return Some(position + 1),
            _ => {}
        }
    }
    None
}

/// The length of a character literal; `None` for a lifetime.
fn char_literal(text: &str) -> Option<usize> {
    let mut chars = text.chars().skip(1);
    let first = chars.next()?;
    if first == '\\' || chars.next() == Some('\'') { quoted(text, '\'') } else { None }
}

#[test]
fn comments_and_literals_are_not_code() {
    let source = r####"a // dyn
"dyn \" dyn" /* dyn */ 'd' '\'' b'"' &'a str r#"dyn " dyn"# br"dyn" for"x" b"####;
    let expected = ["a", "b", "a", "str", "for", "b"];
    assert_eq!(words(&code(source)).collect::<Vec<_>>(), expected);
    assert_eq!(words(&code("x: &'static dyn T")).collect::<Vec<_>>(), ["x", "static", "dyn", "T"]);
}
