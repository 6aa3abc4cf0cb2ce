//! The states of HAProxy's objects, as Prometheus names them, from the words of `show stat`.

/// A server's state. HAProxy adds what it is about to become or why: `UP 3/5`, `DRAIN (agent)`, `MAINT (via be/one)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    Down,
    Up,
    /// Taken out by the operator, or without an address.
    Maint,
    /// Finishes what it has and gets nothing new.
    Drain,
    /// Gets no new sessions, because its check returned 404.
    Nolb,
}

impl ServerState {
    pub(crate) const ALL: [Self; 5] = [Self::Down, Self::Up, Self::Maint, Self::Drain, Self::Nolb];
    pub(crate) const NAMES: [&str; 5] = ["DOWN", "UP", "MAINT", "DRAIN", "NOLB"];

    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    pub(crate) fn parse(status: &str) -> Option<Self> {
        match status.split(' ').next()? {
            "DOWN" => Some(Self::Down),
            // `no check`: HAProxy assumes that it is up.
            "UP" | "no" => Some(Self::Up),
            "MAINT" => Some(Self::Maint),
            "DRAIN" => Some(Self::Drain),
            "NOLB" => Some(Self::Nolb),
            _ => None,
        }
    }

    /// The retired exporter's `haproxy_server_up`. It knew a fixed list of words, so that `UP 3/5` and `DRAIN (agent)`
    /// read as down.
    pub(crate) fn is_up(self) -> bool {
        matches!(self, Self::Up | Self::Drain)
    }
}

/// Frontends and backends.
pub(crate) const PROXY_STATES: [&str; 2] = ["DOWN", "UP"];

/// A frontend's `OPEN`, `FULL` and `PAUSED` are up, as in HAProxy's own endpoint; `STOP` is down.
pub(crate) fn frontend_state(status: &str) -> Option<&'static str> {
    match status {
        "OPEN" | "FULL" | "PAUSED" => Some("UP"),
        "STOP" => Some("DOWN"),
        _ => None,
    }
}

pub(crate) fn backend_state(status: &str) -> Option<&'static str> {
    match status.split(' ').next()? {
        "UP" => Some("UP"),
        "DOWN" => Some("DOWN"),
        _ => None,
    }
}

pub(crate) const LISTENER_STATES: [&str; 3] = ["WAITING", "OPEN", "FULL"];

pub(crate) fn listener_state(status: &str) -> Option<&'static str> {
    LISTENER_STATES.into_iter().find(|state| *state == status)
}

/// How a health check or an agent check can end.
pub(crate) const CHECK_STATES: [&str; 16] = [
    "HANA", "SOCKERR", "L4OK", "L4TOUT", "L4CON", "L6OK", "L6TOUT", "L6RSP", "L7TOUT", "L7RSP", "L7OK", "L7OKC",
    "L7STS", "PROCERR", "PROCTOUT", "PROCOK",
];

/// How the last check of a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckState {
    /// The server has no check.
    Unchecked,
    /// The index in [`CHECK_STATES`].
    Ended(usize),
    /// Not yet (`INI`), or with a word of an agent (`CHECKED`). HAProxy's endpoint then has no current state.
    Other,
}

pub(crate) fn check_state(status: &str) -> CheckState {
    // An asterisk means that the next check is in progress.
    let status = status.strip_prefix("* ").unwrap_or(status);
    match CHECK_STATES.iter().position(|state| *state == status) {
        Some(index) => CheckState::Ended(index),
        None if status.is_empty() => CheckState::Unchecked,
        None => CheckState::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_servers() {
        for (status, state, up) in [
            ("UP", ServerState::Up, true),
            ("UP 3/5", ServerState::Up, true),
            ("no check", ServerState::Up, true),
            ("DRAIN", ServerState::Drain, true),
            ("DRAIN 1/2", ServerState::Drain, true),
            ("DRAIN (agent)", ServerState::Drain, true),
            ("DOWN", ServerState::Down, false),
            ("DOWN 1/2", ServerState::Down, false),
            ("DOWN (agent)", ServerState::Down, false),
            ("MAINT", ServerState::Maint, false),
            ("MAINT (via be/one)", ServerState::Maint, false),
            ("MAINT (resolution)", ServerState::Maint, false),
            ("NOLB 2/3", ServerState::Nolb, false),
        ] {
            assert_eq!(ServerState::parse(status), Some(state), "{status}");
            assert_eq!(state.is_up(), up, "{status}");
            assert!(status.starts_with(state.name()) || status == "no check");
        }
        assert_eq!(ServerState::parse("UPSIDE"), None);
        assert_eq!(ServerState::parse(""), None);
    }

    #[test]
    fn states_of_checks() {
        assert_eq!(check_state("* L7OK"), check_state("L7OK"));
        assert_eq!(check_state("L7OK"), CheckState::Ended(10));
        assert_eq!((check_state("INI"), check_state("CHECKED")), (CheckState::Other, CheckState::Other));
        assert_eq!(check_state(""), CheckState::Unchecked);
    }

    #[test]
    fn names_are_in_the_order_of_the_states() {
        assert_eq!(ServerState::ALL.map(ServerState::name), ServerState::NAMES);
    }
}
