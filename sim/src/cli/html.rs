//! The page of `compare`: static, without a network, readable on a telephone and at night.

use std::fmt::Write as _;

use super::breaking;
use super::compare::{Report, World};
use super::html_evidence;

/// Also of the page of a run.
pub const STYLE: &str = "
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--soft:#57606a;--line:#d0d7de;--bad:#b42318;--good:#e6ebf0}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--paper:#0d1117;--soft:#9aa4af;--line:#30363d;--bad:#ff7b72;--good:#21262d}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0 auto;max-width:60rem;padding:1rem}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.1rem;margin-top:2rem}p.soft,caption{color:var(--soft)}
.worlds{display:grid;grid-template-columns:repeat(auto-fit,minmax(16rem,1fr));gap:1.5rem}
.month{display:grid;grid-template-columns:repeat(10,1fr);gap:2px;margin-bottom:.5rem}
.month span{aspect-ratio:1;background:var(--good);border-radius:2px}.month .bad{background:var(--bad)}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:right;padding:.3rem .6rem;border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left}
code{overflow-wrap:anywhere}
.lanes{display:grid;grid-template-columns:minmax(4.5rem,auto) 1fr;gap:.25rem .5rem;align-items:center;font-size:.85rem}
.lanes svg{width:100%;height:1.6rem;background:var(--good);border-radius:3px;display:block}
.lag{fill:var(--bad)}.fault{fill:none;stroke:var(--ink);stroke-width:2;vector-effect:non-scaling-stroke}
.key{display:flex;flex-wrap:wrap;gap:.25rem 1rem;font-size:.85rem}
.key i{display:inline-block;width:1rem;height:1rem;border:1px solid var(--line);margin-right:.35rem;vertical-align:-.15rem}
.h0{fill:none}.h1{fill:var(--bad);fill-opacity:.2}.h2{fill:var(--bad);fill-opacity:.45}.h3{fill:var(--bad);fill-opacity:.7}
.h4{fill:var(--bad)}.key i.h1{background:color-mix(in srgb,var(--bad) 20%,transparent)}
.key i.h2{background:color-mix(in srgb,var(--bad) 45%,transparent)}
.key i.h3{background:color-mix(in srgb,var(--bad) 70%,transparent)}.key i.h4{background:var(--bad)}";

/// The whole page.
pub fn page(report: &Report) -> String {
    let of = |name: &str| report.worlds.iter().find(|world| world.world == name);
    let a_month = |name: &str| of(name).map_or(0.0, |world| world.cascades_per_month);
    let cascades = of("bulkhead").map_or(0, |world| world.cascades);
    let verdict = format!(
        "Under the same {} faults of {} months the synchronous chain fell {:.1} times a month, the tuned chain {:.1} times, \
         Bulkhead {} times in all.",
        report.faults,
        report.months,
        a_month("plain"),
        a_month("tuned"),
        cascades
    );
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>A month of faults</title>\
         <style>{STYLE}</style></head><body><main><h1>{verdict}</h1>\
         <p class=\"soft\">A cascade: a fault confined to one other service makes more than 5 % of ad requests bad (failed, or \
         over 200 ms) for 15 seconds or more. The chains are models of the case study's services; the platform is the \
         product's own code in virtual time. Only the windows around faults are simulated; pauses under a second cannot make \
         15 bad seconds and are counted, not simulated.</p><h2>Days with a cascade</h2><div class=\"worlds\">"
    );
    report.worlds.iter().for_each(|world| calendar(&mut page, world));
    page.push_str("</div><h2>More faults</h2><div class=\"scroll\" role=\"region\" aria-label=\"More faults\" tabindex=\"0\"><table>");
    page.push_str(
        "<caption>Cascades a month when faults come more often</caption><thead><tr><th scope=\"col\">Faults</th>",
    );
    page.push_str(
        "<th scope=\"col\">plain</th><th scope=\"col\">tuned</th><th scope=\"col\">bulkhead</th></tr></thead><tbody>",
    );
    for point in &report.curve {
        let _ = write!(
            page,
            "<tr><th scope=\"row\">&times;{}</th><td>{:.1}</td><td>{:.1}</td><td>{:.1}</td></tr>",
            point.fault_rate, point.plain, point.tuned, point.bulkhead
        );
    }
    page.push_str("</tbody></table></div>");
    let _ = write!(page, "<p>{}</p>", breaking::sentence(&report.breaking));
    if let Some(evidence) = &report.evidence {
        html_evidence::add(&mut page, report, evidence);
    }
    let _ = writeln!(
        page,
        "<h2>Again</h2><p><code>{}</code></p><p class=\"soft\">{} of {} faults simulated, {} broken \
         invariants of the platform, {:.0} s.</p></main></body></html>",
        report.reproduce, report.simulated, report.faults, report.violations, report.wall_s
    );
    page
}

fn calendar(page: &mut String, world: &World) {
    let _ = write!(page, "<section><h3>{}: {:.1} a month</h3>", world.world, world.cascades_per_month);
    for (number, days) in world.days.iter().enumerate() {
        let _ = write!(
            page,
            "<div class=\"month\" role=\"img\" aria-label=\"Month {}: {} cascades\">",
            number + 1,
            days.len()
        );
        for day in 0..30 {
            page.push_str(if days.contains(&day) { "<span class=\"bad\"></span>" } else { "<span></span>" });
        }
        page.push_str("</div>");
    }
    page.push_str("</section>");
}

/// One table; the first cell of a row names it.
pub fn table(page: &mut String, title: &str, heads: &[&str], rows: &[Vec<String>]) {
    let _ = write!(
        page,
        "<h2>{title}</h2><div class=\"scroll\" role=\"region\" aria-label=\"{title}\" tabindex=\"0\"><table><thead><tr>"
    );
    heads.iter().for_each(|head| {
        let _ = write!(page, "<th scope=\"col\">{}</th>", escaped(head));
    });
    page.push_str("</tr></thead><tbody>");
    for row in rows {
        page.push_str("<tr>");
        for (column, cell) in row.iter().enumerate() {
            let cell = escaped(cell);
            let _ = match column {
                0 => write!(page, "<th scope=\"row\">{cell}</th>"),
                _ => write!(page, "<td>{cell}</td>"),
            };
        }
        page.push_str("</tr>");
    }
    page.push_str("</tbody></table></div>");
}

/// Messages come from services and may hold anything.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
