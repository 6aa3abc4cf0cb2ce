//! No file of ours is longer than a reader can hold in mind, its tests not counted.

use crate::rust::test_lines;
use crate::tree::{Finding, Tree};

const MAX_LINES: usize = 500;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| !file.is_test()) {
        let Ok(parsed) = syn::parse_file(&file.text) else {
            findings.push(file.finding(1, "is not valid Rust"));
            continue;
        };
        let tests: usize = test_lines(&parsed).iter().map(|(first, last)| last - first + 1).sum();
        let lines = file.text.lines().count() - tests;
        if lines > MAX_LINES {
            let what = format!("{lines} lines without tests, more than {MAX_LINES}: split it by concept");
            findings.push(file.finding(1, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tests_do_not_count() {
        let code = "const A: u8 = 0;\n".repeat(MAX_LINES);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "const B: u8 = 0;\n".repeat(MAX_LINES));
        assert_eq!(check(&Tree::of(&[("src/a.rs", &format!("{code}{tests}"))])), []);
        let findings = check(&Tree::of(&[("src/a.rs", &format!("{code}const C: u8 = 0;\n{tests}"))]));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].what.starts_with("501 lines"), "{}", findings[0]);
    }
}
