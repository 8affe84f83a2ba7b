//! Lists of known agents and networks, read a second time: patterns by the regex crate, ranges by comparing prefixes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

use super::VerifyError;

/// Bytes of an agent that are looked at.
const AGENT_BYTES_MAX: usize = 2_048;
const COMPILED_BYTES_MAX: usize = 64 << 20;

/// What is known of an address range; later ones are worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    Proxy,
    Crawler,
    DataCentre,
    Fraudulent,
}

/// What a user agent is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agent {
    Known,
    Suspect,
    Unlisted,
}

/// One version of all lists.
pub struct Lists {
    pub version: String,
    known: Regex,
    suspects: Option<Regex>,
    /// Masked address and prefix length: class. The kinds of addresses never meet.
    ranges: BTreeMap<(bool, u128, u32), Network>,
    /// Prefix lengths that occur.
    prefixes: Vec<(bool, u32)>,
}

impl Lists {
    /// The built-in lists, and those of a directory where one is named.
    ///
    /// # Errors
    /// [`VerifyError::Lists`] for a file that cannot be read or used.
    pub fn load(directory: Option<&Path>) -> Result<Self, VerifyError> {
        let mut known: Vec<String> = include_str!("../../actors/lists/agents.txt").lines().map(regex::escape).collect();
        let mut ranges = BTreeMap::new();
        add_ranges(&mut ranges, "datacentre.v4.txt", include_str!("../../actors/lists/datacentre.v4.txt"))?;
        add_ranges(&mut ranges, "methbot_cidr.txt", include_str!("../../actors/lists/methbot_cidr.txt"))?;
        let (mut version, mut suspects) = ("builtin-1".to_owned(), None);
        if let Some(directory) = directory {
            let mut hash = Sha256::new();
            let agents = directory.join("crawler-user-agents.json");
            if agents.exists() {
                known.extend(patterns(&agents, &mut hash, |entry| entry["pattern"].as_str())?);
            }
            let second = directory.join("isbot_patterns.json");
            if second.exists() {
                let patterns = patterns(&second, &mut hash, Json::as_str)?;
                let usable = patterns.into_iter().filter(|pattern| Regex::new(pattern).is_ok());
                suspects = Some(any(usable.map(|pattern| format!("(?i:{pattern})")).collect())?);
            }
            for path in range_files(directory)? {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                add_ranges(&mut ranges, &name, &read(&path, &mut hash)?)?;
            }
            let digest = hash.finalize();
            version = format!("lists-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
        }
        let mut prefixes: Vec<_> = ranges.keys().map(|(is_v4, _, prefix)| (*is_v4, *prefix)).collect();
        prefixes.sort_unstable();
        prefixes.dedup();
        Ok(Self { version, known: any(known)?, suspects, ranges, prefixes })
    }

    pub fn agent(&self, agent: &str) -> Agent {
        let end = (0..=agent.len().min(AGENT_BYTES_MAX)).rev().find(|at| agent.is_char_boundary(*at)).unwrap_or(0);
        let agent = &agent[..end];
        if self.known.is_match(agent) {
            Agent::Known
        } else if self.suspects.as_ref().is_some_and(|any| any.is_match(agent)) || has_words_of_programs(agent) {
            Agent::Suspect
        } else {
            Agent::Unlisted
        }
    }

    /// The worst that is known of an address.
    pub fn network(&self, address: &str) -> Option<Network> {
        let (is_v4, bits) = bits(address.trim().parse().ok()?);
        let known = |(of_v4, prefix): &(bool, u32)| {
            let here = *of_v4 == is_v4;
            here.then(|| self.ranges.get(&(is_v4, masked(is_v4, bits, *prefix), *prefix)).copied()).flatten()
        };
        self.prefixes.iter().filter_map(known).max()
    }
}

fn bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (true, u128::from(address.to_bits())),
        IpAddr::V6(address) => (false, address.to_bits()),
    }
}

fn masked(is_v4: bool, bits: u128, prefix: u32) -> u128 {
    let hosts = if is_v4 { 32 } else { 128 } - prefix;
    if hosts >= 128 { 0 } else { bits >> hosts << hosts }
}

fn any(patterns: Vec<String>) -> Result<Regex, VerifyError> {
    let joined: Vec<String> = patterns.iter().map(|pattern| format!("(?:{pattern})")).collect();
    let mut builder = regex::RegexBuilder::new(&joined.join("|"));
    let built = builder.size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build();
    built.map_err(|error| VerifyError::Lists(error.to_string()))
}

