//! What the documents show is true of the program: commands and their options, files they link to,
//! the routes in README.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn documents() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let all = docs.chain([root().join("README.md")]);
    let markdown = all.filter(|path| path.extension().is_some_and(|e| e == "md"));
    markdown.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The lines of the fenced blocks of a language.
fn fenced(text: &str, language: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(fence) = line.trim_start().strip_prefix("```") {
            inside = !inside && fence == language;
        } else if inside {
            lines.push(line.to_owned());
        }
    }
    lines
}

fn tandem(arguments: &[&str]) -> (bool, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_tandem")).args(arguments).output().unwrap();
    let text = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn every_command_shown_exists_with_its_options() {
    let mut seen = 0;
    for (path, text) in documents() {
        for line in fenced(&text, "sh") {
            let words =
                line.split('#').next().unwrap_or("").replace("cargo run --release --", "tandem");
            let command = words.split("&&").last().unwrap_or("");
            let mut words = command.split_whitespace();
            if words.next() != Some("tandem") {
                continue;
            }
            let name = words.next().expect("a command's name");
            let (ok, help) = tandem(&[name, "--help"]);
            assert!(ok, "{}: `{line}`: {help}", path.display());
            for option in words.filter(|word| word.starts_with("--")) {
                let option = option.split('=').next().unwrap_or(option);
                assert!(help.contains(option), "{}: `{line}`: no {option}", path.display());
            }
            seen += 1;
        }
    }
    assert!(seen >= 5, "the documents show commands");
}

#[test]
fn every_link_leads_somewhere() {
    for (path, text) in documents() {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or("");
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let target = path.parent().unwrap().join(file);
            assert!(target.exists(), "{}: {link} leads nowhere", path.display());
        }
    }
}

#[test]
fn the_routes_in_readme_are_well() {
    let folder = std::env::temp_dir().join(format!("tandem-docs-{}", std::process::id()));
    fs::create_dir_all(folder.join("trunks")).unwrap();
    for file in ["tandem.toml", "trunks/static.toml", "trunks/digest.toml", "trunks/sim.toml"] {
        fs::copy(root().join("config").join(file), folder.join(file)).unwrap();
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let routes = fenced(&readme, "toml").join("\n");
    assert!(routes.contains("[[route]]"), "README shows a route");
    fs::write(folder.join("routes.toml"), routes).unwrap();
    let (ok, said) =
        tandem(&["check", "--config", &folder.join("tandem.toml").display().to_string()]);
    fs::remove_dir_all(&folder).unwrap();
    assert!(ok, "{said}");
}
