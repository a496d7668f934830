//! Records, and journals that are cut and garbled everywhere.

mod disk;
mod format;
mod history;
mod mend;
mod torn;
