//! The page around the sections.

use super::html::escape;
use super::{knee, run};
use crate::knee::KneeResult;
use crate::measure::Merged;
use crate::result::RunResult;

const STYLE: &str = "\
:root{color-scheme:light dark;--back:#fff;--text:#1c1e21;--faint:#6b7280;--line:#d9dce1;\
--bad:#b3130b;--void:#8a5a00;--c0:#1f6fb4;--c1:#c4490a;--c2:#23803a;--c3:#8b3fb0}\
@media(prefers-color-scheme:dark){:root{--back:#15171a;--text:#e4e6e9;--faint:#9aa1ab;\
--line:#363b42;--bad:#ff7b72;--void:#e3b341;--c0:#6cb6ff;--c1:#f69d50;--c2:#6bc46d;--c3:#dcbdfb}}\
body{background:var(--back);color:var(--text);font:15px/1.5 system-ui,sans-serif;\
max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2.2rem;border-bottom:1px solid var(--line)}\
h3{font-size:1rem;margin:1.4rem 0 .4rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}\
th,td{padding:.15rem .7rem .15rem 0;text-align:right;white-space:nowrap}\
.facts th,.facts td{text-align:left;vertical-align:top;white-space:normal}\
.facts td{overflow-wrap:anywhere}thead th,.facts th{color:var(--faint);font-weight:500}\
tbody tr{border-top:1px solid var(--line)}tr.marked td{color:var(--bad)}\
code{overflow-wrap:anywhere}.note{color:var(--faint)}\
.alarm{border-left:.4rem solid;padding:.4rem .8rem;font-size:1.05rem}\
.broken{color:var(--bad)}.void{color:var(--void)}\
figure{margin:1.2rem 0}figcaption{font-weight:600}\
figcaption span{font-weight:400;margin-left:1rem}svg{width:100%;height:auto;display:block}\
svg text{fill:var(--faint);font:12px system-ui,sans-serif}.grid{stroke:var(--line)}\
.s0,.s1,.s2,.s3{fill:none;stroke-width:1.6}.s0{stroke:var(--c0)}.s1{stroke:var(--c1)}\
.s2{stroke:var(--c2)}.s3{stroke:var(--c3)}.k0{color:var(--c0)}.k1{color:var(--c1)}\
.k2{color:var(--c2)}.k3{color:var(--c3)}.cross{stroke:var(--bad);stroke-width:2}\
.bound{stroke:var(--text);stroke-dasharray:5 4}\
svg .stamp{fill:var(--bad);font:700 64px system-ui,sans-serif;opacity:.22;text-anchor:middle}\
.left{text-anchor:end}.below{text-anchor:middle}";

/// A page with any number of runs and searches.
#[derive(Debug)]
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            body: String::new(),
        }
    }

    /// A run with its figures, plots and environment. With its histograms the plot of percentiles
    /// is fine, without them it is drawn from the summary.
    pub fn run(&mut self, result: &RunResult, merged: Option<&Merged>) {
        self.body.push_str(&run::section(result, merged));
    }

    /// A search with all its runs, and the one at the knee in full.
    pub fn knee(&mut self, answer: &KneeResult) {
        self.body.push_str(&knee::section(answer));
    }

    /// The whole document.
    pub fn finish(self) -> String {
        let title = escape(&self.title);
        let body = self.body;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
             <meta name=\"viewport\" content=\"width=device-width\"/><title>{title}</title>\
             <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{body}</body></html>\n"
        )
    }
}
