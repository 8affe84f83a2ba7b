//! Calibration: what two kinds of exchange send. Shares are rounded to parts per thousand, or coarser.
//!
//! Source of every number here: `bid_requests_2012_20k.openrtb.jsonl.gz` (real requests of two exchanges, 2012), counted for each
//! exchange by itself: shares of a field's values, of its absence, and of values never seen before. Domains, cities,
//! advertisers, ids and agents are invented; networks are drawn, not copied.

/// A share in parts per million.
pub(super) type Ppm = u32;

/// How often a thing is one of a few favourites, a new one, or one seen before.
pub(super) struct Popularity {
    /// Shares of the favourites.
    pub head: &'static [Ppm],
    /// Share of new ones among the rest.
    pub new: Ppm,
}

/// One kind of exchange.
pub(super) struct Profile {
    /// `ext.exchange`.
    pub name: &'static str,
    /// Share of all requests.
    pub share: Ppm,
    /// Width, height, weight.
    pub sizes: &'static [(u16, u16, u32)],
    /// Countries with the regions of each; an empty name is an absent field.
    pub countries: &'static [Country],
    /// Requests without user.
    pub no_user: Ppm,
    /// Requests without site.
    pub no_site: Ppm,
    /// Requests without language.
    pub no_language: Ppm,
    /// Requests whose user id is the placeholder.
    pub placeholder: Ppm,
    /// Users seen before.
    pub returning: Ppm,
    /// Page domains.
    pub domains: Popularity,
    /// User agents.
    pub agents: Popularity,
    /// Number of blocked advertisers, with its weight.
    pub blocked: &'static [(u8, u32)],
    /// Sends content categories of its own (`ext`).
    pub categories: bool,
}

/// A country with its weight and its regions with theirs.
pub(super) struct Country {
    pub code: &'static str,
    pub weight: u32,
    pub regions: &'static [(&'static str, u32)],
    /// Regions that share what the named ones leave.
    pub others: &'static [&'static str],
}

const OTHER_STATES: &[&str] = &[
    "AL", "AR", "AZ", "CO", "CT", "FL", "GA", "IA", "KS", "KY", "LA", "MA", "MD", "MO", "MS", "NC", "NE", "NJ", "NM",
    "NV", "OH", "OK", "OR", "PA", "SC", "TN", "TX", "UT", "VA", "WA", "WI",
];

pub(super) const PROFILES: [Profile; 2] = [
    Profile {
        name: "sim_display",
        share: 550_000,
        sizes: &[
            (300, 250, 378),
            (728, 90, 357),
            (160, 600, 177),
            (336, 280, 32),
            (468, 60, 31),
            (120, 600, 14),
            (250, 250, 8),
            (200, 200, 4),
        ],
        countries: &[
            Country {
                code: "USA",
                weight: 788,
                regions: &[
                    ("IL", 120),
                    ("OH", 90),
                    ("MI", 85),
                    ("IN", 57),
                    ("MN", 54),
                    ("WI", 52),
                    ("CA", 44),
                    ("NY", 39),
                    ("MO", 36),
                    ("", 36),
                ],
                others: OTHER_STATES,
            },
            Country {
                code: "CAN",
                weight: 200,
                regions: &[("ON", 600), ("QC", 110), ("AB", 100), ("MB", 44), ("NS", 29), ("BC", 27), ("NB", 27)],
                others: &["SK", "NL", "PE", ""],
            },
            Country { code: "GBR", weight: 6, regions: &[], others: &[""] },
            Country { code: "", weight: 6, regions: &[], others: &[""] },
        ],
        no_user: 68_000,
        no_site: 62_000,
        no_language: 0,
        placeholder: 0,
        returning: 52_000,
        domains: Popularity { head: &[47_000, 36_000, 22_000, 19_000, 16_000, 12_000], new: 370_000 },
        agents: Popularity { head: &[97_000, 95_000, 37_000, 33_000, 28_000, 24_000], new: 380_000 },
        blocked: &[
            (0, 150),
            (1, 49),
            (3, 29),
            (5, 25),
            (8, 40),
            (11, 77),
            (12, 39),
            (13, 55),
            (14, 95),
            (15, 103),
            (16, 113),
            (17, 114),
            (20, 41),
        ],
        categories: true,
    },
    Profile {
        name: "sim_context",
        share: 450_000,
        sizes: &[(300, 250, 404), (728, 90, 368), (160, 600, 222), (120, 600, 6)],
        countries: &[
            Country {
                code: "USA",
                weight: 960,
                regions: &[
                    ("CA", 118),
                    ("NY", 82),
                    ("TX", 62),
                    ("FL", 58),
                    ("", 45),
                    ("NC", 40),
                    ("IL", 38),
                    ("PA", 36),
                    ("NJ", 35),
                    ("MI", 29),
                ],
                others: OTHER_STATES,
            },
            Country {
                code: "CAN",
                weight: 37,
                regions: &[("ON", 380), ("BC", 207), ("AB", 123), ("QC", 96), ("SK", 66), ("MB", 36)],
                others: &["NL", "NS", "NB", ""],
            },
            Country { code: "", weight: 3, regions: &[], others: &[""] },
        ],
        no_user: 0,
        no_site: 0,
        no_language: 330_000,
        placeholder: 55_000,
        returning: 94_000,
        domains: Popularity { head: &[54_000, 42_000, 16_000, 13_000, 13_000, 12_000], new: 230_000 },
        agents: Popularity { head: &[75_000, 73_000, 32_000, 29_000, 28_000, 27_000], new: 270_000 },
        blocked: &[(0, 232), (1, 245), (2, 21), (5, 7), (7, 18), (10, 121), (11, 86), (12, 151), (13, 83)],
        categories: false,
    },
];

