//! An error with its causes in one line. Libraries often put the reason into a source only: reqwest says "error sending
//! request".

use std::error::Error;

/// The error's text and those of its sources, joined with `: `. A source whose text is already included is left out.
pub fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn every_cause_is_named_once() {
        let layer = |text, source| Layer { text, source };
        let chain = layer("refused", None);
        let chain = layer("cannot connect: refused", Some(Box::new(chain)));
        let chain = layer("cannot push", Some(Box::new(chain)));
        assert_eq!(with_sources(&chain), "cannot push: cannot connect: refused");
    }
}
