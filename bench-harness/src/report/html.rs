//! Pieces of HTML.

use std::fmt::Write as _;

/// Text that may hold anything, such as a command line.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // Not allowed in a document, not even escaped.
            control if control.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A row of a table; rows that do not count are marked.
pub(super) struct Row {
    pub cells: Vec<String>,
    pub is_marked: bool,
}

/// Cells are text.
pub(super) fn table(head: &[&str], rows: &[Row]) -> String {
    let mut text = "<div class=\"wide\"><table><thead><tr>".to_owned();
    for name in head {
        let _ = write!(text, "<th>{}</th>", escape(name));
    }
    text.push_str("</tr></thead><tbody>\n");
    for row in rows {
        text.push_str(if row.is_marked {
            "<tr class=\"marked\">"
        } else {
            "<tr>"
        });
        for cell in &row.cells {
            let _ = write!(text, "<td>{}</td>", escape(cell));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
    text
}

/// Names and what they are.
pub(super) fn facts(rows: &[(&str, String)]) -> String {
    let mut text = "<table class=\"facts\"><tbody>\n".to_owned();
    for (name, value) in rows {
        let (name, value) = (escape(name), escape(value));
        let _ = writeln!(text, "<tr><th>{name}</th><td>{value}</td></tr>");
    }
    text.push_str("</tbody></table>\n");
    text
}

/// A paragraph that nobody can miss.
pub(super) fn alarm(class: &str, word: &str, text: &str) -> String {
    let text = escape(text);
    format!("<p class=\"alarm {class}\"><strong>{word}</strong> {text}</p>\n")
}
