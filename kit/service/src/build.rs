//! What the program was built from.

/// The revision, if the build sets it, as `make dist` does.
pub const REVISION: &str = match option_env!("BUILD_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// The text of `--version`: the version of the program's crate, and the revision.
pub fn version(package_version: &str) -> String {
    format!("{package_version} (revision {REVISION})")
}
