//! A module may use those below it, never above: the table of allowed `use crate::` edges.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// From the ground up. A module may use itself, those of lower rows, and the leaves. In one row nobody knows the other.
const LAYERS: &[&[&str]] = &[
    &["protocol"],
    &["record", "client", "zk"],
    &["log", "controller"],
    &["replica"],
    &["group", "txn"],
    &["admin"],
    &["api"],
    &["net"],
    &["broker"],
];

/// Anyone may read these. They know each other and `protocol`.
const LEAVES: &[&str] = &["util", "topic", "config", "metadata", "metrics", "security", "quota"];

/// Edges beyond the layers.
const EXTRA: &[(&str, &[&str])] = &[
    // The commands: clients of a broker, and the one that starts it.
    ("tools", &["client", "protocol", "record", "zk", "admin", "broker", "topic", "config", "util"]),
];

/// What a layer may not use although it lies below, because the way there is another module's.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("record", &["client", "zk"]),
    ("log", &["client", "zk", "controller"]),
    ("zk", &["client", "record"]),
    ("controller", &["log", "record", "replica"]),
    ("group", &["client", "zk", "controller", "log", "replica"]),
];

fn allowed(module: &str) -> BTreeSet<&'static str> {
    let mut allowed: BTreeSet<&str> = LEAVES.iter().copied().collect();
    if LEAVES.contains(&module) {
        allowed.insert("protocol");
    }
    if let Some(layer) = LAYERS.iter().position(|row| row.contains(&module)) {
        allowed.extend(LAYERS[..layer].iter().flat_map(|row| row.iter()));
    }
    if let Some((_, extra)) = EXTRA.iter().find(|(name, _)| *name == module) {
        allowed = extra.iter().copied().collect();
    }
    if let Some((_, forbidden)) = FORBIDDEN.iter().find(|(name, _)| *name == module) {
        allowed.retain(|name| !forbidden.contains(name));
    }
    allowed
}

/// The top module a source file belongs to.
fn module_of(src: &Path, file: &Path) -> String {
    let first = file.strip_prefix(src).unwrap().components().next().unwrap();
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            // Tests may reach across.
            if name != "tests" {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") && !name.contains("test") {
            found.push(path);
        }
    }
}

/// The modules that a file names after `crate::`, its tests left out.
fn imports(text: &str) -> BTreeSet<String> {
    let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
    let code: Vec<&str> = code.lines().map(|l| l.split("//").next().unwrap()).collect();
    let code = code.join("\n");
    let mut modules = BTreeSet::new();
    for (_, after) in code.match_indices("crate::").map(|(at, word)| code[at..].split_at(word.len())) {
        if let Some(list) = after.strip_prefix('{') {
            modules.extend(first_names(list));
        } else {
            modules.extend(leading_word(after));
        }
    }
    modules
}

/// `zk::{a, b}, util` up to the closing brace: `zk`, `util`.
fn first_names(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = Vec::new();
    let mut begins = true;
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            c if begins && c.is_alphabetic() => {
                names.extend(leading_word(&list[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    names
}

fn leading_word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit()).collect();
    // A capital is an item of the crate's root, not a module.
    (!word.is_empty()).then_some(word)
}

#[test]
fn no_module_uses_one_above_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 50, "the sources were not found");
    let mut wrong: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in &files {
        let module = module_of(&src, file);
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let allowed = allowed(&module);
        for import in imports(&fs::read_to_string(file).unwrap()) {
            if import != module
                && !allowed.contains(import.as_str())
                && src.join(&import).exists() | src.join(format!("{import}.rs")).exists()
            {
                let place = file.strip_prefix(&src).unwrap().display().to_string();
                wrong.entry(format!("{module} uses {import}")).or_default().push(place);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_has_its_place() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let known = |name: &str| {
        LAYERS.iter().any(|row| row.contains(&name)) || LEAVES.contains(&name) || EXTRA.iter().any(|(n, _)| *n == name)
    };
    for entry in fs::read_dir(&src).unwrap().flatten() {
        let name = module_of(&src, &entry.path());
        assert!(["lib", "main"].contains(&name.as_str()) || known(&name), "{name} is in no row of the table");
    }
}

#[test]
fn the_reader_of_imports_can_read() {
    let text = "use crate::{zk::{a, b}, util::c};\nuse crate::log::X; // crate::net\ncrate::Thing\n\
                #[cfg(test)]\nmod tests { use crate::api; }";
    assert_eq!(imports(text).into_iter().collect::<Vec<_>>(), ["log", "util", "zk"]);
    assert!(!allowed("log").contains("net") && allowed("net").contains("log") && !allowed("zk").contains("controller"));
}
