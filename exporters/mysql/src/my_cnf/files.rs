//! An option file and the files that it includes.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::grammar::{self, Line};
use crate::error::ConfigError;

const FLAG: &str = "--config.my-cnf";
/// As in MySQL's programs.
const MAX_DEPTH: usize = 10;
/// Files that include each other multiply.
const MAX_FILES: usize = 256;
const MAX_BYTES: u64 = 1 << 20;
/// Of an included directory.
const MAX_ENTRIES: usize = 4096;

/// Where a line is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    path: Arc<Path>,
    line: usize,
}

impl Place {
    pub(super) fn new(path: Arc<Path>, line: usize) -> Self {
        Self { path, line }
    }

    pub(super) fn invalid(&self, reason: impl Into<String>) -> ConfigError {
        ConfigError::Syntax { path: self.path.to_path_buf(), line: self.line, reason: reason.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// Calls the function with the section of each line that begins a section or is an option.
pub(super) fn for_each_line(path: &Path, each: &mut dyn FnMut(&str, Place, Line)) -> Result<(), ConfigError> {
    let bytes = read(path).map_err(|source| ConfigError::File { flag: FLAG, path: path.to_owned(), source })?;
    Reader { each, files: 0 }.lines(path, &bytes, 0)
}

struct Reader<'a> {
    each: &'a mut dyn FnMut(&str, Place, Line),
    files: usize,
}

impl Reader<'_> {
    fn lines(&mut self, path: &Path, bytes: &[u8], depth: usize) -> Result<(), ConfigError> {
        let path = Arc::from(path);
        let mut section = None;
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let place = Place::new(Arc::clone(&path), index + 1);
            match grammar::parse(line).map_err(|reason| place.invalid(reason))? {
                Line::Empty => {}
                Line::Include(included) => self.include(&place, &to_path(&included), depth)?,
                Line::IncludeDirectory(directory) => {
                    for included in option_files(&place, &to_path(&directory))? {
                        self.include(&place, &included, depth)?;
                    }
                }
                Line::Section(name) => {
                    (self.each)(&name, place, Line::Section(name.clone()));
                    section = Some(name);
                }
                option @ Line::Option { .. } => {
                    let section = section.as_ref().ok_or_else(|| place.invalid("a [section] must come first"))?;
                    (self.each)(section, place, option);
                }
            }
        }
        Ok(())
    }

    /// MySQL's programs continue without a file that they can't read. Here it stops the start: half of a configuration
    /// is not what was configured.
    fn include(&mut self, place: &Place, path: &Path, depth: usize) -> Result<(), ConfigError> {
        self.files += 1;
        if depth == MAX_DEPTH || self.files > MAX_FILES {
            return Err(place.invalid(format!(
                "more than {MAX_DEPTH} levels or {MAX_FILES} files are included: does a file include itself?"
            )));
        }
        let bytes = read(path).map_err(|error| place.invalid(format!("cannot include {}: {error}", path.display())))?;
        self.lines(path, &bytes, depth + 1)
    }
}

/// The files `*.cnf` of a directory, by name.
fn option_files(place: &Place, directory: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let paths: Vec<_> = std::fs::read_dir(directory)?
            .map(|entry| entry.map(|entry| entry.path()))
            .take(MAX_ENTRIES + 1)
            .collect::<io::Result<_>>()?;
        if paths.len() > MAX_ENTRIES {
            return Err(io::Error::other(format!("it has more than {MAX_ENTRIES} entries; check the path")));
        }
        let mut files: Vec<_> =
            paths.into_iter().filter(|path| path.extension() == Some(OsStr::new("cnf")) && !path.is_dir()).collect();
        files.sort_unstable();
        Ok(files)
    };
    list().map_err(|error| place.invalid(format!("cannot include {}: {error}", directory.display())))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)? as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 1 MiB; check the path"));
    }
    Ok(bytes)
}

fn to_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files by name; what they contain is in place of `DIR`.
    fn lines(files: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (name, text) in files {
            std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            std::fs::write(path(name), text.replace("DIR", &directory.path().display().to_string())).unwrap();
        }
        let mut seen = Vec::new();
        for_each_line(&path(files[0].0), &mut |section, _, line| {
            if let Line::Option { key, .. } = line {
                seen.push(format!("{section}.{key}"));
            }
        })
        .map_err(|error| error.to_string().replace(&directory.path().display().to_string(), "DIR"))?;
        Ok(seen)
    }

    #[test]
    fn included_files_are_read_in_place_and_end_with_their_sections() {
        let read = lines(&[
            ("my.cnf", "[client]\na\n!include DIR/b\nd\n!includedir DIR/conf\n"),
            ("b", "[b]\nb\n[c]\nc\n"),
            ("conf/z.cnf", "[client]\nz\n"),
            ("conf/y.cnf", "[client]\ny\n"),
            ("conf/x.txt", "[client]\nx\n"),
        ]);
        assert_eq!(read.unwrap(), ["client.a", "b.b", "c.c", "client.d", "client.y", "client.z"]);
    }

    #[test]
    fn errors_name_the_file_and_the_line() {
        for (text, expected) in [
            ("[client]\n[broken\n", "DIR/my.cnf:2: ] is missing"),
            ("user=u\n", "DIR/my.cnf:1: a [section] must come first"),
            ("\n!include DIR/none\n", "DIR/my.cnf:2: cannot include DIR/none: No such file or directory (os error 2)"),
            ("!includedir DIR/no\n", "DIR/my.cnf:1: cannot include DIR/no: No such file or directory (os error 2)"),
            ("!include DIR/b\n", "DIR/b:1: a [section] must come first"),
        ] {
            assert_eq!(lines(&[("my.cnf", text), ("b", "x\n")]).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_directory_that_is_not_read_as_a_whole_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..=MAX_ENTRIES {
            std::fs::write(directory.path().join(format!("{number}.txt")), "").unwrap();
        }
        let place = Place::new(directory.path().into(), 1);
        let error = option_files(&place, directory.path()).unwrap_err().to_string();
        assert!(error.contains("it has more than 4096 entries"), "{error}");
        std::fs::remove_file(directory.path().join("0.txt")).unwrap();
        assert_eq!(option_files(&place, directory.path()).unwrap(), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_circle_of_includes_ends() {
        for text in ["!include DIR/my.cnf\n", &"!include DIR/my.cnf\n".repeat(20), &"!include DIR/b\n".repeat(300)] {
            assert!(lines(&[("my.cnf", text), ("b", "")]).unwrap_err().contains("are included"));
        }
    }
}