/// Requests a second.
pub(super) const RATE_PER_S: u32 = 620;
/// Gaps that are far shorter than chance would have them: requests of one page arrive together.
pub(super) const CLUMPED: Ppm = 30_000;
/// Second by second the rate differs by up to this.
pub(super) const RATE_SWING: Ppm = 40_000;
/// Requests recorded before they are written down, and for how long at most: the file is not in order of time.
pub(super) const DELAYED: Ppm = 760_000;
pub(super) const DELAYED_MAX_US: i64 = 6_000;
/// Requests that wait much longer than that.
pub(super) const STRAGGLING: Ppm = 20_000;
pub(super) const STRAGGLING_US: std::ops::Range<i64> = 5_000..30_000;
/// The longest waits.
pub(super) const LATEST: Ppm = 300;
pub(super) const LATEST_US: std::ops::Range<i64> = 60_000..127_000;

/// Requests of known programs.
pub(super) const BOTS: Ppm = 2_000;
/// Requests without user agent.
pub(super) const NO_AGENT: Ppm = 400;
/// Requests without address.
pub(super) const NO_ADDRESS: Ppm = 1_300;
/// Requests from ranges that today's data-centre lists name.
pub(super) const DATA_CENTRE: Ppm = 20_000;
/// New users in the network of another one.
pub(super) const SHARED_NETWORK: Ppm = 40_000;
/// Placeholder requests from a network seen with it before.
pub(super) const PLACEHOLDER_SAME_NETWORK: Ppm = 140_000;

/// First octets of visitors' addresses, by weight.
pub(super) const FIRST_OCTETS: &[(u8, u32)] = &[
    (24, 79),
    (71, 64),
    (76, 58),
    (98, 58),
    (99, 67),
    (68, 54),
    (75, 47),
    (173, 47),
    (69, 43),
    (67, 41),
    (74, 38),
    (174, 37),
    (184, 29),
    (70, 29),
    (108, 28),
    (72, 28),
    (50, 27),
    (66, 26),
    (96, 20),
    (65, 17),
    (97, 15),
    (64, 15),
    (216, 14),
    (208, 13),
    (207, 11),
    (209, 8),
    (166, 7),
    (204, 6),
];

/// A family of user agents with its share among all, and whether its texts vary much.
pub(super) const FAMILIES: &[(super::agents::Family, u32)] = {
    use super::agents::Family::*;
    &[
        (Chrome, 87),
        (Msie8, 173),
        (Firefox, 149),
        (Msie9, 71),
        (Safari, 65),
        (Msie7, 76),
        (Android, 25),
        (Iphone, 13),
        (Ipad, 12),
        (Msie6, 8),
        (Opera, 4),
    ]
};
