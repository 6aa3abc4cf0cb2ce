//! The rows of one scope, as samples of many families with the same labels.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use exporter_toolkit::{Desc, Families, LabelSets, State};

use crate::columns::{Scope, Table};
use crate::options::States;
use crate::stat::{Row, number};
use crate::target::Session;

pub(super) struct Rows<'a> {
    session: &'a Session,
    scope: Scope,
    /// In the order of their labels.
    rows: Vec<Row<'a>>,
    sets: Arc<LabelSets>,
}

impl<'a> Rows<'a> {
    /// All rows of the scope that the scrape exports.
    pub(super) fn new(session: &'a Session, scope: Scope) -> Self {
        let all: Vec<Row<'a>> = match scope {
            _ if !session.selection.has(scope.into()) => Vec::new(),
            Scope::Server => session.stat.rows(scope).filter(|row| !session.excludes(row)).collect(),
            _ => session.stat.rows(scope).collect(),
        };
        let labels = session.options.naming.labels(scope);
        let (sets, order) = match scope {
            Scope::Frontend | Scope::Backend => LabelSets::new(labels, all.iter().map(|row| [row.proxy()])),
            Scope::Server => LabelSets::new(labels, all.iter().map(|row| [row.proxy(), row.name()])),
            Scope::Listener => {
                LabelSets::new(labels, all.iter().zip(listeners(&all)).map(|(row, name)| [row.proxy().into(), name]))
            }
        };
        let rows = order.into_iter().map(|index| all[index]).collect();
        Self { session, scope, rows, sets: Arc::new(sets) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Row<'a>> {
        self.rows.iter()
    }

    /// The numbers of the table, family by family.
    pub(super) fn write_numbers(&self, table: &Table, out: &mut Families) {
        for (desc, column) in table.families(self.session.options.naming) {
            let Some(index) = self.session.stat.column(column.field) else { continue };
            if self.scope == Scope::Server && !self.session.options.has_server_column(&self.session.stat, column.field)
            {
                continue;
            }
            let divisor = column.divisor;
            self.write(out, desc, column.code, |row| Some(self.number(row, index)? / divisor));
        }
    }

    /// `None` where HAProxy leaves the field empty: the HTTP responses of a TCP proxy, the limit of an unlimited
    /// server. What is not a number is absent and counted.
    pub(super) fn number(&self, row: &Row<'_>, column: usize) -> Option<f64> {
        let text = row.field(column);
        if text.is_empty() {
            return None;
        }
        let value = number(text);
        if value.is_none() {
            self.session.failures.add(1);
        }
        value
    }

    /// One sample for each row with a value. `last` is the value of the family's last label, if it is not one of the
    /// scope's.
    pub(super) fn write(
        &self,
        out: &mut Families,
        desc: &Desc,
        last: Option<&str>,
        value: impl Fn(&Row<'a>) -> Option<f64>,
    ) {
        if !self.rows.is_empty() && self.session.exports(self.scope.into(), desc) {
            out.family(desc).push_values(&self.sets, last, self.rows.iter().map(value));
        }
    }

    /// A state set for each row.
    pub(super) fn write_states(
        &self,
        out: &mut Families,
        desc: &Desc,
        states: &[&str],
        state: impl Fn(&Row<'a>) -> State,
    ) {
        if !self.rows.is_empty() && self.session.exports(self.scope.into(), desc) {
            let only_current = self.session.options.states == States::Current;
            out.family(desc).push_state_sets(&self.sets, states, only_current, self.rows.iter().map(state));
        }
    }
}

/// The names of listeners. HAProxy accepts several of one name in a frontend: all but the first get their number.
fn listeners<'a>(rows: &[Row<'a>]) -> Vec<Cow<'a, str>> {
    let mut known = HashSet::new();
    let named = rows.iter().map(|row| match known.insert((row.proxy(), row.name())) {
        true => Cow::Borrowed(row.name()),
        false => Cow::Owned(format!("{}:{}", row.name(), row.get("sid"))),
    });
    named.collect()
}

/// The index of the state with this name.
pub(super) fn state_of(states: &[&str], name: Option<&str>) -> State {
    let index = name.and_then(|name| states.iter().position(|state| *state == name));
    index.map_or(State::Absent, |index| State::Current(index as u8))
}
