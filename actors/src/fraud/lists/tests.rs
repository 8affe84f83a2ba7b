use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::testdata;

fn class_of(lists: &Lists, address: &str) -> Option<NetworkClass> {
    lists.networks.class_of(address.parse().expect("address"))
}

fn networks(name: &str, text: &str) -> Result<Networks, ListError> {
    let mut networks = Networks::default();
    networks.add_text(Path::new(name), text)?;
    networks.merge();
    Ok(networks)
}

#[test]
fn builtin_lists_know_programs_and_reserved_ranges() {
    let lists = Lists::builtin();
    assert!(lists.agents.is_known_bot("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"));
    assert!(lists.agents.is_known_bot("curl/8.1.2"));
    assert!(!lists.agents.is_known_bot("Mozilla/5.0 (Windows NT 6.1; WOW64; rv:8.0.1) Gecko/20100101 Firefox/8.0.1"));
    assert!(!lists.agents.is_known_bot(""));
    assert_eq!(class_of(&lists, "198.18.0.0"), Some(NetworkClass::DataCentre));
    assert_eq!(class_of(&lists, "198.19.255.255"), Some(NetworkClass::DataCentre));
    assert_eq!(class_of(&lists, "198.20.0.0"), None);
    assert_eq!(class_of(&lists, "198.51.100.7"), Some(NetworkClass::Fraudulent));
    assert_eq!(class_of(&lists, "2001:db8::1"), None);
}

#[test]
fn file_names_say_the_class_and_the_worst_class_wins() {
    let mut both = networks("protonvpn.v4.txt", "10.0.0.0/8\n# comment\n\n").expect("list");
    both.add_text(Path::new("methbot_cidr.txt"), "10.1.0.0/16 # part\n").expect("list");
    both.add_text(Path::new("anycloud.v6.txt"), "2001:db8::/32\n192.0.2.1").expect("list");
    both.merge();
    let class = |text: &str| both.class_of(text.parse().expect("address"));
    assert_eq!(class("10.2.0.1"), Some(NetworkClass::Proxy));
    assert_eq!(class("10.1.2.3"), Some(NetworkClass::Fraudulent));
    assert_eq!(class("2001:db8:1::"), Some(NetworkClass::DataCentre));
    assert_eq!((class("192.0.2.1"), class("192.0.2.2")), (Some(NetworkClass::DataCentre), None));
    assert!(!NetworkClass::Proxy.is_invalid() && NetworkClass::Crawler.is_invalid());
}

#[test]
fn a_bad_list_names_file_line_and_remedy() {
    let error = networks("x.txt", "10.0.0.0/8\n10.0.0.0/33\n").expect_err("prefix");
    assert_eq!(error.kind(), "syntax");
    assert!(error.to_string().contains("x.txt line 2") && error.to_string().contains("10.0.0.0/33"), "{error}");
    let bad = |text: &str| Agents::builtin().with_patterns(Path::new("a.json"), text).expect_err(text).to_string();
    assert!(bad("[{\"pattern\":\"(\"}]").contains("pattern 1"));
    assert!(bad("[{\"pattern\":\"\"}]").contains("empty"));
    assert!(bad("{}").contains("a.json line 1"));
    let nowhere = std::env::temp_dir().join("bulkhead-no-such-lists");
    assert_eq!(Lists::load(&nowhere).expect_err("absent").kind(), "empty");
}

#[test]
fn an_added_pattern_is_found_and_explained() {
    let agents = Agents::builtin()
        .with_patterns(Path::new("a.json"), r#"[{"pattern":"Strange\\/[0-9]","url":"x"}]"#)
        .expect("list");
    assert_eq!(agents.len(), Agents::builtin().len() + 1);
    assert!(agents.is_known_bot("a Strange/7") && !agents.is_known_bot("a Strange/x"));
    assert_eq!(agents.explain("a Strange/7"), Some("Strange/[0-9]"));
    assert!(!agents.is_known_bot(&"é".repeat(5_000)));
}

#[test]
fn the_second_list_only_raises_a_suspicion() {
    let list = r#"["strange\\/[0-9]","(?<!no)bot"]"#;
    let agents = Agents::builtin().with_suspects(Path::new("a.json"), list).expect("list");
    assert_eq!(agents.unsupported, ["(?<!no)bot"]);
    assert_eq!(agents.class_of(Some("A STRANGE/7")), AgentClass::Suspect);
    assert_eq!(agents.class_of(Some("Googlebot strange/7")), AgentClass::Known);
    assert_eq!(agents.class_of(Some("Mozilla/5.0")), AgentClass::Unlisted);
    assert_eq!((agents.class_of(Some(" ")), agents.class_of(None)), (AgentClass::Missing, AgentClass::Missing));
}

#[test]
fn the_real_lists_load_and_know_their_own_examples() {
    let Some(directory) = testdata::file("lists") else { return };
    let lists = Lists::load(&directory).expect("lists");
    assert!(lists.version.starts_with("lists-") && lists.version == Lists::load(&directory).expect("again").version);
    let text = std::fs::read_to_string(directory.join(AGENTS_FILE)).expect("agents");
    let entries: Vec<serde_json::Value> = serde_json::from_str(&text).expect("agents");
    for entry in &entries {
        for example in entry["instances"].as_array().into_iter().flatten().filter_map(|example| example.as_str()) {
            assert!(lists.agents.is_known_bot(example), "{example}");
        }
    }
    let methbot = std::fs::read_to_string(directory.join("methbot_cidr.txt")).expect("ranges");
    for line in methbot.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        let first = line.split('/').next().expect("address");
        assert_eq!(class_of(&lists, first), Some(NetworkClass::Fraudulent), "{line}");
    }
}

proptest! {
    #[test]
    fn look_up_agrees_with_asking_every_range(
        ranges in proptest::collection::vec((any::<u32>(), 8u8..=32), 1..40), asked in any::<u32>(), near in any::<usize>(),
    ) {
        let text: Vec<String> = ranges.iter().map(|(a, p)| format!("{}/{p}", std::net::Ipv4Addr::from_bits(*a))).collect();
        let networks = networks("cloud.txt", &text.join("\n")).expect("list");
        let edge = ranges[near % ranges.len()].0;
        for address in [asked, edge, edge.wrapping_sub(1), edge.wrapping_add(1)] {
            let expected = ranges.iter().any(|(a, p)| (a ^ address).checked_shr(32 - u32::from(*p)).unwrap_or(0) == 0);
            let found = networks.class_of(IpAddr::V4(std::net::Ipv4Addr::from_bits(address))).is_some();
            prop_assert_eq!(found, expected, "{}", std::net::Ipv4Addr::from_bits(address));
        }
    }
}
