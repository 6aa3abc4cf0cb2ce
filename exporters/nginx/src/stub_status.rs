//! The page of nginx's module `stub_status`.

/// All that nginx counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StubStatus {
    /// Of clients, including those that wait for a request.
    pub(crate) active: u64,
    pub(crate) accepts: u64,
    pub(crate) handled: u64,
    pub(crate) requests: u64,
    pub(crate) reading: u64,
    pub(crate) writing: u64,
    pub(crate) waiting: u64,
}

impl StubStatus {
    /// `None` for every other page.
    #[rustfmt::skip]
    pub(crate) fn parse(page: &str) -> Option<Self> {
        let words: Vec<&str> = page.split_whitespace().collect();
        let ["Active", "connections:", active,
             "server", "accepts", "handled", "requests", accepts, handled, requests,
             "Reading:", reading, "Writing:", writing, "Waiting:", waiting] = words[..] else { return None };
        Some(Self {
            active: active.parse().ok()?,
            accepts: accepts.parse().ok()?,
            handled: handled.parse().ok()?,
            requests: requests.parse().ok()?,
            reading: reading.parse().ok()?,
            writing: writing.parse().ok()?,
            waiting: waiting.parse().ok()?,
        })
    }

    /// In the order of the page.
    pub(crate) fn numbers(&self) -> [u64; 7] {
        [self.active, self.accepts, self.handled, self.requests, self.reading, self.writing, self.waiting]
    }

    /// Connections that nginx accepted after `before` and closed at once. Fewer accepted than before means that nginx
    /// was restarted.
    pub(crate) fn dropped_since(&self, before: &Self) -> u64 {
        let known = if self.accepts < before.accepts { 0 } else { before.dropped() };
        self.dropped().saturating_sub(known)
    }

    fn dropped(&self) -> u64 {
        self.accepts.saturating_sub(self.handled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blanks at the ends of the lines are nginx's.
    const PAGE: &str = "Active connections: 291 \nserver accepts handled requests\n 16630948 16630946 31070465 \n\
                        Reading: 6 Writing: 179 Waiting: 106 \n";

    #[test]
    fn every_number_has_its_place() {
        let status = StubStatus::parse(PAGE).unwrap();
        assert_eq!(status.numbers(), [291, 16_630_948, 16_630_946, 31_070_465, 6, 179, 106]);
        assert_eq!((status.active, status.accepts, status.handled), (291, 16_630_948, 16_630_946));
        assert_eq!(StubStatus::parse(&PAGE.replace('\n', "\r\n")), Some(status));
    }

    #[test]
    fn every_other_page_is_refused() {
        let cut = &PAGE[..PAGE.len() - 5];
        let more = format!("{PAGE}more");
        let names = PAGE.replace("requests", "requests request_time");
        let number = PAGE.replace("179", "-1");
        let not_finite = PAGE.replace("179", "inf");
        for page in ["", "<html>Welcome to nginx!</html>", cut, &more, &names, &number, &not_finite] {
            assert_eq!(StubStatus::parse(page), None, "{page}");
        }
    }

    #[test]
    fn dropped_connections() {
        let status = |accepts, handled| StubStatus { accepts, handled, ..StubStatus::default() };
        assert_eq!(status(20, 17).dropped_since(&status(10, 9)), 2);
        assert_eq!(status(20, 19).dropped_since(&status(10, 9)), 0);
        // Counters of other moments: the difference may shrink.
        assert_eq!(status(20, 20).dropped_since(&status(10, 9)), 0);
        assert_eq!(status(5, 4).dropped_since(&status(10, 9)), 1, "nginx was restarted");
    }
}
