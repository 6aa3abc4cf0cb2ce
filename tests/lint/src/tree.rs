//! The files that the checks read, and what a check reports.

use std::fmt;
use std::path::Path;

/// A place in a file, what is wrong there, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

pub(crate) struct SourceFile {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl SourceFile {
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Integration tests, benches' fixtures and the like: the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("tests/tests/") || self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    pub(crate) fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { file: self.path.clone(), line, what: what.into() }
    }
}

/// The text files of a repository, without what git ignores.
pub(crate) struct Tree {
    pub(crate) files: Vec<SourceFile>,
}

impl Tree {
    pub(crate) fn read(root: &Path) -> Result<Self, Box<dyn std::error::Error>> {
        let mut files = Vec::new();
        for entry in ignore::WalkBuilder::new(root).hidden(false).filter_entry(|e| e.file_name() != ".git").build() {
            let entry = entry?;
            let path = entry.path().strip_prefix(root)?.to_string_lossy().into_owned();
            if entry.file_type().is_some_and(|kind| kind.is_file()) && is_read(&path) {
                let text = std::fs::read_to_string(entry.path()).map_err(|error| format!("{path}: {error}"))?;
                files.push(SourceFile { path, text });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if files.is_empty() {
            return Err(format!("{}: no source files", root.display()).into());
        }
        Ok(Self { files })
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| file.is_rust())
    }

    pub(crate) fn get(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let file = |(path, text): &(&str, &str)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() };
        Self { files: files.iter().map(file).collect() }
    }
}

fn is_read(path: &str) -> bool {
    let extension = path.rsplit_once('.').map_or("", |(_, extension)| extension);
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(extension, "rs" | "md" | "yml" | "yaml" | "toml" | "sh") || name == "Makefile"
}
