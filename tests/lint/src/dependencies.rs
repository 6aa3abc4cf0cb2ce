//! The dependencies between our crates: those that dependencies.toml lists, and no others.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::tree::{Finding, Tree};

const LIST: &str = "tests/lint/dependencies.toml";

/// A crate, and which of ours it may depend on; `*` is all of them.
type Allowed = BTreeMap<String, Vec<String>>;

#[derive(Deserialize)]
struct Manifest {
    package: Option<Package>,
    #[serde(default)]
    dependencies: toml::Table,
    #[serde(default, rename = "dev-dependencies")]
    dev_dependencies: toml::Table,
    #[serde(default, rename = "build-dependencies")]
    build_dependencies: toml::Table,
}

#[derive(Deserialize)]
struct Package {
    name: String,
}

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let list = tree.get(LIST).map_or("", |file| &file.text);
    let allowed: Allowed = match toml::from_str(list) {
        Ok(allowed) => allowed,
        Err(error) => return vec![Finding { file: LIST.to_owned(), line: 1, what: error.to_string() }],
    };
    let mut findings = Vec::new();
    let mut crates = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        match toml::from_str::<Manifest>(&file.text) {
            Ok(Manifest { package: Some(package), dependencies, dev_dependencies, build_dependencies }) => {
                let names = [dependencies, dev_dependencies, build_dependencies]
                    .into_iter()
                    .flat_map(|table| table.into_iter());
                crates.push((file, package.name, names.map(|(name, _)| name).collect::<Vec<_>>()));
            }
            Ok(_) => {}
            Err(error) => findings.push(file.finding(1, format!("is not a valid manifest: {error}"))),
        }
    }
    let ours: BTreeSet<&str> = crates.iter().map(|(_, name, _)| name.as_str()).collect();
    for (file, name, dependencies) in &crates {
        let Some(allowed) = allowed.get(name) else {
            findings.push(file.finding(1, format!("{name} is not in {LIST}: say there which crates it may depend on")));
            continue;
        };
        for dependency in dependencies.iter().filter(|dependency| ours.contains(dependency.as_str())) {
            if !allowed.iter().any(|allowed| allowed == dependency || allowed == "*") {
                let line = file.text.lines().position(|line| line.starts_with(dependency.as_str())).unwrap_or(0) + 1;
                let what = format!("{name} must not depend on {dependency}: ARCHITECTURE.md and {LIST} list what may");
                findings.push(file.finding(line, what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(redis: &str) -> Tree {
        Tree::of(&[
            (LIST, "toolkit = []\nredis = [\"toolkit\"]\nmysql = [\"toolkit\"]\nbench = [\"*\"]\n"),
            ("t/Cargo.toml", "[package]\nname = \"toolkit\"\n"),
            ("m/Cargo.toml", "[package]\nname = \"mysql\"\n[dependencies]\ntoolkit.workspace = true\n"),
            ("r/Cargo.toml", redis),
            ("b/Cargo.toml", "[package]\nname = \"bench\"\n[dev-dependencies]\nmysql.workspace = true\n"),
        ])
    }

    #[test]
    fn only_the_listed_dependencies_are_allowed() {
        let good = "[package]\nname = \"redis\"\n[dependencies]\ntoolkit.workspace = true\nserde = \"1\"\n";
        assert_eq!(check(&tree(good)), []);
        let findings = check(&tree(&good.replace("serde = \"1\"", "mysql.workspace = true")));
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].line, 5);
        assert!(findings[0].what.starts_with("redis must not depend on mysql"), "{}", findings[0]);
        let findings = check(&tree("[package]\nname = \"new\"\n"));
        assert!(findings[0].what.starts_with("new is not in"), "{}", findings[0]);
    }
}
