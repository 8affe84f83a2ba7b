//! Why there is no bid.

/// Reasons, in the order in which a decision meets them: of several slots or campaigns, the one that came furthest is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum NoBid {
    /// Too little of the exchange's time is left.
    NoTime,
    /// The campaigns are older than allowed, or have never been seen.
    ViewStale,
    /// The agent is a known program.
    KnownCrawler,
    /// No agent at all.
    SuspectedNonHuman,
    /// The address is in a data centre, of a crawler, or named in a fraud case.
    DataCentre,
    /// The exchange takes no currency of ours.
    Currency,
    /// Nothing of ours can be shown here: no banner.
    NoBanner,
    /// The floor is no price, or an implausible one.
    PriceInvalid,
    /// 0x0 or 1x1: a slot that nobody can see.
    SlotInvalid,
    /// No creative has the size.
    NoSize,
    /// Campaigns of this size are paused, ended, or without a price.
    Inactive,
    /// Campaigns of this size want other countries.
    Country,
    /// Campaigns of this size cap impressions per user, and how many this user has seen is not known.
    CapUnknown,
    /// The publisher blocks the advertiser.
    AdvertiserBlocked,
    /// The floor is above every price.
    BelowFloor,
    /// There is budget, but the lease that lends it has not come yet.
    LeasePending,
    /// No budget is left.
    BudgetExhausted,
}

/// Number of reasons.
pub(super) const REASONS: usize = NoBid::BudgetExhausted as usize + 1;

/// All reasons, in order.
pub(super) const ALL: [NoBid; REASONS] = [
    NoBid::NoTime,
    NoBid::ViewStale,
    NoBid::KnownCrawler,
    NoBid::SuspectedNonHuman,
    NoBid::DataCentre,
    NoBid::Currency,
    NoBid::NoBanner,
    NoBid::PriceInvalid,
    NoBid::SlotInvalid,
    NoBid::NoSize,
    NoBid::Inactive,
    NoBid::Country,
    NoBid::CapUnknown,
    NoBid::AdvertiserBlocked,
    NoBid::BelowFloor,
    NoBid::LeasePending,
    NoBid::BudgetExhausted,
];

impl NoBid {
    /// OpenRTB no-bid reason; from 500 our own.
    pub fn code(self) -> i32 {
        match self {
            NoBid::PriceInvalid | NoBid::SlotInvalid => 2,
            NoBid::KnownCrawler => 3,
            NoBid::SuspectedNonHuman => 4,
            NoBid::DataCentre => 5,
            NoBid::CapUnknown => 9,
            NoBid::NoTime => 15,
            NoBid::LeasePending | NoBid::BudgetExhausted => 500,
            NoBid::ViewStale => 502,
            NoBid::Currency | NoBid::NoBanner | NoBid::NoSize | NoBid::Inactive => 503,
            NoBid::Country | NoBid::AdvertiserBlocked | NoBid::BelowFloor => 503,
        }
    }

    /// Stable name for screens, metrics and events.
    pub fn as_str(self) -> &'static str {
        match self {
            NoBid::NoTime => "no_time",
            NoBid::ViewStale => "view_stale",
            NoBid::KnownCrawler => "known_crawler",
            NoBid::SuspectedNonHuman => "suspected_non_human",
            NoBid::DataCentre => "data_centre",
            NoBid::Currency => "currency",
            NoBid::NoBanner => "no_banner",
            NoBid::PriceInvalid => "price_invalid",
            NoBid::SlotInvalid => "slot_invalid",
            NoBid::NoSize => "no_size",
            NoBid::Inactive => "inactive",
            NoBid::Country => "country",
            NoBid::CapUnknown => "cap_unknown",
            NoBid::AdvertiserBlocked => "advertiser_blocked",
            NoBid::BelowFloor => "below_floor",
            NoBid::LeasePending => "lease_pending",
            NoBid::BudgetExhausted => "budget_exhausted",
        }
    }
}

/// How many slots or campaigns each filter has taken out of one decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filtered([u16; REASONS]);

impl Filtered {
    /// Counts one.
    pub(super) fn count(&mut self, reason: NoBid) {
        let count = &mut self.0[reason as usize];
        *count = count.saturating_add(1);
    }

    /// Filters that took something out, with how much.
    pub fn iter(&self) -> impl Iterator<Item = (NoBid, u16)> + '_ {
        ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }

    /// The furthest filter that took something out.
    pub(super) fn furthest(&self) -> Option<NoBid> {
        self.iter().last().map(|(reason, _)| reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_reasons_is_complete_and_in_order() {
        assert!(ALL.is_sorted() && ALL.iter().enumerate().all(|(index, reason)| *reason as usize == index));
        let mut names: Vec<_> = ALL.iter().map(|reason| reason.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REASONS);
    }

    #[test]
    fn the_furthest_filter_is_told() {
        let mut filtered = Filtered::default();
        assert_eq!(filtered.furthest(), None);
        filtered.count(NoBid::BelowFloor);
        filtered.count(NoBid::NoSize);
        filtered.count(NoBid::NoSize);
        assert_eq!(filtered.furthest(), Some(NoBid::BelowFloor));
        assert_eq!(filtered.iter().collect::<Vec<_>>(), [(NoBid::NoSize, 2), (NoBid::BelowFloor, 1)]);
    }
}
