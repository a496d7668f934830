//! Reports for people: one self-contained HTML page with plots, and Markdown tables.
//!
//! A page asks for nothing from outside and holds no script: plots are SVG, colours follow the
//! reader's light or dark scheme. Runs that do not count are shown, and marked as such.

mod html;
mod knee;
mod markdown;
mod page;
mod plot;
mod run;

#[cfg(test)]
mod tests;

pub(crate) use html::escape;
pub use markdown::table as markdown;
pub use page::Page;
