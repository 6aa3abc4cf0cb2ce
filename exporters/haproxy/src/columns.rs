//! Families that are numeric fields of `show stat`, with HAProxy's own names or those of the retired haproxy_exporter.

use std::sync::OnceLock;

use exporter_toolkit::{Desc, Kind};

use crate::selection::Part;

/// The object of a row of `show stat`. The numbers are those of its field `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Frontend = 0,
    Backend = 1,
    Server = 2,
    Listener = 3,
}

/// The names and labels of the series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Naming {
    // Not doc comments: clap would print help texts of values, and --help in its long form.
    // HAProxy's own Prometheus endpoint: labels proxy, server, listener, state
    #[default]
    Native,
    // The retired haproxy_exporter: labels frontend, backend, server
    Exporter,
}

impl Naming {
    /// The labels of a family of this scope.
    pub(crate) const fn labels(self, scope: Scope) -> &'static [&'static str] {
        match (self, scope) {
            (Self::Native, Scope::Frontend | Scope::Backend) => &["proxy"],
            (Self::Native, Scope::Server) => &["proxy", "server"],
            (_, Scope::Listener) => &["proxy", "listener"],
            (Self::Exporter, Scope::Frontend) => &["frontend"],
            (Self::Exporter, Scope::Backend) => &["backend"],
            (Self::Exporter, Scope::Server) => &["backend", "server"],
        }
    }

    const fn labels_and_code(self, scope: Scope) -> &'static [&'static str] {
        match (self, scope) {
            (Self::Native, Scope::Frontend | Scope::Backend) => &["proxy", "code"],
            (Self::Native, Scope::Server) => &["proxy", "server", "code"],
            (_, Scope::Listener) => &["proxy", "listener", "code"],
            (Self::Exporter, Scope::Frontend) => &["frontend", "code"],
            (Self::Exporter, Scope::Backend) => &["backend", "code"],
            (Self::Exporter, Scope::Server) => &["backend", "server", "code"],
        }
    }

    /// The same, and the module of a counter.
    pub(crate) const fn labels_and_module(self, scope: Scope) -> &'static [&'static str] {
        match (self, scope) {
            (Self::Native, Scope::Frontend | Scope::Backend) => &["proxy", "mod"],
            (Self::Native, Scope::Server) => &["proxy", "server", "mod"],
            (_, Scope::Listener) => &["proxy", "listener", "mod"],
            (Self::Exporter, Scope::Frontend) => &["frontend", "mod"],
            (Self::Exporter, Scope::Backend) => &["backend", "mod"],
            (Self::Exporter, Scope::Server) => &["backend", "server", "mod"],
        }
    }
}

impl From<Scope> for Part {
    fn from(scope: Scope) -> Self {
        match scope {
            Scope::Frontend => Self::Frontend,
            Scope::Backend => Self::Backend,
            Scope::Server => Self::Server,
            Scope::Listener => Self::Listener,
        }
    }
}

/// A numeric field of `show stat`, and its family.
#[derive(Debug)]
pub(crate) struct Column {
    pub(crate) field: &'static str,
    kind: Kind,
    help: &'static str,
    /// The value is divided by this: HAProxy's times are milliseconds.
    pub(crate) divisor: f64,
    /// The value of the label `code`, if several fields make one family.
    pub(crate) code: Option<&'static str>,
    native: &'static str,
    /// The name in the retired haproxy_exporter, if it has the family.
    retired: Option<&'static str>,
}

impl Column {
    const fn new(kind: Kind, field: &'static str, name: &'static str, help: &'static str) -> Self {
        Self { field, kind, help, divisor: 1.0, code: None, native: name, retired: None }
    }

    pub(crate) const fn counter(field: &'static str, name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Counter, field, name, help)
    }

    pub(crate) const fn gauge(field: &'static str, name: &'static str, help: &'static str) -> Self {
        Self::new(Kind::Gauge, field, name, help)
    }

    /// A gauge in seconds from a field in milliseconds.
    pub(crate) const fn millis(field: &'static str, name: &'static str, help: &'static str) -> Self {
        Self { divisor: 1000.0, ..Self::new(Kind::Gauge, field, name, help) }
    }

    pub(crate) const fn responses(field: &'static str, code: &'static str, name: &'static str) -> Self {
        let help = "Total number of HTTP responses by the class of their status code.";
        Self { code: Some(code), ..Self::new(Kind::Counter, field, name, help) }
    }

    /// The retired exporter has the family too, with the same name.
    pub(crate) const fn retired(mut self) -> Self {
        self.retired = Some(self.native);
        self
    }

    /// The retired exporter has the family with this name.
    pub(crate) const fn retired_as(mut self, name: &'static str) -> Self {
        self.retired = Some(name);
        self
    }

    fn desc(&self, scope: Scope, naming: Naming) -> Option<Desc> {
        let name = match naming {
            Naming::Native => self.native,
            Naming::Exporter => self.retired?,
        };
        let labels = if self.code.is_some() { naming.labels_and_code(scope) } else { naming.labels(scope) };
        Some(Desc::new(self.kind, name, self.help, labels).field(self.field))
    }
}

/// A family and the field of its values.
pub(crate) type FromField = (Desc, &'static Column);

/// The numeric families of one scope.
pub(crate) struct Table {
    scope: Scope,
    columns: &'static [Column],
    /// Made once, by naming: declaring 60 families again for each scrape is not free.
    families: [OnceLock<Vec<FromField>>; 2],
}

impl Table {
    pub(crate) const fn new(scope: Scope, columns: &'static [Column]) -> Self {
        Self { scope, columns, families: [const { OnceLock::new() }; 2] }
    }

    pub(crate) fn families(&self, naming: Naming) -> &[FromField] {
        self.families[naming as usize].get_or_init(|| {
            self.columns.iter().filter_map(|column| Some((column.desc(self.scope, naming)?, column))).collect()
        })
    }

    /// The scope in METRICS.md: the native families with `own`, then those of the retired exporter with `retired`.
    pub(crate) fn documented(&self, own: &[&Desc], retired: &[&Desc]) -> Vec<Desc> {
        let distinct = |naming| {
            let mut list: Vec<Desc> = Vec::new();
            for (desc, _) in self.families(naming) {
                match list.last_mut().filter(|last| last.name == desc.name) {
                    // Only the responses come from several fields.
                    Some(family) => family.field = "hrsp_<code>",
                    None => list.push(desc.clone()),
                }
            }
            list
        };
        let mut all = distinct(Naming::Native);
        all.extend(own.iter().map(|&desc| desc.clone()));
        let mut others = distinct(Naming::Exporter);
        others.extend(retired.iter().map(|&desc| desc.clone()));
        all.extend(
            others
                .into_iter()
                .map(|desc| Desc { help: format!("With `--haproxy.names=exporter`: {}", desc.help).into(), ..desc }),
        );
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scopes_are_haproxys_numbers() {
        let scopes = [Scope::Frontend, Scope::Backend, Scope::Server, Scope::Listener];
        assert_eq!(scopes.map(|scope| scope as u8), [0, 1, 2, 3]);
    }
}
