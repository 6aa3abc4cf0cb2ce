//! The numbers that the checks read, and whether they could be read.

use std::cell::Cell;

use exporter_toolkit::{CheckDef, CheckStatus, Finding};

use super::reason::counted;
use crate::columns::Scope;
use crate::history::{Counters, Object, Objects};
use crate::stat::{Row, Stat, number};
use crate::state::ServerState;

pub(super) static STATISTICS: CheckDef = CheckDef {
    name: "statistics",
    help: "Warns when a row, a server's state or a number that other checks need could not be read. \
           Without any readable row, `connect` fails.",
    essential: false,
};

/// Reads `show stat`, and counts what could not be read.
pub(super) struct Reader<'a> {
    stat: &'a Stat,
    unreadable: Cell<usize>,
    unknown_states: Cell<usize>,
}

/// The place of a field in the rows; `None` where HAProxy has no such field.
#[derive(Clone, Copy)]
pub(super) struct Field(Option<usize>);

impl<'a> Reader<'a> {
    pub(super) fn new(stat: &'a Stat) -> Self {
        Self { stat, unreadable: Cell::new(0), unknown_states: Cell::new(0) }
    }

    pub(super) fn rows(&self, scope: Scope) -> impl Iterator<Item = Row<'a>> + use<'a> {
        self.stat.rows(scope)
    }

    pub(super) fn field(&self, name: &str) -> Field {
        Field(self.stat.column(name))
    }

    pub(super) fn text(&self, row: Row<'a>, field: Field) -> &'a str {
        field.0.map_or("", |column| row.field(column))
    }

    /// `None` if it is empty or could not be read.
    pub(super) fn number(&self, row: Row<'a>, field: Field) -> Option<f64> {
        let text = self.text(row, field);
        if text.is_empty() {
            return None;
        }
        let value = number(text);
        if value.is_none() {
            self.unreadable.set(self.unreadable.get() + 1);
        }
        value
    }

    pub(super) fn server_state(&self, row: Row<'a>, status: Field) -> Option<ServerState> {
        let state = ServerState::parse(self.text(row, status));
        if state.is_none() {
            self.unknown_states.set(self.unknown_states.get() + 1);
        }
        state
    }

    /// The counters of frontends, backends and servers. A row with a number that could not be read is left out: with 0
    /// in its place, its counters would seem to have restarted.
    pub(super) fn counters(&self) -> Objects<'a, Counters> {
        let before = self.unreadable.get();
        let responses =
            ["hrsp_1xx", "hrsp_2xx", "hrsp_3xx", "hrsp_4xx", "hrsp_5xx", "hrsp_other"].map(|name| self.field(name));
        let server_errors = self.field("hrsp_5xx");
        let [sessions, econ, eresp, wretr, wredis] =
            ["stot", "econ", "eresp", "wretr", "wredis"].map(|name| self.field(name));
        let mut all = Vec::new();
        for scope in [Scope::Frontend, Scope::Backend, Scope::Server] {
            for row in self.rows(scope) {
                let unreadable = self.unreadable.get();
                let value = |field| self.number(row, field).unwrap_or_default();
                let counters = Counters {
                    responses: responses.iter().map(|field| value(*field)).sum(),
                    server_errors: value(server_errors),
                    sessions: value(sessions),
                    connection_errors: value(econ),
                    response_errors: value(eresp),
                    retries: value(wretr),
                    redispatches: value(wredis),
                    http: !self.text(row, server_errors).is_empty(),
                };
                if self.unreadable.get() == unreadable {
                    all.push(Object { scope, proxy: row.proxy(), name: row.name(), value: counters });
                }
            }
        }
        Objects { all, complete: self.complete_since(before) }
    }

    /// How often each server went down since HAProxy's start.
    pub(super) fn downs(&self) -> Objects<'a, f64> {
        let before = self.unreadable.get();
        let downs = self.field("chkdown");
        let server = |row: Row<'a>| {
            let value = self.number(row, downs)?;
            Some(Object { scope: Scope::Server, proxy: row.proxy(), name: row.name(), value })
        };
        let all = self.rows(Scope::Server).filter_map(server).collect();
        Objects { all, complete: self.complete_since(before) }
    }

    fn complete_since(&self, unreadable: usize) -> bool {
        self.stat.broken == 0 && self.unreadable.get() == unreadable
    }

    /// To be called after all other checks.
    pub(super) fn finding(&self) -> Finding {
        let parts = [
            (self.stat.broken as usize, "row", "rows"),
            (self.unknown_states.get(), "server state", "server states"),
            (self.unreadable.get(), "number", "numbers"),
        ];
        let unread: Vec<_> = parts.into_iter().filter(|(count, ..)| *count > 0).collect();
        if unread.is_empty() {
            return (CheckStatus::Ok, "all rows could be read".to_owned());
        }
        let list: Vec<String> = unread.into_iter().map(|(count, one, many)| counted(count, one, many)).collect();
        (CheckStatus::Warn, format!("could not be read in HAProxy's response: {}", list.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_read_is_counted_by_kind() {
        let stat =
            Stat::parse("# pxname,svname,econ,status,type,\nbe,a,1,UP,2,\nbe,b,many,ASLEEP,2,\nbe,torn\n").unwrap();
        let reader = Reader::new(&stat);
        let counters = reader.counters();
        assert!(!counters.complete);
        assert_eq!(counters.all.iter().map(|object| object.name).collect::<Vec<_>>(), ["a"]);
        let status = reader.field("status");
        let states: Vec<_> = reader.rows(Scope::Server).map(|row| reader.server_state(row, status)).collect();
        assert_eq!(states, [Some(ServerState::Up), None]);
        let reason = "could not be read in HAProxy's response: 1 row, 1 server state, 1 number";
        assert_eq!(reader.finding(), (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn empty_and_absent_fields_are_not_errors() {
        let stat = Stat::parse("# pxname,svname,econ,status,type,\nbe,a,,UP,2,\n").unwrap();
        let reader = Reader::new(&stat);
        let counters = reader.counters();
        assert!(counters.complete && !counters.all[0].value.http);
        assert_eq!(reader.finding().0, CheckStatus::Ok);
    }
}
