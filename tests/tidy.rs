//! The rules of this project that a program can check. Each failure names the place and the rule.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// Names that say where code was put, not what it is.
const BANNED_WORDS: [&str; 4] = ["utils", "common", "manager", "helper"];

#[test]
fn files_functions_and_lines_have_a_length_limit() {
    let mut broken = Vec::new();
    for (name, text) in rust_files() {
        let lines = lines_before_tests(&text);
        if lines > FILE_LINES_MAX {
            broken.push(format!(
                "{name}: {lines} lines before its tests; which nouns hide in it?"
            ));
        }
        for (number, line) in numbered(&text) {
            if line.chars().count() > COLUMNS_MAX {
                broken.push(format!("{name}:{number}: over {COLUMNS_MAX} columns"));
            }
        }
        for (number, length) in long_functions(&text) {
            broken.push(format!("{name}:{number}: a function of {length} lines"));
        }
    }
    assert_none(&broken);
}

#[test]
fn every_row_of_the_command_table_has_a_script() {
    let table = node::command::table::table();
    let rows: BTreeSet<String> = table
        .ids()
        .map(|id| table.row(id).name.replace(['|', '-'], "_"))
        .collect();
    let scripts: BTreeSet<String> = crate::compat::script_paths()
        .iter()
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let without: Vec<_> = rows.difference(&scripts).collect();
    assert!(
        without.is_empty(),
        "rows without a script in tests/compat: {without:?}"
    );
    let nameless: Vec<_> = scripts.difference(&rows).collect();
    assert!(
        nameless.is_empty(),
        "scripts in tests/compat without a row: {nameless:?}"
    );
}

#[test]
fn every_source_file_is_in_the_architectures_tree() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let tree = architecture
        .split("```text\n")
        .find(|block| block.starts_with("Cargo.toml"))
        .and_then(|block| block.split("```").next())
        .expect("ARCHITECTURE.md has a tree that begins with Cargo.toml");
    let paths = paths_of_tree(tree);
    let listed: BTreeSet<String> = paths.iter().cloned().collect();
    let present: BTreeSet<String> = rust_files().map(|(name, _)| name).collect();

    let mut broken = Vec::new();
    for name in present.iter().filter(|name| !listed.contains(*name)) {
        broken.push(format!("{name}: not in ARCHITECTURE.md's tree"));
    }
    for (at, name) in paths.iter().enumerate() {
        if paths[..at].contains(name) {
            broken.push(format!("{name}: twice in ARCHITECTURE.md's tree"));
        }
    }
    for name in listed.iter().filter(|name| !root().join(name).exists()) {
        broken.push(format!("{name}: in ARCHITECTURE.md's tree, but not there"));
    }
    assert_none(&broken);
}

