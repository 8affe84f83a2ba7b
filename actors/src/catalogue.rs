//! All services of the platform, with their parameters: what the binary, the simulation and the benches compose from.

use runtime::service::{Service, ServiceDef};

use crate::ads::{Ads, AdsConfig};
use crate::analytics::{Analytics, AnalyticsConfig};
use crate::attribution::{Attribution, AttributionConfig};
use crate::bidding::{Bidding, BiddingConfig};
use crate::billing::{Billing, BillingConfig};
use crate::budget::{Budget, BudgetConfig};
use crate::campaigns::Campaigns;
use crate::fraud::{Fraud, FraudConfig};
use crate::tracking::{Tracking, TrackingConfig};

/// Parameters of every service; the defaults are those of production.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub bidding: BiddingConfig,
    pub budget: BudgetConfig,
    pub tracking: TrackingConfig,
    pub ads: AdsConfig,
    pub fraud: FraudConfig,
    pub billing: BillingConfig,
    pub attribution: AttributionConfig,
    pub analytics: AnalyticsConfig,
}

/// The services, in the order in which an event passes them.
pub fn services(config: &Config) -> Vec<ServiceDef> {
    vec![
        ServiceDef::new(|| Campaigns),
        define(&config.bidding, Bidding::new),
        define(&config.budget, Budget::new),
        define(&config.tracking, Tracking::new),
        define(&config.ads, Ads::new),
        define(&config.fraud, Fraud::new),
        define(&config.billing, Billing::new),
        define(&config.attribution, Attribution::new),
        define(&config.analytics, Analytics::new),
    ]
}

/// Each shard gets a service of its own, made from a copy of the parameters.
fn define<C: Clone + Send + Sync + 'static, S: Service>(config: &C, make: fn(C) -> S) -> ServiceDef {
    let config = config.clone();
    ServiceDef::new(move || make(config.clone()))
}

#[cfg(test)]
mod tests;
