//! What the user of a restore allows.

/// Whether the load is written to the target's binary log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BinlogPolicy {
    Write,
    Skip,
}

/// Which accounts are created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum AccountPolicy {
    Definers,
    All,
    None,
}

/// What is allowed on the target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    pub(crate) overwrite: bool,
    pub(crate) allow_replica: bool,
    pub(crate) binlog: BinlogPolicy,
}
