//! The text that people read in a source file: comments, string literals, paragraphs; each with its line.

use crate::tree::SourceFile;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Comment,
    /// In Rust code.
    Literal,
    /// Of a document or a configuration.
    Prose,
}

/// A stretch of text without its line breaks, and where each of its lines begins in it.
#[derive(Debug, Clone)]
pub(crate) struct Passage {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    starts: Vec<(usize, usize)>,
}

impl Passage {
    fn new(kind: Kind, line: usize, text: &str) -> Self {
        Self { kind, text: text.to_owned(), starts: vec![(0, line)] }
    }

    fn append(&mut self, line: usize, text: &str) {
        self.text.push(' ');
        self.starts.push((self.text.len(), line));
        self.text.push_str(text);
    }

    pub(crate) fn first_line(&self) -> usize {
        self.starts.first().map_or(1, |(_, line)| *line)
    }

    /// The line of a byte of the text.
    pub(crate) fn line_at(&self, offset: usize) -> usize {
        self.starts.iter().rev().find(|(start, _)| *start <= offset).map_or(1, |(_, line)| *line)
    }

    fn last_line(&self) -> usize {
        self.starts.last().map_or(1, |(_, line)| *line)
    }
}

pub(crate) fn passages(file: &SourceFile) -> Vec<Passage> {
    match file.path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "rs" => joined(rust(&file.text)),
        "md" => markdown(&file.text),
        "yml" | "yaml" => yaml(&file.text),
        _ => joined(hash_comments(&file.text)),
    }
}

/// Comments on consecutive lines are one text: a phrase may run over a line's end.
fn joined(passages: Vec<Passage>) -> Vec<Passage> {
    let mut result: Vec<Passage> = Vec::new();
    for passage in passages {
        match result.last_mut() {
            Some(last)
                if last.kind == Kind::Comment
                    && passage.kind == Kind::Comment
                    && last.last_line() + 1 == passage.first_line() =>
            {
                last.append(passage.first_line(), &passage.text);
            }
            _ => result.push(passage),
        }
    }
    result
}

fn hash_comments(text: &str) -> Vec<Passage> {
    let comment = |(index, line): (usize, &str)| {
        let comment = line.trim_start().strip_prefix('#')?;
        Some(Passage::new(Kind::Comment, index + 1, comment.trim()))
    };
    text.lines().enumerate().filter_map(comment).collect()
}

/// Values and comments; lines of one indentation run on, as they do in a folded text.
fn yaml(text: &str) -> Vec<Passage> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines.map(|(index, line)| Passage::new(Kind::Prose, index + 1, line.trim())).collect()
}

/// Paragraphs, without code.
fn markdown(text: &str) -> Vec<Passage> {
    let mut result = Vec::new();
    let mut paragraph: Option<Passage> = None;
    let mut in_code = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        let fence = trimmed.starts_with("```");
        if fence {
            in_code = !in_code;
        }
        // Items, headings and rows of tables begin a text of their own.
        let begins =
            trimmed.starts_with(['-', '*', '#', '|']) || trimmed.starts_with(|char: char| char.is_ascii_digit());
        if fence || in_code || trimmed.is_empty() || begins {
            result.extend(paragraph.take());
        }
        if fence || in_code || trimmed.is_empty() {
            continue;
        }
        let prose = without_code(trimmed);
        match &mut paragraph {
            Some(paragraph) => paragraph.append(index + 1, &prose),
            None => paragraph = Some(Passage::new(Kind::Prose, index + 1, &prose)),
        }
    }
    result.extend(paragraph);
    result
}

/// Code between backquotes becomes one word.
fn without_code(line: &str) -> String {
    let parts = line.split('`').enumerate();
    parts.map(|(index, part)| if index % 2 == 1 { "`code`" } else { part }).collect()
}

