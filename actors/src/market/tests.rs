use proptest::prelude::*;
use schemas::frame;

use super::campaigns::demo_campaigns;
use super::*;
use crate::ids;
use crate::testdata;

fn bid(number: u32, price: i64, floor: i64, auction_type: AuctionType) -> Bid {
    Bid {
        bid_id: ids::bid_id("x", &number.to_string(), "1"),
        auction_id: number.to_string(),
        imp_id: "1".into(),
        campaign_id: "camp-1".into(),
        creative_id: "creative-1".into(),
        placement_id: "x:p:t".into(),
        user_id: Some("u".into()),
        lease_id: Some("l".into()),
        price: Micros(price),
        floor: Micros(floor),
        auction_type,
        timestamp_ms: 1_000_000,
        metadata: vec![("ua".into(), "Mozilla/5.0".into()), (ADVERTISER_KEY.into(), "adv-1".into())],
    }
}

fn market() -> Market {
    Market::new(3, Rates::default())
}

fn count(planned: &[Planned], wanted: impl Fn(&What) -> bool) -> usize {
    planned.iter().filter(|planned| wanted(&planned.event.what)).count()
}

#[test]
fn at_demo_prices_about_three_bids_in_ten_win() {
    let market = market();
    let active: Vec<_> = demo_campaigns(3).into_iter().filter(|campaign| campaign.active).collect();
    let mut wins = 0;
    for number in 0..10_000u32 {
        let campaign = &active[number as usize % active.len()];
        let offer = bid(number, campaign.bid.per_impression_floor().0, 0, AuctionType::SecondPrice);
        wins += u32::from(matches!(market.auction(&offer), AuctionEnd::Won { .. }));
    }
    assert!((2_500..3_800).contains(&wins), "{wins} of 10,000");
}

#[test]
fn messages_carry_what_tracking_needs() {
    let rates = Rates {
        click_ppm: 1_000_000,
        conversion_ppm: 1_000_000,
        unrendered_ppm: 0,
        lost_notice_ppm: 0,
        ..Rates::default()
    };
    let planned = Market::new(3, rates).on_bid(bid(1, 1_000_000, 0, AuctionType::SecondPrice));
    let mut clicked = None;
    let mut seen = Vec::new();
    for Planned { event, .. } in &planned {
        event.with_message(|message| match message {
            Message::Notice(notice) => {
                assert!(notice.win && notice.price_micros.is_some() && notice.loss_reason.is_none());
                seen.push("notice");
            }
            Message::Impression(pixel) => {
                assert_eq!((pixel.bid_price_micros, pixel.metadata.get("ua")), (1_000_000, Some("Mozilla/5.0")));
                seen.push("impression");
            }
            Message::Click(click) => {
                clicked.get_or_insert(ids::click_event_id(click.bid_id, click.timestamp));
                seen.push("click");
            }
            Message::Conversion(post) => {
                assert_eq!(post.click_event_id, clicked.as_deref(), "the sale names the click before it");
                assert_eq!(post.advertiser_id, "adv-1");
                assert_eq!(post.metadata.get("bid_id"), Some(planned[0].event.bid.bid_id.as_str()));
                let mut framed = Vec::new();
                frame::encode(&post, &mut framed);
                assert_eq!(frame::decode::<schemas::events::ConversionPost<'_>>(&framed), Ok(post));
                seen.push("conversion");
            }
        });
    }
    for kind in ["notice", "impression", "click", "conversion"] {
        assert!(seen.contains(&kind), "{kind} in {seen:?}");
    }
}

#[test]
fn programs_click_and_never_buy() {
    let market = Market::new(3, Rates { conversion_ppm: 1_000_000, ..Rates::default() });
    let (mut clicks, mut sales) = (0, 0);
    for number in 0..2_000 {
        let mut offer = bid(number, 1_000_000, 0, AuctionType::SecondPrice);
        offer.metadata = vec![("ua".into(), "SomeBot/1.0".into())];
        let planned = market.on_bid(offer);
        clicks += count(&planned, |what| *what == What::Click);
        sales += count(&planned, |what| matches!(what, What::Conversion { .. }));
    }
    assert!(clicks > 300 && sales == 0, "{clicks} clicks, {sales} sales");
}

#[test]
fn faults_of_the_outside_do_happen() {
    let market = market();
    let (mut repeated, mut doubled, mut lost, mut unrendered, mut late_notices) = (0, 0, 0, 0, 0);
    for number in 0..20_000 {
        let planned = market.on_bid(bid(number, 1_000_000, 0, AuctionType::SecondPrice));
        let notices = count(&planned, |what| matches!(what, What::Notice(_)));
        let pixels = count(&planned, |what| matches!(what, What::Impression { .. }));
        let times: std::collections::BTreeSet<_> =
            planned.iter().filter(|p| p.event.what == What::Click).map(|p| p.event.timestamp_ms).collect();
        repeated += usize::from(pixels > 1);
        doubled += usize::from(times.len() > 1);
        lost += usize::from(notices == 0);
        unrendered += usize::from(pixels == 0);
        late_notices += usize::from(planned.first().is_some_and(|p| matches!(p.event.what, What::Impression { .. })));
    }
    let all = [repeated, doubled, lost, unrendered, late_notices];
    assert!(all.iter().all(|count| *count > 0), "{all:?}");
}

#[test]
fn demo_campaigns_cover_what_a_demo_shows() {
    let campaigns = demo_campaigns(1);
    assert_eq!(campaigns, demo_campaigns(1));
    assert_ne!(campaigns, demo_campaigns(2));
    assert!(campaigns.iter().any(|campaign| !campaign.active) && campaigns.iter().any(|c| !c.countries.is_empty()));
    let least = campaigns.iter().map(|campaign| campaign.budget).min();
    assert!(campaigns.iter().filter(|campaign| Some(campaign.budget) == least).count() == 1, "one tight budget");
    let mut keys: Vec<_> = campaigns.iter().flat_map(|c| [&c.campaign_id, &c.budget_id, &c.creative_id]).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), campaigns.len() * 3, "keys are unique");
    for campaign in &campaigns {
        campaign.with_campaign_change(7, 5, |change| {
            let mut framed = Vec::new();
            frame::encode(&change, &mut framed);
            assert_eq!(frame::decode::<schemas::events::CampaignChange<'_>>(&framed), Ok(change));
        });
        assert_eq!(campaign.budget_change(8, 5).after.map(|row| row.amount_micros), Some(campaign.budget.0));
    }
}