fn read(path: &Path, hash: &mut Sha256) -> Result<String, VerifyError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| VerifyError::Lists(format!("{}: {error}", path.display())))?;
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
    Ok(text)
}

fn patterns(path: &Path, hash: &mut Sha256, of: fn(&Json) -> Option<&str>) -> Result<Vec<String>, VerifyError> {
    let entries: Vec<Json> = serde_json::from_str(&read(path, hash)?)
        .map_err(|error| VerifyError::Lists(format!("{}: {error}", path.display())))?;
    // JavaScript lets `/` be escaped.
    Ok(entries.iter().filter_map(of).map(|pattern| pattern.replace("\\/", "/")).collect())
}

/// `ip/*.txt`, then `*_cidr.txt`, each by name.
fn range_files(directory: &Path) -> Result<Vec<PathBuf>, VerifyError> {
    let mut files = Vec::new();
    for (folder, suffix) in [(directory.join("ip"), ".txt"), (directory.to_owned(), "_cidr.txt")] {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| VerifyError::Lists(format!("{}: {error}", folder.display())))?.path();
            if path.is_file() && path.to_string_lossy().ends_with(suffix) {
                found.push(path);
            }
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

fn add_ranges(ranges: &mut BTreeMap<(bool, u128, u32), Network>, name: &str, text: &str) -> Result<(), VerifyError> {
    let class = match name.split(['.', '_']).next().unwrap_or_default() {
        "methbot" => Network::Fraudulent,
        "protonvpn" | "apple-proxy" | "vpn" | "proxy" | "tor" => Network::Proxy,
        "googlebot" | "bing" | "openai" | "facebook" | "crawler" => Network::Crawler,
        _ => Network::DataCentre,
    };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let wrong = || VerifyError::Lists(format!("{name}: `{line}` is no range"));
        let (address, prefix) = line.split_once('/').map_or((line, None), |(address, prefix)| (address, Some(prefix)));
        let (is_v4, bits) = bits(address.trim().parse().map_err(|_| wrong())?);
        let widest = if is_v4 { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(widest), |prefix| prefix.trim().parse().map_err(|_| wrong()))?;
        if prefix > widest {
            return Err(wrong());
        }
        let known = ranges.entry((is_v4, masked(is_v4, bits, prefix), prefix)).or_insert(class);
        *known = class.max(*known);
    }
    Ok(())
}

const ENDS: [&str; 6] = ["bot", "crawler", "spider", "scraper", "scanner", "fetcher"];
const FIRSTS: [&str; 13] = [
    "java",
    "okhttp",
    "apache-httpclient",
    "go-http-client",
    "node-fetch",
    "axios",
    "perl",
    "ruby",
    "php",
    "dart",
    "lua",
    "httpie",
    "libcurl",
];

/// Words that programs use of themselves: a name that ends in one, a library in first place, or a page that explains it. A
/// maker of phones has an innocent name that ends in one.
fn has_words_of_programs(agent: &str) -> bool {
    let agent = agent.replace("cubot", "").replace("CUBOT", "").to_ascii_lowercase();
    let ends_word = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_lowercase());
    let explains = agent.contains("+http://") || agent.contains("+https://");
    let is_first = FIRSTS.iter().any(|word| agent.strip_prefix(word).is_some_and(ends_word));
    let has_end = |word: &str| agent.match_indices(word).any(|(at, _)| ends_word(&agent[at + word.len()..]));
    explains || is_first || ENDS.iter().any(|word| has_end(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_programs_are_found_and_people_left_alone() {
        for program in
            ["SomethingBot/2.1", "x (+http://example.org)", "okhttp/4.9", "Java/17", "x spider 1", "CUBOT y bot"]
        {
            assert!(has_words_of_programs(program), "{program}");
        }
        for person in ["Mozilla/5.0 (Linux; Android 9; CUBOT X18)", "Bottle/1.0", "JavaFX browser", ""] {
            assert!(!has_words_of_programs(person), "{person}");
        }
    }

    #[test]
    fn built_in_names_and_ranges_are_known() {
        let lists = Lists::load(None).expect("lists");
        assert_eq!((lists.agent("curl/8.1"), lists.agent("Mozilla/5.0")), (Agent::Known, Agent::Unlisted));
        assert_eq!(lists.network("198.19.255.0"), Some(Network::DataCentre));
        assert_eq!(lists.network("198.51.100.0"), Some(Network::Fraudulent));
        assert_eq!((lists.network("198.20.0.0"), lists.network("x")), (None, None));
    }
}
