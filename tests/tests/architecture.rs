//! The house rules as tests: who imports whom, what a core never reaches, and how long a file and a
//! function may be.
#![allow(missing_docs, clippy::expect_used, clippy::indexing_slicing)]
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Who may import whom. An arrow added here changes the architecture;
/// `docs/ARCHITECTURE.md` gives the reasons.
const ARROWS: &[(&str, &[&str])] = &[
    ("tandem-sip", &[]),
    ("tandem-sdp", &[]),
    ("tandem-rtp", &[]),
    ("tandem-codec", &[]),
    ("tandem-proxy", &["tandem-sip"]),
    ("tandem-media", &["tandem-rtp", "tandem-codec"]),
    ("tandem-b2bua", &["tandem-sip", "tandem-sdp", "tandem-proxy", "tandem-media"]),
    ("tandem-api", &["tandem-b2bua"]),
];

/// What a core must never reach, however indirectly.
const IMPURE: &[&str] =
    &["tokio", "mio", "socket2", "async-std", "smol", "hyper", "axum", "rusqlite"];

/// Lines of a source file, at most.
const FILE_LINES: usize = 800;

/// Lines of a function from its signature to its closing brace, at most.
const FUNCTION_LINES: usize = 70;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

/// Package name → names of its normal dependencies, of the whole resolved graph.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let out = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let meta: serde_json::Value = serde_json::from_slice(&out.stdout).expect("metadata is JSON");
    let names: BTreeMap<&str, &str> = meta["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|p| (p["id"].as_str().expect("id"), p["name"].as_str().expect("name")))
        .collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in meta["resolve"]["nodes"].as_array().expect("nodes") {
        let of = graph.entry(names[node["id"].as_str().expect("id")].to_owned()).or_default();
        for dep in node["deps"].as_array().expect("deps") {
            let is_normal =
                dep["dep_kinds"].as_array().expect("kinds").iter().any(|k| k["kind"].is_null());
            if is_normal {
                of.insert(names[dep["pkg"].as_str().expect("pkg")].to_owned());
            }
        }
    }
    graph
}

#[test]
fn arrows_point_down() {
    let graph = dependencies();
    for (name, allowed) in ARROWS {
        for dep in graph[*name].iter().filter(|d| d.starts_with("tandem")) {
            assert!(allowed.contains(&dep.as_str()), "{name} must not import {dep}");
        }
    }
}

#[test]
fn a_core_reaches_no_io() {
    let graph = dependencies();
    for (name, _) in ARROWS {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![(*name).to_owned()]);
        while let Some(next) = todo.pop() {
            assert!(!IMPURE.contains(&next.as_str()), "{name} reaches {next}: a core does no I/O");
            if seen.insert(next.clone()) {
                todo.extend(graph.get(&next).into_iter().flatten().cloned());
            }
        }
    }
}

/// The one crate that may have unsafe code; the workspace's lints forbid it to all others.
const UNSAFE: &str = "ring";

#[test]
fn one_crate_may_be_unsafe() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("exists");
    assert!(workspace.contains("unsafe_code = \"forbid\""));
    for entry in fs::read_dir(root().join("crates")).expect("crates/") {
        let folder = entry.expect("entry").path();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("exists");
        let inherits = manifest.contains("[lints]\nworkspace = true");
        assert_eq!(inherits, !folder.ends_with(UNSAFE), "{}", folder.display());
    }
}

#[test]
fn every_crate_stands_in_the_architecture_and_the_readme() {
    let architecture = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("exists");
    let readme = fs::read_to_string(root().join("README.md")).expect("exists");
    for entry in fs::read_dir(root().join("crates")).expect("crates/") {
        let name = entry.expect("entry").file_name().into_string().expect("UTF-8");
        let path = format!("crates/{name}");
        assert!(architecture.contains(&path), "docs/ARCHITECTURE.md does not name {path}");
        assert!(readme.contains(&path), "README.md does not name {path}");
    }
}

#[test]
fn files_and_functions_stay_small() {
    let mut wrong = Vec::new();
    for file in rust_files(&root()) {
        let text = fs::read_to_string(&file).expect("readable");
        let name = file.strip_prefix(root()).expect("below root").display().to_string();
        let lines = text.lines().count();
        if lines > FILE_LINES {
            wrong.push(format!("{name}: {lines} lines, at most {FILE_LINES}"));
        }
        wrong.extend(long_functions(&text).map(|(line, n)| {
            format!("{name}:{line}: a function of {n} lines, at most {FUNCTION_LINES}")
        }));
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nothing_unfinished_is_left() {
    let marks = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("#[ig", "nore")];
    let found: Vec<String> = rust_files(&root())
        .into_iter()
        .flat_map(|file| {
            let text = fs::read_to_string(&file).expect("readable");
            let hits: Vec<String> = text
                .lines()
                .enumerate()
                .filter(|(_, line)| marks.iter().any(|m| line.contains(m)))
                .map(|(i, _)| format!("{}:{}", file.display(), i + 1))
                .collect();
            hits
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

/// All `.rs` files of the project, sorted.
fn rust_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut todo: Vec<PathBuf> =
        ["crates", "tests", "fuzz"].iter().map(|d| root.join(d)).filter(|d| d.exists()).collect();
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).expect("readable") {
            let path = entry.expect("entry").path();
            let skipped = path.file_name().is_some_and(|n| n == "target" || n == "node_modules");
            if path.is_dir() && !skipped {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// Line and length of each function over the limit. Counts by indentation, which rustfmt makes
/// reliable: a function ends at the first line that holds only `}` at its own indent.
fn long_functions(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let head = line.trim_start().trim_start_matches("pub ").trim_start_matches("pub(crate) ");
        let head = head.trim_start_matches("async ").trim_start_matches("const ");
        if !head.starts_with("fn ") || line.trim_end().ends_with(';') || line.ends_with('}') {
            continue;
        }
        let end = lines[start..]
            .iter()
            .position(|l| l.trim_end() == format!("{}}}", " ".repeat(indent)))
            .map_or(0, |n| n + 1);
        if end > FUNCTION_LINES {
            found.push((start + 1, end));
        }
    }
    found.into_iter()
}

#[test]
fn the_function_counter_counts() {
    let body = "    let x = 1;\n".repeat(69);
    assert_eq!(long_functions(&format!("fn f() {{\n{body}}}\n")).count(), 1, "71 lines");
    let body = "    let x = 1;\n".repeat(68);
    assert_eq!(long_functions(&format!("fn f() {{\n{body}}}\n")).count(), 0, "70 lines");
}
