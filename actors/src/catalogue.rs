//! All services of the platform, with their parameters: what the binary, the simulation and the benches compose from.

use runtime::service::ServiceDef;

use crate::billing::{self, Billing};

/// Parameters of every service; the defaults are those of production.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub billing: billing::Config,
}

/// The services, in the order in which an event passes them.
pub fn services(config: &Config) -> Vec<ServiceDef> {
    let billing = config.billing.clone();
    vec![ServiceDef::new(move || Billing::new(billing.clone()))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_can_be_made_and_have_names_of_their_own() {
        let mut names: Vec<_> = services(&Config::default()).iter().map(|def| def.spec.name).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
