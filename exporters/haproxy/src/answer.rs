//! HAProxy's response, parsed as it arrives: only the fields are held, and a bound ends it at once.

use memchr::memmem;

use crate::runtime::Runtime;
use crate::stat::{Stat, StatError, StatParser};

/// An answer of 32 MiB is about 60,000 servers. Its fields are held for the length of a scrape.
pub(crate) const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// Before `show stat`. A HAProxy with 5,000 stick tables has 300 KiB.
const MAX_HEAD: usize = 1024 * 1024;

/// The first line of `show stat`.
const HEADER: &[u8] = b"# pxname,";

/// HAProxy's responses in one scrape.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) stat: Stat,
    /// Absent from the statistics page.
    pub(crate) runtime: Option<Runtime>,
}

/// Why a response is not HAProxy's statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    NotStatistics(&'static str),
    Truncated,
    TooLarge,
}

impl From<StatError> for Unreadable {
    fn from(error: StatError) -> Self {
        match error {
            StatError::NoHeader => {
                Self::NotStatistics("the header of `show stat` is missing; check --haproxy.scrape-uri")
            }
            StatError::TooManyRows => Self::TooLarge,
        }
    }
}

/// The responses to the commands over the runtime socket.
pub(crate) struct RuntimeParser {
    head: Vec<u8>,
    /// Since the header came.
    stat: Option<StatParser>,
    extra: bool,
    last: [u8; 2],
}

impl RuntimeParser {
    pub(crate) fn new(extra: bool) -> Self {
        Self { head: Vec::new(), stat: None, extra, last: [0; 2] }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.head.capacity() + self.stat.as_ref().map_or(0, StatParser::bytes)
    }

    pub(crate) fn feed(&mut self, part: &[u8]) -> Result<(), Unreadable> {
        for &byte in part.iter().rev().take(2).rev() {
            self.last = [self.last[1], byte];
        }
        if let Some(stat) = &mut self.stat {
            return Ok(stat.feed(part)?);
        }
        let seen = self.head.len().saturating_sub(HEADER.len());
        self.head.extend_from_slice(part);
        if let Some(at) = header(&self.head, seen) {
            let mut stat = StatParser::new(self.extra);
            stat.feed(&self.head[at..])?;
            self.head.truncate(at);
            self.stat = Some(stat);
            return Ok(());
        }
        if self.head.len() > MAX_HEAD {
            return Err(Unreadable::NotStatistics("`show stat` does not begin within 1 MiB; is this HAProxy?"));
        }
        refusal(&self.head).map_or(Ok(()), Err)
    }

    pub(crate) fn finish(self) -> Result<Answer, Unreadable> {
        let Some(stat) = self.stat else {
            let advice = if self.head.trim_ascii().is_empty() {
                "it closed the connection without a word; does the socket belong to HAProxy, and does its bind expect the PROXY protocol?"
            } else {
                "does --haproxy.scrape-uri lead to HAProxy's runtime socket (`stats socket` in haproxy.cfg)?"
            };
            return Err(Unreadable::NotStatistics(advice));
        };
        // An empty line ends the answer.
        if self.last != *b"\n\n" {
            return Err(Unreadable::Truncated);
        }
        let runtime = Runtime::parse(&String::from_utf8_lossy(&self.head));
        let runtime = runtime
            .map_err(|_| Unreadable::NotStatistics("`show info` has more lines than any HAProxy; is this HAProxy?"))?;
        Ok(Answer { stat: stat.finish()?, runtime: Some(runtime) })
    }
}

/// The begin of `show stat`, which is at the begin of a line.
fn header(head: &[u8], from: usize) -> Option<usize> {
    let found = memmem::find_iter(&head[from..], HEADER).map(|at| from + at);
    found.into_iter().find(|&at| at == 0 || head[at - 1] == b'\n')
}

