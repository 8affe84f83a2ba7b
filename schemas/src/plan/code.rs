//! A record's ops in eight bytes each, for generated types: most fields are read as they stand, without a look at a step.

use super::{Op, Step, StepId, StepNode};

/// What to do next: a field's number times four plus how it is read, or one of the constants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code {
    pub what: u32,
    pub step: StepId,
}

impl Code {
    /// A string that only the writer has.
    pub const SKIP_TEXT: u32 = u32::MAX;
    /// Anything else that only the writer has.
    pub const SKIP: u32 = u32::MAX - 1;
    const INT_TO_LONG: u32 = 1;
    const BY_STEP: u32 = 2;
}

/// Gives every record its codes, once it is known which steps copy what they read.
pub(super) fn assemble(nodes: &mut [StepNode]) {
    for i in 0..nodes.len() {
        let Step::Record(record) = &nodes[i].step else { continue };
        let codes: Box<[Code]> = record.ops.iter().filter_map(|op| code(nodes, op)).collect();
        if let Step::Record(record) = &mut nodes[i].step {
            record.codes = codes;
        }
    }
}

fn code(nodes: &[StepNode], op: &Op) -> Option<Code> {
    let node = |step: StepId| &nodes[step.0 as usize];
    Some(match *op {
        Op::Read { field, step } => {
            let how = match node(step).step {
                _ if node(step).same => 0,
                Step::IntToLong => Code::INT_TO_LONG,
                _ => Code::BY_STEP,
            };
            Code { what: 4 * field + how, step }
        }
        Op::Skip(step) if matches!(node(step).step, Step::String) => Code { what: Code::SKIP_TEXT, step },
        Op::Skip(step) => Code { what: Code::SKIP, step },
        Op::Default { .. } => return None,
    })
}
