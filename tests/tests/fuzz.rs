//! Fuzz targets beyond the schemas: record batch, request line, fault, configuration. As `schemas/tests/fuzz.rs`: the corpus and
//! mutants of it at every run of the tests, ten minutes each by `tests/long/fuzz.sh`.

#[path = "../../schemas/tests/mutate/mod.rs"]
mod mutate;

use std::path::Path;

use actors::openrtb;
use bulkhead::{args, config};
use mutate::run;
use runtime::log::Batches;

/// What is a batch is walked to its end or to the first record that is none; nothing is read beyond it.
#[test]
fn batch() {
    run("batch", |bytes| {
        let (mut scratch, mut seen) = (Vec::new(), 0);
        for batch in Batches::new(bytes) {
            let Ok(batch) = batch else { break };
            let count = batch.count() as usize;
            let Ok(records) = batch.records(&mut scratch) else { break };
            for record in records {
                let Ok(record) = record else { break };
                seen += 1;
                assert!(seen <= count + bytes.len(), "no more than a batch says");
                record.headers.take_while(Result::is_ok).for_each(drop);
            }
        }
    });
}

/// A line is a request, or is turned away; what is accepted is accepted again.
#[test]
fn request() {
    run("request", |bytes| {
        let first = openrtb::parse(bytes).is_ok();
        assert_eq!(first, openrtb::parse(bytes).is_ok());
    });
}

#[test]
fn fault() {
    run("fault", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match args::fault(text) {
            Ok(spec) => drop(spec.end()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

/// Every error says which file it is in.
#[test]
fn configuration() {
    run("config", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let (_, errors) = config::file::parse(Path::new("bulkhead.toml"), text);
        errors.iter().for_each(|error| assert!(error.to_string().contains("bulkhead.toml"), "{error}"));
    });
}