/// HAProxy does not close the connection after these.
fn refusal(head: &[u8]) -> Option<Unreadable> {
    let advice = if head.starts_with(b"Unknown command") {
        "the socket does not know `show info`: is it the master's (-S)? Use a `stats socket` of the section global in haproxy.cfg"
    } else if head.starts_with(b"Permission denied") {
        "the socket's level forbids `show stat`; `level user` suffices"
    } else {
        return None;
    };
    Some(Unreadable::NotStatistics(advice))
}

/// The statistics page.
pub(crate) struct PageParser {
    stat: StatParser,
    begun: bool,
}

impl PageParser {
    pub(crate) fn new(extra: bool) -> Self {
        Self { stat: StatParser::new(extra), begun: false }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.stat.bytes()
    }

    pub(crate) fn feed(&mut self, part: &[u8]) -> Result<(), Unreadable> {
        if !self.begun {
            let text = part.trim_ascii_start();
            if text.starts_with(b"<") {
                return Err(Unreadable::NotStatistics("it is a page for people; does the URI end in ;csv?"));
            }
            self.begun = !text.is_empty();
        }
        Ok(self.stat.feed(part)?)
    }

    pub(crate) fn finish(self) -> Result<Answer, Unreadable> {
        let stat = self.stat.finish()?;
        // Without a length, the end of a connection looks like the end of the page.
        if stat.ends_early() { Err(Unreadable::Truncated) } else { Ok(Answer { stat, runtime: None }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::Scope;

    const ANSWER: &str = "Name: HAProxy\nStopping: 0\n\n# table: be, type: ip, size:9, used:1\n\n\n\
                          # pxname,svname,scur,type,\nbe,\"o\"\"ne\",2,2,\nbe,BACKEND,2,1,\n\n";

    fn read(parts: impl Iterator<Item = impl AsRef<[u8]>>) -> Result<Answer, Unreadable> {
        let mut parser = RuntimeParser::new(false);
        for part in parts {
            parser.feed(part.as_ref())?;
        }
        parser.finish()
    }

    #[test]
    fn a_response_in_parts_of_any_size_is_the_same() {
        for size in 1..ANSWER.len() {
            let answer = read(ANSWER.as_bytes().chunks(size)).unwrap();
            let servers: Vec<_> = answer.stat.rows(Scope::Server).map(|row| (row.name(), row.get("scur"))).collect();
            assert_eq!(servers, [("o\"ne", "2")], "parts of {size}");
            let runtime = answer.runtime.unwrap();
            assert_eq!((runtime.info.get("Stopping"), runtime.tables.len()), (Some("0"), 1));
        }
    }

    #[test]
    fn a_response_that_ends_early_anywhere_is_no_response() {
        for length in 0..ANSWER.len() {
            assert!(read([&ANSWER[..length]].into_iter()).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn refusals_end_it_at_once_with_the_right_advice() {
        let refused = |text: &str| RuntimeParser::new(false).feed(text.as_bytes());
        let Err(Unreadable::NotStatistics(advice)) = refused("Unknown command: 'show', but maybe …\n") else {
            panic!("the master's socket is recognized")
        };
        assert!(advice.contains("master"), "{advice}");
        assert!(refused("Permission denied\n").is_err());
        assert!(refused("description: the # pxname,\n").is_ok());
    }

    #[test]
    fn what_comes_before_the_statistics_is_bounded() {
        let line = "K1: v\n".repeat(1000);
        let mut parser = RuntimeParser::new(false);
        let fed = (0..10_000).find(|_| parser.feed(line.as_bytes()).is_err()).unwrap();
        assert!(fed < 2 * MAX_HEAD / line.len() && parser.bytes() < 4 * MAX_HEAD, "{fed} parts");
    }

    #[test]
    fn a_page_for_people() {
        let html = PageParser::new(false).feed(b"\n<html>");
        assert!(matches!(html, Err(Unreadable::NotStatistics(advice)) if advice.contains(";csv")));
    }
}
