//! The options of every target.

use std::time::Duration;

use crate::columns::Naming;
use crate::stat::Stat;
use crate::state::ServerState;

/// Which samples a state set has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum States {
    // Not doc comments: clap would print help texts of values, and --help in its long form.
    // One sample per state, as in HAProxy's own endpoint
    #[default]
    All,
    // Only the current state's
    Current,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    pub(crate) naming: Naming,
    pub(crate) states: States,
    pub(crate) exclude: Vec<ExcludedState>,
    /// Column numbers of the CSV, as in the retired exporter; all columns if there are none.
    pub(crate) server_columns: Vec<usize>,
    /// Whether counters of modules are exported even without `extra-counters`.
    pub(crate) modules: bool,
    pub(crate) timeout: Option<Duration>,
}

/// A server state of `--haproxy.server-exclude-states`: a state, or a whole text of HAProxy such as `no check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ExcludedState {
    State(ServerState),
    Text(Box<str>),
}

impl ExcludedState {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(state) = ServerState::ALL.into_iter().find(|state| state.name() == text) {
            return Ok(Self::State(state));
        }
        match ServerState::parse(text) {
            Some(_) => Ok(Self::Text(text.into())),
            None => Err(format!("{text}: expected one of {}, `no check`", ServerState::NAMES.join(", "))),
        }
    }

    fn is(&self, status: &str, state: Option<ServerState>) -> bool {
        match self {
            Self::State(ServerState::Up) if status == "no check" => false,
            Self::State(excluded) => state == Some(*excluded),
            Self::Text(text) => **text == *status,
        }
    }
}

impl Options {
    pub(crate) fn excludes(&self, status: &str, state: Option<ServerState>) -> bool {
        self.exclude.iter().any(|excluded| excluded.is(status, state))
    }

    /// Whether this column of the servers is exported.
    pub(crate) fn has_server_column(&self, stat: &Stat, field: &str) -> bool {
        self.server_columns.is_empty() || stat.column(field).is_some_and(|column| self.server_columns.contains(&column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_states() {
        let options = |states: &[&str]| Options {
            exclude: states.iter().map(|text| ExcludedState::parse(text).unwrap()).collect(),
            ..Options::default()
        };
        let excluded = |options: &Options| {
            ["UP", "no check", "MAINT", "MAINT (via a/b)", "DOWN 1/2", "odd"]
                .map(|status| options.excludes(status, ServerState::parse(status)))
        };
        assert_eq!(excluded(&options(&[])), [false; 6]);
        assert_eq!(excluded(&options(&["MAINT", "no check"])), [false, true, true, true, false, false]);
        assert_eq!(excluded(&options(&["UP", "DOWN 1/2"])), [true, false, false, false, true, false]);
        assert!(ExcludedState::parse("SLEEPY").unwrap_err().contains("no check"));
    }
}
