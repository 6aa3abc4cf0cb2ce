//! Label values as both formats write them.

use memchr::memchr3;

pub(crate) fn push_escaped(out: &mut String, value: &str) {
    let mut rest = value;
    while let Some(at) = memchr3(b'\\', b'"', b'\n', rest.as_bytes()) {
        let (clean, special) = rest.split_at(at);
        out.push_str(clean);
        out.push('\\');
        let (special, after) = special.split_at(1);
        out.push_str(if special == "\n" { "n" } else { special });
        rest = after;
    }
    out.push_str(rest);
}
