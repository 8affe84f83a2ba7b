//! What the commands take. What they answer is tested on the binary: `tests/tests/schemas.rs`.

use clap::Parser;

use crate::cli::Cli;

#[test]
fn wrong_usage_is_refused_by_the_parser() {
    let parses = |line: &str| Cli::try_parse_from(line.split_whitespace()).is_ok();
    assert!(parses("bulkhead schemas check --reader a --writer b"));
    assert!(parses("bulkhead schemas check --level BACKWARD --candidate c --history a,b --output json"));
    assert!(parses("bulkhead schemas check --dir a --against b --policy"));
    assert!(parses("bulkhead schemas decode --writer w --hex 00 --framed"));
    assert!(parses("bulkhead schemas check --dir a --base main --sarif out.sarif"));
    assert!(!parses("bulkhead schemas check --dir a --base=--help"));
    assert!(!parses("bulkhead schemas check --dir a --against b --base main"));
    assert!(!parses("bulkhead schemas check"));
    assert!(!parses("bulkhead schemas check --reader a"));
    assert!(!parses("bulkhead schemas check --reader a --writer b --candidate c"));
    assert!(!parses("bulkhead schemas check --level SIDEWARD --candidate c"));
    assert!(!parses("bulkhead schemas check --dir a"));
    assert!(!parses("bulkhead schemas decode --hex 00"));
}
