//! Plain words: banned phrases, the length of help texts, constant log messages, the width of comments. See
//! docs/style.md.

use proc_macro2::TokenTree;
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::rust::{attributes, is_test_only, line, test_lines};
use crate::text::{Kind, Passage, passages};
use crate::tree::{Finding, SourceFile, Tree};

const LIST: &str = "tests/lint/words.toml";

#[derive(Deserialize)]
struct List {
    max_flag_help: usize,
    max_metric_help: usize,
    max_comment_column: usize,
    banned: Vec<Banned>,
    #[serde(default)]
    allowed: Vec<Allowed>,
}

#[derive(Deserialize)]
struct Banned {
    pattern: String,
    #[serde(default)]
    except: Vec<String>,
    instead: String,
}

#[derive(Deserialize)]
struct Allowed {
    file: String,
    text: String,
    #[expect(dead_code, reason = "for the reader of the list")]
    reason: String,
}

/// One banned phrase, ready to search.
struct Rule {
    pattern: Regex,
    except: Vec<Regex>,
    instead: String,
}

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let text = tree.get(LIST).map_or("", |file| &file.text);
    let prepared = toml::from_str::<List>(text).map_err(|error| error.to_string()).and_then(|list| {
        let rules = list.banned.iter().map(Rule::new).collect::<Result<Vec<_>, _>>();
        Ok((rules.map_err(|error| error.to_string())?, list))
    });
    let (rules, list) = match prepared {
        Ok(prepared) => prepared,
        Err(what) => return vec![Finding { file: LIST.to_owned(), line: 1, what }],
    };
    let mut findings = Vec::new();
    for file in &tree.files {
        let parsed = if file.is_rust() { syn::parse_file(&file.text).ok() } else { None };
        // METRICS.md is made from the help texts, which are checked where they are written.
        if file.path.ends_with("METRICS.md") {
            metric_helps(file, list.max_metric_help, &mut findings);
        } else {
            let tests = parsed.as_ref().map(test_lines).unwrap_or_default();
            banned(file, &rules, &list.allowed, &tests, &mut findings);
        }
        if let Some(parsed) = parsed.filter(|_| !file.is_test()) {
            let mut visitor = Helps { file, max_flag_help: list.max_flag_help, findings: &mut findings };
            visitor.visit_file(&parsed);
        }
        if file.is_rust() {
            wide_comments(file, list.max_comment_column, &mut findings);
        }
    }
    findings
}

impl Rule {
    fn new(banned: &Banned) -> Result<Self, regex::Error> {
        let regex = |pattern: &String| RegexBuilder::new(pattern).case_insensitive(true).build();
        let except = banned.except.iter().map(regex).collect::<Result<_, _>>()?;
        Ok(Self { pattern: regex(&banned.pattern)?, except, instead: banned.instead.clone() })
    }
}

fn banned(
    file: &SourceFile,
    rules: &[Rule],
    allowed: &[Allowed],
    tests: &[(usize, usize)],
    findings: &mut Vec<Finding>,
) {
    let in_tests = |line: usize| file.is_test() || tests.iter().any(|(first, last)| (*first..=*last).contains(&line));
    for passage in passages(file) {
        // What a test expects of a program is the program's text.
        if passage.kind == Kind::Literal && in_tests(passage.first_line()) {
            continue;
        }
        for rule in rules {
            for found in rule.pattern.find_iter(&passage.text) {
                let covers = |start: usize, end: usize| start < found.end() && found.start() < end;
                let excepted = rule.except.iter().flat_map(|except| except.find_iter(&passage.text));
                let excepted = excepted.into_iter().any(|except| covers(except.start(), except.end()));
                if !excepted && !is_allowed(file, &passage, allowed, &covers) {
                    let what = format!("\"{}\": better: {}", found.as_str(), rule.instead);
                    findings.push(file.finding(passage.line_at(found.start()), what));
                }
            }
        }
    }
}

