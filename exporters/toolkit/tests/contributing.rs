//! The exporter in CONTRIBUTING.md is the example that compiles.

#[test]
fn the_exporter_in_contributing_md_is_the_example() {
    let guide = include_str!("../../../CONTRIBUTING.md");
    let example = include_str!("../examples/memcached-exporter.rs");
    let (_, code) = guide.split_once("```rust\n").unwrap();
    let (code, _) = code.split_once("```\n").unwrap();
    // The example's first line says what it is.
    let (_, example) = example.split_once("\n\n").unwrap();
    assert_eq!(code, example);
}
