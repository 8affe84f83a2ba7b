//! Invented user agents in the shapes of 2012: few favourites, and a long tail that comes from version numbers and from the
//! components that browsers used to list.

use fastrand::Rng;

use super::profile::FAMILIES;
use crate::draw;

/// Browser families, as far as their texts differ in shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Chrome,
    Firefox,
    Msie6,
    Msie7,
    Msie8,
    Msie9,
    Safari,
    Opera,
    Android,
    Iphone,
    Ipad,
}

/// Families of the favourites, most frequent first.
const HEAD: [Family; 6] =
    [Family::Chrome, Family::Msie9, Family::Firefox, Family::Chrome, Family::Safari, Family::Msie8];

/// Agents below this number are the favourites, the same for everybody.
pub(super) const FAVOURITES: u32 = HEAD.len() as u32;

/// Programs that say what they are.
const BOTS: [&str; 4] = [
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; Yahoo! Slurp/3.0)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/534.51 (KHTML, like Gecko; Google Web Preview) Chrome/12.0.742 Safari/534.51",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/534+ (KHTML, like Gecko) BingPreview/1.0b",
];

/// Components that Internet Explorer listed; which ones made its agents nearly unique.
const COMPONENTS: [&str; 14] = [
    "Trident/4.0",
    "SLCC1",
    "SLCC2",
    "GTB7.2",
    "GTB6.6",
    ".NET CLR 1.1.4322",
    ".NET CLR 2.0.50727",
    ".NET CLR 3.0.30729",
    ".NET CLR 3.5.30729",
    ".NET4.0C",
    ".NET4.0E",
    "Media Center PC 6.0",
    "InfoPath.2",
    "MDDC",
];

const WINDOWS: [&str; 4] = ["Windows NT 6.1", "Windows NT 6.1; WOW64", "Windows NT 6.0", "Windows NT 5.1"];
const MACS: [&str; 4] = ["10_7_2", "10_6_8", "10_5_8", "10_7_1"];

/// The user agent with a number, always the same text for the same seed and number.
pub(super) fn text(seed: u64, number: u32) -> String {
    let mut rng = draw::stream(seed, "generator/agent", &number.to_string());
    let favourite = HEAD.get(number as usize).copied();
    let family = favourite.unwrap_or_else(|| FAMILIES[draw::weighted(&mut rng, FAMILIES.iter().map(|f| f.1))].0);
    browser(&mut rng, family, favourite.is_some())
}

/// A known program's user agent.
pub(super) fn bot(rng: &mut Rng) -> &'static str {
    BOTS[rng.usize(0..BOTS.len())]
}

fn browser(rng: &mut Rng, family: Family, plain: bool) -> String {
    let windows = WINDOWS[rng.usize(0..WINDOWS.len())];
    let mac = MACS[rng.usize(0..MACS.len())];
    let build = rng.u32(600..980);
    let patch = if plain { 63 } else { rng.u32(0..200) };
    match family {
        Family::Chrome => {
            let version = rng.u32(10..18);
            format!(
                "Mozilla/5.0 ({windows}) AppleWebKit/535.7 (KHTML, like Gecko) Chrome/{version}.0.{build}.{patch} Safari/535.7"
            )
        }
        Family::Firefox => {
            let (version, day) = (rng.u32(3..10), rng.u32(1..29));
            let minor = if plain { 0 } else { rng.u32(0..30) };
            format!("Mozilla/5.0 ({windows}; rv:{version}.0.{minor}) Gecko/201201{day:02} Firefox/{version}.0.{minor}")
        }
        Family::Msie6 => internet_explorer(rng, "4.0", "6.0", plain),
        Family::Msie7 => internet_explorer(rng, "4.0", "7.0", plain),
        Family::Msie8 => internet_explorer(rng, "4.0", "8.0", plain),
        Family::Msie9 => internet_explorer(rng, "5.0", "9.0", plain),
        Family::Safari => format!(
            "Mozilla/5.0 (Macintosh; Intel Mac OS X {mac}) AppleWebKit/534.{patch} (KHTML, like Gecko) Version/5.1 Safari/534.{patch}"
        ),
        Family::Opera => format!("Opera/9.80 ({windows}; U; en) Presto/2.10.{build} Version/11.{}", rng.u32(50..63)),
        Family::Android => format!(
            "Mozilla/5.0 (Linux; U; Android 2.3.{}; en-us; SIM-{build} Build/SIM{patch}) AppleWebKit/533.1 (KHTML, like Gecko) Version/4.0 Mobile Safari/533.1",
            rng.u32(3..8)
        ),
        Family::Iphone => format!(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 5_0_1 like Mac OS X) AppleWebKit/534.46 (KHTML, like Gecko) Version/5.1 Mobile/9A{build} Safari/7534.48.{patch}"
        ),
        Family::Ipad => format!(
            "Mozilla/5.0 (iPad; CPU OS 5_0_1 like Mac OS X) AppleWebKit/534.46 (KHTML, like Gecko) Version/5.1 Mobile/9A{build} Safari/7534.48.{patch}"
        ),
    }
}

fn internet_explorer(rng: &mut Rng, mozilla: &str, version: &str, plain: bool) -> String {
    let windows = WINDOWS[rng.usize(0..WINDOWS.len())];
    let mut text = format!("Mozilla/{mozilla} (compatible; MSIE {version}; {windows}");
    if !plain {
        for component in COMPONENTS {
            if rng.bool() {
                text.push_str("; ");
                text.push_str(component);
            }
        }
    }
    text.push(')');
    text
}