fn is_allowed(
    file: &SourceFile,
    passage: &Passage,
    allowed: &[Allowed],
    covers: &dyn Fn(usize, usize) -> bool,
) -> bool {
    let of_file = allowed.iter().filter(|allowed| file.path.starts_with(&allowed.file));
    of_file
        .flat_map(|allowed| passage.text.match_indices(&allowed.text))
        .any(|(start, text)| covers(start, start + text.len()))
}

/// A table's cells under `Help`.
fn metric_helps(file: &SourceFile, max: usize, findings: &mut Vec<Finding>) {
    let mut column = None;
    for (index, row) in file.text.lines().enumerate().filter(|(_, line)| line.starts_with('|')) {
        let cells: Vec<&str> = row.split(" | ").map(|cell| cell.trim_matches(['|', ' '])).collect();
        if cells.first() == Some(&"Family") {
            column = cells.iter().position(|cell| *cell == "Help");
            continue;
        }
        let help = column.and_then(|column| cells.get(column)).filter(|help| !help.starts_with("---"));
        let Some(help) = help else { continue };
        let family = cells.first().copied().unwrap_or_default();
        let length = help.chars().count();
        if length > max {
            findings.push(
                file.finding(index + 1, format!("the help of {family} has {length} characters, more than {max}")),
            );
        }
        if !help.ends_with('.') {
            findings.push(file.finding(index + 1, format!("the help of {family} does not end with a period")));
        }
    }
}

fn wide_comments(file: &SourceFile, max: usize, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//")) {
        let columns = line.chars().count();
        if columns > max {
            findings.push(file.finding(index + 1, format!("a comment of {columns} columns: wrap it at {max}")));
        }
    }
}

/// Flags and log messages.
struct Helps<'a> {
    file: &'a SourceFile,
    max_flag_help: usize,
    findings: &'a mut Vec<Finding>,
}

impl<'ast> Visit<'ast> for Helps<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        let is_flag = field.attrs.iter().any(|attribute| {
            let list = attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
            attribute.path().is_ident("arg") && list.split(',').any(|part| part.trim_start().starts_with("long"))
        });
        if is_flag {
            let help = first_paragraph(&field.attrs);
            let (length, name) =
                (help.chars().count(), field.ident.as_ref().map(ToString::to_string).unwrap_or_default());
            let line = line(field.ident.span());
            if length > self.max_flag_help {
                let what =
                    format!("the help of the flag {name} has {length} characters, more than {}", self.max_flag_help);
                self.findings.push(self.file.finding(line, what));
            }
            if help.ends_with('.') {
                self.findings.push(self.file.finding(line, format!("the help of the flag {name} ends with a period")));
            }
        }
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        let name = called.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        if ["trace", "debug", "info", "warn", "error"].contains(&name.as_str())
            && let Some(message) = message(called)
            && message.contains('{')
        {
            let what = format!("the log message {message} is not constant: put the data into fields");
            self.findings.push(self.file.finding(line(called.path.span()), what));
        }
    }
}

