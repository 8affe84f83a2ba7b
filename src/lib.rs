//! The program `bulkhead`: command line, configuration, and the one composition of services, log and views.

pub mod admin;
pub mod args;
pub mod backend;
pub mod cli;
pub mod commands;
pub mod config;
pub mod demo;
pub mod dlq;
pub mod edge;
pub mod exit;
pub mod isolation;
pub mod operate;
pub mod panics;
pub mod platform;
pub mod registry;
pub mod report;
pub mod server;
pub mod sources;
pub mod systemd;
pub mod telemetry;
pub mod usage;
pub mod verify;
