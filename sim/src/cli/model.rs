//! `model`: the protocol searched exhaustively, whole and with each rule weakened.

use clap::Args as ClapArgs;
use serde::Serialize;
use sim::model::designs::{self, Design};
use sim::model::rule::Rule;
use sim::model::search::{Searched, search};
use sim::model::{Protocol, SCENES, weakened};

use super::{FAILS, HOLDS, Output, USAGE};
use crate::overrides;

#[derive(ClapArgs)]
#[command(after_help = "Example: bulkhead-sim model --weaken no-read-back")]
pub struct Args {
    /// Only this rule, weakened: its shortest counterexample; `all` for every one
    #[arg(long)]
    pub weaken: Option<String>,
    /// States of one scene at most; a search that meets it says so
    #[arg(long, default_value = "20000000")]
    pub states: usize,
    #[arg(long, value_enum, default_value = "text")]
    pub output: Output,
}

#[derive(Serialize, Default)]
struct Report {
    ok: bool,
    states: u64,
    wall_s: f64,
    scenes: Vec<Row>,
    weakened: Vec<Row>,
    designs: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    what: String,
    ok: bool,
    states: u64,
    transitions: u64,
    depth: u32,
    rests: u64,
    complete: bool,
    wall_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explained: Option<&'static str>,
}

/// A search and how long it took.
fn row<S: std::fmt::Display>(name: &str, what: &str, found: &Searched<S>, must_hold: bool, wall_s: f64) -> Row {
    let steps = found.broken.as_ref().map_or(Vec::new(), |(_, steps)| steps.iter().map(ToString::to_string).collect());
    eprintln!("{name}: {} states to depth {} in {wall_s:.1} s", found.states, found.depth);
    let held = found.broken.is_none() && found.is_complete && found.rests > 0;
    Row {
        name: name.to_owned(),
        what: what.to_owned(),
        ok: if must_hold { held } else { found.broken.is_some() },
        states: found.states,
        transitions: found.transitions,
        depth: found.depth,
        rests: found.rests,
        complete: found.is_complete,
        wall_s,
        broken: found.broken.as_ref().map(|(broken, _)| broken.0),
        steps,
        explained: None,
    }
}

pub fn run(args: &Args) -> u8 {
    let started_s = overrides::wall_s();
    let rules: Vec<Rule> = match args.weaken.as_deref() {
        None | Some("all") => Rule::ALL.to_vec(),
        Some(name) => match Rule::parse(name) {
            Some(rule) => vec![rule],
            None => {
                let known: Vec<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
                eprintln!("no rule is named {name}; there are {}", known.join(", "));
                return USAGE;
            }
        },
    };
    let mut report = Report::default();
    if args.weaken.is_none() {
        report.scenes = SCENES.iter().map(|scene| whole(*scene, args.states)).collect();
        report.designs = all_designs();
    }
    report.weakened = rules.into_iter().map(|rule| one(rule, args.states)).collect();
    report.states = report.scenes.iter().map(|row| row.states).sum();
    report.wall_s = overrides::wall_s() - started_s;
    report.ok = report.scenes.iter().chain(&report.weakened).chain(&report.designs).all(|row| row.ok);
    match args.output {
        Output::Json => println!("{}", serde_json::to_string(&report).unwrap_or_default()),
        Output::Text => text(&report, args.weaken.is_some()),
    }
    if report.ok { HOLDS } else { FAILS }
}

fn whole(scene: sim::model::Scene, states_max: usize) -> Row {
    let began_s = overrides::wall_s();
    let found = search(&Protocol { scene, rule: None }, states_max);
    let what = format!(
        "{} events, {} claims, {} deaths, {} losses of power, {} snapshots, {} restatements",
        scene.input.len(),
        scene.claims,
        scene.crashes,
        scene.power_losses,
        scene.snapshots,
        scene.restatements
    );
    row(scene.name, &what, &found, true, overrides::wall_s() - began_s)
}

fn one(rule: Rule, states_max: usize) -> Row {
    let began_s = overrides::wall_s();
    let found = weakened(rule, states_max);
    let what = format!("{}: {} (scene {})", rule.of(), rule.what(), rule.scene());
    let must_hold = rule.held_by().is_some();
    let mut row = row(rule.name(), &what, &found, must_hold, overrides::wall_s() - began_s);
    row.explained = rule.held_by();
    row
}

fn all_designs() -> Vec<Row> {
    let mut rows = Vec::new();
    for design in Design::ALL {
        for with_duplicates in [false, true] {
            let began_s = overrides::wall_s();
            let found = designs::searched(design, with_duplicates);
            let name = format!("{}{}", design.what(), if with_duplicates { ", produced twice" } else { "" });
            rows.push(row(&name, "", &found, design.holds(with_duplicates), overrides::wall_s() - began_s));
        }
    }
    rows
}

fn text(report: &Report, with_steps: bool) {
    for row in &report.scenes {
        let verdict = if row.ok { "holds" } else { "BREAKS" };
        println!(
            "{verdict} {:<10} {} states, {} transitions, depth {}, {} at rest, {:.1} s{} ({})",
            row.name,
            row.states,
            row.transitions,
            row.depth,
            row.rests,
            row.wall_s,
            if row.complete || row.broken.is_some() { "" } else { ", ENDED AT ITS LIMIT" },
            row.what
        );
        story(row, true);
    }
    for (title, rows) in [("weakened", &report.weakened), ("designs", &report.designs)] {
        if !rows.is_empty() {
            println!("{title}:");
        }
        for row in rows {
            let verdict = match row.broken {
                Some(broken) => format!("breaks in {} steps: {broken}", row.steps.len()),
                None => format!("holds over {} states", row.states),
            };
            let mark = if row.ok { " " } else { "!" };
            println!("{mark} {:<28} {verdict}", row.name);
            if !row.what.is_empty() {
                println!("    {}", row.what);
            }
            if let Some(explained) = row.explained {
                println!("    {explained}");
            }
            story(row, with_steps || !row.ok);
        }
    }
    println!(
        "{}: {} states of the whole protocol; everything in {:.1} s",
        if report.ok { "as it should be" } else { "NOT as it should be" },
        report.states,
        report.wall_s
    );
}

fn story(row: &Row, shown: bool) {
    if shown {
        row.steps.iter().enumerate().for_each(|(n, step)| println!("    {:>2}. {step}", n + 1));
    }
}
