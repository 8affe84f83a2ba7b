//! Where the money of one campaign is.

/// Micros each; spent, lent and held are never more than the budget in force.
pub struct Account {
    /// As its owner wants it.
    pub requested: i64,
    /// In force: above what is requested only as far as more was already spent, lent or held.
    pub budget: i64,
    pub posted: i64,
    /// In leases, not used by a bid.
    pub lent: i64,
    /// Held by bids without a result.
    pub held: i64,
    /// Borne by the platform.
    pub overrun: i64,
    /// Counts changes of what is requested.
    pub epoch: i64,
    pub active: bool,
    pub lsn: i64,
    pub revision: i64,
}

impl Account {
    pub fn empty() -> Self {
        Self {
            requested: 0,
            budget: 0,
            posted: 0,
            lent: 0,
            held: 0,
            overrun: 0,
            epoch: 0,
            active: false,
            lsn: i64::MIN,
            revision: 0,
        }
    }

    fn used(&self) -> i64 {
        self.posted + self.lent + self.held
    }

    pub fn free(&self) -> i64 {
        self.budget - self.used()
    }

    pub fn request(&mut self, requested: i64) {
        self.epoch += i64::from(requested != self.requested);
        self.requested = requested;
        self.budget = requested.max(self.used());
    }

    /// After money came free a budget that was cut falls towards what is wanted.
    fn follow(&mut self) {
        self.budget = self.requested.max(self.budget.min(self.used()));
    }

    pub fn take_back(&mut self, amount: i64) {
        self.lent -= amount;
        self.follow();
    }

    pub fn release(&mut self, held: i64) {
        self.held -= held;
        self.follow();
    }

    /// A sale in time: at most the offer, at most what the budget has.
    pub fn post(&mut self, price: i64, offer: i64, held: i64) {
        self.held -= held;
        let posted = price.min(offer).min(self.free());
        self.posted += posted;
        self.overrun += price - posted;
        self.follow();
    }

    /// A sale after the reservation's end.
    pub fn post_late(&mut self, price: i64, held: i64) {
        self.overrun += price;
        self.release(held);
    }
}
