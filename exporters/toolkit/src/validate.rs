//! Mistakes of an exporter's author that the compiler cannot find. They stop the start, in release builds, too, where
//! clap does not check its definitions.

use std::collections::HashMap;

use clap::{Arg, Command};

use crate::exporter::{Collector, Exporter};
use crate::family::{Desc, Kind};
use crate::gather::OwnFamilies;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidExporter {
    #[error("PROGRAM {0:?}: use lower-case letters, digits and `-`")]
    Program(&'static str),
    #[error("NAMESPACE {0:?}: use letters, digits and `_`, with a letter first")]
    Namespace(&'static str),
    #[error("collector {0:?}: the name is invalid; use lower-case letters, digits, `_` and `.`, but not `connection`")]
    CollectorName(&'static str),
    #[error("collector {0}: two collectors have this name")]
    CollectorTwice(&'static str),
    #[error(
        "the flags {first} and {second} share {what}; rename one, or its field (`#[arg(id = …)]`, `#[group(id = …)]`)"
    )]
    Flags { what: String, first: String, second: String },
    #[error("collector {collector}: the toolkit itself exports {family}; rename the family")]
    OwnFamily { collector: &'static str, family: String },
    #[error("collector {collector}: another collector declares {family} with another type or other labels")]
    Declaration { collector: &'static str, family: String },
}

pub(crate) fn validate<E: Exporter>(command: &Command) -> Result<(), InvalidExporter> {
    if !is_name(E::PROGRAM, "-") {
        return Err(InvalidExporter::Program(E::PROGRAM));
    }
    if !is_name(&E::NAMESPACE.to_ascii_lowercase(), "_") {
        return Err(InvalidExporter::Namespace(E::NAMESPACE));
    }
    let collectors = E::collectors();
    validate_collectors(&collectors, &OwnFamilies::of::<E>().names::<E>())?;
    validate_flags(command)
}

fn validate_collectors<S>(collectors: &[Box<dyn Collector<S>>], own: &[String]) -> Result<(), InvalidExporter> {
    let mut declared: HashMap<String, (Kind, &[&str], &str)> = HashMap::new();
    for (index, collector) in collectors.iter().enumerate() {
        let name = collector.name();
        if !is_name(name, "_.") || name == "connection" {
            return Err(InvalidExporter::CollectorName(name));
        }
        if collectors[..index].iter().any(|other| other.name() == name) {
            return Err(InvalidExporter::CollectorTwice(name));
        }
        for Desc { name: family, kind, labels, .. } in collector.families() {
            let family = family.into_owned();
            if own.contains(&family) {
                return Err(InvalidExporter::OwnFamily { collector: name, family });
            }
            // A variable name is a pattern, and several may share it. A collector may declare alternatives, of which a
            // flag chooses; both on one page are an error of the scrape.
            let is_pattern = family.contains('<');
            let (first_kind, first_labels, first) = *declared.entry(family.clone()).or_insert((kind, labels, name));
            if !is_pattern && first != name && (first_kind, first_labels) != (kind, labels) {
                return Err(InvalidExporter::Declaration { collector: name, family });
            }
        }
    }
    Ok(())
}

/// Two flags with the same name, ID or variable, which clap finds in debug builds only, by a panic.
fn validate_flags(command: &Command) -> Result<(), InvalidExporter> {
    let mut known: HashMap<String, String> = HashMap::new();
    for arg in command.get_arguments() {
        let names = arg.get_long_and_visible_aliases().unwrap_or_default();
        let aliases = arg.get_all_aliases().unwrap_or_default();
        let mut identities: Vec<String> =
            names.iter().chain(&aliases).map(|name| format!("the name --{name}")).collect();
        identities.extend(
            arg.get_short_and_visible_aliases().unwrap_or_default().iter().map(|short| format!("the name -{short}")),
        );
        identities.push(format!("the ID `{}`", arg.get_id()));
        identities.extend(arg.get_env().map(|variable| format!("the variable {}", variable.display())));
        identities.sort();
        identities.dedup();
        for what in identities {
            if let Some(first) = known.insert(what.clone(), flag(arg)) {
                return Err(InvalidExporter::Flags { what, first, second: flag(arg) });
            }
        }
    }
    let mut groups: HashMap<&str, String> = HashMap::new();
    for group in command.get_groups() {
        let flags = group.get_args().find_map(|id| command.get_arguments().find(|arg| arg.get_id() == id)).map(flag);
        let flags = flags.unwrap_or_default();
        let what = format!("the ID `{}`", group.get_id());
        let first = groups.insert(group.get_id().as_str(), flags.clone()).or_else(|| known.get(&what).cloned());
        if let Some(first) = first {
            return Err(InvalidExporter::Flags { what, first, second: flags });
        }
    }
    Ok(())
}

fn flag(arg: &Arg) -> String {
    arg.get_long().map_or_else(|| format!("`{}`", arg.get_id()), |long| format!("--{long}"))
}

fn is_name(name: &str, also: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || also.contains(c))
}
