//! The rules that look at one event alone. Each is named in its verdict.

use std::collections::HashMap;
use std::sync::Arc;

use schemas::events::Verdict;

use super::lists::{AgentClass, Lists, NetworkClass};
use super::suspects;
use crate::metadata::Context;

/// Changes when a rule changes; lists have a version of their own.
pub const RULES_VERSION: &str = "rules-1";

/// A rule: its name and what it makes of the event.
pub type Rule = (&'static str, Verdict);

pub const DOUBLE_CLICK: Rule = ("double_click", Verdict::Givt);
const KNOWN_BOT: Rule = ("known_bot", Verdict::Givt);
const EMPTY_AGENT: Rule = ("empty_agent", Verdict::Givt);
const INVISIBLE_SLOT: Rule = ("invisible_slot", Verdict::Givt);
const DATA_CENTRE: Rule = ("data_centre_network", Verdict::Givt);
const CRAWLER_NETWORK: Rule = ("crawler_network", Verdict::Givt);
const FRAUDULENT_NETWORK: Rule = ("fraudulent_network", Verdict::Givt);
const SUSPECT_BOT: Rule = ("suspect_bot", Verdict::SivtSuspect);
const PROXY_NETWORK: Rule = ("proxy_network", Verdict::SivtSuspect);

/// Slots that no person can see.
const INVISIBLE_SIZES: [&str; 2] = ["0x0", "1x1"];

/// What the rules make of one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruling {
    /// The worst of all rules that fired.
    pub verdict: Verdict,
    /// Their names, sorted.
    pub rules: Vec<&'static str>,
}

impl Ruling {
    pub fn add(&mut self, (name, verdict): Rule) {
        if let Err(at) = self.rules.binary_search(&name) {
            self.rules.insert(at, name);
        }
        if self.verdict != Verdict::Givt {
            self.verdict = verdict;
        }
    }

    /// 1 for what the standard calls invalid, a half for suspects: rules are certain or not, nothing is estimated here.
    pub fn score(&self) -> f64 {
        match self.verdict {
            Verdict::Valid => 0.0,
            Verdict::SivtSuspect => 0.5,
            Verdict::Givt => 1.0,
        }
    }
}

/// Applies the rules. Remembers what it made of agents: a function of the lists alone, so no state of the shard.
pub struct Judge {
    lists: Arc<Lists>,
    agents: HashMap<Box<str>, Option<Rule>, foldhash::fast::RandomState>,
}

/// Agents remembered. Real traffic has one new agent in five requests at first; a table of this size is 2 MiB at most
/// for agents of ordinary length and is emptied when it is full, which keeps it simple and bounded.
const AGENTS_MAX: usize = 8_192;
/// Longer agents are judged each time.
const AGENT_BYTES_MAX: usize = 1_024;

impl Judge {
    pub fn new(lists: Arc<Lists>) -> Self {
        Self { lists, agents: HashMap::default() }
    }

    pub fn impression(&mut self, context: &Context<'_>) -> Ruling {
        let mut ruling = self.agent_and_network(context);
        if context.ad_size.is_some_and(|size| INVISIBLE_SIZES.contains(&size)) {
            ruling.add(INVISIBLE_SLOT);
        }
        ruling
    }

    pub fn agent_and_network(&mut self, context: &Context<'_>) -> Ruling {
        let mut ruling = Ruling::default();
        let ip = context.ip;
        match context.ua.filter(|agent| !agent.trim().is_empty()) {
            Some(agent) => {
                if let Some(rule) = self.agent(agent) {
                    ruling.add(rule);
                }
            }
            // Who sends an address but no agent is no browser. Without either, nothing was forwarded and nothing can be
            // said; a server that calls for a browser has an agent and an address of its own.
            None => {
                let known = ip.is_some() || context.ua.is_some();
                if known && context.source != Some("server") {
                    ruling.add(EMPTY_AGENT);
                }
            }
        }
        if let Some(rule) = ip.and_then(|ip| self.network(ip)) {
            ruling.add(rule);
        }
        ruling
    }

    fn agent(&mut self, agent: &str) -> Option<Rule> {
        if let Some(known) = self.agents.get(agent) {
            return *known;
        }
        let rule = match self.lists.user_agent(Some(agent)) {
            AgentClass::Missing => Some(EMPTY_AGENT),
            AgentClass::Known => Some(KNOWN_BOT),
            AgentClass::Suspect => Some(SUSPECT_BOT),
            AgentClass::Unlisted => suspects::is_suspect(agent).then_some(SUSPECT_BOT),
        };
        if agent.len() <= AGENT_BYTES_MAX {
            if self.agents.len() >= AGENTS_MAX {
                self.agents.clear();
            }
            self.agents.insert(agent.into(), rule);
        }
        rule
    }

    fn network(&self, ip: &str) -> Option<Rule> {
        // Written with or without the length of its prefix.
        let address = ip.split('/').next().unwrap_or_default();
        self.lists.network(address).map(|class| match class {
            NetworkClass::Proxy => PROXY_NETWORK,
            NetworkClass::Crawler => CRAWLER_NETWORK,
            NetworkClass::DataCentre => DATA_CENTRE,
            NetworkClass::Fraudulent => FRAUDULENT_NETWORK,
        })
    }
}
