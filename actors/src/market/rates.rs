//! The numbers of the simulated market and where each comes from. Everything drawn from them is SYNTHETIC and labelled so.

/// Winning prices of other bidders at probabilities 0, 0.05, ..., 1, in hundredths of a currency unit per thousand.
///
/// Source: `ipinyou_market_price_histogram.csv` (real auctions of the iPinYou set, 2013; all campaigns and splits together,
/// quantiles weighted by auctions, rounded). The set states fen of RMB; read here as US cents, which its use as a shape of a
/// market, not as a level, allows.
pub const COMPETITOR_PRICE_QUANTILES: [i64; 21] =
    [1, 8, 15, 20, 22, 26, 32, 40, 48, 52, 60, 66, 70, 75, 80, 95, 113, 147, 173, 211, 300];

/// Time from click to conversion at probabilities 0, 0.05, ..., 1, in minutes.
///
/// Source: `talkingdata_click_to_install_minutes.csv` (real installs of the TalkingData set; quantiles, rounded).
pub const CONVERSION_DELAY_QUANTILES_MIN: [i64; 21] =
    [0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 3, 5, 12, 21, 41, 87, 111, 186, 251, 459, 772];

/// How the market behaves. Probabilities are in parts per million.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rates {
    /// Clicks per impression. Real rates lie between 0.05 % and 0.5 % (iPinYou, Open Bandit): five times the upper end, or a
    /// demo of some thousand impressions would show next to none.
    pub click_ppm: u32,
    /// Clicks per impression shown to a program: bots click.
    pub bot_click_ppm: u32,
    /// Clicks followed by a second one of the same person within two seconds.
    pub double_click_ppm: u32,
    /// Conversions per click; raised for the same reason as `click_ppm`.
    pub conversion_ppm: u32,
    /// Notices, pixels, redirects and posts that are sent twice. Senders retry; receivers must be idempotent.
    pub repeat_ppm: u32,
    /// Conversions that the advertiser posts twice.
    pub conversion_repeat_ppm: u32,
    /// Loss and win notices that never arrive: the reservation must expire by itself.
    pub lost_notice_ppm: u32,
    /// Won impressions that are never rendered.
    pub unrendered_ppm: u32,
    /// Real minutes between click and conversion are divided by this, so that a run of half a minute sees its conversions:
    /// at 3,000 a minute becomes 20 ms and the longest delay 15.4 s.
    pub conversion_time_divisor: i64,
    /// All other delays are divided by this; 1 leaves them as they are.
    pub delay_divisor: i64,
}

impl Default for Rates {
    fn default() -> Rates {
        Rates {
            click_ppm: 25_000,
            bot_click_ppm: 250_000,
            double_click_ppm: 60_000,
            conversion_ppm: 200_000,
            repeat_ppm: 10_000,
            conversion_repeat_ppm: 80_000,
            lost_notice_ppm: 1_000,
            unrendered_ppm: 10_000,
            conversion_time_divisor: 3_000,
            delay_divisor: 1,
        }
    }
}

impl Rates {
    /// Upper bound of the time between a bid and its last event, in milliseconds: how long a demo waits for the market.
    pub fn longest_ms(&self) -> i64 {
        let longest_conversion = CONVERSION_DELAY_QUANTILES_MIN[20] * 60_000 / self.conversion_time_divisor.max(1);
        // notice, render, click, second click, conversion, repetition, transit: the ends of the ranges in `plan`.
        (250 + 2_500 + 6_000 + 1_900) / self.delay_divisor.max(1) + longest_conversion + 1_500
    }
}