/// Comments and string literals, by a reader of just so much of Rust's grammar as tells them from code.
fn rust(text: &str) -> Vec<Passage> {
    let mut passages = Vec::new();
    let mut line = 1;
    let mut rest = text;
    let mut previous = ' ';
    while let Some(first) = rest.chars().next() {
        let (length, passage) = if rest.starts_with("//") {
            let length = rest.find('\n').unwrap_or(rest.len());
            let words = rest[..length].trim_start_matches(['/', '!']).trim();
            (length, Some(Passage::new(Kind::Comment, line, words)))
        } else if rest.starts_with("/*") {
            let length = rest.find("*/").map_or(rest.len(), |end| end + 2);
            (length, Some(Passage::new(Kind::Comment, line, rest[..length].trim_matches(['/', '*', ' ']))))
        } else if let Some((open, close)) = raw_string(rest).filter(|_| !is_word(previous)) {
            let end = rest[open..].find(&close).map_or(rest.len(), |end| open + end);
            (end + close.len(), Some(literal(line, &rest[open..end.min(rest.len())])))
        } else if first == '"' {
            let end = closing_quote(&rest[1..]).map_or(rest.len(), |end| end + 1);
            (end + 1, Some(literal(line, &rest[1..end])))
        } else if first == '\'' {
            (character(rest), None)
        } else {
            (first.len_utf8(), None)
        };
        let length = length.min(rest.len());
        passages.extend(passage);
        line += rest[..length].matches('\n').count();
        previous = rest[..length].chars().next_back().unwrap_or(' ');
        rest = &rest[length..];
    }
    passages
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

/// `r"`, `r#"`, `br"` …: the length of the opening, and the closing.
fn raw_string(text: &str) -> Option<(usize, String)> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then(|| {
        let open = text.len() - after.len() + hashes + 1;
        (open, format!("\"{}", "#".repeat(hashes)))
    })
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let found = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        found
    })
}

/// A literal's lines; a backslash at a line's end joins it to the next.
fn literal(line: usize, text: &str) -> Passage {
    let mut lines = text.split('\n').enumerate();
    let first = lines.next().map_or("", |(_, line)| line);
    let mut passage = Passage::new(Kind::Literal, line, first.trim_end_matches('\\').trim_end());
    for (index, text) in lines {
        passage.append(line + index, text.trim().trim_end_matches('\\').trim_end());
    }
    passage
}

/// The length of a character literal, or of the quote of a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text.get(2..).and_then(|rest| rest.get(1..)?.find('\'')).map_or(1, |end| end + 4),
        Some((_, _)) => match chars.next() {
            Some((end, '\'')) => end + 1,
            _ => 1,
        },
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(path: &str, text: &str) -> Vec<(usize, String)> {
        let file = SourceFile { path: path.to_owned(), text: text.to_owned() };
        passages(&file).into_iter().map(|passage| (passage.first_line(), passage.text)).collect()
    }

    #[test]
    fn rust_has_comments_and_literals() {
        let code = "// one\n// two\nfn f<'a>(x: &'a str) -> char { g(\"three \\\"q\\\" // no\", r#\"four \" five\"#); '\"' }\n'\\''; // six\n";
        let expected = [(1, "one two"), (3, "three \\\"q\\\" // no"), (3, "four \" five"), (4, "six")];
        assert_eq!(texts("a.rs", code), expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn a_document_has_paragraphs_without_code() {
        let text = "# Head\none\ntwo `x is no y`\n\n```\ncode\n```\n- item\n";
        let expected = [(1, "# Head one two `code`"), (8, "- item")];
        assert_eq!(texts("a.md", text), expected.map(|(line, text)| (line, text.to_owned())));
    }

    #[test]
    fn an_offset_has_its_line() {
        let file = SourceFile { path: "a.rs".to_owned(), text: "\n// one\n// two\n".to_owned() };
        let passage = &passages(&file)[0];
        assert_eq!((passage.line_at(0), passage.line_at(4)), (2, 3));
    }
}
