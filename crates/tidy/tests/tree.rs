//! The rules of the house, held against the tree as it is.

use tidy::tree::{File, files, root};
use tidy::{Violation, files as file_rules, floors, functions, purity};

/// Runs a rule over every file, and fails with all that it found.
fn hold(rule: impl Fn(&File) -> Vec<Violation>) {
    let tree = files(&root()).expect("the tree is readable");
    assert!(
        tree.iter()
            .any(|file| file.path == "crates/tidy/tests/tree.rs"),
        "the wrong root"
    );
    let found: Vec<String> = tree.iter().flat_map(rule).map(|v| v.to_string()).collect();
    assert!(
        found.is_empty(),
        "{} violations:\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn crates_only_use_crates_below_them() {
    hold(|file| match file.in_crate() {
        Some((_, "Cargo.toml")) => floors::check(&file.path, &file.text),
        _ => Vec::new(),
    });
}

#[test]
fn pure_crates_name_nothing_that_acts() {
    hold(|file| match file.in_crate() {
        Some((name, inside))
            if floors::PURE.contains(&name) && inside.starts_with("src/") && file.is_rust() =>
        {
            purity::check(&file.path, &file.text)
        }
        _ => Vec::new(),
    });
}

#[test]
fn no_source_file_passes_the_ceiling_or_is_unfinished() {
    hold(|file| match file.is_rust() {
        true => file_rules::check_rust(&file.path, &file.text),
        false => Vec::new(),
    });
}

#[test]
fn functions_fit_a_screen_and_take_few_parameters() {
    hold(|file| match file.is_rust() {
        true => functions::check(&file.path, &file.text),
        false => Vec::new(),
    });
}

#[test]
fn every_module_opens_with_a_header() {
    hold(|file| match file.in_crate() {
        Some((_, inside)) if inside.starts_with("src/") && file.is_rust() => {
            file_rules::check_header(&file.path, &file.text)
                .into_iter()
                .collect()
        }
        _ => Vec::new(),
    });
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    hold(|file| file_rules::check_paths(&file.path, &file.text));
}
