//! What the program was built from.

/// Version and revision of the program, as [`build!`](crate::build!) reads them in the program's own crate.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    pub version: &'static str,
    pub revision: &'static str,
}

/// The [`Build`] of the crate that calls it: its version in Cargo.toml, and the environment variable `BUILD_REVISION`
/// of the build.
#[macro_export]
macro_rules! build {
    () => {
        $crate::Build {
            version: env!("CARGO_PKG_VERSION"),
            revision: match option_env!("BUILD_REVISION") {
                Some(revision) => revision,
                None => "unknown",
            },
        }
    };
}
