//! What one scrape exports: the query parameters of HAProxy's own endpoint.

use std::collections::HashSet;

/// The scopes of `scope=`, by HAProxy's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Global,
    Frontend,
    Listener,
    Backend,
    Server,
    StickTable,
    Resolver,
}

const PARTS: [(&str, Part); 7] = [
    ("global", Part::Global),
    ("frontend", Part::Frontend),
    ("listener", Part::Listener),
    ("backend", Part::Backend),
    ("server", Part::Server),
    ("sticktable", Part::StickTable),
    ("resolver", Part::Resolver),
];

#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// All of them without `scope=`.
    parts: Option<Vec<Part>>,
    /// All of them if there are none.
    only: HashSet<Box<str>>,
    except: HashSet<Box<str>>,
    no_maint: bool,
    modules: bool,
}

impl Selection {
    /// `desc-labels` is accepted without effect: `show stat` has no descriptions.
    pub(crate) const PARAMETERS: &[&str] = &["scope", "metrics", "no-maint", "extra-counters", "desc-labels"];

    pub(crate) fn parse(query: &[(String, String)]) -> Result<Self, String> {
        let mut selection = Self::default();
        for (name, value) in query {
            match name.as_str() {
                "scope" => selection.add_scope(value)?,
                "metrics" => selection.add_metrics(value),
                "no-maint" => selection.no_maint = true,
                "extra-counters" => selection.modules = true,
                _ => {}
            }
        }
        Ok(selection)
    }

    /// An empty scope removes all before it, and `*` adds all.
    fn add_scope(&mut self, scope: &str) -> Result<(), String> {
        let parts = self.parts.get_or_insert_default();
        match scope {
            "" => parts.clear(),
            "*" => parts.extend(PARTS.map(|(_, part)| part)),
            _ => match PARTS.iter().find(|(name, _)| *name == scope) {
                Some((_, part)) => parts.push(*part),
                None => {
                    let known = PARTS.map(|(name, _)| name).join(", ");
                    return Err(format!("scope={scope}: not a scope; expected one of {known}, *"));
                }
            },
        }
        Ok(())
    }

    /// `a,b` are the only ones, `-a` is left out.
    fn add_metrics(&mut self, names: &str) {
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "*") {
            match name.strip_prefix('-') {
                Some(name) => self.except.insert(name.into()),
                None => self.only.insert(name.into()),
            };
        }
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.as_ref().is_none_or(|parts| parts.contains(&part))
    }

    pub(crate) fn has_family(&self, name: &str) -> bool {
        (self.only.is_empty() || self.only.contains(name)) && !self.except.contains(name)
    }

    pub(crate) fn no_maint(&self) -> bool {
        self.no_maint
    }

    pub(crate) fn modules(&self) -> bool {
        self.modules
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(query: &[(&str, &str)]) -> Result<Selection, String> {
        let query: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Selection::parse(&query)
    }

    #[test]
    fn scopes_as_in_haproxys_endpoint() {
        let has = |query: &[(&str, &str)]| {
            let selection = selection(query).unwrap();
            [Part::Global, Part::Server].map(|part| selection.has(part))
        };
        assert_eq!(has(&[]), [true, true]);
        assert_eq!(has(&[("scope", "server")]), [false, true]);
        assert_eq!(has(&[("scope", "server"), ("scope", "global")]), [true, true]);
        assert_eq!(has(&[("scope", "server"), ("scope", "")]), [false, false]);
        assert_eq!(has(&[("scope", ""), ("scope", "*")]), [true, true]);
        assert!(selection(&[("scope", "servers")]).unwrap_err().contains("sticktable"));
    }

    #[test]
    fn metrics_as_in_haproxys_endpoint() {
        let has = |metrics| {
            let selection = selection(&[("metrics", metrics)]).unwrap();
            ["a", "b"].map(|name| selection.has_family(name))
        };
        assert_eq!(has(""), [true, true]);
        assert_eq!(has("*,-b"), [true, false]);
        assert_eq!(has("-a"), [false, true]);
        assert_eq!(has("a"), [true, false]);
        assert_eq!(has("a,-a"), [false, false]);
    }

    #[test]
    fn switches_need_no_value() {
        let both = selection(&[("no-maint", ""), ("extra-counters", ""), ("desc-labels", ""), ("other", "x")]).unwrap();
        assert!(both.no_maint() && both.modules());
    }
}