/// A column of whole numbers with its weight, from a table of the data directory, in order of value.
fn weighted_column(file: &str, value: &str, weight: &str) -> Option<Vec<(i64, u64)>> {
    let text = std::fs::read_to_string(testdata::file(file)?).expect("table");
    let mut rows = text.lines();
    let header: Vec<&str> = rows.next().expect("header").split(',').collect();
    let column = |name: &str| header.iter().position(|known| *known == name).expect(name);
    let (value, weight) = (column(value), column(weight));
    let mut all: Vec<(i64, u64)> = rows
        .map(|row| row.split(',').collect::<Vec<_>>())
        .map(|row| (row[value].parse().expect("value"), row[weight].parse().expect("weight")))
        .collect();
    all.sort_unstable();
    Some(all)
}

/// Share of the weight at or below a value.
fn share_to(rows: &[(i64, u64)], limit: i64) -> f64 {
    let total: u64 = rows.iter().map(|row| row.1).sum();
    rows.iter().filter(|row| row.0 <= limit).map(|row| row.1).sum::<u64>() as f64 / total as f64
}

/// Every point of a table lies where the real distribution says, within `slack`; ties make a step, so both sides are asked.
fn agrees(points: &[i64], rows: &[(i64, u64)], slack: f64) {
    for (index, point) in points.iter().enumerate() {
        let wanted = index as f64 / (points.len() - 1) as f64;
        let (below, to) = (share_to(rows, point - 1), share_to(rows, *point));
        assert!(below - slack <= wanted && wanted <= to + slack, "{point} at {wanted}: {below}..{to}");
    }
}

#[test]
fn the_tables_are_those_of_the_real_files() {
    if let Some(rows) = weighted_column("stats/ipinyou_market_price_histogram.csv", "market_price", "auctions") {
        agrees(&rates::COMPETITOR_PRICE_QUANTILES, &rows, 0.03);
    }
    if let Some(rows) = weighted_column("stats/talkingdata_click_to_install_minutes.csv", "delay_minutes", "installs") {
        agrees(&rates::CONVERSION_DELAY_QUANTILES_MIN, &rows, 0.02);
    }
}

proptest! {
    #[test]
    fn what_follows_a_bid_is_ordered_bounded_and_fair(
        number in any::<u32>(), seed in any::<u64>(), price in 0i64..3_000, floor in 0i64..3_000, first in any::<bool>(), divisor in 1i64..50,
    ) {
        let auction_type = if first { AuctionType::FirstPrice } else { AuctionType::SecondPrice };
        let rates = Rates { click_ppm: 500_000, conversion_ppm: 500_000, delay_divisor: divisor, ..Rates::default() };
        let market = Market::new(seed, rates.clone());
        let offer = bid(number, price, floor, auction_type);
        let planned = market.on_bid(offer.clone());
        prop_assert_eq!(&planned, &market.on_bid(offer.clone()), "the same bid, the same market");
        prop_assert!(planned.is_sorted_by_key(|p| p.at_ms));
        for p in &planned {
            prop_assert!(p.at_ms > p.event.timestamp_ms && p.event.timestamp_ms > offer.timestamp_ms);
            prop_assert!(p.at_ms <= offer.timestamp_ms + rates.longest_ms(), "{} ms", p.at_ms - offer.timestamp_ms);
        }
        match market.auction(&offer) {
            AuctionEnd::Won { price: paid } => {
                prop_assert!(paid.0 <= price && paid.0 >= floor && (!first || paid.0 == price));
            }
            AuctionEnd::Lost { min_to_win, .. } => {
                prop_assert!(min_to_win.0 > price || price < floor);
                let only_notices = planned.iter().all(|p| matches!(p.event.what, What::Notice(_)));
                prop_assert!(only_notices, "nothing is shown for a lost auction");
                let better = bid(number, min_to_win.0, floor, auction_type);
                let wins = matches!(market.auction(&better), AuctionEnd::Won { .. });
                prop_assert!(wins, "the least price to win wins");
            }
        }
    }
}
