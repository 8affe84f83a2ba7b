//! User agents that say of themselves, or are known, to be programs.

use std::path::Path;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use super::ListError;
use crate::net::clip;

/// Names that well-known programs give themselves, as published by their makers; matched with their case. Data,
/// so that a recount reads the same names without this code.
const BUILTIN_TOKENS: &str = include_str!("../../../lists/agents.txt");

/// Longest user agent that is looked at; the rest of a longer one is ignored.
const AGENT_MAX_BYTES: usize = 2_048;
/// Most patterns of a file.
const PATTERNS_MAX: usize = 20_000;
/// Longest single pattern.
const PATTERN_MAX_BYTES: usize = 1_024;
/// Memory that the compiled patterns may take.
const COMPILED_MAX_BYTES: usize = 64 * 1024 * 1024;

/// What a user agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentClass {
    /// None was sent, or it is blank: no browser does that.
    Missing,
    /// A known program (list of known agents, or the built-in names).
    Known,
    /// On the second, broader list only. Measured on real traffic, most of its hits are toolbars of ordinary people: worth
    /// a mark, never a reversal.
    Suspect,
    /// On no list.
    Unlisted,
}

/// Compiled lists of agents. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Agents {
    patterns: Arc<Vec<String>>,
    /// One alternation: measured a third faster than a set of patterns, and which one hit is not asked on the path.
    any: Regex,
    suspects: Option<Regex>,
    /// Patterns of the second list that need look-around, which this regex engine leaves out to stay linear in time.
    pub unsupported: Vec<String>,
}

/// One entry of a pattern file; what else it says is not needed.
#[derive(Deserialize)]
struct Entry {
    pattern: String,
}

impl Agents {
    /// The built-in names.
    pub fn builtin() -> Agents {
        let patterns: Vec<String> = BUILTIN_TOKENS.lines().map(regex::escape).collect();
        let any = alternation(&patterns).unwrap_or_else(|error| panic!("built-in agent names do not compile: {error}"));
        Agents { patterns: Arc::new(patterns), any, suspects: None, unsupported: Vec::new() }
    }

    /// Adds the patterns of a file.
    pub(super) fn with_patterns(mut self, path: &Path, text: &str) -> Result<Agents, ListError> {
        let syntax = |line: usize, what: String| ListError::Syntax { path: path.to_owned(), line, what };
        let entries: Vec<Entry> = serde_json::from_str(text)
            .map_err(|error| syntax(error.line(), format!("not an array of objects with a `pattern`: {error}")))?;
        if entries.len() > PATTERNS_MAX {
            let what = format!("{} patterns, at most {PATTERNS_MAX} are allowed", entries.len());
            return Err(ListError::TooLarge { path: path.to_owned(), what });
        }
        for (index, Entry { pattern }) in entries.into_iter().enumerate() {
            let number = index + 1;
            if pattern.is_empty() || pattern.len() > PATTERN_MAX_BYTES {
                return Err(syntax(1, format!("pattern {number} is empty or longer than {PATTERN_MAX_BYTES} bytes")));
            }
            // JavaScript lets `/` be escaped; this syntax does not know it.
            let pattern = pattern.replace("\\/", "/");
            // Each by itself first: an error in the alternation of thousands would not say which one is at fault.
            if let Err(error) = Regex::new(&pattern) {
                return Err(syntax(1, format!("pattern {number} `{pattern}`: {error}")));
            }
            Arc::make_mut(&mut self.patterns).push(pattern);
        }
        self.any = alternation(&self.patterns).map_err(|error| syntax(1, error.to_string()))?;
        Ok(self)
    }

    /// Sets the second list: a JSON array of patterns that are matched without their case. Patterns that need look-around
    /// are kept in [`Agents::unsupported`] for the operator to see.
    pub(super) fn with_suspects(mut self, path: &Path, text: &str) -> Result<Agents, ListError> {
        let syntax = |line: usize, what: String| ListError::Syntax { path: path.to_owned(), line, what };
        let patterns: Vec<String> = serde_json::from_str(text)
            .map_err(|error| syntax(error.line(), format!("not an array of patterns: {error}")))?;
        if patterns.len() > PATTERNS_MAX || patterns.iter().any(|pattern| pattern.len() > PATTERN_MAX_BYTES) {
            let what = format!("more than {PATTERNS_MAX} patterns, or one longer than {PATTERN_MAX_BYTES} bytes");
            return Err(ListError::TooLarge { path: path.to_owned(), what });
        }
        let plain = patterns.into_iter().map(|pattern| pattern.replace("\\/", "/"));
        let (known, unsupported) = plain.partition(|pattern| Regex::new(pattern).is_ok());
        let known: Vec<String> = known;
        let joined = known.iter().map(|pattern| format!("(?i:{pattern})")).collect::<Vec<_>>();
        self.suspects = Some(alternation(&joined).map_err(|error| syntax(1, error.to_string()))?);
        self.unsupported = unsupported;
        Ok(self)
    }

    /// What an agent is.
    pub fn class_of(&self, agent: Option<&str>) -> AgentClass {
        let Some(agent) = agent.filter(|agent| !agent.trim().is_empty()) else { return AgentClass::Missing };
        if self.is_known_bot(agent) {
            return AgentClass::Known;
        }
        let suspect = self.suspects.as_ref().is_some_and(|any| any.is_match(clip(agent, AGENT_MAX_BYTES)));
        if suspect { AgentClass::Suspect } else { AgentClass::Unlisted }
    }

    /// Number of patterns of known agents.
    pub fn len(&self) -> usize {
        self.patterns.len()
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a user agent is that of a known program.
    pub fn is_known_bot(&self, agent: &str) -> bool {
        self.any.is_match(clip(agent, AGENT_MAX_BYTES))
    }

    /// The pattern that an agent meets first in the list, for explanations. Slow: for people, not for the path.
    pub fn explain(&self, agent: &str) -> Option<&str> {
        self.patterns
            .iter()
            .find(|pattern| Regex::new(pattern).is_ok_and(|regex| regex.is_match(agent)))
            .map(String::as_str)
    }
}

fn alternation(patterns: &[String]) -> Result<Regex, regex::Error> {
    let joined: Vec<String> = patterns.iter().map(|pattern| format!("(?:{pattern})")).collect();
    RegexBuilder::new(&joined.join("|")).size_limit(COMPILED_MAX_BYTES).dfa_size_limit(COMPILED_MAX_BYTES).build()
}
