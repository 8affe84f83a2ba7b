//! `bulkhead schemas ls`.

use std::process::ExitCode;

use schemas::model::{Kind, Schema};
use serde_json::json;

use super::report::hex;
use crate::cli::Output;
use crate::exit::CommandError;

/// Prints the built-in schemas.
///
/// # Errors
/// None that is not a defect: every built-in schema parses.
pub fn run(output: Output) -> Result<ExitCode, CommandError> {
    let mut rows = Vec::new();
    for builtin in schemas::builtin() {
        let schema = Schema::parse(builtin.avsc).map_err(CommandError::failed)?;
        let fields = match schema.kind(schema.root()) {
            Kind::Record(record) => record.fields.len(),
            _ => 0,
        };
        rows.push((builtin.id, builtin.name, fields, hex(&schema.fingerprint())));
    }
    match output {
        Output::Text => {
            for (id, name, fields, fingerprint) in rows {
                println!("{id:>3}  {name:<55} {fields:>2} fields  sha256 {}", &fingerprint[..16]);
            }
        }
        Output::Json => {
            let row = |(id, name, fields, fingerprint)| json!({"id": id, "name": name, "fields": fields, "fingerprint": fingerprint});
            let rows: Vec<_> = rows.into_iter().map(row).collect();
            println!("{}", json!({ "schemas": rows }));
        }
    }
    Ok(ExitCode::SUCCESS)
}
