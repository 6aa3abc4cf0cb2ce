//! What an error reply means for the verdict on the server, and what to do about it.

/// What an error reply says about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The server executes no command of this client.
    Unusable,
    /// The server answers INFO, but refuses the commands of every client.
    RefusesCommands,
    /// The server executes reads and refuses writes.
    RefusesWrites,
    /// The server lacks this command, or this user may not execute it. It says nothing about other clients.
    CommandUnavailable,
    /// A reply that this table does not have.
    Unknown,
}

/// Beginnings of error replies, as whole words.
#[rustfmt::skip] // One row per line: it is a table.
const MEANINGS: &[(&str, Verdict, &str)] = &[
    ("NOAUTH", Verdict::Unusable, "give a password with --redis.password-file or REDIS_PASSWORD"),
    ("WRONGPASS", Verdict::Unusable, "check --redis.user and the password in --redis.password-file or REDIS_PASSWORD"),
    ("DENIED", Verdict::Unusable, "the server is in protected mode: set a password there, or bind it to loopback"),
    ("BUSY", Verdict::Unusable, "a script has kept the server busy: see SCRIPT KILL and FUNCTION KILL"),
    ("ERR max number of clients", Verdict::Unusable, "the server is out of connections: raise maxclients or find who holds them"),
    ("ERR AUTH", Verdict::Unusable, "the server has no password: give none, or set one there"),
    ("ERR Client sent AUTH", Verdict::Unusable, "the server has no password: give none, or set one there"),
    ("ERR wrong number of arguments for 'auth' command", Verdict::Unusable, "a server before Redis 6 has no users: remove --redis.user"),
    ("LOADING", Verdict::RefusesCommands, "wait until the server has loaded its data"),
    ("MASTERDOWN", Verdict::RefusesCommands, "restore the link to the master, or set replica-serve-stale-data"),
    ("MISCONF", Verdict::RefusesWrites, "check the disk, memory and the server's log"),
    ("NOPERM", Verdict::CommandUnavailable, "give the user the permissions in exporters/redis/README.md"),
    ("ERR unknown command", Verdict::CommandUnavailable, "the server has renamed or removed this command"),
];

pub(crate) fn verdict(reply: &str) -> Verdict {
    find(reply).map_or(Verdict::Unknown, |(verdict, _)| verdict)
}

/// What to do about an error reply.
pub(crate) fn advice(reply: &str) -> &'static str {
    find(reply).map_or("see the server's log", |(_, advice)| advice)
}

fn find(reply: &str) -> Option<(Verdict, &'static str)> {
    let begins_with =
        |beginning| reply.strip_prefix(beginning).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()));
    let (_, verdict, advice) = MEANINGS.iter().find(|(beginning, ..)| begins_with(*beginning))?;
    Some((*verdict, advice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_real_servers() {
        for (reply, expected, text) in [
            ("NOAUTH Authentication required.", Verdict::Unusable, "--redis.password-file"),
            ("WRONGPASS invalid username-password pair or user is disabled.", Verdict::Unusable, "--redis.user"),
            ("DENIED Redis is running in protected mode", Verdict::Unusable, "protected mode"),
            ("BUSY Redis is busy running a script.", Verdict::Unusable, "SCRIPT KILL"),
            ("ERR max number of clients reached", Verdict::Unusable, "maxclients"),
            ("ERR max number of clients + cluster connections reached", Verdict::Unusable, "maxclients"),
            ("ERR AUTH <password> called without any password configured", Verdict::Unusable, "give none"),
            ("ERR Client sent AUTH, but no password is set", Verdict::Unusable, "give none"),
            ("ERR wrong number of arguments for 'auth' command", Verdict::Unusable, "--redis.user"),
            ("LOADING Redis is loading the dataset in memory", Verdict::RefusesCommands, "wait"),
            ("MASTERDOWN Link with MASTER is down", Verdict::RefusesCommands, "link"),
            ("MISCONF Errors writing to the AOF file: No space left on device", Verdict::RefusesWrites, "disk"),
            ("NOPERM User exporter has no permissions to run 'info'", Verdict::CommandUnavailable, "README.md"),
            ("ERR unknown command 'PING'", Verdict::CommandUnavailable, "renamed"),
            // Other errors whose first letters are the same.
            ("BUSYKEY Target key name already exists.", Verdict::Unknown, "log"),
            ("ERR maximum reached", Verdict::Unknown, "log"),
            ("ERR", Verdict::Unknown, "log"),
            ("", Verdict::Unknown, "log"),
        ] {
            assert_eq!(verdict(reply), expected, "{reply}");
            assert!(advice(reply).contains(text), "{reply}: {}", advice(reply));
        }
    }
}
