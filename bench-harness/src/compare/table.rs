//! A comparison as tables of text or Markdown: one per metric, rows of scenarios, columns of
//! brokers, and below them everything that went wrong.

use std::fmt::Write as _;

use super::result::{Cell, Comparison, Metric};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Columns aligned, for a terminal.
    Text,
    Markdown,
}

/// One table: a title, a head, and lines of as many cells.
pub(super) struct Table {
    pub title: &'static str,
    pub head: Vec<String>,
    pub lines: Vec<Vec<String>>,
}

/// The tables of all metrics that the rows ask for.
pub(super) fn all(comparison: &Comparison) -> Vec<Table> {
    let tables = Metric::ALL.iter().map(|metric| table(comparison, *metric));
    tables.filter(|table| !table.lines.is_empty()).collect()
}

fn table(comparison: &Comparison, metric: Metric) -> Table {
    let mut head = vec![String::new()];
    head.extend(
        comparison
            .brokers
            .iter()
            .map(|broker| broker.recipe.name.clone()),
    );
    let of_metric = |row: &&super::result::RowResult| row.metrics.contains(&metric);
    let lines = comparison.rows.iter().filter(of_metric).map(|row| {
        let first = row
            .cells
            .first()
            .and_then(|cell| valid_median(cell, metric));
        let mut line = vec![row.label.clone()];
        for (index, cell) in row.cells.iter().enumerate() {
            let base = first.filter(|_| index > 0);
            line.push(figure(cell, metric, base));
        }
        line
    });
    Table {
        title: metric.title(),
        head,
        lines: lines.collect(),
    }
}

fn valid_median(cell: &Cell, metric: Metric) -> Option<f64> {
    let figure = cell.figure(metric).filter(|figure| figure.is_valid)?;
    Some(figure.spread.median)
}

/// Median (smallest..largest), ratio to `base`, and what did not count.
fn figure(cell: &Cell, metric: Metric, base: Option<f64>) -> String {
    if cell.refusal.is_some() {
        return "n/a".to_owned();
    }
    let mut text = match cell.figure(metric) {
        None => "none".to_owned(),
        Some(figure) => {
            let spread = figure.spread;
            let mark = if figure.is_valid { "" } else { "!" };
            let mut text = format!("{mark}{}", number(spread.median));
            if spread.runs > 1 {
                let _ = write!(text, " ({}..{})", number(spread.min), number(spread.max));
            }
            if let Some(base) = base.filter(|base| *base > 0.0 && figure.is_valid) {
                let _ = write!(text, " {}x", number(spread.median / base));
            }
            text
        }
    };
    let counts = [
        (cell.void(), "void"),
        (cell.broken(), "BROKEN"),
        (cell.errors.len(), "FAILED"),
    ];
    for (count, word) in counts.into_iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, " [{count} {word}]");
    }
    text
}

/// Three digits that say something.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// All tables, one below the other.
pub fn tables(comparison: &Comparison, style: Style) -> String {
    let mut text = String::new();
    for table in all(comparison) {
        let first = comparison.name(0);
        let _ = writeln!(
            text,
            "{}{}: median (smallest..largest), ratio to {first}\n",
            if style == Style::Markdown { "**" } else { "" },
            table.title.to_owned() + if style == Style::Markdown { "**" } else { "" },
        );
        text.push_str(&grid(&table, style));
        text.push('\n');
    }
    text
}

fn grid(table: &Table, style: Style) -> String {
    let lines = || std::iter::once(&table.head).chain(&table.lines);
    let widths: Vec<usize> = (0..table.head.len())
        .map(|column| {
            lines()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (index, line) in lines().enumerate() {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let cells: Vec<_> = cells.collect();
        match style {
            Style::Text => text.push_str(cells.join("  ").trim_end()),
            Style::Markdown => {
                let _ = write!(text, "| {} |", cells.join(" | "));
            }
        }
        text.push('\n');
        if index == 0 && style == Style::Markdown {
            let _ = writeln!(text, "|{}", " --- |".repeat(widths.len()));
        }
    }
    text
}

/// A line for each row's goal; nothing where the brokers that it refers to are not there.
pub fn goal_lines(comparison: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, row) in comparison.rows.iter().enumerate() {
        for (metric, bound, is_met) in comparison.goals(index) {
            let verdict = if is_met { "met   " } else { "MISSED" };
            let (label, title) = (&row.label, metric.title());
            lines.push(format!(
                "goal {verdict} {label}: {title}: at most {}",
                number(bound)
            ));
        }
    }
    lines
}

/// Everything that did not count, with the first reason of each cell, and how rates were found.
pub fn trouble(comparison: &Comparison) -> Vec<String> {
    let mut lines = Vec::new();
    if comparison.failed_rounds() != (0, 0, 0) {
        lines
            .push("figures with ! come from runs that do not count, for want of others".to_owned());
    }
    for row in &comparison.rows {
        lines.extend(row.note.clone());
        for (index, cell) in row.cells.iter().enumerate() {
            let name = comparison.name(index);
            let mut tell = |count: usize, what: &str, reason: Option<&String>| {
                if count > 0 {
                    let reason = reason.map_or("", String::as_str);
                    lines.push(format!("{}: {name}: {count} {what}: {reason}", row.label));
                }
            };
            let broken = cell.runs.iter().find_map(|run| run.failures.first());
            let void = cell.runs.iter().find_map(|run| run.void.first());
            tell(cell.broken(), "BROKEN", broken);
            tell(cell.void(), "void", void);
            tell(cell.errors.len(), "FAILED", cell.errors.first());
            if let Some(reason) = &cell.refusal {
                lines.push(format!("{}: {name}: n/a: {reason}", row.label));
            }
        }
    }
    lines
}