#[test]
fn names_say_what_a_thing_is() {
    let mut broken = Vec::new();
    for (name, text) in rust_files() {
        if let Some(word) = banned_word(&name) {
            broken.push(format!("{name}: `{word}` in a path says nothing"));
        }
        for (number, line) in numbered(&text) {
            // A function may well be about the longest common subsequence.
            let defined = definition(line).filter(|(keyword, _)| *keyword != "fn");
            if let Some(word) = defined.and_then(|(_, name)| banned_word(name)) {
                broken.push(format!("{name}:{number}: `{word}` in a name says nothing"));
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn nothing_is_left_over() {
    // Put together here, so that this file does not find itself.
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["HA", "CK:"].concat(),
        ["todo", "!("].concat(),
        ["unimplemented", "!("].concat(),
        ["dbg", "!("].concat(),
        ["#[ig", "nore"].concat(),
        ["not yet ", "implemented"].concat(),
        ["not ", "implemented yet"].concat(),
    ];
    let mut broken = Vec::new();
    for (name, text) in rust_files() {
        for (number, line) in numbered(&text) {
            if let Some(mark) = marks.iter().find(|mark| line.contains(mark.as_str())) {
                broken.push(format!("{name}:{number}: `{mark}`"));
            }
        }
    }
    assert_none(&broken);
}

#[test]
fn every_member_takes_the_shared_lints() {
    let mut broken = Vec::new();
    for path in files_below(&root(), "toml") {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        if text.contains("[package]") && !text.contains("[lints]\nworkspace = true") {
            broken.push(format!("{path}: without `[lints] workspace = true`"));
        }
    }
    assert_none(&broken);
}

fn assert_none(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

fn rust_files() -> impl Iterator<Item = (String, String)> {
    files_below(&root(), "rs").into_iter().map(|name| {
        let text = fs::read_to_string(root().join(&name)).unwrap();
        (name, text)
    })
}

/// Paths relative to the root; what is installed, built or written by a run is not the project's.
fn files_below(folder: &Path, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "node_modules", "data"].contains(&&*name) {
                found.extend(files_below(&path, extension));
            }
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(
                path.strip_prefix(root())
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
    found.sort();
    found
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

/// First line and length of each function that is too long. Formatted code closes a function with
/// a brace in the column of its first line.
fn long_functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        if !matches!(definition(line), Some(("fn", _))) || line.ends_with(';') {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        let Some(length) = lines[start..].iter().position(|line| *line == closing) else {
            continue;
        };
        if length + 1 > FUNCTION_LINES_MAX {
            long.push((start + 1, length + 1));
        }
    }
    long
}

/// Up to the module of tests. What only tests use may stand among the rest, and counts.
fn lines_before_tests(text: &str) -> usize {
    let lines: Vec<&str> = text.lines().collect();
    let tests = |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests");
    lines.windows(2).position(tests).unwrap_or(lines.len())
}

/// The keyword and the name of what a line defines.
fn definition(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_whitespace().peekable();
    while words
        .next_if(|word| {
            word.starts_with("pub")
                || ["async", "const", "unsafe", "crate)", "super)"].contains(word)
        })
        .is_some()
    {}
    let keyword = words.next()?;
    if !["fn", "struct", "enum", "trait", "mod", "type"].contains(&keyword) {
        return None;
    }
    let rest = words.next()?;
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    Some((keyword, &rest[..end]))
}

fn banned_word(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    BANNED_WORDS.into_iter().find(|word| name.contains(word))
}

/// The paths that a drawn tree names. Two spaces of indentation are one level; a name that ends
/// with a slash is a folder for what is drawn below it; two spaces end the names of a line.
fn paths_of_tree(tree: &str) -> Vec<String> {
    let mut folders: Vec<(usize, String)> = Vec::new();
    let mut paths = Vec::new();
    for line in tree.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start().len();
        folders.retain(|(depth, _)| *depth < indent);
        let parent = folders
            .last()
            .map_or(String::new(), |(_, path)| path.clone());
        let names = line.trim_start().split("  ").next().unwrap_or_default();
        for name in names.split(' ') {
            if name.ends_with('/') {
                folders.push((indent, format!("{parent}{name}")));
            }
            paths.push(format!("{parent}{}", name.trim_end_matches('/')));
        }
    }
    paths
}

#[test]
fn a_drawn_tree_names_paths() {
    let tree = "Cargo.toml   members\na/           first\n  b.rs c.rs  two\n  d/\n    e.rs\nf.rs\n";
    let paths = paths_of_tree(tree);
    let expected = [
        "Cargo.toml",
        "a",
        "a/b.rs",
        "a/c.rs",
        "a/d",
        "a/d/e.rs",
        "f.rs",
    ];
    assert_eq!(paths, expected);
}

#[test]
fn what_only_tests_use_is_counted_up_to_the_tests() {
    let text = "a\n#[cfg(test)]\nb\n\n#[cfg(test)]\nmod tests {\n";
    assert_eq!(lines_before_tests(text), 4);
    assert_eq!(lines_before_tests("a\nb\n"), 2);
}

#[test]
fn a_long_function_is_found() {
    let body = "    work();\n".repeat(69);
    assert_eq!(long_functions(&format!("fn f() {{\n{body}}}\n")), [(1, 71)]);
    assert_eq!(
        long_functions(&format!("fn f() {{\n{}}}\n", &body[12..])),
        []
    );
}
