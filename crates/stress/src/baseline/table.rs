//! A comparison as a table.
#![expect(
    clippy::format_push_string,
    reason = "the lines read better than `write!` with an error that cannot be"
)]

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

use super::{Comparison, NOISY, REPEATS_MIN, Row, Standing, lost, too_few};
use crate::format;

const COLUMNS_MAX: u16 = 110;

pub(super) fn render(comparison: &Comparison) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(COLUMNS_MAX)
        .set_header(["scenario", "figure", "baseline", "now", "ratio", "95 % interval", "verdict"]);
    for scenario in &comparison.scenarios {
        for (place, row) in scenario.rows.iter().enumerate() {
            let name = if place == 0 { scenario.name.as_str() } else { "" };
            table.add_row(cells(name, row));
        }
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    if let Some(names) = table.column_mut(0) {
        names.set_constraint(ColumnConstraint::ContentWidth);
    }
    let mut text = String::new();
    for line in table.to_string().lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    notes(comparison, &mut text);
    text
}

fn cells(name: &str, row: &Row) -> Vec<Cell> {
    let value = |value: f64| right(row.figure.show(value).replace(' ', "\u{a0}"));
    let interval = row
        .ratio
        .interval
        .map_or_else(|| "–".to_owned(), |(low, high)| format!("{low:.3}\u{a0}to\u{a0}{high:.3}"));
    let verdict = match row.standing {
        Standing::Regressed => "✗ regressed",
        Standing::Doubtful | Standing::Unsure => "? worse",
        Standing::Noisy => "noisy",
        Standing::Improved => "✓ better",
        Standing::Same => "✓",
        Standing::TooFewRepeats => "–",
    };
    vec![
        Cell::new(name),
        Cell::new(row.figure.name),
        value(row.baseline),
        value(row.now),
        right(format!("{:.3}", row.ratio.value)),
        right(interval),
        Cell::new(verdict),
    ]
}

fn right(text: String) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn notes(comparison: &Comparison, text: &mut String) {
    let margin = format::share(comparison.margin);
    text.push_str(&format!("regressed: worse by more than {margin}, and not by chance\n"));
    if comparison.rows().any(|row| row.standing == Standing::Noisy) {
        let much = format::share(NOISY);
        text.push_str(&format!(
            "noisy: the interval allows for {much} worse; more repeats on a quiet machine tell\n"
        ));
    }
    if comparison.rows().any(|row| row.standing == Standing::Unsure) {
        text.push_str("? worse: beyond the margin, but of so many figures one may look so by chance; more repeats tell\n");
    }
    for name in &comparison.missing {
        text.push_str(&format!("! {name}: it is only in the baseline\n"));
    }
    for warning in &comparison.warnings {
        text.push_str(&format!("! {warning}\n"));
    }
    for scenario in &comparison.scenarios {
        let name = &scenario.name;
        let (old, new) = scenario.repeats;
        if old < REPEATS_MIN || new < REPEATS_MIN {
            text.push_str(&format!("! {name}: {}\n", too_few(scenario.repeats)));
        }
        let lost: Vec<String> = scenario.lost.iter().map(|figure| lost(figure)).collect();
        let told = scenario.failed.iter().chain(&lost).chain(&scenario.doubt).chain(&scenario.warnings);
        for warning in told {
            text.push_str(&format!("! {name}: {warning}\n"));
        }
    }
}
