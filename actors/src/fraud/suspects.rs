//! Agents that look like programs but stand on no list. They are shown and billed, never reversed: measured on real requests,
//! two thirds of what only a generic pattern finds are toolbars of ordinary people.

use std::sync::LazyLock;

use regex::Regex;

use crate::net::clip;

/// Generic words of programs: a name that ends in bot, crawler, spider or scraper; an HTTP library in first place; or the
/// address of a page that explains the program, as well-behaved ones send.
static WORDS: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?i)(?:bot|crawler|spider|scraper|scanner|fetcher)(?:[^a-z]|$)|^(?:java|okhttp|apache-httpclient|go-http-client|node-fetch|axios|perl|ruby|php|dart|lua|httpie|libcurl)(?:[^a-z]|$)|\+https?://";
    Regex::new(pattern).unwrap_or_else(|error| panic!("built-in pattern does not compile: {error}"))
});

/// A maker of phones whose name ends like a program's.
const PHONES: [&str; 2] = ["cubot", "CUBOT"];

/// Longest agent that is looked at.
const AGENT_BYTES_MAX: usize = 2_048;

/// Whether an agent has the words of a program.
pub fn is_suspect(agent: &str) -> bool {
    let agent = clip(agent, AGENT_BYTES_MAX);
    if PHONES.iter().any(|phone| agent.contains(phone)) {
        let rest = PHONES.iter().fold(agent.to_owned(), |text, phone| text.replace(phone, ""));
        return WORDS.is_match(&rest);
    }
    WORDS.is_match(agent)
}

#[cfg(test)]
mod tests {
    use super::is_suspect;

    #[test]
    fn words_of_programs_are_found_and_people_left_alone() {
        for program in
            ["SomethingBot/2.1 (+http://example.org/bot)", "my-crawler", "okhttp/4.9", "Java/17", "x spider 1"]
        {
            assert!(is_suspect(program), "{program}");
        }
        let person = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36";
        for person in [person, "Mozilla/5.0 (Linux; Android 9; CUBOT X18)", "Bottle/1.0", "JavaFX browser", ""] {
            assert!(!is_suspect(person), "{person}");
        }
        assert!(is_suspect("CUBOT X18 somebot"));
        assert!(!is_suspect(&"é".repeat(5_000)));
    }
}
