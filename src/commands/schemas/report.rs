//! The verdict of a check, for people and for programs.

use std::fmt;
use std::process::ExitCode;

use schemas::compat::{DeployOrder, Incompatibility};
use schemas::lint::{Lint, LintLevel};
use schemas::proof::Counterexample;
use serde_json::{Value as Json, json};

use crate::cli::Output;

pub struct Report {
    /// What was promised, in words.
    pub sentence: String,
    pub incompatibilities: Vec<Finding>,
    pub lints: Vec<Lint>,
    pub deploy_order: DeployOrder,
    pub proof: Option<DecodeProof>,
}

/// What the decoder said to the records that were drawn for all pairs.
#[derive(Default)]
pub struct DecodeProof {
    pub records: u32,
    /// The first that it refused.
    pub failed: Option<Refuted>,
}

/// A record that is allowed and cannot be read.
pub struct Refuted {
    pub path: String,
    pub failed: Counterexample,
}

/// An incompatibility and between whom it is.
pub struct Finding {
    pub what: Incompatibility,
    pub between: Option<String>,
}

impl Finding {
    pub fn plain(what: Incompatibility) -> Self {
        Self { what, between: None }
    }
}

impl Report {
    pub fn compatible(&self) -> bool {
        self.incompatibilities.is_empty()
    }

    /// Takes in the report of one file.
    pub fn add(&mut self, name: &str, one: Self) {
        let at = |path: &str| format!("{name}: {path}");
        self.incompatibilities.extend(one.incompatibilities.into_iter().map(|mut f| {
            f.what.path = at(&f.what.path);
            f
        }));
        self.lints.extend(one.lints.into_iter().map(|l| Lint { path: at(&l.path), ..l }));
        self.deploy_order = match (self.deploy_order, one.deploy_order) {
            (DeployOrder::Any, other) | (other, DeployOrder::Any) => other,
            (a, b) if a == b => a,
            _ => DeployOrder::None,
        };
        if let Some(proof) = one.proof {
            let sum = self.proof.get_or_insert_default();
            sum.records += proof.records;
            let failed = proof.failed.map(|f| Refuted { path: at(&f.path), ..f });
            sum.failed = sum.failed.take().or(failed);
        }
    }

    /// Whether it holds, what the exit code says. A decoder that cannot read what is compatible breaks consumers as surely as
    /// a verdict.
    pub fn holds(&self, policy: bool) -> bool {
        let denied = policy && self.lints.iter().any(|l| l.level == LintLevel::Deny);
        let refuted = self.proof.as_ref().is_some_and(|p| p.failed.is_some());
        self.compatible() && !denied && !refuted
    }

    /// 0: it holds.
    pub fn exit_code(&self, policy: bool) -> ExitCode {
        ExitCode::from(u8::from(!self.holds(policy)))
    }

    pub fn print(&self, output: Output, policy: bool) {
        match output {
            Output::Json => println!("{}", self.json(policy)),
            Output::Text => print!("{}", self.text()),
        }
    }

    fn json(&self, policy: bool) -> Json {
        let finding = |f: &Finding| {
            let mut json = json!({
                "path": f.what.path, "kind": f.what.kind.as_str(), "why": f.what.why, "fix": f.what.fix,
                "pointer": f.what.pointer,
            });
            if let Some(between) = &f.between {
                json["between"] = json!(between);
            }
            json
        };
        let lint = |l: &Lint| json!({"rule": l.rule, "level": l.level.as_str(), "path": l.path, "message": l.message});
        json!({
            "ok": self.holds(policy),
            "compatible": self.compatible(),
            "incompatibilities": self.incompatibilities.iter().map(finding).collect::<Vec<_>>(),
            "lints": self.lints.iter().map(lint).collect::<Vec<_>>(),
            "deploy_order": self.deploy_order.as_str(),
            "promise": self.sentence,
            "decode_proof": self.proof.as_ref().map(|p| json!({
                "records": p.records,
                // Without a record nothing was shown, one way or the other.
                "ok": (p.records > 0 || p.failed.is_some()).then_some(p.failed.is_none()),
                "path": p.failed.as_ref().map(|f| &f.path),
                "datum": p.failed.as_ref().map(|f| hex(&f.failed.datum)),
                "error": p.failed.as_ref().map(|f| f.failed.error.to_string()),
            })),
        })
    }

    fn text(&self) -> String {
        let refuted = self.proof.as_ref().is_some_and(|p| p.failed.is_some());
        let verdict = match self.compatible() {
            true if refuted => "compatible by the rules, but READERS STOP",
            true => "compatible",
            false => "BREAKS the promise",
        };
        let mut text = format!("{verdict}: {}\n", self.sentence);
        for f in &self.incompatibilities {
            let between = f.between.as_ref().map_or_else(String::new, |b| format!(" ({b})"));
            text.push_str(&format!(
                "  at {}  {}{between}\n    why: {}\n",
                f.what.path,
                f.what.kind.as_str(),
                f.what.why
            ));
            f.what.fix.iter().for_each(|fix| text.push_str(&format!("    fix: {fix}\n")));
        }
        text.push_str(&format!("deploy: {}\n", self.deploy_order.as_str()));
        match &self.proof {
            Some(DecodeProof { records: 0, failed: None }) => {
                text.push_str("proof: none, there is no writer of which a record could be drawn\n");
            }
            Some(DecodeProof { records, failed: None }) => {
                text.push_str(&format!("proof: {records} records drawn for the writers were decoded by the readers\n"));
            }
            Some(DecodeProof { failed: Some(refuted), .. }) => {
                text.push_str(&format!("proof: FAILED at {}, {refuted}\n", refuted.path));
            }
            None => {}
        }
        self.lints.iter().for_each(|l| text.push_str(&format!("lint: {l}\n")));
        text
    }
}

impl fmt::Display for Refuted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counterexample { datum, error } = &self.failed;
        write!(f, "a record that is allowed cannot be decoded: {}: {error}", hex(datum))
    }
}

/// Bytes as pairs of digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
