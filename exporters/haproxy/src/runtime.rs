//! What the runtime socket has in addition to `show stat`: the process, stick tables, name servers.

use crate::info::Info;
use crate::stat::number;

/// Three per command: this bounds neither a real HAProxy's stick tables nor its name servers.
const MAX_OBJECTS: usize = 10_000;

/// The answers to [`crate::source::COMMANDS`] before `show stat`.
#[derive(Debug, Default)]
pub(crate) struct Runtime {
    pub(crate) info: Info,
    pub(crate) tables: Vec<StickTable>,
    pub(crate) name_servers: Vec<NameServer>,
}

/// A line of `show table`.
#[derive(Debug, PartialEq)]
pub(crate) struct StickTable {
    pub(crate) name: Box<str>,
    pub(crate) kind: Box<str>,
    pub(crate) size: Option<f64>,
    pub(crate) used: Option<f64>,
}

/// A name server of `show resolvers`.
#[derive(Debug, PartialEq)]
pub(crate) struct NameServer {
    pub(crate) resolver: Box<str>,
    pub(crate) name: Box<str>,
    counters: Vec<(Box<str>, f64)>,
}

impl NameServer {
    pub(crate) fn counter(&self, field: &str) -> Option<f64> {
        self.counters.iter().find(|(name, _)| **name == *field).map(|(_, value)| *value)
    }
}

/// More lines or objects than any HAProxy has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Runtime {
    pub(crate) fn parse(text: &str) -> Result<Self, TooMany> {
        // An empty line ends each answer.
        let (info, rest) = text.split_once("\n\n").unwrap_or((text, ""));
        let mut runtime = Self { info: Info::parse(info).ok_or(TooMany)?, ..Self::default() };
        let mut resolver: &str = "";
        for line in rest.lines() {
            if let Some(table) = line.strip_prefix("# table: ").and_then(StickTable::parse) {
                runtime.tables.push(table);
            } else if let Some(name) = line.strip_prefix("Resolvers section ") {
                resolver = name.trim();
            } else if let Some(name) = line.strip_prefix(" nameserver ") {
                let name = name.trim().trim_end_matches(':').into();
                runtime.name_servers.push(NameServer { resolver: resolver.into(), name, counters: Vec::new() });
            } else if let (Some(server), Some((field, value))) = (runtime.name_servers.last_mut(), line.split_once(':'))
                && let Some(value) = number(value.trim())
            {
                server.counters.push((field.trim().into(), value));
            }
            if runtime.tables.len() + runtime.name_servers.len() > MAX_OBJECTS {
                return Err(TooMany);
            }
        }
        Ok(runtime)
    }
}

impl StickTable {
    /// `be, type: string, size:100, used:0`
    fn parse(line: &str) -> Option<Self> {
        let mut parts = line.split(',').map(str::trim);
        let name = parts.next()?.into();
        let mut table = Self { name, kind: Box::default(), size: None, used: None };
        for (field, value) in parts.filter_map(|part| part.split_once(':')) {
            match field {
                "type" => table.kind = value.trim().into(),
                "size" => table.size = number(value.trim()),
                "used" => table.used = number(value.trim()),
                _ => {}
            }
        }
        Some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERS: &str = "Name: HAProxy\nStopping: 0\n\n\
                           # table: be, type: string, size:100, used:7\n# table: fe, type: ip, size:1024, used:0\n\n\
                           Resolvers section dns\n nameserver one:\n  sent:        2\n  snd_error:   0\n nameserver two:\n  \
                           sent:  9\nResolvers section default\n nameserver 10.0.0.53:\n  timeout: 4\n  odd: x\n\n";

    #[test]
    fn tables_and_name_servers() {
        let runtime = Runtime::parse(ANSWERS).unwrap();
        assert_eq!(runtime.info.number("Stopping"), Some(0.0));
        let table = StickTable { name: "be".into(), kind: "string".into(), size: Some(100.0), used: Some(7.0) };
        assert_eq!((runtime.tables.len(), &runtime.tables[0]), (2, &table));
        let names: Vec<_> = runtime.name_servers.iter().map(|server| (&*server.resolver, &*server.name)).collect();
        assert_eq!(names, [("dns", "one"), ("dns", "two"), ("default", "10.0.0.53")]);
        let sent = |index: usize| runtime.name_servers[index].counter("sent");
        assert_eq!((sent(0), sent(1), sent(2)), (Some(2.0), Some(9.0), None));
    }

    #[test]
    fn an_old_haproxy_without_the_commands_has_the_process() {
        let runtime = Runtime::parse("Name: HAProxy\n\nUnknown command: show resolvers\n  help : this\n\n").unwrap();
        assert_eq!(runtime.info.get("Name"), Some("HAProxy"));
        assert!(runtime.tables.is_empty() && runtime.name_servers.is_empty());
    }

    #[test]
    fn the_number_of_objects_is_bounded() {
        let tables = |count| format!("Name: x\n\n{}", "# table: t, size:1\n".repeat(count));
        assert!(Runtime::parse(&tables(MAX_OBJECTS)).is_ok());
        assert_eq!(Runtime::parse(&tables(MAX_OBJECTS + 1)).unwrap_err(), TooMany);
    }
}