fn first_paragraph(attributes: &[syn::Attribute]) -> String {
    let docs = attributes.iter().filter(|attribute| attribute.path().is_ident("doc"));
    let lines = docs.filter_map(|attribute| match &attribute.meta.require_name_value().ok()?.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
        _ => None,
    });
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The argument of a logging macro that is a string literal by itself.
fn message(called: &syn::Macro) -> Option<String> {
    let mut argument: Vec<TokenTree> = Vec::new();
    let mut arguments = Vec::new();
    for token in called.tokens.clone() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => arguments.push(std::mem::take(&mut argument)),
            token => argument.push(token),
        }
    }
    arguments.push(argument);
    arguments.into_iter().find_map(|argument| match argument.as_slice() {
        [TokenTree::Literal(literal)] if literal.to_string().starts_with('"') => Some(literal.to_string()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: (&str, &str) = (LIST, include_str!("../words.toml"));

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[WORDS, (path, text)])).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_banned_phrase_is_found_in_comments_literals_documents_and_alerts() {
        let bad = [
            ("a/src/a.rs", "/// Seconds from\n/// which on it warns.\nfn f() {}\n", "a/src/a.rs:1: \"from which on\""),
            ("a/src/a.rs", "const A: &str = \"it is no address\";\n", "a/src/a.rs:1: \"is no address\""),
            ("a.md", "Two\nat the most.\n", "a.md:2: \"at the most\""),
            ("a.yml", "summary: made anew\n", "a.yml:1: \"anew\""),
            ("Makefile", "# It stands in a file.\n", "Makefile:1: \"stands in\""),
        ];
        for (path, text, expected) in bad {
            let found = findings(path, text);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
        }
    }

    #[test]
    fn what_resembles_a_banned_phrase_is_not_found() {
        let good = [
            ("a/src/a.rs", "// There is no server, and it is no longer asked.\n"),
            ("a/src/a.rs", "#[cfg(test)]\nmod tests { const A: &str = \"is no address\"; }\n"),
            ("a/tests/a.rs", "const A: &str = \"is no address\";\n"),
            ("a.md", "`x is no y`\n```\nit is no z\n```\n"),
        ];
        for (path, text) in good {
            assert_eq!(findings(path, text), Vec::<String>::new());
        }
    }

    #[test]
    fn an_allowed_text_is_not_found_in_its_file() {
        let list = format!(
            "{}\n[[allowed]]\nfile = \"a.md\"\ntext = \"is no master\"\nreason = \"Redis' own text\"\n",
            WORDS.1
        );
        let text = "\"This is no master\" and it is no slave.\n";
        let found = check(&Tree::of(&[(LIST, &list), ("a.md", text), ("b.md", text)]));
        assert_eq!(found.iter().filter(|finding| finding.file == "a.md").count(), 1);
        assert_eq!(found.iter().filter(|finding| finding.file == "b.md").count(), 2);
    }

    #[test]
    fn the_help_of_a_flag_is_short_and_without_a_period() {
        let flag =
            |help: &str| format!("struct A {{\n    /// {help}\n    #[arg(long = \"a.b\")]\n    a: String,\n}}\n");
        assert_eq!(findings("a/src/a.rs", &flag("Timeout of one scrape, in seconds")), Vec::<String>::new());
        assert!(findings("a/src/a.rs", &flag("Timeout."))[0].contains("a/src/a.rs:4: the help of the flag a ends"));
        assert!(findings("a/src/a.rs", &flag(&"a ".repeat(61)))[0].contains("has 121 characters"));
    }

    #[test]
    fn the_help_of_a_metric_is_one_short_sentence() {
        let page = |help: &str| {
            format!("| Family | Type | Help | Source |\n|---|---|---|---|\n| `a` | gauge | {help} | b |\n")
        };
        assert_eq!(findings("x/METRICS.md", &page("Current number of threads.")), Vec::<String>::new());
        assert!(
            findings("x/METRICS.md", &page("Threads"))[0].starts_with("x/METRICS.md:3: the help of `a` does not end")
        );
        assert!(findings("x/METRICS.md", &page(&format!("{}.", "a".repeat(120))))[0].contains("has 121 characters"));
    }

    #[test]
    fn a_log_message_is_constant() {
        let log = |arguments: &str| format!("fn f() {{ tracing::warn!({arguments}); }}\n");
        assert_eq!(
            findings("a/src/a.rs", &log("target, error = format!(\"{e}\"), \"reload failed\"")),
            Vec::<String>::new()
        );
        assert!(findings("a/src/a.rs", &log("\"reload of {file} failed\""))[0].contains("is not constant"));
    }

    #[test]
    fn a_comment_is_wrapped_where_code_is() {
        assert_eq!(findings("a/src/a.rs", &format!("// {}\n", "a".repeat(117))), Vec::<String>::new());
        assert!(findings("a/src/a.rs", &format!("// {}\n", "a".repeat(118)))[0].contains("121 columns"));
    }
}
