//! How a program spells the flags of its TLS client: as the program that it replaces does.

/// The flags' names, without dashes.
#[derive(Debug)]
pub struct FlagNames {
    pub ca: &'static str,
    pub certificate: &'static str,
    pub key: &'static str,
    pub server_name: &'static str,
    pub skip_verify: &'static str,
    /// The connections that use TLS, for `--help`: `https:// URIs`.
    pub for_what: &'static str,
}

impl FlagNames {
    pub(super) const NONE: &'static Self =
        &Self { ca: "", certificate: "", key: "", server_name: "", skip_verify: "", for_what: "" };
}

/// A program's names.
pub trait TlsFlags {
    const NAMES: &'static FlagNames;
}
