//! State of a service: named keyed tables, held in memory, the fold of the service's commit topic.

pub mod row;
mod schedule;
pub mod table;

pub use row::{Field, Key, RowError, Value};
pub use table::{AnyTable, Table};

/// The tables of one service. `tables!` implements it.
pub trait Tables: Default + Send + 'static {
    /// Visits each table, always in the same order.
    fn each(&mut self, visit: &mut dyn FnMut(&mut dyn AnyTable));
    /// `AnyTable::begin_event` of each table: asked for every event, so it is one call for all tables.
    fn begin_event(&mut self);
}

impl Tables for () {
    fn each(&mut self, _: &mut dyn FnMut(&mut dyn AnyTable)) {}
    fn begin_event(&mut self) {}
}

/// Declares the state of a service:
/// `tables! { pub struct State { seen: Table<SmolStr, Seen> = Table::scheduled("seen", |row| Some(row.expires_ms)) } }`.
/// Say for each table how many bytes a row takes and how long it lives.
#[macro_export]
macro_rules! tables {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$tmeta:meta])* $tvis:vis $table:ident : $type:ty = $make:expr),* $(,)? }) => {
        $(#[$meta])*
        $vis struct $name { $($(#[$tmeta])* $tvis $table: $type),* }
        impl Default for $name {
            fn default() -> Self {
                Self { $($table: $make),* }
            }
        }
        impl $crate::state::Tables for $name {
            fn each(&mut self, visit: &mut dyn FnMut(&mut dyn $crate::state::AnyTable)) {
                $(visit(&mut self.$table);)*
            }
            fn begin_event(&mut self) {
                $($crate::state::AnyTable::begin_event(&mut self.$table);)*
            }
        }
    };
}

#[cfg(test)]
mod tests;
