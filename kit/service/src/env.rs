//! Every flag is also an environment variable, by one rule for all programs: the program's name, then the flag's, in
//! capitals, `.` and `-` as `_`. `mysql-exporter --web.listen-address` is `MYSQL_EXPORTER_WEB_LISTEN_ADDRESS`.

use clap::builder::BoolishValueParser;
use clap::{Arg, ArgAction, Command};

/// The variable of a program's flag, given without its dashes.
pub fn variable(program: &str, flag: &str) -> String {
    format!("{program}_{flag}").to_uppercase().replace(['.', '-'], "_")
}

/// Adds its variable to each flag that has none. The command's name is the program's.
pub fn with_variables(command: Command) -> Command {
    let program = command.get_name().to_owned();
    command.mut_args(|arg| match arg.get_long().map(|flag| variable(&program, flag)) {
        Some(variable) => with_variable(arg, variable),
        None => arg,
    })
}

fn with_variable(arg: Arg, variable: String) -> Arg {
    let arg = match arg.get_action() {
        // Without it a variable would have to be `true` or `false`, and `1` an error.
        ArgAction::SetTrue => arg.value_parser(BoolishValueParser::new()),
        _ => arg,
    };
    // An empty variable, as `${VARIABLE:-}` in a compose file gives it, counts as unset: Go's exporters do the same.
    let is_empty = std::env::var_os(&variable).is_some_and(|value| value.is_empty());
    if arg.get_env().is_some() || is_empty { arg } else { arg.env(variable).hide_env(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("cargo").args([
            Arg::new("pkg").long("pkg-name"),
            Arg::new("homepage").long("pkg.homepage").default_value("none"),
            Arg::new("switch").long("switch").action(ArgAction::SetTrue),
            Arg::new("positional"),
        ])
    }

    #[test]
    fn each_flag_has_the_variable_of_its_name() {
        let command = with_variables(command());
        let variables: Vec<_> =
            command.get_arguments().map(|arg| arg.get_env().and_then(|name| name.to_str())).collect();
        // The second is set to nothing.
        assert_eq!(variables, [Some("CARGO_PKG_NAME"), None, Some("CARGO_SWITCH"), None]);
    }

    #[test]
    fn the_flag_wins_over_its_variable_and_an_empty_variable_is_unset() {
        // Cargo sets these two for its tests, the second one to nothing.
        assert_eq!(std::env::var("CARGO_PKG_HOMEPAGE").as_deref(), Ok(""));
        let value = |args: &[&str], id: &str| {
            let matches = with_variables(command()).try_get_matches_from([&["cargo"], args].concat()).unwrap();
            matches.get_one::<String>(id).cloned()
        };
        assert_eq!(value(&[], "pkg").as_deref(), Some("service-kit"));
        assert_eq!(value(&["--pkg-name=other"], "pkg").as_deref(), Some("other"));
        assert_eq!(value(&[], "homepage").as_deref(), Some("none"));
    }

    #[test]
    fn a_switch_takes_zero_and_one() {
        // Cargo sets both: this is version 0.1.
        let switches = ["pkg.version.major", "pkg.version.minor"];
        let switch = |name| Arg::new(name).long(name).action(ArgAction::SetTrue);
        let matches = with_variables(Command::new("cargo").args(switches.map(switch))).get_matches_from(["cargo"]);
        assert_eq!(switches.map(|name| matches.get_flag(name)), [false, true]);
    }
}
